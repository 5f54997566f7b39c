//! Round `measure-day`: a day with a controller that stops delivering at random, and what the
//! daemon does about it.

use std::time::Duration;

use beacon_gateway::engine::UnixTime;
use tokio::time::sleep;

use super::{metrics_of_scan, share::percent};
use crate::{
    antenna::Antenna,
    controller::{Cure, Model},
    daemon::Configuration,
    plane::Plane,
    process::Outcome,
    score::Score,
    stand::{self, Probe, Stand, tag},
};

/// A day, in seconds.
const DAY: u32 = 86_400;

/// The tag is heard each second, the probe once in so many.
const PROBED: u32 = 10;

/// How long the controller works on the average before it hangs again, in seconds.
const WORKS: u32 = 1800;

/// Somebody comes and pulls the controller out when it has been silent for that long, in seconds.
const HANDS: u32 = 600;

/// The least share of the time in which a plane must hear, in percent: with a hang each half hour
/// that costs a minute and a half on the average.
const LEAST: u64 = 90;

/// One hang in so many is not to be cured but by hand.
const HOPELESS: u32 = 10;

/// The same day each time.
const SEED: u64 = 0xda7a_5eed;

/// What became of the hangs of one sort.
#[derive(Clone, Copy, Default)]
struct Hangs {
    times: u32,
    /// Cured by the daemon, or by what BlueZ does anyway, in so many seconds together.
    cured: u32,
    seconds: u32,
    /// Left to somebody's hands.
    by_hand: u32,
}

/// A controller that hangs at random.
struct Moods {
    random: fastrand::Rng,
    now: Option<Cure>,
    lasting: u32,
    hangs: [(Cure, Hangs); 3],
}

pub(crate) async fn all(score: &mut Score) {
    score.round("measure-day: a day with a controller that hangs each half hour");
    let mut results = Vec::new();
    for plane in Plane::chosen() {
        results.push((format!("{plane}: hears 90 % of the day"), one(plane).await));
    }
    println!();
    for (what, result) in results {
        score.check(&what, result);
    }
}

async fn one(plane: Plane) -> Outcome<()> {
    let model = Model::default();
    let configuration =
        Configuration { metrics_interval: "1m", ..stand::configuration(plane, model, 1) };
    let mut stand = Stand::configured(plane, model, configuration).await?;
    let before = stand.world.antenna.tally();
    let mut speech = Probe::default().speech();
    let mut moods = Moods::new();
    for second in 0..DAY {
        let antenna = &stand.world.antenna;
        antenna.hear(&tag(0))?;
        if second % PROBED == 0 {
            for report in speech(UnixTime::from_millis(0)) {
                antenna.hear(&report)?;
            }
        }
        if moods.swing(antenna) == Hands::Needed {
            stand.world.unplug().await?;
            stand.world.plug()?;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let false_exits = stand.false_exits(0.0);
    let (reached, _) = stand.settled(Duration::from_mins(15)).await?;
    let after = stand.world.antenna.tally();
    let sent = u64::from(DAY + DAY / PROBED);
    println!(
        "\n| plane | the controller hears again when | hangs | cured without hands | after, on average | by hand |\n\
         |---|---|---|---|---|---|"
    );
    for (cure, hangs) in moods.hangs {
        let average = f64::from(hangs.seconds) / f64::from(hangs.cured.max(1));
        let Hangs { times, cured, by_hand, .. } = hangs;
        println!("| {plane} | {cure:?} | {times} | {cured} | {average:.0} s | {by_hand} |");
    }
    println!(
        "\n| plane | heard of the day | resets | scans begun | scan counters | false exits |\n\
         |---|---|---|---|---|---|\n| {plane} | {} | {} | {} | {} | {false_exits} |",
        percent(reached, sent),
        after.resets - before.resets,
        after.scans - before.scans,
        metrics_of_scan(&stand),
    );
    stand.close().await?;
    if reached * 100 < sent * LEAST {
        return Err(format!("it heard {}", percent(reached, sent)));
    }
    Ok(())
}

// === impl Moods ===

/// Whether somebody has to pull the controller out.
#[derive(Eq, PartialEq)]
enum Hands {
    Needed,
    Idle,
}

impl Moods {
    fn new() -> Self {
        let hangs = [Cure::Rescan, Cure::Reset, Cure::Replug].map(|cure| (cure, Hangs::default()));
        Self { random: fastrand::Rng::with_seed(SEED), now: None, lasting: 0, hangs }
    }

    /// A second goes by.
    fn swing(&mut self, antenna: &Antenna) -> Hands {
        let Some(cure) = self.now else {
            if self.random.u32(..WORKS) == 0 {
                let cure = match self.random.u32(..HOPELESS) {
                    0 => Cure::Replug,
                    even if even % 2 == 0 => Cure::Rescan,
                    _ => Cure::Reset,
                };
                antenna.hang(cure);
                self.now = Some(cure);
                self.lasting = 0;
                self.note(cure, |hangs| hangs.times += 1);
            }
            return Hands::Idle;
        };
        self.lasting += 1;
        if !antenna.hangs() {
            let lasting = self.lasting;
            self.now = None;
            self.note(cure, |hangs| {
                hangs.cured += 1;
                hangs.seconds += lasting;
            });
        } else if self.lasting >= HANDS {
            self.now = None;
            self.note(cure, |hangs| hangs.by_hand += 1);
            return Hands::Needed;
        }
        Hands::Idle
    }

    fn note(&mut self, of: Cure, change: impl FnOnce(&mut Hangs)) {
        if let Some((_, hangs)) = self.hangs.iter_mut().find(|(cure, _)| *cure == of) {
            change(hangs);
        }
    }
}

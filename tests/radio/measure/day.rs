//! Round `measure-day`: a day with a controller that stops delivering at random, and what the
//! daemon does about it.

use std::time::Duration;

use tokio::time::sleep;

use super::{metrics_of_scan, share::percent};
use crate::{
    controller::{Cure, Model},
    daemon::Configuration,
    plane::Plane,
    process::Outcome,
    score::Score,
    stand::{self, Probe, Stand, arrival, tag},
};

/// A day, in seconds.
const DAY: u32 = 86_400;

/// How long the controller works on the average before it hangs again, in seconds.
const WORKS: u32 = 1800;

/// Somebody comes and pulls the controller out when it has been silent for that long, in seconds.
const HANDS: u32 = 600;

/// The least share of the time in which a plane must hear; with a hang each half hour, three
/// minutes for each.
const LEAST: u64 = 90;

/// The same day each time.
const SEED: u64 = 0xda7a_5eed;

/// How often the controller was made to hang, and how long it did until it was cured.
#[derive(Default)]
struct Hangs {
    times: u32,
    /// Cured by the daemon, in so many seconds together.
    cured: u32,
    seconds: u32,
    /// Left to somebody's hands.
    hands: u32,
}

pub(crate) async fn all(score: &mut Score) {
    score.round("measure-day: a day with a controller that hangs each half hour");
    println!(
        "\n| plane | ends with | hangs | cured by the daemon | after, on average | by hand | \
         heard of the day | resets, scans started | scan counters | false exits |\n\
         |---|---|---|---|---|---|---|---|---|---|"
    );
    let mut results = Vec::new();
    for plane in Plane::chosen() {
        for cures in
            [&[Cure::Rescan][..], &[Cure::Reset], &[Cure::Rescan, Cure::Reset, Cure::Replug]]
        {
            results.push((format!("{plane}: {cures:?}"), one(plane, cures).await));
        }
    }
    println!();
    for (what, result) in results {
        score.check(&what, result);
    }
}

async fn one(plane: Plane, cures: &[Cure]) -> Outcome<()> {
    let model = Model::default();
    let configuration =
        Configuration { metrics_interval: "1m", ..stand::configuration(plane, model, 1) };
    let mut stand = Stand::configured(plane, model, configuration).await?;
    let before = stand.world.antenna.tally();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut speech = Probe::default().speech();
    let mut hangs = Hangs::default();
    let mut lasting = 0_u32;
    for second in 0..DAY {
        let antenna = &stand.world.antenna;
        antenna.hear(&tag(0))?;
        if second % 30 == 0 {
            for report in speech(beacon_gateway::engine::UnixTime::from_millis(0)) {
                antenna.hear(&report)?;
            }
        }
        if antenna.hangs() {
            lasting += 1;
            if lasting >= HANDS {
                stand.world.unplug().await?;
                stand.world.plug()?;
                hangs.hands += 1;
                lasting = 0;
            }
        } else if lasting > 0 {
            hangs.cured += 1;
            hangs.seconds += lasting;
            lasting = 0;
        } else if random.u32(..WORKS) == 0
            && let Some(cure) = random.choice(cures)
        {
            antenna.hang(*cure);
            hangs.times += 1;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let (reached, _) = stand.settled(Duration::from_mins(10)).await?;
    let after = stand.world.antenna.tally();
    let sent = u64::from(DAY + DAY / 30);
    let false_exits = stand.false_exits(0.0);
    let average = f64::from(hangs.seconds) / f64::from(hangs.cured.max(1));
    println!(
        "| {plane} | {cures:?} | {} | {} | {average:.0} s | {} | {} | {}, {} | {} | {false_exits} |",
        hangs.times,
        hangs.cured,
        hangs.hands,
        percent(reached, sent),
        after.resets - before.resets,
        after.scans - before.scans,
        metrics_of_scan(&stand),
    );
    let visits = stand.broker.tally().get(&arrival(0)).copied();
    stand.close().await?;
    if false_exits > 0 || visits != Some(1) {
        return Err(format!("{false_exits} exits of somebody who stayed, {visits:?} visits"));
    }
    if reached * 100 < sent * LEAST {
        return Err(format!("it heard {} of the day", percent(reached, sent)));
    }
    Ok(())
}

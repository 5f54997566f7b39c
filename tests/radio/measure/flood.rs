//! Round `measure-flood`: five thousand advertisements a second, each from another address and some
//! malformed, while customers come in and a sensor speaks.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    metrics_of_scan,
    share::{megabytes, percent},
};
use crate::{
    burst::{Burst, Crowd},
    controller::Model,
    plane::Plane,
    process::{Outcome, until},
    score::Score,
    stand::{PROBE, Probe, Stand, arrival, now, tag},
};

const RATE: u32 = 5000;
const SECONDS: u64 = 60;

/// One comes in each five seconds, and is heard once a second from then on; one of the probe's
/// numbers a second is awaited, too.
const TAGS: u16 = 10;
const EVERY: u64 = 5;

/// Within this time the platform knows of whoever came in.
const RECOGNISED: f64 = 1.0;

/// How much memory the daemon may use at most, in KiB: a quarter of the smallest gateway's.
const MEMORY: u64 = 128 * 1024;

const STEP: Duration = Duration::from_millis(4);
const PATIENCE: Duration = Duration::from_mins(2);

/// What came of a flood.
struct Flood {
    /// How long after each tag's first advertisement the platform knew it, in seconds; nothing for
    /// those that it never knew.
    tags: Vec<Option<f64>>,
    probes: Vec<Option<f64>>,
    peak: u64,
}

pub(crate) async fn all(score: &mut Score) {
    score.round("measure-flood: 5,000/s of ever new addresses, every seventh malformed, for 60 s");
    println!(
        "\n| plane | in the air | delivered | reached the engine | customers known after | sensor after | \
         memory of the daemon | scan counters |\n|---|---|---|---|---|---|---|---|"
    );
    let mut results = Vec::new();
    for plane in Plane::chosen() {
        let result = match one(plane).await {
            Ok(flood) => flood.judge(plane),
            Err(why) => Err(why),
        };
        results.push((format!("{plane}: known within a second, memory bounded"), result));
    }
    println!();
    for (what, result) in results {
        score.check(&what, result);
    }
}

async fn one(plane: Plane) -> Outcome<Flood> {
    let stand = Stand::open(plane, Model::default(), TAGS).await?;
    let antenna = &stand.world.antenna;
    let counted = stand.counts().await?;
    let before = antenna.tally();
    let probe = Probe::default();
    let mut speech = probe.speech();
    let mut burst = Burst::new(RATE, u64::from(RATE) * SECONDS, Crowd::Fresh);
    // When each tag and each number was first heard by the controller, not only sent.
    let (mut tags, mut probes) = (Vec::new(), Vec::new());
    let mut second = 0;
    while burst.catch_up(antenna)? {
        if burst.sent() / u64::from(RATE) > second {
            second += 1;
            if second % EVERY == 0 && tags.len() < usize::from(TAGS) {
                tags.push(None);
            }
            for (number, since) in (0..).zip(&mut tags) {
                if antenna.hear(&tag(number))? && since.is_none() {
                    *since = Some(now());
                }
            }
            for report in speech(beacon_gateway::engine::UnixTime::from_millis(0)) {
                probes.push(antenna.hear(&report)?.then(now));
            }
        }
        sleep(STEP).await;
    }
    // On a plane that lags, all that ever comes.
    let (reached, _) = stand.settled(PATIENCE).await?;
    // What does not come by then stands in the table as never heard.
    let last = (0..).zip(&probes).filter(|(_, since)| since.is_some()).last();
    let last: Option<u32> = last.map(|(number, _)| number);
    let all_came = until("the last event arrives", Duration::from_secs(10), async || {
        let last = last?;
        stand.echoes().iter().any(|echo| echo.number == last).then_some(())
    });
    drop(all_came.await);
    let flood = Flood {
        tags: (0..).zip(&tags).map(|(number, since)| known_after(&stand, number, *since)).collect(),
        probes: echoes_after(&stand, &probes),
        peak: stand.costs()?.daemon.peak,
    };
    let delivered = antenna.tally().delivered - before.delivered;
    let reached = reached.saturating_sub(counted);
    println!(
        "| {plane} | {} | {delivered} | {reached} ({}) | {} | {} | {} | {} |",
        burst.sent(),
        percent(reached, delivered),
        latest(&flood.tags),
        latest(&flood.probes),
        megabytes(flood.peak),
        metrics_of_scan(&stand),
    );
    stand.close().await?;
    Ok(flood)
}

fn known_after(stand: &Stand, number: u16, since: Option<f64>) -> Option<f64> {
    let name = arrival(number);
    let events = stand.broker.events();
    let event = events.iter().find(|event| event.name() == name)?;
    Some(event.arrived - since?)
}

/// Of the numbers that the controller heard.
fn echoes_after(stand: &Stand, probes: &[Option<f64>]) -> Vec<Option<f64>> {
    let echoes = stand.echoes();
    let heard = (0..).zip(probes).filter_map(|(number, since)| Some((number, (*since)?)));
    let after = heard.map(|(number, since)| {
        let echo = echoes.iter().find(|echo| echo.number == number)?;
        Some(echo.arrived - since)
    });
    after.collect()
}

/// The longest of several times, and how many never came.
fn latest(times: &[Option<f64>]) -> String {
    let longest = times.iter().flatten().copied().fold(0.0, f64::max);
    match times.iter().filter(|time| time.is_none()).count() {
        0 => format!("{longest:.2} s"),
        never => format!("{longest:.2} s, {never} of {} never", times.len()),
    }
}

impl Flood {
    fn judge(&self, plane: Plane) -> Outcome<()> {
        if self.peak > MEMORY {
            return Err(format!("the daemon used {}", megabytes(self.peak)));
        }
        let all = [(&self.tags, "customers"), (&self.probes, PROBE)];
        for (times, what) in all.into_iter().filter(|_| plane.is_exact()) {
            let in_time = |time: &Option<f64>| time.is_some_and(|time| time <= RECOGNISED);
            if times.is_empty() || !times.iter().all(in_time) {
                return Err(format!("{what}: {}", latest(times)));
            }
        }
        Ok(())
    }
}

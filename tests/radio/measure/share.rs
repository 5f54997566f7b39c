//! Round `measure-share`: how much of what the controller delivers reaches the engine, and what it
//! costs.

use std::time::Duration;

use crate::{
    burst::{Burst, Crowd},
    controller::Model,
    plane::Plane,
    process::Outcome,
    score::Score,
    stand::{Costs, Stand, now},
};

/// What came of a stream of advertisements.
pub(crate) struct Share {
    /// What the controller told the kernel while it scanned.
    pub(crate) delivered: u64,
    /// What the engine received.
    pub(crate) reached: u64,
    /// What the controller did not hear, because it was not told to scan.
    missed: u64,
    /// From the first advertisement to when the last one was counted, which is done each second.
    took: f64,
    before: Costs,
    after: Costs,
}

const RATES: [u32; 5] = [10, 100, 500, 1000, 2000];
const ADDRESSES: [u32; 3] = [5, 100, 1000];

/// How long a stream lasts.
const SECONDS: u32 = 5;

/// The share is judged at up to so many a second.
const JUDGED: u32 = 1000;

/// What is still queued after this long is counted as lost.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn all(score: &mut Score) {
    score.round("measure-share: what reaches the engine, and what it costs");
    println!(
        "\n| plane | sent/s | addresses | delivered | reached the engine | share | last after | \
         CPU daemon | CPU bluetoothd | CPU dbus-daemon | memory of the daemon |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
    let mut results = Vec::new();
    for plane in Plane::chosen() {
        for rate in RATES {
            for addresses in ADDRESSES {
                let share = of(plane, rate, addresses, SECONDS).await;
                let what = format!("{plane}: {rate}/s from {addresses} addresses");
                let result = share.and_then(|share| {
                    share.print(plane, rate, addresses);
                    let judged = plane.is_exact() && rate <= JUDGED;
                    share.is_at_least(if judged { 0.99 } else { 0.0 })
                });
                results.push((what, result));
            }
        }
    }
    println!();
    for (what, result) in results {
        score.check(&what, result);
    }
    air_time(score).await;
}

/// How much a controller hears that knows BR/EDR, too.
async fn air_time(score: &mut Score) {
    println!(
        "\n| plane | controller | in the air | heard by the controller | share |\n|---|---|---|---|---|"
    );
    for plane in Plane::chosen() {
        for (name, model) in [("LE", Model::plain(0x42)), ("LE and BR/EDR", Model::dual(0x42))] {
            let share = with(model, plane, 100, 100, 40).await.map(|share| {
                let sent = share.delivered + share.missed;
                let heard = percent(share.delivered, sent);
                println!("| {plane} | {name} | {sent} | {} | {heard} |", share.delivered);
            });
            score.check(&format!("{plane}: 40 s with a controller for {name}"), share);
        }
    }
}

/// Sends for so many seconds on a machine of its own.
pub(crate) async fn of(plane: Plane, rate: u32, addresses: u32, seconds: u32) -> Outcome<Share> {
    with(Model::default(), plane, rate, addresses, seconds).await
}

async fn with(
    model: Model,
    plane: Plane,
    rate: u32,
    addresses: u32,
    seconds: u32,
) -> Outcome<Share> {
    let stand = Stand::open(plane, model, 1).await?;
    // The daemon is ready, and what it heard while it began is counted.
    stand.counts().await?;
    let (counted, _) = stand.settled(PATIENCE).await?;
    let tally = stand.world.antenna.tally();
    let before = stand.costs()?;
    let since = now();
    let total = u64::from(rate) * u64::from(seconds);
    Burst::new(rate, total, Crowd::Steady(addresses)).send(&stand.world.antenna).await?;
    let (reached, last) = stand.settled(PATIENCE).await?;
    let after = stand.costs()?;
    let heard = stand.world.antenna.tally();
    let share = Share {
        delivered: heard.delivered - tally.delivered,
        reached: reached.saturating_sub(counted),
        missed: heard.missed - tally.missed,
        took: last - since,
        before,
        after,
    };
    stand.close().await?;
    Ok(share)
}

impl Share {
    /// At least such a part of what the controller delivered reached the engine, and no more than
    /// that.
    pub(crate) fn is_at_least(&self, part: f64) -> Outcome<()> {
        if self.delivered == 0 {
            return Err("the controller delivered nothing".to_owned());
        }
        if self.reached > self.delivered || fraction(self.reached, self.delivered) < part {
            return Err(format!("{} of {} reached the engine", self.reached, self.delivered));
        }
        Ok(())
    }

    fn print(&self, plane: Plane, rate: u32, addresses: u32) {
        let Self { delivered, reached, took, before, after, .. } = self;
        // Nothing came, so nothing came last.
        let took = if *reached == 0 { "-".to_owned() } else { format!("{took:.0} s") };
        println!(
            "| {plane} | {rate} | {addresses} | {delivered} | {reached} | {} | {took} | {:.2} s | {:.2} s | \
             {:.2} s | {} |",
            percent(*reached, *delivered),
            after.daemon.cpu - before.daemon.cpu,
            after.bluetoothd.cpu - before.bluetoothd.cpu,
            after.bus.cpu - before.bus.cpu,
            megabytes(after.daemon.peak),
        );
    }
}

/// Like `99.8 %`.
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", fraction(part, whole) * 100.0)
}

/// KiB, like `7.4 MB`.
#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit")]
pub(super) fn megabytes(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1024.0 / 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "counts of advertisements fit")]
fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

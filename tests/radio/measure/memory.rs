//! Round `measure-memory`: a million advertisements from a hundred thousand addresses that come and
//! go. The daemon keeps nothing of them, so that its memory stays as it is.

use std::time::Duration;

use tokio::time::sleep;

use super::share::{megabytes, percent};
use crate::{
    burst::{Burst, Crowd},
    controller::Model,
    plane::Plane,
    process::Outcome,
    score::Score,
    stand::Stand,
};

const ADVERTISEMENTS: u64 = 1_000_000;
const ADDRESSES: u32 = 100_000;

/// As fast as the other measurements show that nothing is lost by planes that are to be complete.
const RATE: u32 = 2000;

/// A line of the table each time that so many were sent.
const LINE: u64 = 100_000;

/// How much the memory may grow after the first line, in KiB: 2 MB.
const GROWTH: u64 = 1953;

const STEP: Duration = Duration::from_millis(4);

pub(crate) async fn all(score: &mut Score) {
    score.round("measure-memory: a million advertisements from 100,000 rotating addresses");
    println!(
        "\n| plane | in the air | delivered | reached the engine | memory of the daemon | of bluetoothd |\n\
         |---|---|---|---|---|---|"
    );
    let mut results = Vec::new();
    for plane in Plane::chosen() {
        results.push((format!("{plane}: flat within 2 MB after 100,000"), one(plane).await));
    }
    println!();
    for (what, result) in results {
        score.check(&what, result);
    }
}

async fn one(plane: Plane) -> Outcome<()> {
    let stand = Stand::open(plane, Model::default(), 1).await?;
    let counted = stand.counts().await?;
    let antenna = &stand.world.antenna;
    let before = antenna.tally();
    // While nobody scans nothing is delivered; as much again may be lost to that.
    let mut burst = Burst::new(RATE, ADVERTISEMENTS * 2, Crowd::Rotating(ADDRESSES));
    let mut resident = Vec::new();
    let mut goes_on = true;
    while goes_on {
        goes_on = burst.catch_up(antenna)?;
        sleep(STEP).await;
        let delivered = antenna.tally().delivered - before.delivered;
        goes_on &= delivered < ADVERTISEMENTS;
        if delivered / LINE > resident.len() as u64 {
            let costs = stand.costs()?;
            let reached = stand.received().unwrap_or_default().saturating_sub(counted);
            resident.push(costs.daemon.resident);
            println!(
                "| {plane} | {} | {delivered} | {reached} ({}) | {} | {} |",
                burst.sent(),
                percent(reached, delivered),
                megabytes(costs.daemon.resident),
                megabytes(costs.bluetoothd.resident),
            );
        }
    }
    stand.close().await?;
    if resident.len() as u64 != ADVERTISEMENTS / LINE {
        return Err("the controller was told to scan less than half of the time".to_owned());
    }
    let first = resident.first().copied().unwrap_or_default();
    let most = resident.iter().copied().max().unwrap_or_default();
    println!("| {plane} | growth after the first line | | | {} | |", megabytes(most - first));
    if most - first <= GROWTH { Ok(()) } else { Err(format!("it grew by {} KiB", most - first)) }
}

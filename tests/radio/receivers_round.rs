//! Round `receivers`: two adapters at once, each a receiver with a name of its own, which it keeps
//! when it is pulled out and comes back as another number.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    controller::Model,
    daemon::{Configuration, Fixture, Listener, Recorded},
    plane::Plane,
    process::{Outcome, until},
    score::Score,
    stand::{self, tag, written},
    world::World,
};

/// Two adapters, the command `scan --record`, and what each adapter hears.
struct Pair {
    world: World,
    listener: Listener,
}

/// The receivers' names, of the antenna and of the spare one.
const NAMES: [&str; 2] = ["entrance", "counter"];

/// The devices: near the antenna; near the spare one before it is pulled out, and after.
const NEAR_ANTENNA: u16 = 1;
const NEAR_SPARE: u16 = 2;
const NEAR_SPARE_LATER: u16 = 3;

/// How often each device advertises.
const PACE: Duration = Duration::from_millis(200);

/// Both adapters have been found by then, and one that came back has been found again.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn run(score: &mut Score) {
    score.round("receivers: two adapters at once");
    for plane in Plane::chosen() {
        score.check(&format!("{plane} and {plane}: each hears its own"), both(plane, plane).await);
    }
    if [Plane::Monitor, Plane::Hci].iter().all(|plane| Plane::chosen().contains(plane)) {
        let mixed = both(Plane::Monitor, Plane::Hci).await;
        score.check("monitor and hci: each hears its own", mixed);
    }
}

async fn both(first: Plane, second: Plane) -> Outcome<()> {
    let mut pair = Pair::open(first, second).await?;
    pair.advertise(NEAR_SPARE, Duration::from_secs(10)).await?;
    pair.world.spare.unplug().await?;
    // While it is away, the other one hears on.
    pair.advertise(NEAR_SPARE, Duration::from_secs(10)).await?;
    // Both out, and back in the other order: each under the other's number.
    let before = pair.world.antenna.index()?;
    pair.world.unplug().await?;
    pair.world.spare.plug()?;
    if pair.world.spare.numbered().await? != before {
        return Err("the spare controller did not take the other's number".to_owned());
    }
    pair.world.plug()?;
    pair.world.antenna.numbered().await?;
    if first.needs_bluetoothd() && !second.needs_bluetoothd() {
        // In this world bluetoothd leaves adapters off that come.
        pair.world.found().await?;
        pair.world.power(true).await?;
    }
    pair.scan().await?;
    pair.advertise(NEAR_SPARE_LATER, Duration::from_secs(20)).await?;
    let heard = pair.listener.finish().await?;
    judge(&heard)
}

/// Each receiver heard what was near it, most of the time, and nothing else.
fn judge(heard: &[Recorded]) -> Outcome<()> {
    for (receiver, device, least) in [
        (NAMES[0], NEAR_ANTENNA, 100),
        (NAMES[1], NEAR_SPARE, 25),
        (NAMES[1], NEAR_SPARE_LATER, 50),
    ] {
        let address = written(tag(device).address);
        let of_device = heard.iter().filter(|heard| heard.address == address);
        let (right, wrong): (Vec<_>, Vec<_>) =
            of_device.partition(|heard| heard.receiver == receiver);
        if right.len() < least || !wrong.is_empty() {
            return Err(format!(
                "device {device} was heard {} times by `{receiver}` and {} times by another",
                right.len(),
                wrong.len()
            ));
        }
    }
    Ok(())
}

// === impl Pair ===

impl Pair {
    async fn open(first: Plane, second: Plane) -> Outcome<Self> {
        let world = stand::working(second, Model::default()).await?;
        if first.needs_bluetoothd() && !second.needs_bluetoothd() {
            world.power(true).await?;
        }
        world.spare.plug()?;
        world.spare.numbered().await?;
        let antennas = [&world.antenna, &world.spare];
        let adapters = antennas.into_iter().zip(NAMES).zip([first, second]);
        let adapters = adapters.map(|((antenna, name), plane)| {
            let (address, backend) = (antenna.model.written(), plane.backend());
            format!(
                "\n[[scan.adapters]]\naddress = \"{address}\"\nreceiver = \"{name}\"\n\
                 backend = \"{backend}\"\n"
            )
        });
        let scan = first.keys().to_owned() + &adapters.collect::<String>();
        let fixture =
            |device| Fixture::new(format!("device_{device}"), written(tag(device).address));
        let configuration = Configuration {
            scan,
            fixtures: [NEAR_ANTENNA, NEAR_SPARE, NEAR_SPARE_LATER].map(fixture).into(),
            ..Configuration::of(String::new())
        };
        let listener = Listener::start(&configuration)?;
        let pair = Self { world, listener };
        pair.scan().await?;
        Ok(pair)
    }

    /// Waits until both controllers are told to scan.
    async fn scan(&self) -> Outcome<()> {
        until("both controllers scan", PATIENCE, async || {
            let both = self.world.antenna.is_scanning() && self.world.spare.is_scanning();
            both.then_some(())
        })
        .await
    }

    /// A device near each antenna advertises for so long.
    async fn advertise(&self, near_spare: u16, time: Duration) -> Outcome<()> {
        let mut left = time;
        while let Some(rest) = left.checked_sub(PACE) {
            self.world.antenna.hear(&tag(NEAR_ANTENNA))?;
            self.world.spare.hear(&tag(near_spare))?;
            sleep(PACE).await;
            left = rest;
        }
        Ok(())
    }
}

//! A machine set up for measuring: Bluetooth, broker and daemon on one plane, tags that are
//! enrolled, and a probe, a fixture that counts: what it said last tells when it was heard. It is a canary, too, so that a
//! radio that hangs is told from a shop in which nobody is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use beacon_gateway::clock::Clock;
use serde_json::Value;

use crate::{
    air::Speech,
    antenna::nothing_plugged,
    broker::{Broker, Message},
    controller::{Kind, Model, Phy, Report},
    daemon::{Configuration, Daemon, Fixture},
    gauge::{Cost, cost},
    plane::Plane,
    process::{Outcome, until},
    world::World,
};

/// Everything at work.
pub(crate) struct Stand {
    plane: Plane,
    pub(crate) world: World,
    pub(crate) broker: Broker,
    pub(crate) daemon: Daemon,
}

/// What the three processes have cost. bluetoothd and the bus cost nothing where they are not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    pub(crate) daemon: Cost,
    pub(crate) bluetoothd: Cost,
    pub(crate) bus: Cost,
}

/// A fixture that says a number, one more each time.
#[derive(Clone, Default)]
pub(crate) struct Probe {
    next: Arc<AtomicU32>,
}

/// How a probe was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    pub(crate) number: u32,
    /// When its event arrived at the platform, in seconds since 1970.
    pub(crate) arrived: f64,
}

/// The probe's name and address.
pub(crate) const PROBE: &str = "probe";
const PROBE_ADDRESS: [u8; 6] = [0xc2, 0x50, 0x52, 0x4f, 0x42, 0x45];

const TAG_UUID: &str = "5f2dd896b8864549ae01e41acd7a354a";

/// How long the first scan may take to begin, and what is heard to be counted.
const PATIENCE: Duration = Duration::from_mins(1);

impl Stand {
    /// A machine on which everything works, with a daemon that scans.
    pub(crate) async fn open(plane: Plane, model: Model, tags: u16) -> Outcome<Self> {
        Self::configured(plane, model, configuration(plane, model, tags)).await
    }

    /// The same, with a configuration of the caller's.
    pub(crate) async fn configured(
        plane: Plane,
        model: Model,
        configuration: Configuration,
    ) -> Outcome<Self> {
        let world = working(plane, model).await?;
        let stand = Self::around(world, plane, &configuration).await?;
        stand.world.scanning().await?;
        Ok(stand)
    }

    /// A broker and a daemon on a machine as it is.
    pub(crate) async fn around(
        world: World,
        plane: Plane,
        configuration: &Configuration,
    ) -> Outcome<Self> {
        let broker = Broker::start().await?;
        let daemon = Daemon::start(broker.port, configuration)?;
        Ok(Self { plane, world, broker, daemon })
    }

    /// How many advertisements have reached the engine; it says so each second.
    pub(crate) fn received(&self) -> Option<u64> {
        self.broker.latest("/metrics")?.pointer("/engine/received")?.as_u64()
    }

    /// Waits until nothing more reaches the engine for a while, but not longer than this; gives how
    /// many reached it, and when the last of them was first counted, in seconds since 1970.
    pub(crate) async fn settled(&self, within: Duration) -> Outcome<(u64, f64)> {
        // Under load BlueZ stands still for seconds, and goes on.
        let still = if self.plane.is_exact() { 3 } else { 10 };
        let mut counts = Vec::new();
        let what = "what was heard has been counted";
        let settled = until(what, within, async || {
            counts = self.broker.select(|message| {
                let is_it = message.topic.ends_with("/metrics");
                let received = message.payload.pointer("/engine/received").filter(|_| is_it);
                received.and_then(Value::as_u64).map(|count| (count, message.arrived))
            });
            let (last, _) = *counts.last()?;
            let same = counts.iter().rev().take_while(|(count, _)| *count == last);
            (same.count() > still).then_some(())
        })
        .await;
        let Some((last, _)) = counts.last() else { return settled.map(|()| (0, 0.0)) };
        counts.iter().find(|(count, _)| count == last).copied().ok_or_else(|| what.to_owned())
    }

    /// Waits for the first metrics.
    pub(crate) async fn counts(&self) -> Outcome<u64> {
        until("the metrics arrive", PATIENCE, async || self.received()).await
    }

    /// What the processes have cost so far.
    pub(crate) fn costs(&self) -> Outcome<Costs> {
        Ok(Costs {
            daemon: cost(self.daemon.pid()?)?,
            bluetoothd: cost(self.world.pid_of_bluetoothd()?)?,
            bus: cost(self.world.pid_of_bus()?)?,
        })
    }

    /// All that was heard of the probe.
    pub(crate) fn echoes(&self) -> Vec<Echo> {
        self.broker.select(|message| {
            if !message.topic.ends_with("/event/sensor/measured") {
                return None;
            }
            let number = message.data("/readings/0/value").as_f64()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it was a u32"
            )]
            Some(Echo { number: number as u32, arrived: message.arrived })
        })
    }

    /// How many exits were told from a moment on, in seconds since 1970, although every tag was
    /// there all the time.
    pub(crate) fn false_exits(&self, since: f64) -> usize {
        let exits = self.broker.select(|message| {
            let is_exit = ["/event/visit/ended", "/event/zone/exited"]
                .iter()
                .any(|topic| message.topic.ends_with(topic));
            (is_exit && message.arrived >= since).then_some(())
        });
        exits.len()
    }

    /// The gateway's own events from a moment on, in seconds since 1970: `radio_deaf (daemon)`.
    pub(crate) fn notices(&self, since: f64) -> Vec<String> {
        self.broker.select(|message| {
            let kind = message.topic.rsplit_once("/event/gateway/")?.1;
            (message.arrived >= since).then(|| notice(kind, message))
        })
    }

    /// Ends everything; the daemon must stop when asked.
    pub(crate) async fn close(self) -> Outcome<()> {
        let stopped = self.daemon.stop().await;
        self.broker.stop().await?;
        stopped
    }
}

impl Probe {
    /// What it says, each time that it is asked.
    pub(crate) fn speech(&self) -> Speech {
        let next = Arc::clone(&self.next);
        Box::new(move |_| vec![probe(next.fetch_add(1, Ordering::Relaxed))])
    }

    /// The number that it says next.
    pub(crate) fn next(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }
}

/// The time in seconds since 1970, as the platform would write it down.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
pub(crate) fn now() -> f64 {
    Clock::start().wall().unix.as_millis() as f64 / 1000.0
}

/// A machine whose Bluetooth works, as a plane needs it.
pub(crate) async fn working(plane: Plane, model: Model) -> Outcome<World> {
    nothing_plugged().await?;
    let mut world = World::new().with(model);
    if !plane.needs_bluetoothd() {
        world = world.hands_off()?;
    }
    world.begin().await?;
    world.antenna.numbered().await?;
    world.powered(plane.needs_bluetoothd()).await?;
    Ok(world)
}

/// A daemon that says each second what it counts.
pub(crate) fn configuration(plane: Plane, model: Model, tags: u16) -> Configuration {
    let configuration = Configuration {
        fixtures: vec![Fixture { canary: true, ..Fixture::new(PROBE, written(PROBE_ADDRESS)) }],
        metrics_interval: "1s",
        log: "debug",
        ..Configuration::of(registry(tags))
    };
    configuration.hearing(plane, &model.written())
}

/// What the n-th enrolled tag sends: an iBeacon.
pub(crate) fn tag(number: u16) -> Report {
    let [high, low] = number.to_be_bytes();
    let data = format!("0201061aff4c000215{TAG_UUID}0201{number:04x}c5");
    Report {
        address: [0xe8, 0x3d, 0x17, 0xb2, high, low],
        random: true,
        rssi: -58,
        kind: Kind::NonConnectable,
        phy: Phy::OneMegabit,
        data: hex::decode(data).unwrap_or_default(),
    }
}

/// The event by which a tag's visit is known.
pub(crate) fn arrival(number: u16) -> String {
    format!("visit.started tag_{number}")
}

/// What the probe sends: BTHome v2, a count of four octets (object 0x3E).
pub(crate) fn probe(number: u32) -> Report {
    let data = [&[2, 1, 6, 9, 0x16, 0xd2, 0xfc, 0x40, 0x3e][..], &number.to_le_bytes()].concat();
    Report { address: PROBE_ADDRESS, rssi: -65, data, ..tag(0) }
}

/// An address as people write it.
pub(crate) fn written(address: [u8; 6]) -> String {
    address.map(|octet| format!("{octet:02X}")).join(":")
}

fn registry(tags: u16) -> String {
    let line = |number: u16| {
        format!(
            r#"{{"subject":"tag_{number}","kind":"customer","identifiers":[{{"ibeacon":{{"uuid":"{TAG_UUID}","major":513,"minor":{number}}}}}],"consent":{{"purposes":["presence"],"from":"2000-01-01T00:00:00Z","until":"2200-01-01T00:00:00Z","proof":"form-{number}"}}}}"#
        ) + "\n"
    };
    (0..tags).map(line).collect()
}

fn notice(kind: &str, message: &Message) -> String {
    match message.data("/cause") {
        Value::String(cause) => format!("{kind} ({cause})"),
        _ => kind.to_owned(),
    }
}

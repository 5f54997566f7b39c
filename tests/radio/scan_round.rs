//! Round `scan`: the scan room alone, between a controller made of software and this program. What
//! was sent is compared octet by octet with what came out, and every way of losing the radio is
//! tried.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::{AddressKind, Advertisement, DeafCause, RadioState, Rssi, Uptime},
    scan::{self, CanarySightings, DataPlane, Heard, ScanCounters, SourceEnds, live},
    settings::Span,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};

use crate::{
    air::Air,
    antenna::Antenna,
    cast,
    controller::{Kind, Phy, Report},
    process::{Outcome, until},
    score::Score,
    world::{World, connections},
};

/// The scan room at work, and everything that came out of it.
struct Ear {
    clock: Clock,
    heard: Arc<Mutex<Vec<(Uptime, Heard)>>>,
    counters: Arc<ScanCounters>,
    stop: watch::Sender<bool>,
    room: JoinHandle<()>,
    listening: JoinHandle<()>,
}

const TAG: [u8; 6] = [0xc0, 0x11, 0x22, 0x33, 0x44, 0x55];
const IBEACON: &str = "1aff4c000215e2c56db5dffb48d2b060d0f5a71096e001020304c5";
const SERVICE: &str = "1221ffeeddccbbaa99887766554433221100ee";
const UID: &str = "1516aafe00ee00112233445566778899aabbccddeeff";

/// Above the 10.24 s in which the kernel may refuse a scan after bluetoothd was killed, and the
/// pauses between attempts.
const RECOVERY: Duration = Duration::from_mins(1);

pub(crate) async fn run(score: &mut Score) {
    score.round("scan: the scan room alone");
    score.check("without bus, daemon or adapter it says so, and waits", wait_for_all().await);
    score.check("what is heard is what was sent, from the first advertisement on", exact().await);
    score.check("of 200 strangers every advertisement is heard once", crowd().await);
    score.check("what a rotating device sent before is not heard again", rotating().await);
    score.check("what BlueZ knew before the scan is not heard", known_before().await);
    score.check("an empty shop is quiet, and checked again and again", quiet().await);
    score.check("rebuilding leaves nothing behind on the bus", nothing_left().await);
    score.check("it ends when nobody listens", nobody_listens().await);
    score.check("an adapter switched off stays off, and is used once it is on", power().await);
    for (what, fault) in [
        ("bluetoothd killed", Fault::KillDaemon),
        ("bluetoothd restarted", Fault::RestartDaemon),
        ("the bus killed, and bluetoothd with it", Fault::KillBus),
        ("the controller pulled out and plugged in", Fault::Replug),
    ] {
        score.check(&format!("{what}: hears again by itself"), recovers(fault).await);
    }
}

#[derive(Clone, Copy)]
enum Fault {
    KillDaemon,
    RestartDaemon,
    KillBus,
    Replug,
}

async fn wait_for_all() -> Outcome<()> {
    let mut world = World::new();
    let ear = Ear::open();
    ear.state("deaf, for want of a bus", is_deaf(DeafCause::Daemon)).await?;
    world.start_bus().await?;
    world.start_bluetoothd()?;
    ear.state("deaf, for want of an adapter", is_deaf(DeafCause::NoAdapter)).await?;
    world.plug()?;
    world.scanning().await?;
    ear.hears(&world, "after everything was there").await?;
    ear.close().await
}

async fn exact() -> Outcome<()> {
    let world = World::working().await?;
    let ear = Ear::open();
    world.scanning().await?;
    let radio = &world.antenna;
    let flags = "020106";
    let cases = [
        // An iBeacon that is heard once, and never again.
        (report([0xc0, 0, 0, 0, 0, 1], -61, &[flags, IBEACON]), IBEACON),
        (report([0xc0, 0, 0, 0, 0, 2], -72, &[flags, "0303aafe", UID]), &format!("0302aafe{UID}")),
        // BTHome, a public address, a name and a power.
        (
            Report {
                random: false,
                ..report(
                    [0x00, 0x1b, 0xdc, 0, 0, 3],
                    -90,
                    &["0616d2fc400164", "0409546167", "020af4"],
                )
            },
            "0616d2fc4001640409546167020af4",
        ),
        // A resolvable address with nothing but flags.
        (report([0x5a, 0, 0, 0, 0, 4], -45, &[flags]), ""),
        // A service of 128 bits.
        (report([0xc0, 0, 0, 0, 0, 5], -50, &[SERVICE]), SERVICE),
        // The controller could not tell how loud.
        (report([0xc0, 0, 0, 0, 0, 6], 127, &[IBEACON]), IBEACON),
    ];
    for (sent, expected) in &cases {
        send(radio, sent)?;
        let heard = ear.from(sent.address, 1).await?;
        same(sent, expected, heard.first())?;
    }
    // The second time the data comes as events instead of properties; the name is known only once.
    for (sent, expected) in &cases {
        send(radio, sent)?;
        let heard = ear.from(sent.address, 2).await?;
        same(sent, expected.trim_end_matches("0409546167020af4"), heard.get(1))?;
    }
    // A connectable one and its scan response become one advertisement, as the kernel joins them.
    let address = [0xc0, 0, 0, 0, 0, 7];
    let ind = Report { kind: Kind::Connectable, ..report(address, -40, &[flags, IBEACON]) };
    let rsp = Report { kind: Kind::ScanResponse, ..report(address, -40, &["0416aafe20"]) };
    for times in 1..=2 {
        send(radio, &ind)?;
        send(radio, &rsp)?;
        let heard = ear.from(address, times).await?;
        same(&ind, &format!("{IBEACON}0416aafe20"), heard.get(times - 1))?;
    }
    ear.close().await?;
    until("the scan is stopped", Duration::from_secs(5), async || {
        (!radio.is_scanning()).then_some(())
    })
    .await
}

async fn crowd() -> Outcome<()> {
    let world = World::working().await?;
    let ear = Ear::open();
    world.scanning().await?;
    let air = Air::around(world.antenna.clone());
    drop(cast::enter(&air, 200, Clock::start().wall().unix));
    air.on("stranger");
    // Longer than a stranger keeps an address.
    sleep(Duration::from_secs(80)).await;
    air.off("");
    sleep(Duration::from_secs(1)).await;
    let mut wrong = Vec::new();
    for (address, sent) in air.heard()? {
        let heard = ear.advertisements(address).len();
        if heard != sent as usize {
            wrong.push(format!("{address:02x?}: sent {sent}, heard {heard}"));
        }
    }
    if wrong.is_empty() {
        ear.close().await
    } else {
        Err(format!("{}: {}", wrong.len(), wrong.join("\n")))
    }
}

async fn rotating() -> Outcome<()> {
    let world = World::working().await?;
    let ear = Ear::open();
    world.scanning().await?;
    let radio = &world.antenna;
    let ruuvi = "06ff9904aabbcc";
    let turns = [IBEACON, ruuvi, UID, "020106", ruuvi, IBEACON, "020106"];
    for (turn, data) in turns.iter().enumerate() {
        send(radio, &report(TAG, -60, &[data]))?;
        let heard = ear.from(TAG, turn + 1).await?;
        let expected = if *data == "020106" { "" } else { data };
        same(&report(TAG, -60, &[]), expected, heard.get(turn))?;
    }
    ear.close().await
}

async fn known_before() -> Outcome<()> {
    let world = World::working().await?;
    let first = Ear::open();
    world.scanning().await?;
    send(&world.antenna, &report(TAG, -60, &[IBEACON]))?;
    first.from(TAG, 1).await?;
    // BlueZ remembers the tag for 30 s; who starts to listen now has not heard it.
    let second = Ear::open();
    second.hears(&world, "by the second ear").await?;
    second.nothing_from(TAG)?;
    first.close().await?;
    let again = Ear::open();
    again.hears(&world, "by a new ear").await?;
    again.nothing_from(TAG)?;
    second.close().await?;
    again.close().await
}

async fn quiet() -> Outcome<()> {
    let world = World::working().await?;
    let ear = Ear::open();
    ear.hears(&world, "at the start").await?;
    ear.state("suspect", |state| matches!(state, RadioState::Suspect { .. })).await?;
    ear.state("quiet", |state| state == RadioState::Quiet).await?;
    until("three checks", Duration::from_mins(5), async || {
        (ear.counters.totals().steps >= 3).then_some(())
    })
    .await?;
    if ear.states().iter().any(|state| matches!(state, RadioState::Deaf { .. })) {
        return Err(format!("an empty shop was called deaf: {:?}", ear.states()));
    }
    ear.hears(&world, "after the night").await?;
    ear.close().await
}

async fn nothing_left() -> Outcome<()> {
    let world = World::working().await?;
    // An empty shop, checked often.
    let silence_timeout = Span::secs(2);
    let ear = Ear::with(&scan::Settings { silence_timeout, ..over_the_bus() });
    world.scanning().await?;
    let before = connections().await?;
    until("six rebuilds", Duration::from_mins(5), async || {
        (ear.counters.totals().steps >= 6).then_some(())
    })
    .await?;
    world.scanning().await?;
    let after = connections().await?;
    if after > before + 1 {
        return Err(format!("{before} names on the bus before six rebuilds, {after} after"));
    }
    ear.close().await
}

async fn nobody_listens() -> Outcome<()> {
    let world = World::working().await?;
    let ear = Ear::open();
    ear.hears(&world, "at the start").await?;
    ear.listening.abort();
    until("the room ends", Duration::from_secs(30), async || {
        let report = report(TAG, -55, &[IBEACON]);
        world.antenna.hear(&report).ok()?;
        ear.room.is_finished().then_some(())
    })
    .await?;
    ear.close().await
}

async fn power() -> Outcome<()> {
    let world = World::working().await?;
    let ear = Ear::open();
    ear.hears(&world, "at the start").await?;
    world.power(false).await?;
    ear.state("deaf, because switched off", is_deaf(DeafCause::PoweredOff)).await?;
    sleep(Duration::from_mins(1)).await;
    if world.is_powered().await != Some(false) {
        return Err("the adapter was switched on against the administrator's will".to_owned());
    }
    world.power(true).await?;
    world.scanning().await?;
    ear.hears(&world, "after the adapter was switched on").await?;
    ear.recovered()?;
    ear.close().await
}

async fn recovers(fault: Fault) -> Outcome<()> {
    let mut world = World::working().await?;
    let ear = Ear::open();
    ear.hears(&world, "before").await?;
    let last = ear.last_heard();
    match fault {
        Fault::KillDaemon => world.kill_bluetoothd().await?,
        Fault::RestartDaemon => world.stop_bluetoothd().await?,
        Fault::KillBus => {
            world.kill_bus().await?;
            world.kill_bluetoothd().await?;
        }
        Fault::Replug => world.unplug().await?,
    }
    let deaf = ear.state("deaf", |state| matches!(state, RadioState::Deaf { .. })).await?;
    match (fault, deaf) {
        (Fault::Replug, RadioState::Deaf { since, cause: DeafCause::NoAdapter })
        | (_, RadioState::Deaf { since, cause: DeafCause::Daemon })
            if since >= last => {}
        _ => return Err(format!("{deaf:?}, but last heard at {last:?}")),
    }
    match fault {
        Fault::KillDaemon | Fault::RestartDaemon => world.start_bluetoothd()?,
        Fault::KillBus => {
            world.start_bus().await?;
            world.start_bluetoothd()?;
        }
        Fault::Replug => world.plug()?,
    }
    ear.hears(&world, "after the fault").await?;
    ear.recovered()?;
    ear.close().await
}

/// The plane that is under test here.
fn over_the_bus() -> scan::Settings {
    scan::Settings { data: DataPlane::Dbus, ..scan::Settings::default() }
}

fn is_deaf(wanted: DeafCause) -> impl Fn(RadioState) -> bool {
    move |state| matches!(state, RadioState::Deaf { cause, .. } if cause == wanted)
}

fn report(address: [u8; 6], rssi: i8, structures: &[&str]) -> Report {
    let data = hex::decode(structures.concat()).unwrap_or_default();
    Report { address, random: true, rssi, kind: Kind::NonConnectable, phy: Phy::OneMegabit, data }
}

fn send(radio: &Antenna, report: &Report) -> Outcome<()> {
    if radio.hear(report)? { Ok(()) } else { Err("the controller does not scan".to_owned()) }
}

fn same(sent: &Report, expected: &str, heard: Option<&Advertisement>) -> Outcome<()> {
    let heard = heard.ok_or("nothing was heard")?;
    let kind = if sent.random { AddressKind::Random } else { AddressKind::Public };
    let data = hex::encode(heard.data());
    if heard.rssi == Rssi::from_report(sent.rssi)
        && heard.address().kind() == kind
        && data == expected
    {
        return Ok(());
    }
    Err(format!(
        "sent {expected} at {} dBm ({kind:?}), heard {data} at {:?} ({:?})",
        sent.rssi,
        heard.rssi,
        heard.address().kind()
    ))
}

// === impl Ear ===

impl Ear {
    fn open() -> Self {
        Self::with(&over_the_bus())
    }

    fn with(settings: &scan::Settings) -> Self {
        let live = settings.live(Span::secs(13));
        let clock = Clock::start();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let counters = Arc::new(ScanCounters::for_receivers(settings.receiver_ids()));
        let (stop, stopped) = watch::channel(false);
        let (sender, mut receiver) = mpsc::channel(64);
        let room = tokio::spawn({
            let counters = Arc::clone(&counters);
            async move {
                let (_, canaries) = watch::channel(CanarySightings::new());
                let ends = SourceEnds { clock, heard: sender, counters, canaries, stop: stopped };
                live::run(&live, ends).await;
            }
        });
        let listening = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                while let Some(next) = receiver.recv().await {
                    if let Ok(mut heard) = heard.lock() {
                        heard.push((clock.now(), next));
                    }
                }
            }
        });
        Self { clock, heard, counters, stop, room, listening }
    }

    fn all(&self) -> Vec<(Uptime, Heard)> {
        self.heard.lock().map(|heard| heard.clone()).unwrap_or_default()
    }

    fn states(&self) -> Vec<RadioState> {
        let states = self.all().into_iter().filter_map(|(_, heard)| match heard {
            Heard::Radio(_, state) => Some(state),
            Heard::Advertisement(_) | Heard::Relayed(_) | Heard::Recording => None,
        });
        states.collect()
    }

    fn advertisements(&self, address: [u8; 6]) -> Vec<Advertisement> {
        let advertisements = self.all().into_iter().filter_map(|(_, heard)| match heard {
            Heard::Advertisement(heard) => (heard.address().octets() == address).then_some(heard),
            Heard::Radio(..) | Heard::Relayed(_) | Heard::Recording => None,
        });
        advertisements.collect()
    }

    fn last_heard(&self) -> Uptime {
        let times = self.all().into_iter().filter_map(|(_, heard)| match heard {
            Heard::Advertisement(advertisement) => Some(advertisement.heard),
            Heard::Radio(..) | Heard::Relayed(_) | Heard::Recording => None,
        });
        times.max().unwrap_or_default()
    }

    /// Waits until so many advertisements were heard from an address.
    async fn from(&self, address: [u8; 6], times: usize) -> Outcome<Vec<Advertisement>> {
        let what = format!("advertisement {times} of the device ending in {:02x}", address[5]);
        until(what, Duration::from_secs(5), async || {
            let heard = self.advertisements(address);
            (heard.len() >= times).then_some(heard)
        })
        .await
    }

    fn nothing_from(&self, address: [u8; 6]) -> Outcome<()> {
        match self.advertisements(address).len() {
            0 => Ok(()),
            times => Err(format!("heard {times} advertisements that nobody sent")),
        }
    }

    /// Waits for a state of the radio.
    async fn state(&self, what: &str, wanted: impl Fn(RadioState) -> bool) -> Outcome<RadioState> {
        let what = format!("the radio is {what}");
        until(&what, Duration::from_mins(3), async || {
            self.states().last().copied().filter(|state| wanted(*state))
        })
        .await
        .map_err(|why| format!("{why}; it said {:?}", self.states()))
    }

    /// Sends until it hears: something is in the air, and the radio hears it by itself.
    async fn hears(&self, world: &World, when: &str) -> Outcome<()> {
        let before = self.clock.now();
        let mut number = 0_u8;
        until(format!("something is heard {when}"), RECOVERY, async || {
            number = number.wrapping_add(1);
            let report = report([0xc2, 0, 0, 0, 0, number % 4], -55, &["03ff0102"]);
            world.antenna.hear(&report).ok()?;
            sleep(Duration::from_millis(200)).await;
            (self.last_heard() > before).then_some(())
        })
        .await
        .map_err(|why| format!("{why}; the radio said {:?}", self.states()))
    }

    /// The last states are one outage and its end.
    fn recovered(&self) -> Outcome<()> {
        match self.states().as_slice() {
            [.., RadioState::Deaf { .. }, RadioState::Hearing] => Ok(()),
            other => Err(format!("the radio said {other:?}")),
        }
    }

    /// Stops; the room ends in time.
    async fn close(self) -> Outcome<()> {
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(5), self.room)
            .await
            .map_err(|_| "the scan room did not end within 5 s".to_owned())?
            .map_err(|error| format!("the scan room panicked: {error}"))
    }
}

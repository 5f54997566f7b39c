//! Rounds `planes` and `rate`: each way into the daemon hears what was sent, octet by octet and
//! dBm by dBm, and those that are to be complete are complete when much is in the air.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    antenna::Antenna,
    controller::{Kind, Model, Phy, Report},
    daemon::{Configuration, Fixture, Listener, Recorded},
    measure::share,
    plane::Plane,
    process::{Outcome, until},
    score::Score,
    stand::{self, written},
    world::World,
};

/// The command `scan --record` on a machine whose Bluetooth works.
pub(crate) struct Ear {
    pub(crate) world: World,
    listener: Listener,
}

/// 16 devices that are recorded as they are, because the configuration lists them.
const LISTED: [u8; 6] = [0xc0, 0x11, 0x22, 0x33, 0x44, 0];

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn planes(score: &mut Score) {
    score.round("planes: what comes in by each of them");
    for plane in Plane::chosen() {
        score.check(&format!("{plane}: what is heard is what was sent"), exact(plane).await);
        if plane.is_exact() {
            let ramp = ramp(plane, Kind::NonConnectable).await.and_then(|heard| heard.is_same());
            score.check(&format!("{plane}: a ramp of 1 dB steps is the same ramp"), ramp);
            score.check(&format!("{plane}: each packet stands for itself"), packets(plane).await);
            score.check(
                &format!("{plane}: long advertisements are put together"),
                long(plane).await,
            );
        }
    }
    if Plane::chosen().contains(&Plane::Hci) {
        score.check("hci: what is sent on the coded PHY is heard", coded().await);
    }
}

pub(crate) async fn rate(score: &mut Score) {
    score.round("rate: a thousand advertisements a second, for three seconds");
    for plane in Plane::chosen().into_iter().filter(|plane| plane.is_exact()) {
        let share = share::of(plane, 1000, 100, 3).await;
        if let Ok(share) = &share {
            println!("    {plane}: {} of {} reached the engine", share.reached, share.delivered);
        }
        let enough = share.and_then(|share| share.is_at_least(0.99));
        score.check(&format!("{plane}: at least 99 % reach the engine"), enough);
    }
}

async fn exact(plane: Plane) -> Outcome<()> {
    let ear = Ear::open(plane, Model::default(), "").await?;
    let mut sent = vec![
        listed(0, -61, "0201061aff4c000215e2c56db5dffb48d2b060d0f5a71096e001020304c5"),
        listed(1, -72, "0201060303aafe1516aafe00ee00112233445566778899aabbccddeeff"),
        listed(2, -45, "0201060616d2fc400164"),
        // A public address.
        Report { random: false, ..listed(3, -90, "0201060616d2fc400164") },
        // All that an advertisement of version 4 can carry.
        listed(4, -20, "1eff5900000102030405060708090a0b0c0d0e0f101112131415161718191a"),
    ];
    if plane.is_exact() {
        sent.extend([
            // The controller could not tell how loud.
            listed(5, 127, "0201060616d2fc400164"),
            // Nothing at all, and a structure that claims more octets than there are.
            listed(6, -50, ""),
            listed(7, -50, "020106ffff5900"),
        ]);
    }
    // Twice: BlueZ tells the first one of a device in another way than the others.
    let sent: Vec<_> = sent.iter().chain(&sent).cloned().collect();
    for report in &sent {
        ear.send(report).await?;
        sleep(Duration::from_millis(100)).await;
    }
    let heard = ear.finish(sent.len()).await?;
    for (sent, heard) in sent.iter().zip(&heard) {
        let same = if plane.is_exact() {
            *heard == of(sent)
        } else {
            // BlueZ keeps flags to itself, and writes the list of services anew.
            let tail = |data: &str| data.get(data.len().saturating_sub(10)..).map(str::to_owned);
            heard.address == written(sent.address)
                && heard.rssi == loudness(sent.rssi)
                && tail(&heard.data) == tail(&hex::encode(&sent.data))
        };
        if !same {
            return Err(format!("sent {:?}, heard {heard:?}", of(sent)));
        }
    }
    Ok(())
}

/// A connectable one is heard although nobody answers, and so is its answer, each with its own
/// loudness.
async fn packets(plane: Plane) -> Outcome<()> {
    let ear = Ear::open(plane, Model::default(), "").await?;
    let lonely = Report { kind: Kind::Connectable, ..listed(0, -70, "0201060616d2fc400164") };
    let asked = Report { kind: Kind::Connectable, ..listed(1, -60, "0201060616d2fc400163") };
    let answer = Report { kind: Kind::ScanResponse, ..listed(1, -63, "0409546167020af4") };
    for report in [&lonely, &asked, &answer] {
        ear.send(report).await?;
        sleep(Duration::from_millis(20)).await;
    }
    let heard = ear.finish(3).await?;
    let expected = [of(&lonely), of(&asked), of(&answer)];
    if heard == expected { Ok(()) } else { Err(format!("sent {expected:?}, heard {heard:?}")) }
}

async fn long(plane: Plane) -> Outcome<()> {
    let ear = Ear::open(plane, Model::long_range(0x42), "").await?;
    // Three structures of 250 octets, told in four reports; and one that needs no second report.
    let structure = |octet: u8| [&[249, 0xff, 0x59, 0x00][..], &[octet; 246]].concat();
    let data = [structure(1), structure(2), structure(3)].concat();
    let short = "0201060616d2fc400164";
    let sent = [
        Report { data, ..listed(0, -66, "") },
        listed(1, -50, short),
        Report {
            data: [hex::decode(short).unwrap_or_default(), vec![0x1d, 0xff, 0x59, 0]].concat(),
            ..listed(2, -51, "")
        },
    ];
    for report in &sent {
        ear.send(report).await?;
    }
    let heard = ear.finish(sent.len()).await?;
    let expected = sent.each_ref().map(of);
    if heard == expected { Ok(()) } else { Err(format!("sent {expected:?}, heard {heard:?}")) }
}

async fn coded() -> Outcome<()> {
    let more = "[scan.hci]\nphys = [\"1m\", \"coded\"]\n";
    let ear = Ear::open(Plane::Hci, Model::long_range(0x42), more).await?;
    let near = listed(0, -50, "0201060616d2fc400164");
    let far = Report { phy: Phy::Coded, ..listed(1, -96, "0201060616d2fc400164") };
    for report in [&near, &far] {
        ear.send(report).await?;
    }
    let heard = ear.finish(2).await?;
    let expected = [of(&near), of(&far)];
    if heard == expected { Ok(()) } else { Err(format!("sent {expected:?}, heard {heard:?}")) }
}

/// What became of a ramp.
pub(crate) struct Ramp {
    /// The loudness of each advertisement, and that with which it was recorded, if it was.
    pub(crate) steps: Vec<(i8, Option<i64>)>,
}

/// Sends a ramp from the least to the most that radios tell, in steps of 1 dB; each advertisement
/// has a number.
pub(crate) async fn ramp(plane: Plane, kind: Kind) -> Outcome<Ramp> {
    let ear = Ear::open(plane, Model::default(), "").await?;
    let steps: Vec<i8> = (-100..=-20).collect();
    let data = |number: usize| format!("05ffffff{number:04x}");
    for (number, rssi) in steps.iter().enumerate() {
        ear.send(&Report { kind, ..listed(0, *rssi, &data(number)) }).await?;
        sleep(Duration::from_millis(20)).await;
    }
    // Whatever comes late.
    let heard = ear.finish_when(|number| number >= steps.len() as u64).await?;
    let loudness = |number: usize| {
        let found = heard.iter().find(|heard| heard.data.contains(&data(number)));
        found.and_then(|heard| heard.rssi)
    };
    let steps = steps.iter().enumerate().map(|(number, rssi)| (*rssi, loudness(number)));
    Ok(Ramp { steps: steps.collect() })
}

impl Ramp {
    /// How many of the steps were recorded, and how many exactly.
    pub(crate) fn heard(&self) -> (usize, usize) {
        let exact = self.steps.iter().filter(|(sent, heard)| *heard == Some(i64::from(*sent)));
        (self.steps.iter().filter(|(_, heard)| heard.is_some()).count(), exact.count())
    }

    fn is_same(&self) -> Outcome<()> {
        let (_, exact) = self.heard();
        if exact == self.steps.len() { Ok(()) } else { Err(format!("{:?}", self.steps)) }
    }
}

// === impl Ear ===

impl Ear {
    pub(crate) async fn open(plane: Plane, model: Model, more: &str) -> Outcome<Self> {
        let world = stand::working(plane, model).await?;
        let configuration = stand::configuration(plane, model, 0);
        let scan = configuration.scan + more;
        let fixtures =
            (0..16).map(|last| Fixture::new(format!("listed_{last}"), written(address(last))));
        let configuration = Configuration { scan, fixtures: fixtures.collect(), ..configuration };
        let listener = Listener::start(&configuration)?;
        world.scanning().await?;
        // The controller scans before whoever asked for it has opened its ears.
        let ready = |antenna: &Antenna| antenna.hear(&listed(15, -40, "0201060616d2fc400164"));
        until("the gateway hears", PATIENCE, async || {
            ready(&world.antenna).ok()?;
            sleep(Duration::from_millis(500)).await;
            (listener.received() > 0).then_some(())
        })
        .await?;
        Ok(Self { world, listener })
    }

    /// Sends once the controller scans; it pauses now and then when the kernel begins anew.
    async fn send(&self, report: &Report) -> Outcome<()> {
        self.world.scanning().await?;
        self.world.antenna.hear(report).map(drop)
    }

    /// Waits until so many were heard; gives what was recorded, but for what was sent at first.
    async fn finish(self, number: usize) -> Outcome<Vec<Recorded>> {
        let recorded = self.finish_when(|received| received >= number as u64).await?;
        if recorded.len() == number {
            return Ok(recorded);
        }
        Err(format!("{number} were sent, {} heard: {recorded:?}", recorded.len()))
    }

    /// The same, where fewer may come than were sent.
    async fn finish_when(self, enough: impl Fn(u64) -> bool) -> Outcome<Vec<Recorded>> {
        let mut last = 0;
        let mut still = 0;
        until("everything is recorded", PATIENCE, async || {
            let received = self.listener.received();
            still = if received == last { still + 1 } else { 0 };
            last = received;
            sleep(Duration::from_millis(500)).await;
            (still > 6 || enough(received.saturating_sub(1)) && still > 3).then_some(())
        })
        .await?;
        let mut recorded = self.listener.finish().await?;
        let first = written(address(15));
        recorded.retain(|recorded| recorded.address != first);
        Ok(recorded)
    }
}

fn address(last: u8) -> [u8; 6] {
    let mut address = LISTED;
    address[5] = last;
    address
}

fn listed(last: u8, rssi: i8, data: &str) -> Report {
    Report {
        address: address(last),
        random: true,
        rssi,
        kind: Kind::NonConnectable,
        phy: Phy::OneMegabit,
        data: hex::decode(data).unwrap_or_default(),
    }
}

/// What a recording should say of a report.
fn of(report: &Report) -> Recorded {
    Recorded {
        // The name of the only one, when it has none.
        receiver: "local".to_owned(),
        address: written(report.address),
        rssi: loudness(report.rssi),
        data: hex::encode(&report.data),
    }
}

/// 127 dBm is no loudness (7.7.65.2).
fn loudness(rssi: i8) -> Option<i64> {
    (rssi != 127).then_some(rssi.into())
}

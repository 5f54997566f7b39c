//! Rounds `faults` and `measure-faults`: what can happen to a radio's parts, on each plane, with an
//! enrolled tag and a probe that advertise all the time. How long the daemon does not hear is
//! measured where the platform sees it: by the numbers that the probe's events carry.

use std::{fmt, time::Duration};

use tokio::{process::Child, time::sleep};

use crate::{
    air::Air,
    antenna::nothing_plugged,
    controller::{Cure, Model},
    plane::Plane,
    process::{Outcome, until},
    score::Score,
    stand::{self, PROBE, Probe, Stand, arrival, now, tag},
    world::World,
};

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    KillDaemon,
    RestartDaemon,
    FreezeDaemon,
    RestartBus,
    /// Another controller takes its number meanwhile.
    Replug,
    PowerOff,
    StopScan,
    Narrow,
    Hang(Cure),
}

/// What came of it.
struct Effect {
    /// From when the part was back to when the first advertisement sent after that was known to the
    /// platform, in seconds.
    hearing_after: f64,
    /// The longest time in which nothing was known to be heard, in seconds.
    longest_silence: f64,
    notices: Vec<String>,
    false_exits: usize,
}

/// A stand with a tag and a probe in the air.
struct Scene {
    stand: Stand,
    probe: Probe,
    _air: Air,
}

const FAULTS: [Fault; 10] = [
    Fault::KillDaemon,
    Fault::RestartDaemon,
    Fault::FreezeDaemon,
    Fault::RestartBus,
    Fault::Replug,
    Fault::PowerOff,
    Fault::StopScan,
    Fault::Narrow,
    Fault::Hang(Cure::Rescan),
    Fault::Hang(Cure::Reset),
];

/// How long a part is away: longer than the 30 s after which somebody unseen has left.
const AWAY: Duration = Duration::from_secs(40);

/// How long hearing must last before the next fault.
const CALM: Duration = Duration::from_secs(10);

/// How soon everything must be heard again that was sent after the part was back, in seconds.
const LIMIT: f64 = 5.0;

/// A scan that somebody else stopped is noticed as silence, after 20 s, if bluetoothd does not start
/// it anew by itself.
const LIMIT_OF_SILENCE: f64 = 25.0;

/// A controller that hangs is noticed as silence; then the steps of the ladder before the one that
/// helps take their time.
const LIMIT_OF_LADDER: f64 = 90.0;

/// When to give up waiting.
const PATIENCE: Duration = Duration::from_mins(3);

/// Tag and probe advertise once in `pace`, which bounds how exactly times are known.
pub(crate) async fn faults(score: &mut Score, pace: Duration) {
    score.round("faults: what can happen to a radio's parts, with a tag in the shop");
    println!(
        "\n| plane | fault | heard again after | longest silence | events of the gateway | false exits |\n\
         |---|---|---|---|---|---|"
    );
    let mut results = Vec::new();
    for plane in Plane::chosen() {
        let scene = match absent(plane, pace).await {
            Ok((scene, effect)) => {
                effect.print(plane, "all parts absent at start");
                results.push((format!("{plane}: all absent at start"), effect.judge(LIMIT)));
                scene
            }
            Err(why) => {
                results.push((format!("{plane}: all absent at start"), Err(why)));
                continue;
            }
        };
        results.extend(all(plane, scene).await);
    }
    println!();
    for (what, result) in results {
        score.check(&what, result);
    }
}

/// Every fault in turn, on one machine with one daemon.
async fn all(plane: Plane, mut scene: Scene) -> Vec<(String, Outcome<()>)> {
    let mut results = Vec::new();
    for fault in FAULTS.into_iter().filter(|fault| fault.concerns(plane)) {
        let what = format!("{plane}: {fault}");
        let result = match scene.suffer(fault).await {
            Ok(effect) => {
                effect.print(plane, &fault.to_string());
                effect.judge(fault.limit())
            }
            Err(why) => Err(why),
        };
        // What comes after a fault that never ended means nothing.
        let over = result.is_err() && scene.heard_lately().await.is_err();
        results.push((what, result));
        if over {
            break;
        }
    }
    results.push((format!("{plane}: one visit all the time"), scene.one_visit()));
    results.push((format!("{plane}: the daemon stops when asked"), scene.stand.close().await));
    results
}

/// The daemon is there before everything else.
async fn absent(plane: Plane, pace: Duration) -> Outcome<(Scene, Effect)> {
    nothing_plugged().await?;
    let mut world = World::new().with(Model::default());
    if !plane.needs_bluetoothd() {
        world = world.hands_off()?;
    }
    let configuration = stand::configuration(plane, Model::default(), 1);
    let mut scene = Scene::around(Stand::around(world, plane, &configuration).await?, pace);
    let since = now();
    scene.stand.broker.event("gateway.started", 1, PATIENCE).await?;
    sleep(AWAY).await;
    scene.stand.world.begin().await?;
    let effect = scene.recovery(since, now()).await?;
    Ok((scene, effect))
}

impl Scene {
    fn around(stand: Stand, pace: Duration) -> Self {
        let air = Air::around(stand.world.antenna.clone());
        let probe = Probe::default();
        air.add("tag", pace, Box::new(|_| vec![tag(0)]));
        air.add(PROBE, pace, probe.speech());
        air.on("");
        Self { stand, probe, _air: air }
    }

    /// Lets something happen, and waits until the daemon hears again.
    async fn suffer(&mut self, fault: Fault) -> Outcome<Effect> {
        self.heard_lately().await?;
        sleep(CALM).await;
        let since = now();
        let client = self.inflict(fault).await?;
        if fault.lasts() {
            sleep(AWAY).await;
            self.mend(fault, client).await?;
        }
        self.recovery(since, now()).await
    }

    async fn inflict(&mut self, fault: Fault) -> Outcome<Option<Child>> {
        let world = &mut self.stand.world;
        match fault {
            Fault::KillDaemon => world.kill_bluetoothd().await?,
            Fault::RestartDaemon => world.stop_bluetoothd().await?,
            Fault::FreezeDaemon => world.freeze_bluetoothd(true).await?,
            Fault::RestartBus => {
                world.kill_bus().await?;
                world.kill_bluetoothd().await?;
            }
            Fault::Replug => {
                world.unplug().await?;
                world.spare.plug()?;
                world.spare.numbered().await?;
            }
            Fault::PowerOff => world.power(false).await?,
            Fault::StopScan => world.stop_discovery().await?,
            Fault::Narrow => return world.narrow().await.map(Some),
            Fault::Hang(cure) => world.antenna.hang(cure),
        }
        Ok(None)
    }

    async fn mend(&mut self, fault: Fault, client: Option<Child>) -> Outcome<()> {
        let world = &mut self.stand.world;
        match fault {
            Fault::KillDaemon | Fault::RestartDaemon => world.start_bluetoothd()?,
            Fault::FreezeDaemon => world.freeze_bluetoothd(false).await?,
            Fault::RestartBus => {
                world.start_bus().await?;
                world.start_bluetoothd()?;
            }
            Fault::Replug => {
                let taken = world.spare.index()?;
                world.plug()?;
                if world.antenna.numbered().await? == taken {
                    return Err("it came back under its old number".to_owned());
                }
            }
            Fault::PowerOff => world.power(true).await?,
            Fault::Narrow => {
                let mut client = client.ok_or("the other client has gone")?;
                client.kill().await.map_err(|error| format!("failed to end it: {error}"))?;
            }
            Fault::StopScan | Fault::Hang(_) => {}
        }
        Ok(())
    }

    /// Waits until what is sent from now on is heard.
    async fn recovery(&self, since: f64, back: f64) -> Outcome<Effect> {
        let number = self.probe.next();
        let fresh = until("what is sent now is heard", PATIENCE, async || {
            let echoes = self.stand.echoes();
            echoes.into_iter().find(|echo| echo.number >= number).map(|echo| echo.arrived)
        })
        .await
        .map_err(|why| format!("{why}; the gateway said {:?}", self.stand.notices(since)))?;
        sleep(CALM).await;
        let mut times = vec![since];
        times.extend(self.stand.echoes().iter().map(|echo| echo.arrived));
        times.retain(|time| *time >= since);
        let silences = times.iter().zip(times.iter().skip(1)).map(|(before, after)| after - before);
        Ok(Effect {
            hearing_after: fresh - back,
            longest_silence: silences.fold(0.0, f64::max),
            notices: self.stand.notices(since),
            false_exits: self.stand.false_exits(since),
        })
    }

    /// The tag has been there since it was first heard.
    fn one_visit(&self) -> Outcome<()> {
        match self.stand.broker.tally().get(&arrival(0)) {
            Some(1) => Ok(()),
            times => Err(format!("it began {} times", times.copied().unwrap_or(0))),
        }
    }

    /// Whether something that is sent now is heard at all.
    async fn heard_lately(&self) -> Outcome<()> {
        let number = self.probe.next();
        until("anything is heard", PATIENCE, async || {
            self.stand.echoes().iter().any(|echo| echo.number >= number).then_some(())
        })
        .await
    }
}

impl Effect {
    fn print(&self, plane: Plane, fault: &str) {
        let notices = match self.notices.join(", ") {
            none if none.is_empty() => "none".to_owned(),
            some => some,
        };
        println!(
            "| {plane} | {fault} | {:.1} s | {:.1} s | {notices} | {} |",
            self.hearing_after, self.longest_silence, self.false_exits
        );
    }

    fn judge(&self, limit: f64) -> Outcome<()> {
        if self.false_exits > 0 {
            return Err(format!("{} exits of somebody who stayed", self.false_exits));
        }
        if self.hearing_after > limit {
            return Err(format!("it heard again after {:.1} s only", self.hearing_after));
        }
        Ok(())
    }
}

impl Fault {
    /// A dedicated adapter is out of bluetoothd's reach, and of other clients'.
    fn concerns(self, plane: Plane) -> bool {
        plane != Plane::Hci || !matches!(self, Self::PowerOff | Self::StopScan | Self::Narrow)
    }

    /// Whether something is away until it is brought back.
    fn lasts(self) -> bool {
        !matches!(self, Self::StopScan | Self::Hang(_))
    }

    fn limit(self) -> f64 {
        match self {
            Self::Hang(_) => LIMIT_OF_LADDER,
            Self::StopScan => LIMIT_OF_SILENCE,
            _ => LIMIT,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillDaemon => "bluetoothd killed, started",
            Self::RestartDaemon => "bluetoothd stopped, started",
            Self::FreezeDaemon => "bluetoothd frozen, thawed",
            Self::RestartBus => "bus and bluetoothd killed, started",
            Self::Replug => "controller pulled out, plugged in under another number",
            Self::PowerOff => "powered off, on",
            Self::StopScan => "scan stopped by another client",
            Self::Narrow => "another client scans with a filter, ends",
            Self::Hang(Cure::Rescan) => "controller hangs until it scans anew",
            Self::Hang(Cure::Reset) => "controller hangs until it is reset",
            Self::Hang(Cure::Replug) => "controller hangs until it is pulled out",
        })
    }
}

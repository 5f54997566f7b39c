//! Round `clock`: the daemon on a kernel whose clock is really set. It boots in 1970, is killed before
//! a time source comes, and after that the clock is put back by an hour. A probe says all the time
//! when it is, as the gateway sees it; a tag's consent has an end.

use std::time::Duration;

use beacon_gateway::{clock::Clock, engine::Uptime};
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};
use serde_json::Value;

use crate::{
    air::Air,
    controller::Model,
    daemon::Daemon,
    plane::Plane,
    process::{Outcome, until},
    score::Score,
    stand::{self, PROBE, Probe, Stand, arrival, tag},
};

/// The true time, which the guest's own clock says at the beginning.
struct Truth {
    watch: Clock,
    /// At uptime zero of the watch, in milliseconds since 1970.
    origin: i64,
}

/// What the daemon says at a moment.
struct Said {
    /// When the probe was heard, by the event, in milliseconds since 1970.
    time: i64,
    mark: String,
    /// The clock's part of the metrics.
    clock: Value,
    /// How far the event is from the truth, in milliseconds; an event takes a moment to arrive.
    off: i64,
}

const HOUR: i64 = 3_600_000;

/// The probe speaks this often.
const PACE: Duration = Duration::from_secs(2);

/// How long things may take that happen within seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// How exactly an event is dated as it arrives, in milliseconds: the probe's pace, and the way.
const EXACT: i64 = 5000;

pub(crate) async fn run(score: &mut Score) {
    score.round("clock: a boot in 1970, a kill, a time source after ten minutes, an hour back");
    let watch = Clock::start();
    let wall = watch.wall();
    let truth = Truth { watch, origin: wall.unix_at(Uptime::ZERO).as_millis() };
    let played = play(score, &truth).await;
    score.check("the round was played to its end", played);
    // Those who come after need the date.
    score.check("the clock is right again", set(truth.now()));
}

async fn play(score: &mut Score, truth: &Truth) -> Outcome<()> {
    // Not on the first day: a kernel takes no time before that of its own start.
    set(24 * HOUR)?;
    let plane = Plane::Monitor;
    let mut configuration = stand::configuration(plane, Model::default(), 1);
    configuration.clock = "synced";
    let mut stand = Stand::configured(plane, Model::default(), configuration.clone()).await?;
    let air = Air::around(stand.world.antenna.clone());
    let probe = Probe::default();
    air.add("tag", PACE, Box::new(|_| vec![tag(0)]));
    air.add(PROBE, PACE, probe.speech());
    println!(
        "\n| what happens | the probe's event is off by | it says | believed because | jumps |"
    );
    println!("|---|---|---|---|---|");

    let entered = truth.now();
    air.on("");
    let said = heard(&stand, &probe, truth, "boot in 1970").await?;
    score.check(
        "1970 is told as it is",
        said.is("unsynced", "before_build", |time| time < 48 * HOUR),
    );
    score.check("of whom nothing may be sent waits", {
        let sent = stand.broker.tally().contains_key(&arrival(0));
        if sent { Err("a visit was told") } else { Ok(()) }
    });

    // What the tag did is known to this run alone, and to the disk.
    stand.daemon.kill().await?;
    stand.daemon = Daemon::again(stand.broker.port, &configuration)?;
    let said = heard(&stand, &probe, truth, "killed and started again").await?;
    score.check(
        "another run knows no better",
        said.is("unsynced", "before_build", |time| time < 48 * HOUR),
    );

    tokio::time::sleep(Duration::from_mins(10)).await;
    set(truth.now())?;
    follow()?;
    let visit = stand.broker.event(&arrival(0), 1, PATIENCE).await?;
    let (time, mark) = (visit.time()?, visit.data("/clock"));
    println!("| its visit is told | {} s | {mark} | | |", seconds(time - entered));
    let corrected = mark == "corrected" && (time - entered).abs() < EXACT;
    score.check("what the killed run saw is dated right by its successor", {
        if corrected { Ok(()) } else { Err(format!("{mark}, off by {} ms", time - entered)) }
    });
    let said = heard(&stand, &probe, truth, "synced after ten minutes").await?;
    score.check("what is new is right", said.is("synced", "followed", |_| said.off.abs() < EXACT));

    set(truth.now() - HOUR)?;
    follow()?;
    let said = heard(&stand, &probe, truth, "put back by an hour, synced").await?;
    score.check("the new time is believed", {
        said.is("synced", "followed", |_| (said.off + HOUR).abs() < EXACT)
    });
    let by_ms = said.clock.pointer("/last_jump/by_ms").and_then(Value::as_i64).unwrap_or(0);
    score.check("the jump is told", {
        let told = (by_ms + HOUR).abs() < 1000;
        if told { Ok(()) } else { Err(format!("{}", said.clock)) }
    });
    set(truth.now() + 1000 * HOUR)?;
    let said = heard(&stand, &probe, truth, "set a month ahead by hand").await?;
    score.check("what was believed holds", {
        said.is("synced", "held", |_| (said.off + HOUR).abs() < EXACT)
    });
    println!();
    score.check("the daemon stops when asked", stand.close().await);
    Ok(())
}

/// Waits until what the probe says from now on has arrived, and prints it.
async fn heard(stand: &Stand, probe: &Probe, truth: &Truth, what: &str) -> Outcome<Said> {
    let number = f64::from(probe.next());
    let told = truth.now();
    let event = until(format!("the probe is heard ({what})"), PATIENCE, async || {
        let fresh = stand.broker.events().into_iter().rev().find(|event| {
            let value = event.data("/readings/0/value").as_f64();
            // Two after the moment: what was under way before has been passed.
            value.is_some_and(|value| value >= number + 2.0)
        });
        fresh.filter(|_| truth.now() > told)
    })
    .await?;
    let now = truth.now();
    let clock = until("the metrics speak of it", PATIENCE, async || {
        let metrics = stand.broker.latest("/metrics")?;
        let time = metrics.get("time")?.as_str()?.parse::<jiff::Timestamp>().ok()?;
        (time.as_millisecond() >= event.time().ok()?).then(|| metrics.get("clock").cloned())?
    })
    .await?;
    let (time, mark) = (event.time()?, event.data("/clock"));
    let mark = mark.as_str().unwrap_or("?").to_owned();
    let said = Said { time, mark, off: time - now, clock };
    let (basis, jumps) = (said.basis(), said.clock.get("jumps").cloned().unwrap_or_default());
    println!("| {what} | {} s | {} | {basis} | {jumps} |", seconds(said.off), said.mark);
    Ok(said)
}

impl Truth {
    fn now(&self) -> i64 {
        self.origin + self.watch.now().as_micros() / 1000
    }
}

impl Said {
    fn basis(&self) -> String {
        self.clock.get("basis").and_then(Value::as_str).unwrap_or("?").to_owned()
    }

    fn is(&self, mark: &str, basis: &str, right: impl FnOnce(i64) -> bool) -> Outcome<()> {
        if self.mark == mark && self.basis() == basis && right(self.time) {
            return Ok(());
        }
        let Self { time, off, clock, .. } = self;
        Err(format!("{}, at {time} ms, off by {off} ms; {clock}", self.mark))
    }
}

/// Sets the kernel's clock, which marks it as following nobody.
fn set(millis: i64) -> Outcome<()> {
    let time = TimeSpec::new(millis.div_euclid(1000), millis.rem_euclid(1000) * 1_000_000);
    clock_settime(ClockId::CLOCK_REALTIME, time)
        .map_err(|error| format!("failed to set the clock: {error}"))
}

/// Says that a time source is followed, as time daemons do.
#[expect(unsafe_code, reason = "adjtimex has no safe binding; it reads a struct of our own")]
fn follow() -> Outcome<()> {
    // SAFETY: an all-zero `timex` is a valid value, and lives across the call.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        timex.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR;
        timex.maxerror = 5000;
        libc::adjtimex(&raw mut timex)
    };
    if state == libc::TIME_OK { Ok(()) } else { Err(format!("adjtimex says {state}")) }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn seconds(millis: i64) -> f64 {
    (millis as f64 / 100.0).round() / 10.0
}

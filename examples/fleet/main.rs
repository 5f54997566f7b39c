//! A fleet of simulated gateways in one process, against a real broker: how many connections, how
//! many events, and how long it takes until all is well again after everybody was cut off at once.
//!
//! Each gateway is the project's own uplink with its own MQTT session, and the project's own outbox
//! with its records in memory. Their events are those of the simulated shop, at a rate that can be
//! chosen. A platform subscribes and checks that nothing is lost.
//!
//! ```console
//! $ cargo run --release --example fleet -- --gateways 2000 --storm
//! ```
//!
//! | part | what it does |
//! |---|---|
//! | `script` | what happens in a shop, as records |
//! | `gateway` | one gateway: outbox, uplink, and somebody who plays the script |
//! | `broker` | a mosquitto of our own, on loopback, which can be restarted |
//! | `door` | a door before the broker that can be shut on everybody at once |
//! | `platform` | the subscriber |
//! | `watch` | looks ten times a second |
//! | `report` | the table, and the same as JSON |
#![expect(clippy::print_stdout, reason = "what it prints is its result")]
#![expect(clippy::print_stderr, reason = "what is said beside the result")]

mod broker;
mod door;
mod gateway;
mod platform;
mod report;
mod script;
mod watch;

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use beacon_gateway::{clock::Clock, settings::Span, uplink::Protocol};
use broker::Mosquitto;
use clap::{Parser, ValueEnum};
use door::Door;
use gateway::Gateway;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use platform::Platform;
use report::{Report, Storm};
use script::Script;
use watch::{Usage, Watch};

#[derive(Clone, Debug, Parser)]
#[command(about = "A fleet of simulated gateways against a real broker")]
struct Cli {
    /// How many gateways.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    gateways: u32,
    /// How long to watch them once all are connected.
    #[arg(long = "for", value_name = "DURATION", default_value = "20s")]
    duration: Span,
    /// How many events each gateway makes a second, on average. A shop with 20,000 events in ten
    /// hours makes 0.56.
    #[arg(long, default_value_t = 0.5, value_parser = rate)]
    rate: f64,
    /// The version of MQTT: 5 or 3.1.1.
    #[arg(long, default_value = "5", value_parser = protocol)]
    protocol: Protocol,
    /// A broker that runs already, without TLS and password; otherwise mosquitto is started here.
    #[arg(long, value_name = "IP:PORT")]
    broker: Option<SocketAddr>,
    /// Cuts everybody off at once, and measures until all is well again.
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "cut")]
    storm: Option<How>,
    /// How long nobody can connect in the storm.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    away: Span,
    /// Prints one JSON document instead of the table.
    #[arg(long)]
    json: bool,
    /// The same number plays the same shop, and the same delays.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How everybody is cut off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum How {
    /// A door between gateways and broker is shut; the broker goes on.
    Cut,
    /// The mosquitto that was started here is stopped, and started again.
    Restart,
}

/// How long everything may take until all are connected, or all is delivered. A back-off of two
/// minutes is within it.
const PATIENCE: Duration = Duration::from_mins(10);

/// What a gateway and a door need of file descriptors: a socket, and two more where the door stands.
const PER_GATEWAY: u64 = 3;
const BESIDES: u64 = 200;

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "write a number like 0.5".to_owned())?;
    if rate > 0.0 && rate <= 1000.0 { Ok(rate) } else { Err("above 0, at most 1000".to_owned()) }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "5" => Ok(Protocol::V5),
        "3.1.1" => Ok(Protocol::V311),
        _ => Err("write 5 or 3.1.1".to_owned()),
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("Something was lost, or did not settle.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all was well in the end.
fn run(cli: &Cli) -> anyhow::Result<bool> {
    if cli.storm == Some(How::Restart) && cli.broker.is_some() {
        bail!("--storm restart is for a broker that was started here; use --storm cut");
    }
    raise_limit(u64::from(cli.gateways) * PER_GATEWAY + BESIDES)?;
    let clock = Clock::start();
    let script = Script::write(cli.seed, clock).context("cannot play the shop")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(play(cli, clock, script))?;
    if cli.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    Ok(report.is_well())
}

async fn play(cli: &Cli, clock: Clock, script: Script) -> anyhow::Result<Report> {
    let mut mosquitto = match cli.broker {
        None => Some(Mosquitto::start().await?),
        Some(_) => None,
    };
    let broker = mosquitto.as_ref().map(Mosquitto::address).or(cli.broker);
    let broker = broker.context("there is no broker")?;
    let door = match cli.storm {
        Some(How::Cut) => Some(Door::open(broker).await?),
        _ => None,
    };
    let at = door.as_ref().map_or(broker, Door::address);
    let platform = Platform::subscribe(broker).await?;

    let empty = Usage::of_this_process()?;
    let script = Arc::new(script);
    let gateways: Vec<_> = (1..=cli.gateways)
        .map(|number| Gateway::start(number, cli, at, clock, Arc::clone(&script)))
        .collect::<anyhow::Result<_>>()?;
    let mut watch = Watch::new(clock, gateways, platform, !cli.json);
    let connected = watch.until_all_are_online("connecting", PATIENCE).await?;

    let begun = (Usage::of_this_process()?, mosquitto.as_ref().map(Mosquitto::usage).transpose()?);
    let steady = watch.look_on("watching", cli.duration.0).await?;
    let ended = (Usage::of_this_process()?, mosquitto.as_ref().map(Mosquitto::usage).transpose()?);

    let storm = match cli.storm {
        None => None,
        Some(how) => {
            let before = watch.totals();
            let cut = clock.now();
            match (how, &door, &mut mosquitto) {
                (How::Cut, Some(door), _) => door.shut(),
                (How::Restart, _, Some(mosquitto)) => mosquitto.stop().await?,
                _ => {}
            }
            watch.look_on("cut off", cli.away.0).await?;
            match (how, &door, &mut mosquitto) {
                (How::Cut, Some(door), _) => door.reopen(),
                (How::Restart, _, Some(mosquitto)) => mosquitto.start_again().await?,
                _ => {}
            }
            let back = clock.now();
            let settled = watch.until_all_are_online("reconnecting", PATIENCE).await?;
            let drained = watch.until_delivered("draining", PATIENCE).await?;
            Some(Storm { before, after: watch.totals(), cut, back, settled, drained })
        }
    };
    let series = watch.stop(PATIENCE).await?;
    Ok(Report {
        cli: cli.clone(),
        per_second_in_script: script.rate(),
        empty,
        begun,
        ended,
        connected,
        steady,
        storm,
        series,
    })
}

/// Sees to it that so many files can be open.
fn raise_limit(needed: u64) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        bail!(
            "so many gateways need {needed} open files, and {hard} are allowed; `ulimit -Hn` as root"
        );
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).context("cannot raise the limit of open files")
}

/// A lock whose holder has panicked still holds what was counted.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

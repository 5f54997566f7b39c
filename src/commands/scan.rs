//! `scan`: what the radio hears now. Subjects and fixtures by name, strangers only as a count; with
//! `--sensors` the sensors instead, listed or new.

mod sensors;
mod strengths;
mod table;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use tokio::sync::{mpsc, watch};

use self::{sensors::Finder, table::Table};
use super::{Common, Failure, run::signals, runtime, say, span};
use crate::{
    clock::Clock,
    engine::{Advertisement, Engine, HeardSensor, Recognition, Resolution, VisitId},
    gateway::{GatewayError, chain, client_id, identity, load_registry, scan_counters},
    remote::{self, Remote},
    scan::{
        CanarySightings, Heard, ScanCounters, SourceEnds, live,
        record::{Recorder, Whose},
    },
    settings::Settings,
};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Stop after this long, like `30s`; otherwise with Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = span)]
    duration: Option<Duration>,
    /// Write what is heard to a new file, for `replay`; strangers' addresses are replaced by
    /// stable fakes.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print one JSON object a second.
    #[arg(long)]
    json: bool,
    /// Show the sensors that are heard, also by remote receivers, the loudest first, and at the end
    /// the lines to list new ones by. Addresses and names of sensors that are not yours may be among
    /// them: they are printed here, and kept nowhere.
    #[arg(long)]
    sensors: bool,
    #[command(flatten)]
    common: Common,
}

/// How many advertisements may wait.
const HEARD_BOUND: usize = 1024;

/// How often the view is renewed.
const EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let settings = options.common.load()?;
    let registry = load_registry(&settings, Clock::start())?;
    let first = VisitId { epoch: 0, run: 0, number: 1 };
    let mut engine = Engine::new(identity(&settings, registry), settings.presence(), first);
    let clock = Clock::start();
    engine.handle_clock(clock.wall());
    let recorder = options.record.as_ref().map(|path| Recorder::create(path, clock.wall()));
    let mut recorder = recorder.transpose().map_err(|error| Failure::Failed(chain(&error)))?;

    runtime()?.block_on(async {
        let mut requests = signals()?;
        let (heard_tx, mut heard) = mpsc::channel(HEARD_BOUND);
        let (stop_tx, stop) = watch::channel(false);
        let mut finder = options.sensors.then(|| Finder::new(&settings));
        let counters = if options.sensors {
            Arc::new(scan_counters(&settings))
        } else {
            Arc::new(ScanCounters::for_receivers(settings.scan.receiver_ids()))
        };
        let distant = if options.sensors {
            let remote = remotes(&settings, &counters, clock)?;
            Some(tokio::spawn(remote::run(remote, heard_tx.clone(), stop.clone())))
        } else {
            None
        };
        let (_canaries, canaries) = watch::channel(CanarySightings::new());
        let ends =
            SourceEnds { clock, heard: heard_tx, counters: Arc::clone(&counters), canaries, stop };
        let scan = settings.live();
        let source = tokio::spawn(async move { live::run(&scan, ends).await });

        let mut table = Table::new(Arc::clone(&counters));
        let mut ticks = tokio::time::interval_at(clock.instant(clock.now() + EVERY), EVERY);
        let end = options.duration.map(|duration| clock.instant(clock.now() + duration));
        let over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        let is_live = !options.json && io::stdout().is_terminal();
        loop {
            tokio::select! {
                () = &mut over => break,
                _ = requests.recv() => break,
                _ = ticks.tick() => {
                    engine.handle_clock(clock.wall());
                    table.turn(clock.now());
                    match &finder {
                        Some(finder) if options.json => finder.print_json(clock.now())?,
                        Some(finder) if is_live => finder.print_live()?,
                        None if options.json => table.print_json(clock.now())?,
                        None if is_live => table.print(clock.now(), true)?,
                        Some(_) | None => {}
                    }
                }
                heard = heard.recv() => match heard {
                    Some(Heard::Advertisement(advertisement)) => {
                        let known = look(&mut engine, finder.as_mut(), &advertisement);
                        let whose = if known.is_some() { Whose::Known } else { Whose::Stranger };
                        table.hear(&advertisement, known);
                        if let Some(recorder) = &mut recorder {
                            let written = recorder.write(&advertisement, whose);
                            written.map_err(|error| Failure::Failed(chain(&error)))?;
                        }
                    }
                    Some(Heard::Radio(receiver, state)) => {
                        table.radio(receiver, state);
                    }
                    // Whoever scans has no lead to tell, and is none.
                    Some(Heard::Relayed(_) | Heard::Recording) => {}
                    None => break,
                },
            }
        }
        stop_tx.send_replace(true);
        drop(heard);
        let near = source.await.is_err();
        let far = match distant {
            Some(distant) => distant.await.is_err(),
            None => false,
        };
        if near || far {
            return Err(Failure::Defect("the scan panicked".to_owned()));
        }
        match finder {
            Some(finder) if !options.json => finder.print_end()?,
            None if !options.json && !is_live => table.print(clock.now(), false)?,
            Some(_) | None => {}
        }
        if let Some(recorder) = recorder {
            let written = recorder.finish().map_err(|error| Failure::Failed(chain(&error)))?;
            say(&format!(
                "Recorded {} advertisements of known devices and {} of strangers behind fakes.",
                written.known, written.strangers
            ));
        }
        Ok(())
    })
}

/// The remote receivers, under a name of our own at the broker: the gateway that runs beside this keeps
/// its line.
fn remotes(settings: &Settings, counters: &ScanCounters, clock: Clock) -> Result<Remote, Failure> {
    if settings.receiver_ids().is_empty() {
        let found = "there is no receiver to listen with; see `scan.backend` and [[remote]]";
        return Err(Failure::Configuration(found.to_owned()));
    }
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let credentials = credentials.as_deref();
    let groups = settings.remote_groups(credentials);
    let name = format!("{}-scan", client_id(settings));
    let remote = Remote::load(groups, credentials, &name, &counters.remotes, clock);
    Ok(remote.map_err(GatewayError::from)?)
}

/// One look at an advertisement: whose it is, and what sensor, for who looks for them.
fn look(
    engine: &mut Engine,
    finder: Option<&mut Finder>,
    advertisement: &Advertisement,
) -> Option<(String, &'static str)> {
    let Some(finder) = finder else {
        let resolution = engine.recognise(advertisement);
        return known(engine, resolution);
    };
    let (resolution, sensor) = engine.find_sensor(advertisement);
    finder.hear(advertisement, sensor.map(|sensor| listed(engine, sensor)));
    known(engine, resolution)
}

/// A sensor, and the id that it is listed under.
fn listed<'a>(engine: &Engine, sensor: HeardSensor<'a>) -> (HeardSensor<'a>, Option<String>) {
    let registry = engine.identity().registry();
    let fixture = sensor.fixture.and_then(|index| registry.fixture(index));
    let id = fixture.map(|fixture| fixture.id.clone());
    (sensor, id)
}

/// Whose advertisement it is: the name and what it is, unless it is a stranger's.
fn known(engine: &Engine, resolution: Resolution) -> Option<(String, &'static str)> {
    let registry = engine.identity().registry();
    match resolution {
        Resolution::Subject(Recognition { subject, .. }) => {
            registry.subject(subject).map(|it| (it.pseudonym.to_string(), it.kind.name()))
        }
        Resolution::Fixture(index) => {
            let canary = |canary| if canary { "canary" } else { "fixture" };
            registry.fixture(index).map(|it| (it.id.clone(), canary(it.canary)))
        }
        Resolution::Anonymous => None,
    }
}

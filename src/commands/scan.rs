//! `scan`: what the radio hears now. Subjects and fixtures by name, strangers only as a count.

mod table;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use tokio::sync::{mpsc, watch};

use self::table::Table;
use super::{Common, Failure, run::signals, runtime, say, span};
use crate::{
    clock::Clock,
    engine::{Advertisement, Engine, Recognition, Resolution, VisitId},
    gateway::{chain, identity, load_registry},
    scan::{
        CanarySightings, Heard, ScanCounters, SourceEnds, live,
        record::{Recorder, Whose},
    },
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
        let counters = Arc::new(ScanCounters::for_receivers(settings.scan.receiver_ids()));
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
                    if options.json {
                        table.print_json(clock.now())?;
                    } else if is_live {
                        table.print(clock.now(), true)?;
                    }
                }
                heard = heard.recv() => match heard {
                    Some(Heard::Advertisement(advertisement)) => {
                        let known = known(&mut engine, &advertisement);
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
        if source.await.is_err() {
            return Err(Failure::Defect("the scan panicked".to_owned()));
        }
        if !options.json && !is_live {
            table.print(clock.now(), false)?;
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

/// Whose advertisement it is: the name and what it is, unless it is a stranger's.
fn known(engine: &mut Engine, advertisement: &Advertisement) -> Option<(String, &'static str)> {
    let resolution = engine.recognise(advertisement);
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

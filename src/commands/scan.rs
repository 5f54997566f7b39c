//! `scan`: what the radio hears now. Subjects and fixtures by name, strangers only as a count.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use clap::Args;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{Common, Failure, broken_pipe, run::signals, runtime, say, span};
use crate::{
    clock::Clock,
    engine::{Advertisement, Engine, RadioState, ReceiverId, Resolution, Rssi, Uptime, VisitId},
    gateway::{chain, identity, load_registry},
    scan::{
        Heard, ScanCounters, bluez,
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

/// What is known about one name.
struct Row {
    kind: &'static str,
    heard: u64,
    rssi: Option<Rssi>,
    last: Uptime,
}

/// What is shown.
#[derive(Default)]
struct Table {
    rows: BTreeMap<String, Row>,
    strangers: u64,
    received: u64,
    radio: RadioState,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let settings = options.common.load()?;
    let registry = load_registry(&settings)?;
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
        let counters = Arc::new(ScanCounters::default());
        let receiver = ReceiverId::new(&settings.scan.receiver);
        let (scan, counted) = (settings.bluez(), Arc::clone(&counters));
        let source = tokio::spawn(async move {
            bluez::run(&scan, receiver, clock, heard_tx, counted, stop).await;
        });

        let mut table = Table::default();
        let mut ticks = tokio::time::interval_at(clock.instant(clock.now() + EVERY), EVERY);
        let end = options.duration.map(|duration| clock.instant(clock.now() + duration));
        let over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        let live = !options.json && io::stdout().is_terminal();
        loop {
            tokio::select! {
                () = &mut over => break,
                _ = requests.recv() => break,
                _ = ticks.tick() => {
                    engine.handle_clock(clock.wall());
                    let dropped = counters.dropped.load(Relaxed);
                    if options.json {
                        table.print_json(clock.now(), dropped)?;
                    } else if live {
                        table.print(clock.now(), dropped, true)?;
                    }
                }
                heard = heard.recv() => match heard {
                    Some(Heard::Advertisement(advertisement)) => {
                        let whose = table.hear(&mut engine, &advertisement);
                        if let Some(recorder) = &mut recorder {
                            let written = recorder.write(&advertisement, whose);
                            written.map_err(|error| Failure::Failed(chain(&error)))?;
                        }
                    }
                    Some(Heard::Radio(state)) => table.radio = state,
                    None => break,
                },
            }
        }
        stop_tx.send_replace(true);
        drop(heard);
        if source.await.is_err() {
            return Err(Failure::Defect("the scan panicked".to_owned()));
        }
        if !options.json && !live {
            table.print(clock.now(), counters.dropped.load(Relaxed), false)?;
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

impl Table {
    fn hear(&mut self, engine: &mut Engine, advertisement: &Advertisement) -> Whose {
        self.received += 1;
        let resolution = engine.recognise(advertisement);
        let registry = engine.identity().registry();
        let known = match resolution {
            Resolution::Subject(index) => {
                registry.subject(index).map(|it| (it.pseudonym.to_string(), it.kind.name()))
            }
            Resolution::Fixture(index) => {
                registry.fixture(index).map(|it| (it.id.clone(), "fixture"))
            }
            Resolution::Anonymous => None,
        };
        let Some((name, kind)) = known else {
            self.strangers += 1;
            return Whose::Stranger;
        };
        let last = advertisement.heard;
        let row = self.rows.entry(name).or_insert(Row { kind, heard: 0, rssi: None, last });
        row.heard += 1;
        row.rssi = advertisement.rssi.or(row.rssi);
        row.last = last;
        Whose::Known
    }

    fn print(&self, now: Uptime, dropped: u64, clear: bool) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        self.write(&mut out, now, dropped, clear).or_else(broken_pipe)
    }

    fn write(
        &self,
        out: &mut impl Write,
        now: Uptime,
        dropped: u64,
        clear: bool,
    ) -> io::Result<()> {
        if clear {
            // Home, and clear to the end of the screen (ECMA-48 8.3.21 and 8.3.39).
            write!(out, "\x1b[H\x1b[J")?;
        }
        let head = ("name", "kind", "dBm", "heard", "ago");
        writeln!(out, "{:<24} {:<9} {:>5} {:>8} {:>6}", head.0, head.1, head.2, head.3, head.4)?;
        for (name, row) in &self.rows {
            let rssi = row.rssi.map_or_else(|| "-".to_owned(), |Rssi(dbm)| dbm.to_string());
            let ago = format!("{} s", now.since(row.last).as_secs());
            writeln!(out, "{name:<24} {:<9} {rssi:>5} {:>8} {ago:>6}", row.kind, row.heard)?;
        }
        let (received, strangers, radio) = (self.received, self.strangers, radio(self.radio));
        writeln!(
            out,
            "{received} advertisements heard, {strangers} of strangers, forgotten; {dropped} dropped; the radio {radio}"
        )?;
        out.flush()
    }

    fn print_json(&self, now: Uptime, dropped: u64) -> Result<(), Failure> {
        let known: Vec<_> = self
            .rows
            .iter()
            .map(|(name, row)| {
                json!({
                    "name": name,
                    "kind": row.kind,
                    "rssi": row.rssi.map(|Rssi(dbm)| dbm),
                    "heard": row.heard,
                    "ago_s": now.since(row.last).as_secs(),
                })
            })
            .collect();
        let document = json!({
            "received": self.received,
            "strangers": self.strangers,
            "dropped": dropped,
            "radio": radio(self.radio),
            "known": known,
        });
        writeln!(anstream::stdout(), "{document}").or_else(broken_pipe)
    }
}

fn radio(state: RadioState) -> String {
    match state {
        RadioState::Hearing => "hears".to_owned(),
        RadioState::Quiet => "hears, and the air is quiet".to_owned(),
        RadioState::Suspect { .. } => "has not heard anything for a while".to_owned(),
        RadioState::Deaf { cause, .. } => format!("is deaf: {cause}"),
    }
}

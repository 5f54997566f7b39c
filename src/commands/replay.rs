//! `replay`: recordings through the engine, at recorded time, and what it made of them.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anstream::AutoStream;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Common, Failure, broken_pipe, runtime};
use crate::{
    clock::Clock,
    demo::{
        screen::{Form, Screen},
        subscriber::Received,
    },
    engine::{
        Advertisement, ClockQuality, Counts, Engine, ReceiverId, Uptime, VisitId, WallClock, frame,
    },
    gateway::{chain, engine_counts, identity, load_registry, with_footfall},
    outbox::{
        Sequence,
        record::{Record, RunId},
    },
    scan::{
        Heard,
        replay::{self, Pace, Recording, Speed},
    },
    settings::Settings,
    timeline::Timeline,
    uplink::{Topic, Topics, payload::Origin},
};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Recordings: btsnoop, pcap, pcapng, `hcidump --raw` or our own; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How fast recorded time passes: `1`, `8`, `0.5`, or `max`.
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Print the events as CloudEvents, one a line, and a summary as the last line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

/// How many advertisements may wait for the engine when recorded time is kept.
const HEARD_BOUND: usize = 256;

/// How often the progress bar moves, in advertisements.
const PROGRESS_STEP: u64 = 4096;

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let settings = options.common.load()?;
    let mut player = Player::new(&settings, options.json)?;
    let clock = Clock::start();
    let damaged = match options.speed {
        Speed::Max => player.play_all(options, clock)?,
        Speed::Factor(_) => player.play_paced(options, clock)?,
    };
    let elapsed = clock.now().since(Uptime::ZERO);
    match player.finish(elapsed) {
        Ok(()) if damaged.is_empty() => Ok(()),
        Ok(()) => Err(Failure::Failed(damaged.join("\n"))),
        Err(error) => broken_pipe(error),
    }
}

/// The engine and what is written down about it.
struct Player {
    engine: Engine,
    origin: Origin,
    wall: WallClock,
    /// When something was last heard.
    last: Uptime,
    sequence: Sequence,
    /// The operator's own UUID for service tokens.
    context: frame::Context<'static>,
    json: bool,
    screen: Screen<BufWriter<AutoStream<io::Stdout>>>,
    topics: Topics,
    formats: BTreeMap<&'static str, u64>,
    files: Vec<File>,
}

/// What was found in one recording.
struct File {
    name: Arc<str>,
    format: replay::Format,
    counts: replay::Counts,
}

// === impl Player ===

impl Player {
    fn new(settings: &Settings, json: bool) -> Result<Self, Failure> {
        let registry = load_registry(settings, Clock::start())?;
        let first = VisitId { epoch: 0, run: 0, number: 1 };
        let engine = Engine::new(identity(settings, registry), settings.presence(), first);
        let mut engine = with_footfall(settings, engine);
        engine.handle_recording(Uptime::ZERO);
        let invalid = |invalid| Failure::from(crate::gateway::GatewayError::Settings(invalid));
        let or = |name: &str, other: &str| {
            if name.is_empty() { other.to_owned() } else { name.to_owned() }
        };
        let gateway = &settings.gateway;
        let name = |name: &str| or(name, "replay").parse();
        let topics = match (name(&gateway.tenant), name(&gateway.store), name(&gateway.name)) {
            (Ok(tenant), Ok(store), Ok(gateway)) => Topics::new(tenant, store, gateway),
            _ => settings.topics().map_err(invalid)?,
        };
        Ok(Self {
            engine,
            origin: Origin {
                tenant: or(&gateway.tenant, "replay"),
                store: or(&gateway.store, "replay"),
                gateway: or(&gateway.name, "replay"),
                epoch: 0,
                run: RunId(0),
                timeline: Timeline::default(),
                time_zone: settings.time_zone().map_err(invalid)?,
                opening_hours: settings.opening_hours().map_err(invalid)?,
                historical_after_ms: i64::MAX,
            },
            wall: WallClock::default(),
            last: Uptime::ZERO,
            sequence: Sequence(0),
            context: frame::Context {
                token_uuid: settings.identity().token_uuid,
                own: settings.own_decoders,
                ..frame::Context::default()
            },
            json,
            screen: Screen::new(
                BufWriter::new(anstream::stdout()),
                if json { Form::Json } else { Form::lines() },
            ),
            topics,
            formats: BTreeMap::new(),
            files: Vec::new(),
        })
    }

    /// Without any wait. Returns what went wrong with which recording.
    fn play_all(&mut self, options: &Options, clock: Clock) -> Result<Vec<String>, Failure> {
        let mut damaged = Vec::new();
        let mut begin = Uptime::ZERO;
        for path in &options.files {
            let recording = match replay::open(path) {
                Ok(recording) => recording,
                Err(error) => {
                    damaged.push(chain(&error));
                    continue;
                }
            };
            let mut recording = self.begin(recording.starting_at(begin), begin, clock);
            let progress = recording.progress();
            let bar = bar(progress.total(), self.json);
            let mut heard = 0_u64;
            for advertisement in recording.by_ref() {
                match advertisement {
                    Ok(advertisement) => self.hear(&advertisement)?,
                    Err(error) => damaged.push(chain(&error)),
                }
                heard += 1;
                if heard.is_multiple_of(PROGRESS_STEP) {
                    bar.set_position(progress.read());
                }
            }
            bar.finish_and_clear();
            begin = recording.position();
            self.files.push(File {
                name: recording.name(),
                format: recording.format(),
                counts: recording.counts(),
            });
        }
        Ok(damaged)
    }

    /// At the recorded pace, or a multiple of it.
    fn play_paced(&mut self, options: &Options, clock: Clock) -> Result<Vec<String>, Failure> {
        let mut damaged = Vec::new();
        let mut recordings = Vec::new();
        for path in &options.files {
            match replay::open(path) {
                Ok(recording) => recordings.push(self.begin(recording, Uptime::ZERO, clock)),
                Err(error) => damaged.push(chain(&error)),
            }
        }
        let pace = Pace::new(clock.now(), options.speed);
        let played = runtime()?.block_on(async {
            let (heard_tx, mut heard) = tokio::sync::mpsc::channel(HEARD_BOUND);
            let play = replay::run(
                recordings,
                pace,
                clock,
                heard_tx,
                Arc::default(),
                std::future::pending(),
            );
            let take = async {
                while let Some(heard) = heard.recv().await {
                    if let Heard::Advertisement(advertisement) = heard {
                        self.hear(&advertisement)?;
                    }
                }
                Ok::<_, Failure>(())
            };
            let (played, taken) = tokio::join!(play, take);
            taken?;
            played.map_err(|error| Failure::Failed(chain(&error)))
        })?;
        for recording in played {
            damaged.extend(recording.outcome.err().map(|error| chain(&error)));
            let replay::Played { name, format, counts, .. } = recording;
            self.files.push(File { name, format, counts });
        }
        Ok(damaged)
    }

    /// Sets the engine's clock to a recording's beginning; to now, when it does not know.
    fn begin(&mut self, recording: Recording, begin: Uptime, clock: Clock) -> Recording {
        let unix = recording.started_unix().unwrap_or(clock.wall().unix);
        self.wall = WallClock { at: begin, unix, quality: ClockQuality::Synced };
        self.engine.handle_clock(self.wall);
        recording.heard_by(ReceiverId::default())
    }

    fn hear(&mut self, advertisement: &Advertisement) -> Result<(), Failure> {
        let family = match frame::decode_in(advertisement.data(), self.context) {
            Ok(frames) => frames.first().map_or("unknown", frame::Frame::family),
            // What is never processed has no format of its own here: it is one number below.
            Err(
                frame::Undecoded::Unknown
                | frame::Undecoded::Refused
                | frame::Undecoded::Encrypted { .. },
            ) => "unknown",
            Err(frame::Undecoded::Malformed { .. }) => "malformed",
        };
        *self.formats.entry(family).or_default() += 1;
        // Recorded time passes for the timers, too.
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= advertisement.heard) {
            self.engine.handle_timeout(due);
            self.tell()?;
        }
        self.last = self.last.max(advertisement.heard);
        self.engine.handle_advertisement(advertisement.heard, advertisement);
        self.tell()
    }

    /// Writes down the events that the engine has made.
    fn tell(&mut self) -> Result<(), Failure> {
        while self.engine.poll_checkpoint().is_some() {}
        while let Some(situation) = self.engine.poll_event() {
            self.sequence.0 += 1;
            let record = Record::of(&situation, self.origin.run, &self.wall);
            let event = self.origin.render(self.sequence, &record, &self.wall);
            let topic = Topic::Event { family: event.family, kind: event.kind };
            let topic = self.topics.spell(topic);
            self.screen.show(&Received { topic, payload: event.json, retain: false })?;
        }
        Ok(())
    }

    /// Lets everybody leave, and sums up.
    fn finish(mut self, elapsed: Duration) -> io::Result<()> {
        if self.tell_the_end().is_err() {
            return Ok(());
        }
        let counts = self.engine.counts();
        let mut out = BufWriter::new(anstream::stdout());
        if self.json {
            writeln!(out, "{}", self.summary_json(counts, elapsed))?;
        } else {
            self.summary(&mut out, counts, elapsed)?;
        }
        out.flush()
    }

    fn tell_the_end(&mut self) -> Result<(), Failure> {
        let mut end = self.last;
        while self.engine.visits_open() > 0
            && let Some(deadline) = self.engine.poll_timeout()
        {
            end = deadline;
            self.engine.handle_timeout(deadline);
            self.tell()?;
        }
        self.engine.handle_stop(end);
        self.tell()
    }

    fn summary(&self, out: &mut impl Write, counts: Counts, elapsed: Duration) -> io::Result<()> {
        writeln!(out)?;
        for File { name, format, counts } in &self.files {
            writeln!(
                out,
                "{name}: {format}, {} packets, {} advertisements",
                counts.packets, counts.advertisements
            )?;
            for (reason, count) in counts.unusable().iter().filter(|(_, count)| *count > 0) {
                writeln!(out, "  {count:>9}  not usable: {}", reason.replace('_', " "))?;
            }
        }
        writeln!(out, "\nby format")?;
        for (format, count) in &self.formats {
            writeln!(out, "  {count:>9}  {format}")?;
        }
        writeln!(out, "\nwhat became of them")?;
        let Counts {
            received,
            malformed,
            unknown,
            refused,
            decoded,
            subject,
            fixture,
            anonymous,
            situations,
            irk_checks,
            irk_untried,
            implausible_doubles,
            fixtures_refused,
            fixture_values_dropped,
        } = counts;
        for (count, what) in [
            (received, "advertisements heard"),
            (unknown, "in no known format"),
            (refused, "  never processed"),
            (malformed, "malformed"),
            (decoded, "decoded"),
            (subject, "  of subjects"),
            (fixture, "  of fixtures"),
            (anonymous, "  of strangers, forgotten"),
            (situations, "situations"),
            (irk_checks, "identity resolving keys tried"),
            (irk_untried, "addresses not tried: the allowance was spent"),
            (implausible_doubles, "implausible doubles of subjects"),
            (fixture_values_dropped, "values of fixtures out of bounds"),
            (fixtures_refused.total(), "frames of fixtures refused"),
        ] {
            writeln!(out, "  {count:>9}  {what}")?;
        }
        for (why, count) in fixtures_refused.iter().filter(|(_, count)| *count > 0) {
            writeln!(out, "  {count:>9}    {}", why.word().replace('_', " "))?;
        }
        writeln!(
            out,
            "\n{received} advertisements in {:.3} s: {:.0} a second",
            elapsed.as_secs_f64(),
            rate(received, elapsed)
        )
    }

    fn summary_json(&self, counts: Counts, elapsed: Duration) -> Value {
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|File { name, format, counts }| {
                let unusable: serde_json::Map<String, Value> = counts
                    .unusable()
                    .iter()
                    .map(|(reason, count)| ((*reason).to_owned(), (*count).into()))
                    .collect();
                json!({
                    "file": &**name,
                    "format": format.to_string(),
                    "packets": counts.packets,
                    "advertisements": counts.advertisements,
                    "unusable": unusable,
                })
            })
            .collect();
        let mut summary = engine_counts(&counts);
        summary.extend([
            ("files".to_owned(), json!(files)),
            ("by_format".to_owned(), json!(self.formats)),
            ("seconds".to_owned(), json!(elapsed.as_secs_f64())),
            ("per_second".to_owned(), json!(rate(counts.received, elapsed))),
        ]);
        json!({"summary": summary})
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-9)
}

/// A progress bar on standard error, for people.
fn bar(total: Option<u64>, json: bool) -> ProgressBar {
    let Some(total) = total.filter(|_| !json && io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let form = "{bar:40} {bytes}/{total_bytes} ({eta})";
    let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

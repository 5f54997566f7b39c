//! Listens to one tag of the shop's own, with the radios and remote receivers of the gateway: what is
//! heard in, a [`Recording`] out.
//!
//! The tag is enrolled in a registry of its own, so strangers die where they always do: behind the
//! identity room. No store is opened, so a gateway that runs beside it is not disturbed.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval_at, sleep_until},
};

use crate::{
    calibrate::Recording,
    clock::Clock,
    commands::{Failure, run::signals, runtime, say},
    engine::{
        Advertisement, Engine, Fixture, RadioState, Registry, ReportPolicy, Resolution, VisitId,
        ZoneId,
    },
    gateway::{self, GatewayError, Request, identity},
    registry::{IdentifierEntry, identifier},
    remote::{self, Remote},
    scan::{CanarySightings, Heard, SourceEnds, live},
    settings::{Invalid, LogLevel, Settings},
    telemetry,
};

/// The tag of a technician. It is never shown.
pub(super) struct Tag(Fixture);

/// Where the technician will be.
pub(super) enum Stays {
    /// Here, from now on.
    Here(ZoneId),
    /// In each of these zones in turn.
    Each(Vec<ZoneId>),
}

/// What is behind the identity room: everything that is not the tag's is nobody's.
struct Listener {
    engine: Engine,
    recording: Recording,
}

/// What came over the edge from radios and remote receivers, and what people ask for.
struct Ends {
    clock: Clock,
    heard: mpsc::Receiver<Heard>,
    words: mpsc::Receiver<String>,
    requests: mpsc::Receiver<Request>,
}

/// Why a stay, or a wait, ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Over,
    Stopped,
}

/// What the technician wants next.
enum Wish {
    Listen,
    Skip,
    Done,
}

/// How many advertisements may wait, as for the gateway's own engine.
const HEARD_BOUND: usize = 256;

/// How often the view is renewed.
const EVERY: Duration = Duration::from_secs(1);

/// A tag that is not heard for so long is worth a word: most advertise every second.
const WORD_AFTER: Duration = Duration::from_secs(10);

impl Tag {
    /// The fixture of that id, or whoever has that address. What was asked for is not repeated.
    pub(super) fn named(name: &str, settings: &Settings) -> Result<Self, Failure> {
        let wrong = |error: Invalid| Failure::Configuration(error.to_string());
        let mut fixtures = settings.fixtures().map_err(wrong)?;
        if fixtures.iter().any(|fixture| fixture.id == name && fixture.is_unkeyed()) {
            let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            fixtures = settings.fixtures_with_keys(credentials.as_deref()).map_err(wrong)?;
        }
        let ids: Vec<&str> = fixtures.iter().map(|fixture| fixture.id.as_str()).collect();
        let known = match ids.as_slice() {
            [] => "there is no [[fixture]]".to_owned(),
            ids => format!("the fixtures are: {}", ids.join(", ")),
        };
        if let Some(fixture) = fixtures.iter().find(|fixture| fixture.id == name) {
            return Ok(Self(fixture.clone()));
        }
        let entry = IdentifierEntry::Address(name.to_owned());
        let identifier = identifier(&entry).map_err(|_| {
            Failure::Configuration(format!(
                "--tag is neither the id of a fixture nor an address like `C0:11:22:33:44:55`; {known}"
            ))
        })?;
        Ok(Self(Fixture {
            id: "tag".to_owned(),
            zone: None,
            hangs: None,
            key: None,
            canary: false,
            identifier: identifier.into(),
            report: ReportPolicy::default(),
        }))
    }
}

impl Listener {
    fn new(tag: Tag, settings: &Settings, clock: Clock) -> Result<Self, Failure> {
        let registry = Registry::new(Vec::new(), vec![tag.0]).map_err(GatewayError::from)?;
        let first = VisitId { epoch: 0, run: 0, number: 1 };
        let mut engine = Engine::new(identity(settings, registry), settings.presence(), first);
        engine.handle_clock(clock.wall());
        Ok(Self { engine, recording: Recording::default() })
    }

    fn hear(&mut self, advertisement: &Advertisement) {
        let Advertisement { heard, receiver, rssi, .. } = advertisement;
        match (self.engine.recognise(advertisement), rssi) {
            (Resolution::Fixture(_), Some(rssi)) => self.recording.hear(*heard, receiver, rssi.0),
            (Resolution::Fixture(_), None)
            | (Resolution::Subject(_) | Resolution::Anonymous, _) => {
                self.recording.works(*heard, receiver);
            }
        }
    }
}

/// Records a tag with everything that the configuration listens with.
pub(super) fn record(
    settings: &Settings,
    tag: Tag,
    stays: Stays,
    duration: Duration,
) -> Result<Recording, Failure> {
    telemetry::start(LogLevel::Warn);
    let clock = Clock::start();
    let mut listener = Listener::new(tag, settings, clock)?;
    if settings.receiver_ids().is_empty() {
        let found = "there is no receiver to listen with; see `scan.backend` and [[remote]]";
        return Err(Failure::Configuration(found.to_owned()));
    }
    runtime()?.block_on(async {
        let requests = signals()?;
        let (heard_tx, heard) = mpsc::channel(HEARD_BOUND);
        let (stop_tx, stop) = watch::channel(false);
        let (_canaries, canaries) = watch::channel(CanarySightings::new());
        let counters = Arc::new(gateway::scan_counters(settings));
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let credentials = credentials.as_deref();
        // A name of its own at the broker: the gateway that runs beside it keeps its line.
        let client_id = format!("{}-calibrate", gateway::client_id(settings));
        let groups = settings.remote_groups(credentials);
        let remote = Remote::load(groups, credentials, &client_id, &counters.remotes, clock);
        let remote = remote.map_err(GatewayError::from)?;
        let distant = tokio::spawn(remote::run(remote, heard_tx.clone(), stop.clone()));
        let ends = SourceEnds { clock, heard: heard_tx, counters, canaries, stop };
        let scan = settings.live();
        let near = tokio::spawn(async move { live::run(&scan, ends).await });
        let mut ends = Ends { clock, heard, words: words(), requests };
        ends.record(&mut listener, stays, duration).await;
        stop_tx.send_replace(true);
        drop(ends);
        if near.await.is_err() || distant.await.is_err() {
            return Err(Failure::Defect("the scan panicked".to_owned()));
        }
        Ok(listener.recording)
    })
}

/// Lines of standard input, from a thread of their own: nobody can be made to press a key.
fn words() -> mpsc::Receiver<String> {
    let (words, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if words.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Ends {
    async fn record(&mut self, listener: &mut Listener, stays: Stays, duration: Duration) {
        let zones = match stays {
            Stays::Here(zone) => {
                self.stay(listener, &zone, duration).await;
                return;
            }
            Stays::Each(zones) => zones,
        };
        for zone in &zones {
            match self.ask(zone, duration).await {
                Wish::Listen => {}
                Wish::Skip => continue,
                Wish::Done => return,
            }
            if self.stay(listener, zone, duration).await == End::Stopped {
                return;
            }
        }
    }

    /// Asks the technician to go somewhere. What is heard on the way is nobody's.
    async fn ask(&mut self, zone: &ZoneId, duration: Duration) -> Wish {
        let seconds = duration.as_secs();
        say(&format!(
            "Stand in `{zone}`, press Enter, and walk about in it for {seconds} s (`skip` leaves it out, `done` ends)."
        ));
        loop {
            tokio::select! {
                word = self.words.recv() => return match word.as_deref().map(str::trim) {
                    Some("skip") => Wish::Skip,
                    Some("") => Wish::Listen,
                    Some("done") | None => Wish::Done,
                    Some(_) => {
                        say("Press Enter, or write `skip` or `done`.");
                        continue;
                    }
                },
                _ = self.requests.recv() => return Wish::Done,
                heard = self.heard.recv() => match heard {
                    Some(Heard::Radio(receiver, state)) => tell(receiver.as_str(), state),
                    Some(Heard::Advertisement(_) | Heard::Relayed(_) | Heard::Recording) => {}
                    None => return Wish::Done,
                },
            }
        }
    }

    /// Listens for a while in one zone.
    async fn stay(&mut self, listener: &mut Listener, zone: &ZoneId, duration: Duration) -> End {
        let began = self.clock.now();
        listener.recording.mark(began, Some(zone.clone()));
        let bar = bar(duration, zone);
        let end = self.listen(listener, &bar, (began, duration)).await;
        listener.recording.mark(self.clock.now(), None);
        bar.finish_and_clear();
        end
    }

    async fn listen(
        &mut self,
        listener: &mut Listener,
        bar: &ProgressBar,
        (began, duration): (crate::engine::Uptime, Duration),
    ) -> End {
        let start: Instant = self.clock.instant(began);
        let mut ticks = interval_at(start + EVERY, EVERY);
        let over = sleep_until(start + duration);
        tokio::pin!(over);
        let mut told = false;
        let end = loop {
            tokio::select! {
                () = &mut over => break End::Over,
                _ = self.requests.recv() => break End::Stopped,
                _ = ticks.tick() => {
                    let passed = self.clock.now().since(began);
                    bar.set_position(passed.as_secs());
                    bar.set_message(listener.recording.stay().to_string());
                    if passed >= WORD_AFTER && listener.recording.stay().count() == 0 && !told {
                        told = true;
                        bar.suspend(|| say("The tag is not heard yet; is it awake, and does it advertise?"));
                    }
                }
                heard = self.heard.recv() => match heard {
                    Some(Heard::Advertisement(advertisement)) => listener.hear(&advertisement),
                    Some(Heard::Radio(receiver, state)) => {
                        bar.suspend(|| tell(receiver.as_str(), state));
                    }
                    // What others resolved has no place of its own here.
                    Some(Heard::Relayed(_) | Heard::Recording) => {}
                    None => break End::Stopped,
                },
            }
        };
        // Nothing may be asked of a bar that is suspended.
        let said = format!("{}: {}.", bar.prefix(), listener.recording.stay());
        bar.suspend(|| say(&said));
        end
    }
}

/// Says that a receiver is of no use now.
fn tell(receiver: &str, state: RadioState) {
    if let RadioState::Deaf { cause, .. } = state {
        let cause = cause.name();
        say(&format!(
            "The receiver `{receiver}` hears nothing ({cause}); what it would hear is missing."
        ));
    }
}

/// A progress bar on standard error, for people.
fn bar(duration: Duration, zone: &ZoneId) -> ProgressBar {
    let bar = if io::stderr().is_terminal() {
        let form = "{prefix}  {bar:24} {pos}/{len} s  {wide_msg}";
        let style = ProgressStyle::with_template(form);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(duration.as_secs()).with_style(style)
    } else {
        ProgressBar::hidden()
    };
    bar.with_prefix(zone.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evaluate::parse_walks,
        scan::simulate::{self, Shop},
    };

    #[tokio::test(start_paused = true)]
    async fn of_a_busy_shop_only_the_named_tag_is_recorded() {
        let shop = Shop::new(7, &simulate::Settings::default());
        let tag = shop.fixtures().first().unwrap().clone();
        let octets = tag.address.octets().map(|octet| format!("{octet:02X}"));
        let settings = Settings::default();
        let clock = Clock::start();
        let tag = Tag::named(&octets.join(":"), &settings).ok().unwrap();
        let mut listener = Listener::new(tag, &settings, clock).ok().unwrap();
        let (heard_tx, heard) = mpsc::channel(HEARD_BOUND);
        let counters = Arc::new(crate::scan::ScanCounters::default());
        let counted = Arc::clone(&counters);
        tokio::spawn(async move {
            simulate::run(shop, clock, heard_tx, &counted, std::future::pending()).await;
        });
        let (_words, words) = mpsc::channel(1);
        let (_requests, requests) = mpsc::channel(1);
        let mut ends = Ends { clock, heard, words, requests };
        let zone = ZoneId::new("wine");
        ends.record(&mut listener, Stays::Here(zone.clone()), Duration::from_mins(1)).await;
        let readings = listener.recording.readings();
        let all = counters.totals().heard;
        assert!(readings > 3 && u64::try_from(readings).unwrap() * 10 < all, "{readings} of {all}");
        let text = listener.recording.walk();
        for octet in octets {
            assert!(!text.contains(&format!("{octet}:")), "{text}");
        }
        for line in text.lines().skip(1) {
            let fields: serde_json::Value = serde_json::from_str(line).unwrap();
            let keys: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
            assert!(
                keys.iter().all(|key| ["t", "receiver", "rssi", "zone"].contains(key)),
                "{line}"
            );
        }
        let plan = crate::engine::place::FloorPlan::default();
        let wrong = parse_walks(std::path::Path::new("live"), &text, &plan.receivers, &[zone]);
        assert!(
            wrong.unwrap_err().to_string().contains("receivers"),
            "no receiver is on that plan"
        );
    }

    #[test]
    fn a_tag_that_nobody_knows_is_refused_without_being_repeated() {
        let refused = Tag::named("C0:11:22:33:99", &Settings::default());
        let Err(Failure::Configuration(said)) = refused.map(drop) else { panic!("it was taken") };
        assert!(said.contains("neither") && !said.contains("33:99"), "{said}");
    }
}

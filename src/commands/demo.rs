//! `demo`: the main job end to end, with nothing else installed.
//!
//! A simulated shop makes bytes; the ordinary gateway, from ordinary files, takes them through every
//! room, the disk included, to a broker inside this process; a subscriber over TCP shows what
//! arrives.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::sync::mpsc;

use super::{Failure, broken_pipe, run::signals, runtime, say, span};
use crate::{
    clock::Clock,
    demo::{
        broker::EmbeddedBroker,
        screen::{Form, Screen},
        subscriber::Subscriber,
        summary::DemoSummary,
    },
    gateway::{self, Outcome, Request, Source, chain},
    scan::{
        SourceEnds,
        simulate::{self, Area, Plan, Point, Shop},
    },
    settings::{Loader, LogLevel, Settings},
    telemetry,
};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// How long to run; then the table. Ctrl-C ends it earlier.
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = span)]
    duration: Duration,
    /// Print the received CloudEvents, one a line, and nothing else on standard output.
    #[arg(long)]
    json: bool,
    /// Which day to play: the same number plays the same people.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Show the gateway's log as well.
    #[arg(long)]
    log: bool,
}

/// A shop of 12 m by 8 m with a receiver in each zone. Times are short, because the visits of a demo
/// are, and so are the ways from one visit to the next: nobody is taken to go on with the last one.
const CONFIG: &str = r#"
[gateway]
tenant = "demo"
store = "shop"
name = "gateway"
opening_hours = ["mon-sun 00:00-24:00"]
# Nobody is misled by a day that is made up.
clock = "always"

[presence]
enter_rssi = -80.0
exit_rssi = -87.0
smoothing = "2s"
exit_delay = "2s"
exit_timeout = "5s"
exit_after_missed = 4
merge_gap = "0s"
loitering = ["5s", "15s"]
"#;

/// What the subscriber may still have to receive after the gateway has stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    telemetry::start(if options.log { LogLevel::Info } else { LogLevel::Error });
    let clock = Clock::start();
    let started = clock.wall().unix;
    let plan = Plan::default().with_a_receiver_in_each_zone();
    let floor = floor(&plan);
    let shop = Shop::new(options.seed, &simulate::Settings { started, plan, ..Default::default() });
    let broker = EmbeddedBroker::start().map_err(|error| Failure::Failed(chain(&error)))?;
    let place = Place::new()?;
    let settings = place.settings(&shop, &floor, &broker)?;
    say(&format!(
        "A simulated shop, a real broker on {}, {} s. Events as a subscriber receives them:\n",
        broker.v4(),
        options.duration.as_secs()
    ));
    runtime()?.block_on(play(options, clock, shop, &broker, settings))
}

async fn play(
    options: &Options,
    clock: Clock,
    shop: Shop,
    broker: &EmbeddedBroker,
    settings: Settings,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::Failed(chain(error));
    let mut subscriber = Subscriber::connect(broker.v4()).await.map_err(|error| failed(&error))?;
    let mut screen = Screen::stdout(if options.json { Form::Json } else { Form::lines() });
    let (requests_tx, requests) = mpsc::channel(1);
    let mut interrupted = signals()?;
    let run = gateway::run(settings, clock, source(shop), requests, || ());
    let over = tokio::time::sleep(options.duration);
    tokio::pin!(run, over);

    let mut asked = false;
    let outcome = loop {
        tokio::select! {
            outcome = &mut run => break outcome?,
            received = subscriber.next() => match received {
                Some(Ok(received)) => screen.show(&received).or_else(broken_pipe)?,
                Some(Err(error)) => return Err(failed(&error)),
                None => return Err(Failure::Failed("the subscriber has ended".to_owned())),
            },
            () = &mut over, if !asked => {
                asked = true;
                requests_tx.send(Request::Stop).await.ok();
            }
            _ = interrupted.recv(), if !asked => {
                asked = true;
                requests_tx.send(Request::Stop).await.ok();
            }
        }
    };
    // What was acknowledged to the gateway may still be on its way to the subscriber.
    let all = |received: u64| received >= outcome.outbox.totals.acknowledged;
    while !all(screen.tally().total() - screen.tally().repeated()) {
        match tokio::time::timeout(LAST_WORDS, subscriber.next()).await {
            Ok(Some(Ok(received))) => screen.show(&received).or_else(broken_pipe)?,
            _ => break,
        }
    }
    let received = screen.tally().total() - screen.tally().repeated();
    let summary = summary(&outcome, clock, received).with(screen.tally());
    let width = console::Term::stderr().size_checked().map(|(_, columns)| columns.into());
    if options.json {
        say(&summary.render(width));
    } else {
        anstream::print!("{}", summary.render(width));
    }
    if summary.pending == 0 && summary.lost == 0 {
        return Ok(());
    }
    Err(Failure::Failed("not every event arrived".to_owned()))
}

fn summary(outcome: &Outcome, clock: Clock, received: u64) -> DemoSummary {
    let (counts, totals) = (outcome.counts, outcome.outbox.totals);
    let pending = outcome.outbox.pending.records;
    let unaccounted = totals.appended.saturating_sub(totals.acknowledged + pending);
    DemoSummary {
        length: clock.now().since(crate::engine::Uptime::ZERO),
        advertisements: counts.received,
        decoded: counts.decoded,
        subjects: counts.subject,
        fixtures: counts.fixture,
        forgotten: counts.received - counts.subject - counts.fixture,
        // What the gateway says about itself is appended as well.
        situations: totals.appended,
        acknowledged: totals.acknowledged,
        pending,
        lost: unaccounted + totals.acknowledged.saturating_sub(received),
        ..DemoSummary::default()
    }
}

fn source(shop: Shop) -> Source {
    Box::new(move |ends| {
        let SourceEnds { clock, heard, counters, mut stop, .. } = ends;
        Box::pin(async move {
            let until = async {
                stop.wait_for(|&stop| stop).await.ok();
            };
            simulate::run(shop, clock, heard, &counters, until).await;
        })
    })
}

/// A directory of our own for the demo's files, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self, Failure> {
        let name = format!("beacon-gateway-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Writes the files that an operator would write, and reads them as the daemon would.
    fn settings(
        &self,
        shop: &Shop,
        floor: &str,
        broker: &EmbeddedBroker,
    ) -> Result<Settings, Failure> {
        let registry = self.write("registry.jsonl", &shop.registry_jsonl())?;
        let config =
            self.write("gateway.toml", &(CONFIG.to_owned() + floor + &shop.fixtures_toml()))?;
        Ok(Loader::files([config])
            .set("identity.registry", &registry.display().to_string())
            .set("gateway.state_dir", &self.0.join("state").display().to_string())
            // The broker inside drops subscribers of MQTT 3.1.1 once a publisher of MQTT 5 sends
            // them properties (seen with rumqttd 0.20), and the subscriber speaks 3.1.1.
            .set("uplink.protocol", "3.1.1")
            .set("uplink.broker", &format!("mqtt://{}", broker.v4()))
            .load()?)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let place: &Path = &self.0;
            say(&format!("The demo's files stay in {}: {error}", place.display()));
        }
    }
}

/// The plan as an operator would write it down.
fn floor(plan: &Plan) -> String {
    let receivers = plan.receivers.iter().map(|receiver| {
        let (id, Point { x, y, z }) = (receiver.id.as_str(), receiver.at);
        format!("\n[[receiver]]\nid = \"{id}\"\nposition = [{x:?}, {y:?}, {z:?}]\n")
    });
    let zones = plan.zones.iter().map(|Area { name, x, y }| {
        let ((left, right), (front, back)) = ((x.start, x.end), (y.start, y.end));
        let kind = match name.as_str() {
            known @ ("entrance" | "checkout") => known,
            _ => "shelf",
        };
        format!(
            "\n[[zone]]\nid = \"{name}\"\nkind = \"{kind}\"\npolygon = [[{left:?}, {front:?}], \
             [{right:?}, {front:?}], [{right:?}, {back:?}], [{left:?}, {back:?}]]\n"
        )
    });
    receivers.chain(zones).collect()
}

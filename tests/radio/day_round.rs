//! Rounds `day` and `outages`: the daemon in a busy shop. What arrives at the broker is compared
//! with what happened, and everything that leaves the daemon is searched for what strangers sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::UnixTime};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    air::Air,
    broker::Broker,
    cast::{self, CUSTOMERS, Traces},
    daemon::{Configuration, Daemon, Fixture},
    needles::Haystacks,
    process::{Outcome, until},
    score::Score,
    world::World,
};

/// A shop with everything in it.
struct Shop {
    world: World,
    broker: Broker,
    air: Air,
    traces: Traces,
    daemon: Daemon,
    /// Copies of the state directory's files, taken while the daemon ran.
    seen: Vec<u8>,
    /// What the controller heard during outages: the kernel scans on for up to 10.24 s after the
    /// daemon that wanted it is dead.
    unheard: u32,
}

/// Presence forgets a tag after 30 s, and one that is seldom heard a little later.
const LEAVING: Duration = Duration::from_mins(2);

/// Bluetooth comes back after the pauses between attempts, and after up to 10 s in which the kernel
/// refuses a scan.
const RECOVERY: Duration = Duration::from_mins(1);

pub(crate) async fn day(score: &mut Score) {
    score.round("day: 200 strangers, four customers, a sensor; bluetoothd killed in the middle");
    if let Err(why) = whole_day(score).await {
        score.check("the day comes to its end", Err(why));
    }
}

async fn whole_day(score: &mut Score) -> Outcome<()> {
    let mut shop = Shop::open(200).await?;
    score.check("the gateway says that it started", shop.event("gateway.started").await);
    shop.air.on("stranger");
    shop.air.on("sensor");
    shop.air.on("cust_gone");
    sleep(Duration::from_secs(20)).await;
    for customer in CUSTOMERS {
        shop.air.on(customer);
        sleep(Duration::from_secs(5)).await;
        score.check(&format!("{customer} comes in"), shop.enters(customer).await);
    }
    sleep(Duration::from_secs(70)).await;
    shop.look()?;

    shop.fault()?;
    shop.world.kill_bluetoothd().await?;
    let deaf = shop.outage("daemon", 1).await;
    score.check("bluetoothd killed: the gateway says that it is deaf", deaf);
    sleep(Duration::from_secs(10)).await;
    shop.world.start_bluetoothd()?;
    score.check("bluetoothd started again: it hears by itself", shop.recovery(1).await);
    sleep(Duration::from_mins(1)).await;
    shop.look()?;
    score.check("nobody has left meanwhile", shop.nobody_left());

    for customer in CUSTOMERS {
        shop.air.off(customer);
        sleep(Duration::from_secs(5)).await;
    }
    for customer in CUSTOMERS {
        score.check(&format!("{customer} leaves when last heard"), shop.leaves(customer).await);
    }
    shop.close(score, 1).await
}

pub(crate) async fn outages(score: &mut Score) {
    score.round("outages: customers in the shop while Bluetooth goes away and comes back");
    if let Err(why) = all_outages(score).await {
        score.check("the round comes to its end", Err(why));
    }
}

async fn all_outages(score: &mut Score) -> Outcome<()> {
    let mut shop = Shop::open(20).await?;
    shop.event("gateway.started").await?;
    shop.air.on("stranger");
    shop.air.on("sensor");
    for customer in CUSTOMERS {
        shop.air.on(customer);
        shop.enters(customer).await?;
    }
    let pause = Duration::from_secs(20);

    shop.fault()?;
    shop.world.power(false).await?;
    score.check("switched off: deaf at once", shop.outage("powered_off", 1).await);
    sleep(pause).await;
    shop.world.power(true).await?;
    score.check("switched on: hears by itself", shop.recovery(1).await);
    sleep(pause).await;

    shop.fault()?;
    shop.world.unplug().await?;
    score.check("the controller pulled out: deaf", shop.outage("no_adapter", 2).await);
    sleep(pause).await;
    shop.world.plug()?;
    score.check("plugged in: hears by itself", shop.recovery(2).await);
    sleep(pause).await;

    shop.fault()?;
    shop.world.kill_bus().await?;
    shop.world.kill_bluetoothd().await?;
    score.check("the bus killed, and bluetoothd with it: deaf", shop.outage("daemon", 3).await);
    sleep(pause).await;
    shop.world.start_bus().await?;
    shop.world.start_bluetoothd()?;
    score.check("both started again: hears by itself", shop.recovery(3).await);
    sleep(pause).await;

    score.check("nobody has left meanwhile", shop.nobody_left());
    shop.look()?;
    for customer in CUSTOMERS {
        shop.air.off(customer);
    }
    for customer in CUSTOMERS {
        score.check(&format!("{customer} leaves when last heard"), shop.leaves(customer).await);
    }
    shop.close(score, 3).await
}

impl Shop {
    async fn open(strangers: u32) -> Outcome<Self> {
        let world = World::working().await?;
        let broker = Broker::start().await?;
        let wall = Clock::start().wall();
        // The beacon has run for a while, and changes its identifier during the test.
        let zero = UnixTime::from_millis(wall.unix.as_millis() / 1000 * 1000 - 1_000_000);
        let clock_zero = jiff::Timestamp::from_millisecond(zero.as_millis())
            .map_err(|error| format!("the guest's clock is off: {error}"))?;
        let air = Air::around(world.antenna.clone());
        let traces = cast::enter(&air, strangers, zero);
        let configuration = Configuration {
            fixtures: vec![Fixture::new("fridge", cast::SENSOR)],
            ..Configuration::of(cast::registry(&clock_zero.to_string()))
        };
        let daemon = Daemon::start(broker.port, &configuration)?;
        world.scanning().await?;
        Ok(Self { world, broker, air, traces, daemon, seen: Vec::new(), unheard: 0 })
    }

    /// Keeps what is in the state directory now.
    fn look(&mut self) -> Outcome<()> {
        for (_, content) in Daemon::state()? {
            self.seen.extend(content);
        }
        Ok(())
    }

    async fn event(&self, name: &str) -> Outcome<()> {
        self.broker.event(name, 1, Duration::from_secs(20)).await.map(drop)
    }

    async fn enters(&self, customer: &str) -> Outcome<()> {
        let within = Duration::from_secs(20);
        self.broker.event(&format!("visit.started {customer}"), 1, within).await?;
        let entered = self.broker.event(&format!("zone.entered {customer}"), 1, within).await?;
        equal("the zone", &entered.data("/zone"), &json!("shop"))
    }

    async fn outage(&self, cause: &str, number: usize) -> Outcome<()> {
        let deaf = self.broker.event("gateway.radio_deaf", number, RECOVERY).await?;
        equal("the cause", &deaf.data("/cause"), &json!(cause))
    }

    async fn recovery(&mut self, number: usize) -> Outcome<()> {
        self.broker.event("gateway.radio_recovered", number, RECOVERY).await?;
        self.unheard = self.unheard.wrapping_add(self.heard()?);
        Ok(())
    }

    /// Bluetooth is about to go away.
    fn fault(&mut self) -> Outcome<()> {
        self.unheard = self.unheard.wrapping_sub(self.heard()?);
        Ok(())
    }

    /// What the controller heard: on the monitor, which this machine lets the daemon read, a scan
    /// response stands for itself.
    fn heard(&self) -> Outcome<u32> {
        Ok(self.air.heard()?.values().sum::<u32>() + self.air.responses())
    }

    fn nobody_left(&self) -> Outcome<()> {
        let tally = self.broker.tally();
        let left: Vec<_> = tally
            .keys()
            .filter(|name| name.starts_with("visit.ended") || name.starts_with("zone.exited"))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    }

    async fn leaves(&self, customer: &str) -> Outcome<()> {
        let last = self.air.last_heard(customer)?.as_millis();
        for kind in ["zone.exited", "visit.ended"] {
            let event = self.broker.event(&format!("{kind} {customer}"), 1, LEAVING).await?;
            let off = event.time()? - last;
            if !(-1500..=500).contains(&off) {
                return Err(format!("{kind} is dated {off} ms after the tag was last heard"));
            }
        }
        Ok(())
    }

    /// Ends the day: stops the daemon, counts its events, and searches everything it left.
    async fn close(mut self, score: &mut Score, outages: u32) -> Outcome<()> {
        self.air.off("");
        // Until the counters are reported again; short enough not to look like an outage.
        sleep(Duration::from_secs(11)).await;
        let heard = self.heard()?;
        let missed = self.air.missed();
        let metrics = self.broker.latest("/metrics").ok_or("there are no metrics")?;
        let plane = metrics.pointer("/scan/receivers/0/plane").cloned();
        score.check(
            "it listens to the monitor, as it may",
            match plane {
                Some(plane) if plane == "monitor" => Ok(()),
                other => Err(format!("it listens to {other:?}")),
            },
        );
        score.check(
            "the counters add up, and nothing heard was lost",
            adds_up(&metrics, heard - self.unheard..=heard),
        );
        score.check("the daemon stops when asked", self.daemon.stop().await);
        until("the state says that it stopped", Duration::from_secs(5), async || {
            let state = self.broker.latest("/state")?;
            (state.pointer("/state") == Some(&json!("offline"))).then_some(())
        })
        .await?;
        score.check("exactly the expected events arrived", self.broker.expect(outages));
        score.check("everything arrived once, in everybody's order", self.broker.in_order());

        let traces = self.traces.lock().map_err(|_| "the air's task panicked".to_owned())?.clone();
        let log = Daemon::log()?;
        let panicked = String::from_utf8_lossy(&log).contains("panicked");
        score.check(
            "no part of the daemon panicked",
            if panicked { Err("see its log") } else { Ok(()) },
        );
        let mut places = vec![
            ("the wire to the broker".to_owned(), self.broker.wire()),
            ("the log at level trace".to_owned(), log),
            ("the state directory while it ran".to_owned(), std::mem::take(&mut self.seen)),
        ];
        for (path, content) in Daemon::state()? {
            // A file that is a lock holds nothing.
            if !content.is_empty() {
                places.push((path.display().to_string(), content));
            }
        }
        let strangers = Haystacks::new(&traces);
        score.check("the search finds every trace in every form", strangers.prove());
        score.check("of strangers nothing is found", search(&strangers, &places));
        let members = Haystacks::new(&cast::members());
        score
            .check("of customers nothing is found but their pseudonyms", search(&members, &places));

        let octets: usize = places.iter().map(|(_, content)| content.len()).sum();
        println!(
            "\n    advertisements: {heard} heard by the controller, {missed} while it did not scan\n    \
             {}\n    searched: {} traces in {} forms over {octets} octets in {} places\n    events:",
            counters(&metrics),
            traces.len(),
            strangers.len(),
            places.len(),
        );
        for (name, times) in self.broker.tally() {
            println!("        {times:>3}  {name}");
        }
        Ok(())
    }
}

impl Broker {
    fn expect(&self, outages: u32) -> Outcome<()> {
        let mut expected = BTreeMap::from([
            ("gateway.started".to_owned(), 1),
            ("gateway.radio_deaf".to_owned(), outages),
            ("gateway.radio_recovered".to_owned(), outages),
            // At first, and when it had become warmer.
            ("sensor.measured fridge".to_owned(), 2),
        ]);
        for customer in CUSTOMERS {
            for kind in
                ["visit.started", "zone.entered", "zone.dwelled", "zone.exited", "visit.ended"]
            {
                expected.insert(format!("{kind} {customer}"), 1);
            }
        }
        let came = self.tally();
        let differs = |name: &&String| came.get(*name) != expected.get(*name);
        let names: BTreeSet<_> = came.keys().chain(expected.keys()).filter(differs).collect();
        if names.is_empty() {
            return Ok(());
        }
        let told = names.iter().map(|name| {
            let of = |tally: &BTreeMap<String, u32>| tally.get(*name).copied().unwrap_or(0);
            format!("{name}: {} instead of {}", of(&came), of(&expected))
        });
        Err(told.collect::<Vec<_>>().join("; "))
    }

    fn in_order(&self) -> Outcome<()> {
        let number = |event: &crate::broker::Message| {
            let sequence = event.payload.pointer("/sequence").and_then(Value::as_str);
            sequence.and_then(|sequence| sequence.parse::<u64>().ok())
        };
        let events = self.events();
        let mut last = std::collections::BTreeMap::new();
        for event in &events {
            let subject = event.payload.pointer("/partitionkey").map(ToString::to_string);
            let number = number(event);
            if last.insert(subject, number) >= Some(number) {
                return Err(format!("{number:?} came too late"));
            }
        }
        let mut numbers: Vec<_> = events.iter().filter_map(number).collect();
        numbers.sort_unstable();
        let expected: Vec<_> = (1..=numbers.len() as u64).collect();
        if numbers == expected { Ok(()) } else { Err(format!("the sequences are {numbers:?}")) }
    }
}

fn equal(what: &str, found: &Value, expected: &Value) -> Outcome<()> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found}, not {expected}")) }
}

fn counter(metrics: &Value, name: &str) -> u64 {
    metrics.pointer(name).and_then(Value::as_u64).unwrap_or(0)
}

fn counters(metrics: &Value) -> String {
    let of = |name: &str| counter(metrics, name);
    format!(
        "the daemon received {}: {} of customers, {} of the sensor, {} of strangers, {} unknown, {} malformed",
        of("/engine/received"),
        of("/engine/subject"),
        of("/engine/fixture"),
        of("/engine/anonymous"),
        of("/engine/unknown"),
        of("/engine/malformed"),
    )
}

/// The law of conservation, and that what the controller heard was received.
fn adds_up(metrics: &Value, heard: RangeInclusive<u32>) -> Outcome<()> {
    let of = |name: &str| counter(metrics, name);
    let received = of("/engine/received");
    let parts = of("/engine/malformed") + of("/engine/unknown") + of("/engine/decoded");
    let decoded = of("/engine/subject") + of("/engine/fixture") + of("/engine/anonymous");
    let appended = of("/outbox/appended");
    let gone = of("/outbox/acknowledged")
        + of("/outbox/pending")
        + of("/outbox/dropped")
        + of("/outbox/erased");
    if received != parts || of("/engine/decoded") != decoded || appended != gone {
        return Err(format!("they do not: {metrics}"));
    }
    if received == 0 || !u32::try_from(received).is_ok_and(|received| heard.contains(&received)) {
        return Err(format!("the controller heard {heard:?}, the daemon received {received}"));
    }
    Ok(())
}

fn search(haystacks: &Haystacks, places: &[(String, Vec<u8>)]) -> Outcome<()> {
    let mut found = Vec::new();
    for (place, content) in places {
        found
            .extend(haystacks.search(content).into_iter().map(|what| format!("{what} in {place}")));
    }
    if let Some((place, _)) = places.iter().find(|(_, content)| content.is_empty()) {
        return Err(format!("nothing at all is in {place}"));
    }
    if found.is_empty() { Ok(()) } else { Err(found.join("\n                 ")) }
}

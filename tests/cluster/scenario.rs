//! What happens to the cluster while gateways send: nodes die, cables are pulled, all nodes are
//! restarted one by one. After each the accounts must be even.

use std::{
    collections::BTreeMap,
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::Uptime};
use tokio::time::timeout;

use crate::{
    balancer::Balancer,
    cluster::Cluster,
    gateway::{Counters, Gateway, Way},
    harness::{number, say},
    network::{self, Hosts, NODES, Net, Network},
    node::{self, PREFETCH},
    platform::{self, Platform},
    support::{Outcome, SELDOM, every, text, until},
};

/// The names of the hosts and the directory for all files; they say that this process is to play.
const HOSTS: &str = "CLUSTER_HOSTS";
const FILES: &str = "CLUSTER_FILES";

/// How many events of each gateway must come through after something broke, all of them made after
/// it did, before that counts as survived: about a second of them.
const THROUGH: u64 = 60;

const HEAD: &str = "  fault       gateway     events  delivered  lost  duplicates  late  sent again  \
                    reconnects  longest gap      took";

/// How long the nodes may take to arrange themselves before the operator helps.
const OPERATOR: Duration = Duration::from_mins(1);

/// How often the operator restarts a node before the test gives it up.
const RESTARTS: u32 = 2;

/// What is done to the cluster.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing, for comparison.
    Nothing,
    /// The node of the gateway behind the load balancer is killed and started again.
    Killed,
    /// The node of the gateway with the list loses both its cables, and gets them back.
    Unplugged,
    /// The platform's node is cut off from the other nodes, but not from its clients, and gets back
    /// to them.
    Split,
    /// Every node in turn is stopped in good order and started again.
    Rolling,
}

/// Everything there is.
struct Stage {
    hosts: Hosts,
    clock: Clock,
    cluster: Cluster,
    balancer: Balancer,
    platform: Platform,
    gateways: Vec<Gateway>,
    rows: Vec<Row>,
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    fault: Fault,
    way: Way,
    took: Duration,
    events: u64,
    delivered: u64,
    duplicates: u64,
    late: u64,
    redelivered: u64,
    reconnects: u64,
    silence: Duration,
}

// === the test: makes the hosts, plays on one of them, and removes them again ===

/// Nodes and cables fail, and nothing is lost.
pub(crate) fn nodes_and_cables_fail_and_nothing_is_lost() -> Outcome<()> {
    let network = Network::build()?;
    let files = tempfile::tempdir().map_err(text)?;
    let played = network::on(&network.hosts.hub())
        .arg(env::current_exe().map_err(text)?)
        .env(HOSTS, network.hosts.prefix())
        .env(FILES, files.path())
        .status()
        .map_err(text)?;
    if played.success() {
        return Ok(());
    }
    let why = fs::read_to_string(files.path().join("why"));
    Err(why.unwrap_or_else(|_| format!("what plays on the hub ended with {played}")))
}

/// Plays, if this process was started to.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let (hosts, files) = (env::var(HOSTS).ok()?, PathBuf::from(env::var_os(FILES)?));
    // One thread, which lives to the end: what it starts ends when it does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let played = runtime
        .map_err(text)
        .and_then(|runtime| runtime.block_on(play(Hosts::named(hosts), &files)));
    match played {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(why) => {
            // If this fails, the exit code is left to tell it.
            drop(fs::write(files.join("why"), why));
            Some(ExitCode::FAILURE)
        }
    }
}

async fn play(hosts: Hosts, files: &Path) -> Outcome<()> {
    let clock = Clock::start();
    let cluster = Cluster::start(&hosts, files).await?;
    say(&format!("  three nodes are one cluster after {:.0} s", seconds(clock.now())));
    let balancer = Balancer::start().await?;
    let platform = Platform::start(Balancer::address(), clock);
    until("the platform has subscribed", async || platform.seen().subscribed > 0).await?;
    cluster.queue_is_on_all_nodes().await?;
    let gateways = Way::ALL.iter().map(|way| Gateway::start(&hosts, *way, files));
    let gateways = gateways.collect::<Outcome<_>>()?;
    let mut stage = Stage { hosts, clock, cluster, balancer, platform, gateways, rows: Vec::new() };
    let played = stage.play().await;
    stage.tell();
    match played {
        Ok(()) => stage.end().await,
        Err(why) => Err(format!("{why}\n{}", stage.last_words())),
    }
}

// === impl Stage ===

impl Stage {
    async fn play(&mut self) -> Outcome<()> {
        self.suffer(Fault::Nothing).await?;
        self.ask_for_the_retained_state().await?;
        for _ in 0..number("CLUSTER_ROUNDS", 1) {
            for fault in [Fault::Killed, Fault::Unplugged, Fault::Split, Fault::Rolling] {
                self.suffer(fault).await?;
            }
        }
        Ok(())
    }

    /// Lets something happen, and waits until all that was made meanwhile has arrived.
    async fn suffer(&mut self, fault: Fault) -> Outcome<()> {
        let begun = self.clock.now();
        let before = self.counters();
        let late: BTreeMap<Way, u64> = self.late();
        let subscribed = self.platform.seen().subscribed;
        self.silences();
        self.let_happen(fault).await.map_err(|why| format!("{fault:?}: {why}"))?;
        let after = self.counters();
        for (way, counters) in &after {
            let (platform, name, to) = (&self.platform, way.name(), counters.appended);
            let complete = async || platform.seen().ledger.of(name).missing(to).is_empty();
            if let Err(why) = until(&format!("{fault:?}: every event up to {to}"), complete).await {
                let missing = self.platform.seen().ledger.of(name).missing(to);
                let (many, some) = (missing.len(), missing.get(..20).unwrap_or(&missing));
                return Err(format!("{why}; {many} of `{name}` are missing: {some:?} …"));
            }
        }
        let took = self.clock.now().since(begun);
        let silences = self.silences();
        let (ended, late_now) = (self.counters(), self.late());
        let mut seen = self.platform.seen();
        // What it had in hand when its own connection broke comes again, and may come late.
        let excused = (seen.subscribed - subscribed) * PREFETCH;
        for (way, now) in after {
            let (then, last, late) = (before[&way], ended[&way], late_now[&way] - late[&way]);
            if late > excused {
                return Err(format!("{fault:?}: {late} events of `{}` out of order", way.name()));
            }
            let book = seen.ledger.of(way.name());
            let (delivered, duplicates) = book.arrived(then.appended, now.appended);
            self.rows.push(Row {
                fault,
                way,
                took,
                events: now.appended - then.appended,
                delivered,
                duplicates,
                late,
                redelivered: last.redelivered - then.redelivered,
                reconnects: last.reconnects - then.reconnects,
                silence: silences[&way],
            });
        }
        Ok(())
    }

    async fn let_happen(&mut self, fault: Fault) -> Outcome<()> {
        match fault {
            Fault::Nothing => self.go_on().await,
            Fault::Killed => {
                let victim = self.where_it_is(network::shop())?;
                self.cluster.node(victim).kill().await?;
                self.go_on().await?;
                self.cluster.node(victim).start()?;
                self.come_back(victim).await
            }
            Fault::Unplugged => {
                let victim = self.where_the_list_led()?;
                for net in [Net::Front, Net::Back] {
                    self.hosts.cut(victim, net)?;
                }
                self.go_on().await?;
                self.hosts.mend(victim, Net::Front)?;
                self.get_back(victim).await
            }
            Fault::Split => {
                let victim = self.where_it_is(network::balancer())?;
                self.hosts.cut(victim, Net::Back)?;
                self.turns_clients_away(victim).await?;
                self.go_on().await?;
                self.get_back(victim).await
            }
            Fault::Rolling => {
                for number in NODES {
                    let node = self.cluster.node(number);
                    Cluster::spares(node).await?;
                    node.stop().await?;
                    self.go_on().await?;
                    self.cluster.node(number).start()?;
                    self.come_back(number).await?;
                }
                Ok(())
            }
        }
    }

    /// Waits until a node that is alone has seen that it is, and turns its clients away.
    async fn turns_clients_away(&mut self, victim: u8) -> Outcome<()> {
        let node = self.cluster.node(victim);
        let turned_away = async || !node.is_listening().await;
        until(&format!("node {victim}, alone, turns its clients away"), turned_away).await
    }

    /// Lets a node that was alone back to the others; not before it has noticed that it was, and they
    /// have arranged themselves without it. When the cable is back while that is under way, this
    /// version can stay as it is for good: then the operator helps.
    async fn get_back(&mut self, victim: u8) -> Outcome<()> {
        self.turns_clients_away(victim).await?;
        let other = NODES.into_iter().find(|node| *node != victim).unwrap_or(victim);
        self.has_tracker(other).await?;
        self.hosts.mend(victim, Net::Back)?;
        self.come_back(victim).await
    }

    /// Waits until a node is back; one that takes too long is restarted, as a liveness check would.
    async fn come_back(&mut self, victim: u8) -> Outcome<()> {
        let other = NODES.into_iter().find(|node| *node != victim).unwrap_or(victim);
        for _ in 0..RESTARTS {
            let whole = Cluster::whole(self.cluster.node(victim));
            if timeout(OPERATOR, whole).await.is_ok_and(|whole| whole.is_ok()) {
                return Ok(());
            }
            say(&format!("  node {victim} does not come back; the operator restarts it"));
            self.cluster.node(victim).kill().await?;
            self.has_tracker(other).await?;
            self.cluster.node(victim).start()?;
        }
        Cluster::whole(self.cluster.node(victim)).await
    }

    /// Waits until there is somebody who keeps the identifiers of all clients.
    async fn has_tracker(&mut self, asked: u8) -> Outcome<()> {
        let node = self.cluster.node(asked);
        let what = "somebody who keeps the identifiers of clients";
        let has_one = every(SELDOM, what, || node.has_tracker());
        if timeout(OPERATOR, has_one).await.is_ok() {
            return Ok(());
        }
        say(
            "  nobody keeps the identifiers of clients; the operator lets the nodes elect somebody",
        );
        // It fails where somebody was elected meanwhile.
        node.elect_tracker().await.ok();
        every(SELDOM, what, || node.has_tracker()).await
    }

    /// Waits until events made from now on have come through, some of each gateway.
    async fn go_on(&self) -> Outcome<()> {
        for (way, counters) in self.counters() {
            let enough = counters.appended + THROUGH;
            let through = async || match node::queues().as_str() {
                "quorum" => self.platform.seen().ledger.of(way.name()).last() >= enough,
                // Nothing may come through at all then; what is acknowledged has to suffice.
                _ => self.counters()[&way].acknowledged >= enough,
            };
            until(&format!("events of `{}` come through", way.name()), through).await?;
        }
        Ok(())
    }

    /// Where the load balancer has led a client to last.
    fn where_it_is(&self, client: Ipv4Addr) -> Outcome<u8> {
        let node = self.balancer.node_of(client.into());
        node.ok_or_else(|| format!("{client} was not led anywhere"))
    }

    /// Where the gateway with the list is.
    fn where_the_list_led(&self) -> Outcome<u8> {
        let by_list = self.gateways.iter().find(|gateway| gateway.way == Way::List);
        by_list.and_then(Gateway::node).ok_or_else(|| "the list led nowhere".to_owned())
    }

    fn counters(&self) -> BTreeMap<Way, Counters> {
        self.gateways.iter().map(|gateway| (gateway.way, gateway.counters())).collect()
    }

    /// The longest silence of each gateway since this was last asked.
    fn silences(&self) -> BTreeMap<Way, Duration> {
        let now = self.clock.now();
        let mut seen = self.platform.seen();
        Way::ALL.map(|way| (way, seen.ledger.of(way.name()).take_silence(now))).into()
    }

    /// How many events of each gateway came out of order so far.
    fn late(&self) -> BTreeMap<Way, u64> {
        let mut seen = self.platform.seen();
        Way::ALL.map(|way| (way, seen.ledger.of(way.name()).late())).into()
    }

    /// Asks each node for a gateway's retained state. What they say is for the documentation; that
    /// the node of the gateway has it is all that is promised.
    async fn ask_for_the_retained_state(&mut self) -> Outcome<()> {
        let topic = format!("beacon/v1/example/shop/{}/state", Way::Balancer.name());
        let mut know = Vec::new();
        for number in NODES {
            let address = self.cluster.node(number).address();
            if platform::retained(address, &topic).await?.is_some() {
                know.push(number);
            }
        }
        let here = self.where_it_is(network::shop())?;
        say(&format!("  the gateway is at node {here}; its retained state is known at {know:?}"));
        if know.contains(&here) { Ok(()) } else { Err("its state was not retained".to_owned()) }
    }

    /// Stops the gateways and closes the accounts.
    async fn end(self) -> Outcome<()> {
        let Self { gateways, platform, cluster, .. } = self;
        for gateway in gateways {
            let name = gateway.way.name();
            let last = gateway.stop().await?;
            if last.acknowledged != last.appended || last.pending > 0 || last.dropped > 0 {
                return Err(format!("`{name}` has not delivered everything: {last:?}"));
            }
            let all = async || platform.seen().ledger.of(name).last() >= last.appended;
            until(&format!("the last event of `{name}`"), all).await?;
            let mut seen = platform.seen();
            let book = seen.ledger.of(name);
            let missing = book.missing(last.appended);
            if let Some(wrong) = book.wrong() {
                return Err(format!("`{name}`: {wrong}"));
            }
            if !missing.is_empty() || book.last() != last.appended {
                return Err(format!("`{name}`: lost {missing:?}\n{}", cluster.last_words()));
            }
            let ((all, again), late) = (book.arrived(0, last.appended), book.late());
            say(&format!(
                "  `{name}`: {all} events, lost 0, again under their ids {again}, late {late}"
            ));
        }
        let seen = platform.seen();
        say(&format!(
            "  the platform: connected {} times, found its session {} times, {} last wills",
            seen.subscribed, seen.resumed, seen.wills
        ));
        say(&format!(
            "  a state document has {} bytes, a metrics document {}",
            seen.state_bytes, seen.metrics_bytes
        ));
        match &seen.unreadable {
            Some(why) => Err(format!("what came was no event: {why}")),
            None if seen.resumed == 0 => Err("the session was never resumed".to_owned()),
            None => Ok(()),
        }
    }

    /// The table, as far as it got.
    fn tell(&self) {
        say("");
        say(HEAD);
        for row in &self.rows {
            say(&row.to_string());
        }
        say("");
    }

    fn last_words(&self) -> String {
        let gateways: Vec<String> = self.gateways.iter().map(Gateway::last_words).collect();
        format!("{}\n{}", gateways.join("\n"), self.cluster.last_words())
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, delivered, duplicates, late, redelivered, reconnects, .. } = self;
        let fault = format!("{:?}", self.fault).to_lowercase();
        let (way, lost) = (self.way.name(), events.saturating_sub(*delivered));
        let (silence, took) = (self.silence.as_secs_f64(), self.took.as_secs_f64());
        write!(
            f,
            "  {fault:<10}  {way:<10} {events:>7}  {delivered:>9}  {lost:>4}  {duplicates:>10}  {late:>4}  \
             {redelivered:>10}  {reconnects:>10}  {silence:>9.1} s  {took:>6.1} s"
        )
    }
}

fn seconds(at: Uptime) -> f64 {
    at.since(Uptime::ZERO).as_secs_f64()
}

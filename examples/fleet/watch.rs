//! Looks at all gateways ten times a second, and remembers what it saw.

use std::{
    fs,
    io::{self, IsTerminal as _},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use anyhow::{Context, bail};
use beacon_gateway::{clock::Clock, engine::Uptime};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    gateway::Gateway,
    platform::{Arrived, Platform},
};

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

const A_SECOND: Duration = Duration::from_secs(1);

/// Everything at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    pub(crate) at: Uptime,
    pub(crate) online: u64,
    pub(crate) totals: Totals,
}

/// What all gateways have counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) made: u64,
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    pub(crate) redelivered: u64,
    pub(crate) pending: u64,
    pub(crate) connections: u64,
    pub(crate) faults: u64,
    pub(crate) arrived: Arrived,
}

/// From one look to another.
#[derive(Clone, Debug)]
pub(crate) struct Phase(pub(crate) Vec<Look>);

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Time of all its threads on a processor.
    pub(crate) busy: Duration,
    /// Its memory that is in use, in bytes.
    pub(crate) memory: u64,
}

/// Whoever looks.
pub(crate) struct Watch {
    clock: Clock,
    gateways: Vec<Gateway>,
    platform: Platform,
    looks: Vec<Look>,
    bar: ProgressBar,
}

// === impl Phase ===

impl Phase {
    pub(crate) fn length(&self) -> Duration {
        self.end().at.since(self.begin().at)
    }

    pub(crate) fn begin(&self) -> Look {
        self.0.first().copied().unwrap_or_default()
    }

    pub(crate) fn end(&self) -> Look {
        self.0.last().copied().unwrap_or_default()
    }

    /// The most connections that were accepted in a second: the steepest rise between two looks that
    /// are a second apart, or a little more. It may all have been over in less.
    pub(crate) fn peak_connects(&self) -> u64 {
        let rises = self.0.iter().enumerate().filter_map(|(n, then)| {
            let mut later = self.0.iter().skip(n);
            let now = later.find(|now| now.at.since(then.at) >= A_SECOND)?;
            let connections = now.totals.connections.saturating_sub(then.totals.connections);
            let millis = u64::try_from(now.at.since(then.at).as_millis()).unwrap_or(u64::MAX);
            Some(connections.saturating_mul(1000) / millis.max(1))
        });
        let whole = self.end().totals.connections - self.begin().totals.connections;
        rises.max().unwrap_or(whole)
    }
}

// === impl Usage ===

impl Usage {
    pub(crate) fn of_this_process() -> anyhow::Result<Self> {
        Self::of("self")
    }

    /// As the kernel tells it (proc(5)): `stat`, and resident pages in `statm`.
    pub(crate) fn of(pid: &str) -> anyhow::Result<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        let (stat, statm) = (read("stat")?, read("statm")?);
        // Behind the name, which may hold anything, come the fields from the third on; the 14th and
        // 15th are user and system time in ticks, of which Linux tells a hundred a second.
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let mut ticks = fields.split(' ').skip(11).map(str::parse::<u64>);
        let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
            bail!("/proc/{pid}/stat is in another form");
        };
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        let pages = pages.with_context(|| format!("/proc/{pid}/statm is in another form"))?;
        Ok(Self { busy: Duration::from_millis((user + system) * 10), memory: pages * 4096 })
    }
}

// === impl Watch ===

impl Watch {
    pub(crate) fn new(
        clock: Clock,
        gateways: Vec<Gateway>,
        platform: Platform,
        show: bool,
    ) -> Self {
        let bar = if show && io::stderr().is_terminal() {
            let form = "{msg:>12} {bar:40} {pos}/{len} online";
            let style = ProgressStyle::with_template(form);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(gateways.len() as u64).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        let mut watch = Self { clock, gateways, platform, looks: Vec::new(), bar };
        watch.look();
        watch
    }

    /// Everything that was counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut all = Totals { arrived: self.platform.arrived(), ..Totals::default() };
        for gateway in &self.gateways {
            let totals = gateway.totals();
            all.made += gateway.appended.load(Relaxed);
            all.published += totals.published;
            all.acknowledged += totals.acknowledged;
            all.redelivered += totals.redelivered;
            all.pending += gateway.pending();
            all.connections += totals.connections;
            all.faults += totals.faults;
        }
        all
    }

    fn look(&mut self) -> Look {
        let online = self.gateways.iter().filter(|gateway| gateway.is_online()).count() as u64;
        let look = Look { at: self.clock.now(), online, totals: self.totals() };
        self.bar.set_position(online);
        self.looks.push(look);
        look
    }

    /// Looks until something holds, and returns all that was seen on the way.
    async fn until(
        &mut self,
        doing: &str,
        patience: Duration,
        mut holds: impl FnMut(&Look) -> bool,
    ) -> anyhow::Result<Phase> {
        self.bar.set_message(doing.to_owned());
        let begin = self.looks.len().saturating_sub(1);
        let deadline = self.clock.now() + patience;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let look = self.look();
            if holds(&look) {
                return Ok(Phase(self.looks.get(begin..).unwrap_or_default().to_vec()));
            }
            if look.at > deadline {
                bail!("{doing}: not done after {patience:?}; {look:?}");
            }
        }
    }

    pub(crate) async fn until_all_are_online(
        &mut self,
        doing: &str,
        patience: Duration,
    ) -> anyhow::Result<Phase> {
        let all = self.gateways.len() as u64;
        self.until(doing, patience, |look| look.online == all).await
    }

    /// Until what had been made when this was called is acknowledged.
    pub(crate) async fn until_delivered(
        &mut self,
        doing: &str,
        patience: Duration,
    ) -> anyhow::Result<Phase> {
        let made = self.totals().made;
        self.until(doing, patience, |look| look.totals.acknowledged >= made).await
    }

    pub(crate) async fn look_on(&mut self, doing: &str, length: Duration) -> anyhow::Result<Phase> {
        let end = self.clock.now() + length;
        self.until(doing, length * 2 + Duration::from_mins(1), |look| look.at >= end).await
    }

    /// No more events are made; waits until all of them have arrived at the platform, and ends every
    /// session. Returns all that was ever seen.
    pub(crate) async fn stop(mut self, patience: Duration) -> anyhow::Result<Phase> {
        for gateway in &mut self.gateways {
            gateway.rest();
        }
        // What does not arrive is told in the report: it is what all this is for.
        let all = |look: &Look| {
            look.totals.acknowledged == look.totals.made
                && look.totals.arrived.events == look.totals.acknowledged
        };
        self.until("delivering", patience, all).await.ok();
        self.bar.finish_and_clear();
        // All of them at once, and then each is waited for.
        for gateway in &mut self.gateways {
            gateway.leave();
        }
        for gateway in self.gateways {
            gateway.left().await?;
        }
        Ok(Phase(self.looks))
    }
}

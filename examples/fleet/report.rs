//! What was seen, as a table for people and as JSON for programs.

use std::{fmt, time::Duration};

use beacon_gateway::engine::Uptime;
use serde_json::{Value, json};

use super::{
    Cli,
    watch::{Look, Phase, Totals, Usage},
};

/// How many lines the table of connections over time has at most.
const LINES: usize = 24;

/// How long the bar of a line is.
const BAR: u64 = 40;

/// Everything.
pub(crate) struct Report {
    pub(crate) cli: Cli,
    /// How many events a second the script has.
    pub(crate) per_second_in_script: f64,
    /// Before there was a gateway.
    pub(crate) empty: Usage,
    /// This process and the broker, when the watching began and when it ended.
    pub(crate) begun: (Usage, Option<Usage>),
    pub(crate) ended: (Usage, Option<Usage>),
    pub(crate) connected: Phase,
    pub(crate) steady: Phase,
    pub(crate) storm: Option<Storm>,
    /// All of it.
    pub(crate) series: Phase,
}

/// What became of a storm.
pub(crate) struct Storm {
    pub(crate) before: Totals,
    pub(crate) after: Totals,
    /// When everybody was cut off, and when the broker could be reached again.
    pub(crate) cut: Uptime,
    pub(crate) back: Uptime,
    pub(crate) settled: Phase,
    pub(crate) drained: Phase,
}

/// The figures of both forms.
struct Figures {
    settle: Duration,
    peak: u64,
    events_per_second: f64,
    bytes_per_event: f64,
    memory_per_gateway: f64,
    /// Of one core, in percent.
    cpu_per_gateway: f64,
    broker: Option<(f64, u64)>,
}

impl Report {
    /// Whether everything that was made has arrived.
    pub(crate) fn is_well(&self) -> bool {
        let totals = self.totals();
        totals.made == totals.acknowledged && totals.acknowledged == totals.arrived.events
    }

    fn totals(&self) -> Totals {
        self.series.end().totals
    }

    /// Acknowledged, and never arrived.
    fn lost(&self) -> u64 {
        self.totals().acknowledged.saturating_sub(self.totals().arrived.events)
    }

    // Far below 2^52, and rounded for people anyway.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    fn figures(&self) -> Figures {
        let gateways = f64::from(self.cli.gateways);
        let watched = self.steady.length().as_secs_f64().max(0.001);
        let share = |begun: Usage, ended: Usage| {
            100.0 * ended.busy.saturating_sub(begun.busy).as_secs_f64() / watched
        };
        let grown = self.ended.0.memory.saturating_sub(self.empty.memory);
        let acknowledged =
            self.steady.end().totals.acknowledged - self.steady.begin().totals.acknowledged;
        let arrived = self.totals().arrived;
        Figures {
            settle: self.connected.length(),
            peak: self.connected.peak_connects(),
            events_per_second: acknowledged as f64 / watched,
            bytes_per_event: arrived.bytes as f64 / (arrived.events + arrived.again).max(1) as f64,
            memory_per_gateway: grown as f64 / gateways,
            cpu_per_gateway: share(self.begun.0, self.ended.0) / gateways,
            broker: self
                .begun
                .1
                .zip(self.ended.1)
                .map(|(begun, ended)| (share(begun, ended), ended.memory)),
        }
    }

    /// One document.
    pub(crate) fn json(&self) -> Value {
        let (figures, totals) = (self.figures(), self.totals());
        json!({
            "gateways": self.cli.gateways,
            "protocol": self.cli.protocol.to_string(),
            "rate": self.cli.rate,
            "rate_of_the_script": self.per_second_in_script,
            "settle_s": figures.settle.as_secs_f64(),
            "peak_connects_per_second": figures.peak,
            "watched_s": self.steady.length().as_secs_f64(),
            "events_per_second": figures.events_per_second,
            "bytes_per_event": figures.bytes_per_event,
            "memory_per_gateway_bytes": figures.memory_per_gateway,
            "cpu_per_gateway_percent": figures.cpu_per_gateway,
            "broker_cpu_percent": figures.broker.map(|(cpu, _)| cpu),
            "broker_memory_bytes": figures.broker.map(|(_, memory)| memory),
            "made": totals.made,
            "acknowledged": totals.acknowledged,
            "published": totals.published,
            "redelivered": totals.redelivered,
            "arrived": totals.arrived.events,
            "arrived_again": totals.arrived.again,
            "lost": self.lost(),
            "pending": totals.pending,
            "connections": totals.connections,
            "faults": totals.faults,
            "storm": self.storm.as_ref().map(|storm| json!({
                "away_s": storm.back.since(storm.cut).as_secs_f64(),
                "settle_s": storm.settled.end().at.since(storm.back).as_secs_f64(),
                "drained_s": storm.drained.end().at.since(storm.back).as_secs_f64(),
                "peak_connects_per_second": storm.settled.peak_connects(),
                "redelivered": storm.after.redelivered - storm.before.redelivered,
                "backlog": storm.settled.begin().totals.pending,
                "attempts": storm.attempts(),
            })),
            "series": self.series.0.iter().map(|look| json!({
                "t_s": self.seconds(look.at),
                "online": look.online,
                "connections": look.totals.connections,
                "acknowledged": look.totals.acknowledged,
                "pending": look.totals.pending,
            })).collect::<Value>(),
        })
    }
}

impl Storm {
    /// Connections that were tried, those that came to nothing included.
    fn attempts(&self) -> u64 {
        let failed = self.after.faults.saturating_sub(self.before.faults);
        let made = self.after.connections.saturating_sub(self.before.connections);
        // The first fault of each gateway is the cut itself, and no attempt.
        failed.saturating_sub(made) + made
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (figures, totals) = (self.figures(), self.totals());
        let Cli { gateways, protocol, rate, .. } = &self.cli;
        writeln!(f, "{gateways} gateways, MQTT {protocol}, {rate} events a second each\n")?;
        writeln!(f, "connected over time")?;
        self.over_time(f)?;
        let row = |f: &mut fmt::Formatter<'_>, what: &str, value: String| {
            writeln!(f, "{what:<46} {value:>14}")
        };
        let secs = |length: Duration| format!("{:.1} s", length.as_secs_f64());
        writeln!(f, "\nstarted all at once")?;
        row(f, "  until all were connected", secs(figures.settle))?;
        row(f, "  most connections accepted in a second", figures.peak.to_string())?;
        writeln!(f, "\nwatched for {:.0} s", self.steady.length().as_secs_f64())?;
        row(f, "  events acknowledged a second", format!("{:.0}", figures.events_per_second))?;
        row(f, "  bytes of an event", format!("{:.0}", figures.bytes_per_event))?;
        let kib = figures.memory_per_gateway / 1024.0;
        row(f, "  memory a gateway", format!("{kib:.0} KiB"))?;
        row(f, "  processor a gateway", format!("{:.3} %", figures.cpu_per_gateway))?;
        if let Some((cpu, memory)) = figures.broker {
            row(f, "  the broker's processor", format!("{cpu:.0} %"))?;
            row(f, "  the broker's memory", format!("{} MiB", memory >> 20))?;
        }
        if let Some(storm) = &self.storm {
            let since = |look: Look| secs(look.at.since(storm.back));
            let away = storm.back.since(storm.cut).as_secs_f64();
            writeln!(f, "\nstorm: everybody cut off, no broker for {away:.1} s")?;
            row(f, "  until all were connected again", since(storm.settled.end()))?;
            row(f, "  until all that had waited was delivered", since(storm.drained.end()))?;
            let peak = storm.settled.peak_connects();
            row(f, "  most connections accepted in a second", peak.to_string())?;
            row(f, "  attempts, failed ones included", storm.attempts().to_string())?;
            let waited = storm.settled.begin().totals.pending;
            row(f, "  events that had waited", waited.to_string())?;
            let again = storm.after.redelivered - storm.before.redelivered;
            row(f, "  events sent again", again.to_string())?;
        }
        writeln!(f, "\nin all")?;
        for (what, count) in [
            ("  events made", totals.made),
            ("  acknowledged", totals.acknowledged),
            ("  arrived at the platform", totals.arrived.events),
            ("  arrived again, under the same id", totals.arrived.again),
            ("  sent again by gateways", totals.redelivered),
            ("  lost", self.lost()),
            ("  still waiting", totals.made.saturating_sub(totals.acknowledged)),
            ("  connections", totals.connections),
        ] {
            row(f, what, count.to_string())?;
        }
        Ok(())
    }
}

impl Report {
    /// Since the first look.
    fn seconds(&self, at: Uptime) -> f64 {
        at.since(self.series.begin().at).as_secs_f64()
    }

    /// A line each so many seconds, all of the same length.
    fn over_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = u64::from(self.cli.gateways).max(1);
        let step = self.series.0.len().div_ceil(LINES).max(1);
        let mut before: Option<Look> = None;
        for look in self.series.0.iter().step_by(step) {
            let length = usize::try_from(look.online * BAR / all).unwrap_or_default();
            let bar = "#".repeat(length);
            let since = before
                .map_or(0, |then| look.totals.connections.saturating_sub(then.totals.connections));
            writeln!(
                f,
                "  {:>6.1} s {:>7} online {bar:<40} {since:>6} connects {:>7} waiting",
                self.seconds(look.at),
                look.online,
                look.totals.pending
            )?;
            before = Some(*look);
        }
        Ok(())
    }
}

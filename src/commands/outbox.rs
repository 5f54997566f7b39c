//! `outbox`: looks into the store of events while no gateway is using it.

use std::io::{BufWriter, Write};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Common, Failure, broken_pipe};
use crate::{
    checkpoint,
    engine::WallClock,
    gateway::chain,
    outbox::{
        self, OutboxError, Stats,
        record::{Record, RunId},
    },
    settings::ByteSize,
    timeline::{Stamp, Timeline},
    uplink::payload::{kind_of, utc},
};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    view: View,
}

#[derive(Debug, Subcommand)]
enum View {
    /// How much is in it.
    Stat(ViewOptions),
    /// What is in it, oldest first.
    List(ListOptions),
}

#[derive(Args, Debug)]
struct ViewOptions {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct ListOptions {
    /// At most this many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    view: ViewOptions,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.view {
        View::Stat(view) => stat(view),
        View::List(list) => self::list(list),
    }
}

fn stat(options: &ViewOptions) -> Result<(), Failure> {
    let settings = options.common.load()?;
    let (keys, directory) = (super::registry::keys(&settings), settings.gateway.state_dir);
    let inspection = outbox::inspect_with(&directory, keys).map_err(|error| failed(&error))?;
    let Stats { epoch, last, pending, oldest, oldest_made, disk_bytes, .. } = inspection.stats();
    let slots = inspection.kept().map_err(|error| failed(&error))?;
    let open_visits = slots.iter().filter(|kept| checkpoint::is_slot(&kept.slot)).count();
    let mut out = anstream::stdout();
    let written = if options.json {
        let document = json!({
            "epoch": epoch,
            "last_sequence": last.map(|sequence| sequence.0),
            "pending": pending.records,
            "pending_bytes": pending.bytes,
            "oldest_sequence": oldest.map(|sequence| sequence.0),
            "oldest": oldest_made.map(utc),
            "open_visits": open_visits,
            "disk_bytes": disk_bytes,
        });
        writeln!(out, "{document}")
    } else {
        let number = |sequence: Option<outbox::Sequence>| {
            sequence.map_or_else(|| "none".to_owned(), |sequence| sequence.0.to_string())
        };
        let rows = [
            ("store", directory.display().to_string()),
            ("epoch", epoch.to_string()),
            ("last sequence", number(last)),
            ("pending", format!("{} events, {} bytes", pending.records, pending.bytes)),
            ("oldest pending", number(oldest)),
            ("oldest made", oldest_made.map_or_else(|| "not known".to_owned(), utc)),
            ("open visits", open_visits.to_string()),
            ("on disk", ByteSize(disk_bytes / 1024 * 1024).to_string()),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(out, "{name:<15} {value}"))
    };
    written.or_else(broken_pipe)
}

fn list(options: &ListOptions) -> Result<(), Failure> {
    let settings = options.view.common.load()?;
    let (keys, directory) = (super::registry::keys(&settings), settings.gateway.state_dir);
    let mut inspection = outbox::inspect_with(&directory, keys).map_err(|error| failed(&error))?;
    let timeline = Timeline::of(&inspection.kept().map_err(|error| failed(&error))?);
    let mut out = BufWriter::new(anstream::stdout());
    for held in inspection.records().take(options.limit.unwrap_or(usize::MAX)) {
        let held = held.map_err(|error| failed(&error))?;
        let (sequence, bytes) = (held.sequence.0, held.bytes.len());
        let record = Record::decode(&held.bytes);
        let (family, kind) = record.as_ref().map_or(("?", "unreadable"), |it| kind_of(&it.body));
        let subject = record.as_ref().ok().and_then(Record::subject).map(|(subject, _)| subject);
        // As it would be sent if the gateway were started now and learned nothing new.
        let stamp = |it: &Record| timeline.stamp(RunId(0), it.told(), &WallClock::default());
        let stamp = record.as_ref().ok().map(stamp);
        let time = stamp.map(|Stamp { unix, .. }| utc(unix));
        let written = if options.view.json {
            let document = json!({
                "sequence": sequence,
                "kind": format!("{family}.{kind}"),
                "subject": subject,
                "time": time,
                "clock": stamp.map(|Stamp { mark, .. }| mark.name()),
                "bytes": bytes,
            });
            writeln!(out, "{document}")
        } else {
            let time = time.as_deref().unwrap_or("-");
            let subject = subject.unwrap_or("-");
            let kind = format!("{family}.{kind}");
            writeln!(out, "{sequence:>12}  {time:<24}  {kind:<24}  {bytes:>5} B  {subject}")
        };
        if let Err(error) = written {
            return broken_pipe(error);
        }
    }
    out.flush().or_else(broken_pipe)
}

fn failed(error: &OutboxError) -> Failure {
    Failure::Failed(chain(error))
}

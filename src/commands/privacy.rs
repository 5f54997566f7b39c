//! `privacy`: what this gateway knows of people, and the counters that prove it.

mod enrolled;
mod report;
mod view;

use std::io::Write;

use clap::{Args, Subcommand};

use self::report::Report;
use super::{Common, Failure, broken_pipe};
use crate::{
    clock::Clock,
    gateway::{Status, chain, load_registry, registry_version},
    outbox,
};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    view: View,
}

#[derive(Debug, Subcommand)]
enum View {
    /// Settings, enrolled subjects in numbers, and counters: for a privacy officer or an auditor.
    Report(ReportOptions),
}

#[derive(Args, Debug)]
struct ReportOptions {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let View::Report(ReportOptions { json, common }) = &options.view;
    let settings = common.load()?;
    let clock = Clock::start().trusting(settings.gateway.clock);
    let registry = load_registry(&settings, clock)?;
    let store = registry_version(&settings, clock)?;
    let state_dir = &settings.gateway.state_dir;
    let status = Status::read(state_dir).map_err(|error| Failure::Failed(chain(&error)))?;
    let in_use = outbox::in_use(state_dir).map_err(|error| {
        let dir = state_dir.display();
        Failure::Failed(format!(
            "cannot tell whether a gateway uses `{dir}`; run this as root or as the gateway's user: {error}"
        ))
    })?;
    let report = Report::new(&settings, (&registry, store), status, in_use, clock.wall());
    let mut out = anstream::stdout();
    let written = if *json {
        let document = serde_json::to_string_pretty(&report).unwrap_or_default();
        writeln!(out, "{document}")
    } else {
        view::write(&mut out, &report)
    };
    written.or_else(broken_pipe)
}

//! The command line: words in, one command run, an exit code out.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | something failed that may work later: the radio, the disk, a recording |
//! | 2 | the command line makes no sense |
//! | 70 | a part of the program panicked |
//! | 78 | the configuration makes no sense; nothing was started (systemd does not try again) |

mod check;
#[cfg(feature = "demo")]
mod demo;
mod outbox;
mod privacy;
mod registry;
mod replay;
mod run;
mod scan;
mod zones;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    decode,
    engine::frame::sensor::OwnDecoders,
    forget,
    gateway::{Fate, GatewayError, STEWARD, chain, serve_as_steward},
    settings::{LoadError, Loader, Settings, read_decoders},
};

/// Hears Bluetooth LE beacons in a shop, recognises those who opted in, and tells the platform
/// what is happening, durably, over MQTT.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 70 a defect of the program, \
78 the configuration makes no sense.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway: listen, recognise, keep, and forward until told to stop.
    Run(Common),
    /// Check configuration, registry, credentials, broker name and adapter, and say what to do.
    Check(check::Options),
    /// Show the main job end to end, with a simulated shop and a broker inside this process.
    #[cfg(feature = "demo")]
    Demo(demo::Options),
    /// Play recordings through the engine and print what it makes of them.
    Replay(replay::Options),
    /// Show what the radio hears now: subjects and fixtures by name, strangers only as a count.
    Scan(scan::Options),
    /// Say what advertising data means: hex or JSON Lines in, one JSON object a line out.
    Decode(DecodeOptions),
    /// Look into the store of events on disk.
    Outbox(outbox::Options),
    /// Show what the gateway knows of people, and the counters that prove it.
    Privacy(privacy::Options),
    /// Enrol, list, show, withdraw and export subjects; check and reseal their registry.
    Registry(registry::Options),
    /// Say how well people can be placed in this shop, and calibrate its receivers.
    Zones(zones::Options),
    /// Open the registry's store for a running gateway, which starts this by itself.
    #[command(name = STEWARD, hide = true)]
    Steward,
}

/// Where the configuration comes from.
#[derive(Args, Clone, Debug, Default)]
struct Common {
    /// A configuration file; later ones override earlier ones.
    #[arg(long, short, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// One setting that overrides files and environment, like `log.level=debug`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

#[derive(Args, Debug)]
struct DecodeOptions {
    /// Advertising data as hex, or JSON objects; standard input when there are none.
    #[arg(value_name = "HEX|JSON")]
    inputs: Vec<String>,
    /// A folder of TOML files with decoders of your own.
    #[arg(long, value_name = "FOLDER")]
    decoders: Option<PathBuf>,
}

/// The configuration file that is used when none is named.
const DEFAULT_CONFIG: &str = "/etc/beacon-gateway/gateway.toml";

/// Why a command failed, by the exit code it leads to.
enum Failure {
    /// 78
    Configuration(String),
    /// 1
    Failed(String),
    /// 70
    Defect(String),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    forget::separate_large_blocks();
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(common) => run::run(&common),
        Command::Check(options) => return check::run(&options),
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Scan(options) => scan::run(&options),
        Command::Decode(options) => decode(&options),
        Command::Outbox(options) => outbox::run(&options),
        Command::Privacy(options) => privacy::run(&options),
        Command::Registry(options) => registry::run(&options),
        Command::Zones(options) => zones::run(&options),
        Command::Steward => serve_as_steward().map_err(|error| GatewayError::from(error).into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn decode(options: &DecodeOptions) -> Result<(), Failure> {
    let own = match &options.decoders {
        None => OwnDecoders::default(),
        Some(folder) => {
            read_decoders(folder).map_err(|error| Failure::Configuration(chain(&error)))?
        }
    };
    let output = io::BufWriter::new(io::stdout().lock());
    let done = if options.inputs.is_empty() {
        if io::stdin().is_terminal() {
            say("Reading advertising data as hex or JSON, one a line; end with Ctrl-D.");
        }
        decode::run_with(own, io::stdin().lock(), output)
    } else {
        decode::run_with(own, options.inputs.join("\n").as_bytes(), output)
    };
    done.map(drop).or_else(broken_pipe)
}

// === impl Common ===

impl Common {
    fn loader(&self) -> Loader {
        let mut files = self.config.clone();
        let default = PathBuf::from(DEFAULT_CONFIG);
        if files.is_empty() && default.exists() {
            files.push(default);
        }
        let loader = Loader::files(files).environment();
        self.overrides.iter().fold(loader, |loader, (key, value)| loader.set(key, value))
    }

    fn load(&self) -> Result<Settings, Failure> {
        Ok(self.loader().load()?)
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE, like `log.level=debug`".to_owned()),
    }
}

/// A duration on the command line.
fn span(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<crate::settings::Span>().map(|span| span.0).map_err(|error| error.to_string())
}

// === impl Failure ===

impl Failure {
    fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Configuration(message) => (message, 78),
            Self::Failed(message) => (message, 1),
            Self::Defect(message) => (message, 70),
        };
        say(&format!("beacon-gateway: {message}"));
        ExitCode::from(code)
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::Configuration(chain(&error))
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        let message = chain(&error);
        match error.fate() {
            Fate::Retry => Self::Failed(message),
            Fate::Reconfigure => Self::Configuration(message),
            Fate::Bug => Self::Defect(message),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Whoever reads our output may stop reading; that is no failure.
fn broken_pipe(error: io::Error) -> Result<(), Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error.into()) }
}

/// Writes a line to standard error. When even that fails there is nobody to tell.
fn say(line: &str) {
    drop(writeln!(anstream::stderr(), "{line}"));
}

/// The runtime of every command: one thread, because a Pi has few and the work is small.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))
}

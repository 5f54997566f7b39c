//! `check`: everything that can be known before the start, each with what to do about it.
//!
//! What only time can cure (no network yet, no adapter yet) is advice and does not fail the check,
//! because systemd runs it before every start.

use std::{io::Write, path::Path, process::ExitCode};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::json;

use super::{Common, Failure, runtime, say};
use crate::{
    clock::Clock,
    engine::ClockQuality,
    gateway::{chain, load_registry},
    settings::Settings,
    uplink::{self, Access},
};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    common: Common,
    /// Print one JSON object a finding.
    #[arg(long)]
    json: bool,
    /// Fail (exit code 1) on advice, too.
    #[arg(long)]
    strict: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    Good,
    Advice,
    Wrong,
}

struct Finding {
    what: &'static str,
    verdict: Verdict,
    text: String,
}

pub(super) fn run(options: &Options) -> ExitCode {
    let findings = match findings(&options.common) {
        Ok(findings) => findings,
        Err(failure) => return failure.report(),
    };
    let mut out = anstream::stdout();
    for finding in &findings {
        let line = if options.json { finding.json() } else { finding.line() };
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    let worst = findings.iter().map(|finding| finding.verdict).max();
    match worst {
        Some(Verdict::Wrong) => {
            say("The configuration must be changed before the gateway can start.");
            ExitCode::from(78)
        }
        Some(Verdict::Advice) if options.strict => ExitCode::from(1),
        _ => ExitCode::SUCCESS,
    }
}

fn findings(common: &Common) -> Result<Vec<Finding>, Failure> {
    let mut found = Vec::new();
    let loader = common.loader();
    let settings = match loader.load() {
        Ok(settings) => settings,
        Err(error) => {
            found.push(wrong("configuration", chain(&error)));
            return Ok(found);
        }
    };
    found.push(match settings.check_gateway() {
        Ok(()) => good("configuration", "every key is known and every value makes sense"),
        Err(invalid) => wrong("configuration", loader.invalid(invalid).to_string()),
    });
    found.push(registry(&settings));
    found.push(state_dir(&settings.gateway.state_dir));
    found.push(clock());
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let mut resolvable = false;
    if !settings.uplink.broker.is_empty() {
        match Access::load(&settings.uplink, credentials.as_deref().map(Path::new)) {
            Ok(access) => {
                resolvable = true;
                found.push(good("credentials", "everything the broker asks for can be read"));
                found.extend(
                    access.advisories().iter().map(|it| advice("credentials", it.to_string())),
                );
            }
            Err(error) => found.push(wrong("credentials", chain(&error))),
        }
    }
    runtime()?.block_on(async {
        if resolvable {
            found.push(match uplink::check_broker_name(&settings.uplink).await {
                Ok(addresses) => {
                    good("broker", &format!("its name leads to {} address(es)", addresses.len()))
                }
                Err(error) => advice(
                    "broker",
                    format!("{}; events are kept until it can be reached", chain(&error)),
                ),
            });
        }
        found.push(adapter(&settings).await);
    });
    found.extend(radio(&settings));
    Ok(found)
}

fn registry(settings: &Settings) -> Finding {
    match load_registry(settings) {
        Err(error) => wrong("registry", chain(&error)),
        Ok(registry) if registry.subject_count() == 0 => advice(
            "registry",
            format!(
                "nobody is enrolled, {} fixtures are configured; set `identity.registry` to recognise anybody",
                registry.fixture_count()
            ),
        ),
        Ok(registry) => good(
            "registry",
            &format!(
                "{} subjects are enrolled, {} fixtures are configured",
                registry.subject_count(),
                registry.fixture_count()
            ),
        ),
    }
}

/// Whether the gateway could keep anything: the directory, or where it would be made, is writable.
fn state_dir(path: &Path) -> Finding {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    match std::fs::metadata(existing) {
        Ok(metadata) if !metadata.is_dir() => wrong(
            "state_dir",
            format!("`{}` is not a directory; change `gateway.state_dir`", existing.display()),
        ),
        Ok(metadata) if metadata.permissions().readonly() => wrong(
            "state_dir",
            format!(
                "`{}` cannot be written; change its owner or `gateway.state_dir`",
                existing.display()
            ),
        ),
        Ok(_) => good("state_dir", &format!("`{}`", path.display())),
        Err(error) => wrong("state_dir", format!("`{}`: {error}", existing.display())),
    }
}

fn clock() -> Finding {
    match Clock::start().wall().quality {
        ClockQuality::Synced => good("clock", "it follows a time source"),
        ClockQuality::Unsynced => advice(
            "clock",
            "it follows no time source; events are marked `unsynced`. Start systemd-timesyncd or chrony".to_owned(),
        ),
    }
}

#[cfg(feature = "bluetooth")]
async fn adapter(settings: &Settings) -> Finding {
    use crate::scan::bluez;
    let adapters = match bluez::adapters(settings.scan.call_timeout.0).await {
        Ok(adapters) => adapters,
        Err(error) => {
            let cure = "start bluetooth.service; the gateway waits for it";
            return advice("adapter", format!("{}; {cure}", chain(&error)));
        }
    };
    let wanted = &settings.scan.adapter;
    let fits = |adapter: &&bluez::AdapterInfo| wanted.is_empty() || *wanted == adapter.name;
    match adapters.iter().find(fits) {
        Some(adapter) if adapter.powered => good("adapter", &format!("{} is on", adapter.name)),
        Some(adapter) => advice(
            "adapter",
            format!("{} is switched off; `bluetoothctl power on`, and see `rfkill`", adapter.name),
        ),
        None if wanted.is_empty() => {
            advice("adapter", "there is none; plug one in, the gateway waits for it".to_owned())
        }
        None => {
            let names: Vec<&str> = adapters.iter().map(|adapter| adapter.name.as_str()).collect();
            advice(
                "adapter",
                format!("there is no `{wanted}` (`scan.adapter`), only: {}", names.join(", ")),
            )
        }
    }
}

/// What stands in the radio's way.
#[cfg(feature = "bluetooth")]
fn radio(settings: &Settings) -> Vec<Finding> {
    use crate::scan::advice::{self, DataPlane, Wanted};
    // The session is btleplug's, its events come over the bus, and it is rebuilt, never reset.
    let wanted = Wanted { bluez: Some(DataPlane::Dbus), hci: false, reset: false };
    let mut facts = advice::facts::gather(wanted);
    let adapter = &settings.scan.adapter;
    facts.radios.retain(|radio| adapter.is_empty() || *adapter == radio.name);
    advice::judge(&facts).into_iter().map(Finding::from).collect()
}

#[cfg(not(feature = "bluetooth"))]
fn radio(_: &Settings) -> Vec<Finding> {
    Vec::new()
}

#[cfg(not(feature = "bluetooth"))]
#[expect(clippy::unused_async, reason = "the build with Bluetooth has to ask")]
async fn adapter(_: &Settings) -> Finding {
    advice("adapter", "this build has no radio; build it with `--features bluetooth`".to_owned())
}

fn good(what: &'static str, text: &str) -> Finding {
    Finding { what, verdict: Verdict::Good, text: text.to_owned() }
}

fn advice(what: &'static str, text: String) -> Finding {
    Finding { what, verdict: Verdict::Advice, text }
}

fn wrong(what: &'static str, text: String) -> Finding {
    Finding { what, verdict: Verdict::Wrong, text }
}

// === impl Finding ===

#[cfg(feature = "bluetooth")]
impl From<crate::scan::advice::Finding> for Finding {
    fn from(finding: crate::scan::advice::Finding) -> Self {
        use crate::scan::advice::Weight;
        let verdict = match finding.weight {
            Weight::Advice => Verdict::Advice,
            Weight::Wrong => Verdict::Wrong,
        };
        Self { what: finding.what, verdict, text: finding.text }
    }
}

impl Finding {
    fn line(&self) -> String {
        let (word, colour) = match self.verdict {
            Verdict::Good => ("ok", AnsiColor::Green),
            Verdict::Advice => ("advice", AnsiColor::Yellow),
            Verdict::Wrong => ("wrong", AnsiColor::Red),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        format!("{style}{word:<6}{style:#}  {:<13}  {}", self.what, self.text)
    }

    fn json(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Advice => "advice",
            Verdict::Wrong => "wrong",
        };
        json!({"what": self.what, "verdict": verdict, "text": self.text}).to_string()
    }
}

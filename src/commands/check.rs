//! `check`: everything that can be known before the start, each with what to do about it.
//!
//! What only time can cure (no network yet, no adapter yet) is advice and does not fail the check,
//! because systemd runs it before every start.

mod adapters;
mod finding;
mod lines;

use std::{io::Write, path::Path, process::ExitCode};

use clap::Args;

use super::{Common, Failure, runtime, say};
use crate::{
    calibrate::Basis,
    clock::Clock,
    engine::ClockQuality,
    gateway::{chain, load_registry},
    settings::{ClockTrust, Settings},
    uplink::Access,
};
use adapters::{adapter, adapters, radio};
use finding::Verdict;
pub(super) use finding::{Finding, advice, good, wrong};
use lines::{brokers, certificates, discovery, pair, relay, remotes};

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
    found.extend(super::registry::findings(&settings));
    found.extend(keys(&settings));
    found.extend(decoders(&settings));
    found.extend(calibration(&settings));
    found.push(state_dir(&settings.gateway.state_dir));
    found.push(clock(settings.gateway.clock));
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
                found.extend(certificates(&access));
            }
            Err(error) => found.push(wrong("credentials", chain(&error))),
        }
    }
    runtime()?.block_on(async {
        found.extend(remotes(&settings, credentials.as_deref().map(Path::new)).await);
        found.extend(relay(&settings, credentials.as_deref().map(Path::new)).await);
        found.extend(pair(&settings, credentials.as_deref().map(Path::new)));
        found.extend(discovery(&settings));
        if resolvable {
            found.extend(brokers(&settings).await);
        }
        let (live, adapters) = (settings.live(), adapters(&settings).await);
        found.extend(live.receivers.iter().map(|receiver| adapter(receiver, &adapters)));
        found.extend(radio(&live, &adapters));
    });
    Ok(found)
}

/// What was found out about the receivers, if anything.
fn calibration(settings: &Settings) -> Option<Finding> {
    if let Some(said) = settings.calibration_advice() {
        return Some(advice("calibration", said));
    }
    let calibration = settings.calibration()?;
    let Basis { made, readings, right_without, right_with, .. } = &calibration.basis;
    let day = made.split('T').next().unwrap_or_default();
    let percent = |share: &f64| (100.0 * share).round();
    Some(good(
        "calibration",
        &format!(
            "{} receivers, of {day}, from {readings} readings: zones right in {} % of the seconds, {} % without it",
            calibration.receivers.len(),
            percent(right_with),
            percent(right_without)
        ),
    ))
}

fn registry(settings: &Settings) -> Finding {
    match load_registry(settings, Clock::start()) {
        Err(error) => wrong("registry", chain(&error)),
        Ok(registry) if registry.subject_count() == 0 => advice(
            "registry",
            format!(
                "nobody is enrolled, {} fixtures are configured; enrol people with `beacon-gateway registry import FILE`",
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

/// Which fixtures have a key. One that cannot be read was found with the registry.
fn keys(settings: &Settings) -> Option<Finding> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let fixtures = settings.fixtures_with_keys(credentials.as_deref().map(Path::new)).ok()?;
    let keyed = fixtures.iter().filter(|fixture| fixture.key.is_some());
    let keyed: Vec<&str> = keyed.map(|fixture| fixture.id.as_str()).collect();
    let told = format!(
        "of {} fixtures these have a key, and are believed nothing else: {}",
        fixtures.len(),
        keyed.join(", ")
    );
    (!keyed.is_empty()).then(|| good("fixtures", &told))
}

/// The operator's own decoders. What is wrong with one was found with the configuration.
fn decoders(settings: &Settings) -> Option<Finding> {
    let count = settings.own_decoders.count();
    let folder = settings.identity.decoders.display();
    let told = format!("{count} of your own are asked before the built-in ones: `{folder}`");
    (count > 0).then(|| good("decoders", &told))
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

fn clock(trust: ClockTrust) -> Finding {
    let basis = Clock::start().trusting(trust).account().basis;
    match basis.quality() {
        ClockQuality::Synced => good("clock", &basis.to_string()),
        ClockQuality::Unsynced => advice(
            "clock",
            format!(
                "{basis}: events are marked `unsynced`, and nothing is sent about anybody whose consent has an \
                 end. Start systemd-timesyncd or chrony (with `rtcsync`), or say `gateway.clock = \"always\"` where \
                 the machine's clock runs without power"
            ),
        ),
    }
}

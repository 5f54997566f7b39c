//! `check`: everything that can be known before the start, each with what to do about it.
//!
//! What only time can cure (no network yet, no adapter yet) is advice and does not fail the check,
//! because systemd runs it before every start.

use std::{io::Write, path::Path, process::ExitCode, time::Duration};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::json;

use super::{Common, Failure, runtime, say};
use crate::{
    calibrate::Basis,
    clock::Clock,
    engine::{ClockQuality, DeviceAddress},
    gateway::{chain, load_registry},
    scan::{
        hci::{self, Classic, mgmt::Management},
        live::{Backend, LiveSettings, ReceiverSettings},
    },
    settings::{ClockTrust, Role, Settings},
    uplink::{self, Access, Broker, payload::utc},
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

pub(super) struct Finding {
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

/// When the files' certificates end; the broker's is seen only when it is connected to.
fn certificates(access: &Access) -> Vec<Finding> {
    let expiries = access.expiries();
    let warnings = expiries.warnings(Clock::start().wall().unix);
    if !warnings.is_empty() {
        return warnings.iter().map(|it| advice("certificates", it.to_string())).collect();
    }
    let first = [expiries.client, expiries.authority].into_iter().flatten().min();
    let told = |at| good("certificates", &format!("the first to end does on {}", utc(at)));
    first.map(told).into_iter().collect()
}

/// Whether the brokers' names, or the proxy's, lead anywhere.
async fn brokers(settings: &Settings) -> Vec<Finding> {
    let Ok(names) = uplink::check_broker_names(&settings.uplink).await else { return Vec::new() };
    let proxy = &settings.uplink.proxy;
    let by = if proxy.is_empty() { String::new() } else { format!(", by the proxy {proxy},") };
    let told = |(broker, found): (Broker, Result<Vec<_>, _>)| match found {
        Ok(addresses) => good(
            "broker",
            &format!("the name of {broker}{by} leads to {} address(es)", addresses.len()),
        ),
        Err(error) => {
            advice("broker", format!("{}; events are kept until it can be reached", chain(&error)))
        }
    };
    names.into_iter().map(told).collect()
}

/// Whether remote receivers' own brokers can be asked; the uplink's is looked at anyway.
async fn remotes(settings: &Settings, credentials: Option<&Path>) -> Vec<Finding> {
    let mut found = Vec::new();
    for remote in &settings.remote {
        match remote.opener(credentials) {
            Ok(None) => {}
            Ok(Some(_)) => found.push(good("remote", &format!("{}: its key is there", remote.id))),
            Err(error) => found.push(wrong("remote", format!("{}: {}", remote.id, chain(&error)))),
        }
    }
    for group in settings.remote_groups(credentials) {
        if !group.has_own_broker() {
            continue;
        }
        let receivers = group.names().join(", ");
        match group.access(credentials) {
            Ok(access) => {
                let advisories = access.advisories().iter();
                found.extend(advisories.map(|it| advice("remote", format!("{receivers}: {it}"))));
            }
            Err(error) => {
                // The keys are named as in [uplink]; here they stand in [[remote]].
                let why = chain(&error).replace("uplink.", "remote.");
                found.push(wrong("remote", format!("{receivers}: {why}")));
                continue;
            }
        }
        for (broker, addresses) in
            uplink::check_broker_names(group.line()).await.unwrap_or_default()
        {
            found.push(match addresses {
                Ok(_) => good("remote", &format!("{receivers}: the name of {broker} is known")),
                Err(error) => advice("remote", format!("{receivers}: {}", chain(&error))),
            });
        }
    }
    found
}

/// Whether a receiver could tell its lead anything.
async fn relay(settings: &Settings, credentials: Option<&Path>) -> Vec<Finding> {
    if settings.gateway.role != Role::Receiver {
        return Vec::new();
    }
    let relay = &settings.relay;
    let mut found = vec![match crate::relay::load_key(&relay.key_path(credentials)) {
        Ok(sealer) => {
            good("relay", &format!("what is heard is sealed with key number {}", sealer.current()))
        }
        Err(error) => wrong("relay", chain(&error)),
    }];
    // The platform's broker is looked at anyway.
    if !relay.broker.is_empty() {
        let line = relay.line(&settings.uplink, credentials);
        match Access::load(&line, None) {
            Ok(access) => {
                found.extend(access.advisories().iter().map(|it| advice("relay", it.to_string())));
            }
            Err(error) => {
                found.push(wrong("relay", chain(&error).replace("uplink.", "relay.")));
                return found;
            }
        }
        for (broker, addresses) in uplink::check_broker_names(&line).await.unwrap_or_default() {
            found.push(match addresses {
                Ok(_) => good("relay", &format!("the name of {broker} is known")),
                Err(error) => advice("relay", chain(&error)),
            });
        }
    }
    found
}

/// Whether another gateway could stand by for this one, or this one for another.
fn pair(settings: &Settings, credentials: Option<&Path>) -> Vec<Finding> {
    let standby = &settings.standby;
    if !standby.is_on() {
        return Vec::new();
    }
    let mut found = vec![match crate::standby::load_shared_key(standby, credentials) {
        Ok(sealer) => {
            let (peer, number) = (&standby.peer, sealer.current());
            let does = if settings.gateway.role == Role::Standby {
                format!("stands by for {peer}, and makes events when nothing came of it for")
            } else {
                format!("{peer} stands by, and makes events when nothing came of this gateway for")
            };
            let after = standby.takeover_after;
            good("standby", &format!("{does} {after}; sealed with key number {number}"))
        }
        Err(error) => wrong("standby", chain(&error)),
    }];
    let resumes = settings.presence.resume_within;
    if resumes <= standby.takeover_after {
        found.push(advice(
            "standby",
            format!(
                "`presence.resume_within` is {resumes}, not longer than `standby.takeover_after`: no \
                 visit goes on at the other gateway"
            ),
        ));
    }
    if settings.command.is_off() && settings.identity.registry.as_os_str().is_empty() {
        found.push(advice(
            "standby",
            "each of the two knows whom was imported at it, and nobody else: without [command] import \
             every change at both"
                .to_owned(),
        ));
    }
    found
}

/// Whether Home Assistant is told, and of how much.
fn discovery(settings: &Settings) -> Option<Finding> {
    let prefix = &settings.discovery.home_assistant_prefix;
    let fixtures = settings.fixture.len();
    settings.discovery.home_assistant.then(|| match fixtures {
        0 => advice("discovery", "Home Assistant is told of no fixture: there is none".to_owned()),
        _ => good(
            "discovery",
            &format!("Home Assistant is told of {fixtures} fixtures under `{prefix}/`"),
        ),
    })
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

/// The adapters that there are: by bluetoothd for those that it shares, else by the kernel, which
/// alone tells whether Bluetooth Classic is on.
struct Adapters {
    shared: Result<Vec<Known>, String>,
    all: Vec<Known>,
}

/// One adapter.
struct Known {
    name: String,
    address: Option<DeviceAddress>,
    powered: bool,
    classic: Option<bool>,
}

async fn adapters(settings: &Settings) -> Adapters {
    let call_timeout = settings.scan.call_timeout.0;
    let kernel = async {
        let mut management = Management::open(Clock::start(), call_timeout).ok()?;
        management.adapters().await.ok()
    };
    let all = kernel.await.unwrap_or_default().into_iter().map(|adapter| Known {
        name: adapter.name(),
        address: Some(adapter.address),
        powered: adapter.powered,
        classic: Some(adapter.classic == Classic::On),
    });
    Adapters { all: all.collect(), shared: shared(call_timeout).await }
}

#[cfg(feature = "bluetooth")]
async fn shared(call_timeout: Duration) -> Result<Vec<Known>, String> {
    let adapters =
        crate::scan::bluez::adapters(call_timeout).await.map_err(|error| chain(&error))?;
    let known = adapters.into_iter().map(|adapter| Known {
        name: adapter.name,
        address: adapter.address,
        powered: adapter.powered,
        classic: None,
    });
    Ok(known.collect())
}

#[cfg(not(feature = "bluetooth"))]
#[expect(clippy::unused_async, reason = "the build with Bluetooth has to ask")]
async fn shared(_: Duration) -> Result<Vec<Known>, String> {
    Err("this build cannot ask bluetoothd; build it with `--features bluetooth`".to_owned())
}

/// What is to be said about the adapter of one receiver.
fn adapter(receiver: &ReceiverSettings, adapters: &Adapters) -> Finding {
    let (known, dedicated) = match (&receiver.backend, &adapters.shared) {
        (Backend::Hci(_), _) => (&adapters.all, true),
        (Backend::Bluez { .. }, Ok(shared)) => (shared, false),
        (Backend::Bluez { .. }, Err(why)) => {
            let cure = "start bluetooth.service; the gateway waits for it";
            return advice("adapter", format!("{why}; {cure}"));
        }
    };
    let id = receiver.id.as_str();
    match known.iter().find(|known| known.is(receiver.adapter)) {
        Some(known) if dedicated => {
            good("adapter", &format!("{} for the receiver `{id}` alone", known.described()))
        }
        Some(known) if known.powered => {
            good("adapter", &format!("{} is on, for the receiver `{id}`", known.described()))
        }
        Some(known) => advice(
            "adapter",
            format!(
                "{} is switched off; `bluetoothctl power on`, and see `rfkill`",
                known.described()
            ),
        ),
        None if known.is_empty() => {
            advice("adapter", "there is none; plug one in, the gateway waits for it".to_owned())
        }
        None => {
            let names: Vec<String> = known.iter().map(Known::described).collect();
            let wanted = &receiver.adapter;
            advice(
                "adapter",
                format!(
                    "{wanted}, of the receiver `{id}`, is not there; there is only {}",
                    names.join(", ")
                ),
            )
        }
    }
}

/// What stands in the radio's way.
fn radio(settings: &LiveSettings, adapters: &Adapters) -> Vec<Finding> {
    use crate::scan::advice::{self, Wanted};
    let plane = settings.receivers.iter().find_map(|receiver| match receiver.backend {
        Backend::Bluez { data } => Some(data),
        Backend::Hci(_) => None,
    });
    let hci = settings.receivers.iter().any(|it| matches!(it.backend, Backend::Hci(_)));
    // Whoever shares an adapter need not be able to reset it; a rebuild serves then.
    let mut facts = advice::facts::gather(Wanted { bluez: plane, hci, reset: hci });
    let known = |name: &str| adapters.all.iter().find(|known| known.name == name);
    for radio in &mut facts.radios {
        radio.classic = known(&radio.name).and_then(|known| known.classic);
    }
    facts.radios.retain(|radio| {
        settings.receivers.iter().any(|receiver| match known(&radio.name) {
            Some(known) => known.is(receiver.adapter),
            None => true,
        })
    });
    advice::judge(&facts).into_iter().map(Finding::from).collect()
}

// === impl Known ===

impl Known {
    fn is(&self, wanted: hci::Wanted) -> bool {
        match wanted {
            hci::Wanted::First => true,
            hci::Wanted::Index(index) => self.name == format!("hci{index}"),
            hci::Wanted::Address(address) => {
                self.address.is_some_and(|it| it.octets() == address.octets())
            }
        }
    }

    /// Its name, and its address as `[[scan.adapters]]` wants it. It is the shop's own.
    fn described(&self) -> String {
        match self.address {
            Some(address) => {
                let octets = address.octets().map(|octet| format!("{octet:02X}"));
                format!("{} ({})", self.name, octets.join(":"))
            }
            None => self.name.clone(),
        }
    }
}

pub(super) fn good(what: &'static str, text: &str) -> Finding {
    Finding { what, verdict: Verdict::Good, text: text.to_owned() }
}

pub(super) fn advice(what: &'static str, text: String) -> Finding {
    Finding { what, verdict: Verdict::Advice, text }
}

pub(super) fn wrong(what: &'static str, text: String) -> Finding {
    Finding { what, verdict: Verdict::Wrong, text }
}

// === impl Finding ===

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

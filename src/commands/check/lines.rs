//! The lines to others: brokers, remote receivers, a lead, the other gateway of a pair, Home Assistant.
//! Certificates, keys and names are looked at; nobody is connected to.

use std::path::Path;

use super::{Finding, advice, good, wrong};
use crate::{
    clock::Clock,
    gateway::chain,
    settings::{Role, Settings},
    uplink::{self, Access, Broker, payload::utc},
};

/// When the files' certificates end; the broker's is seen only when it is connected to.
pub(super) fn certificates(access: &Access) -> Vec<Finding> {
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
pub(super) async fn brokers(settings: &Settings) -> Vec<Finding> {
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
pub(super) async fn remotes(settings: &Settings, credentials: Option<&Path>) -> Vec<Finding> {
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
pub(super) async fn relay(settings: &Settings, credentials: Option<&Path>) -> Vec<Finding> {
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
pub(super) fn pair(settings: &Settings, credentials: Option<&Path>) -> Vec<Finding> {
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
pub(super) fn discovery(settings: &Settings) -> Option<Finding> {
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

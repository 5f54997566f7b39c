//! What `check` says about the registry's store and its keys.

use super::keys;
use crate::{
    clock::Clock,
    commands::check::{Finding, advice, good, wrong},
    gateway::chain,
    registry::store::{RegistryStore, RegistryStoreError},
    seal::{CREDENTIAL, KeyOrigin},
    settings::Settings,
};

/// Nothing where there was never a registry, and no key for one.
pub(in crate::commands) fn findings(settings: &Settings) -> Vec<Finding> {
    let source = keys(settings);
    let file = source.key_file();
    let file = file.display();
    let mut found = Vec::new();
    match source.load() {
        Err(error) => found.push(wrong("registry key", chain(&error))),
        Ok(None) => (),
        Ok(Some(keys)) => found.push(match keys.origin {
            KeyOrigin::Credential => good("registry key", "it is a credential of systemd"),
            KeyOrigin::File => advice("registry key", in_file(&file.to_string())),
            KeyOrigin::Both { covered: true } => advice(
                "registry key",
                format!(
                    "it is a credential of systemd, and also in {file}: remove the copy with \
                     `beacon-gateway registry rotate-key`"
                ),
            ),
            KeyOrigin::Both { covered: false } => advice(
                "registry key",
                format!(
                    "there is one as a credential of systemd, and another in {file}: move to the \
                     credential's with `beacon-gateway registry rotate-key`"
                ),
            ),
        }),
    }
    let store = RegistryStore::open_existing(&settings.gateway.state_dir, &source, Clock::start());
    match store {
        // Nobody was ever enrolled here; or the keys' trouble was said already.
        Ok(None) | Err(RegistryStoreError::Keys(_)) => (),
        Ok(Some(store)) => {
            let version = store.version();
            found.push(good(
                "registry store",
                &format!(
                    "{} subjects are enrolled, {} withdrawals are remembered",
                    version.subjects, version.withdrawn
                ),
            ));
        }
        // The gateway runs without, and recognises nobody; time or a file cures it.
        Err(
            error @ (RegistryStoreError::Lost { .. }
            | RegistryStoreError::Unreadable { .. }
            | RegistryStoreError::InUse { .. }),
        ) => found.push(advice("registry store", chain(&error))),
        Err(error) => found.push(wrong("registry store", chain(&error))),
    }
    found
}

fn in_file(file: &str) -> String {
    format!(
        "it is in {file}, beside the registry: whoever takes this machine's card has both. Keep it \
         as a credential: `systemd-creds encrypt --name={CREDENTIAL} {file} \
         /etc/credstore.encrypted/beacon-gateway.{CREDENTIAL}`, install the drop-in \
         registry-key.conf, restart, then `registry rotate-key` (the drop-in has the commands in \
         full). It helps against a stolen card where \
         the machine has a TPM2 chip (`systemd-creds has-tpm2`); where it has none, let something \
         from outside put the key into /run/credstore at each start"
    )
}

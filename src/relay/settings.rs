//! `[relay]`: where a receiver sends what it hears of members.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    remote,
    settings::Invalid,
    uplink::{self, BrokerUrl, Protocol},
};

/// The name of systemd's credential that may hold the shared key.
pub const CREDENTIAL: &str = "relay-key";

/// Credentials for a broker of its own are named as those of a remote receiver of this name.
const NAME: &str = "relay";

/// `[relay]`: where a receiver sends what it hears of members. Only with `gateway.role = "receiver"`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The file with the key that the lead has as well. When empty, systemd's credential `relay-key`.
    pub seal_key_file: PathBuf,
    /// The broker; that of `[uplink]`, with all that belongs to it, when empty.
    pub broker: BrokerUrl,
    /// The version of the protocol that its own broker speaks.
    pub protocol: Protocol,
    /// The user name at its own broker.
    pub username: String,
    /// The file that holds the password, in one line. When empty, systemd's credential
    /// `remote-password-relay` is used if there is one.
    pub password_file: PathBuf,
    /// Who may vouch for the broker's certificate (PEM); what `uplink.ca_file` names when empty.
    pub ca_file: PathBuf,
    /// A client certificate and its key (PEM), if the broker wants them.
    pub certificate_file: PathBuf,
    /// The key of the certificate.
    pub key_file: PathBuf,
}

impl Settings {
    /// Checks what belongs to a broker of its own.
    pub fn check(&self, uplink: &uplink::Settings) -> Result<(), Invalid> {
        self.as_remote().check_broker(uplink, "relay.")
    }

    /// How to come to the broker. `credentials` is systemd's directory of them.
    pub fn line(&self, uplink: &uplink::Settings, credentials: Option<&Path>) -> uplink::Settings {
        self.as_remote().line(uplink, credentials)
    }

    /// Where the shared key is; empty when nothing says so.
    pub fn key_path(&self, credentials: Option<&Path>) -> PathBuf {
        super::key_path(&self.seal_key_file, credentials, CREDENTIAL)
    }

    fn as_remote(&self) -> remote::Settings {
        remote::Settings {
            id: NAME.to_owned(),
            broker: self.broker.clone(),
            protocol: self.protocol,
            username: self.username.clone(),
            password_file: self.password_file.clone(),
            ca_file: self.ca_file.clone(),
            certificate_file: self.certificate_file.clone(),
            key_file: self.key_file.clone(),
            ..remote::Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_broker_of_its_own_is_refused_without_one() {
        let uplink =
            uplink::Settings { broker: BrokerUrl::new("mqtt://b"), ..uplink::Settings::default() };
        let login = Settings { username: "u".to_owned(), ..Settings::default() };
        let message = login.check(&uplink).unwrap_err().to_string();
        assert!(message.contains("relay.username") && message.contains("broker"), "{message}");
        let own = Settings { broker: BrokerUrl::new("ftp://b"), ..Settings::default() };
        let message = own.check(&uplink).unwrap_err().to_string();
        assert!(message.contains("relay.broker"), "{message}");
        assert_eq!(Settings::default().check(&uplink), Ok(()));
        assert_eq!(Settings::default().line(&uplink, None), uplink);
    }

    #[test]
    fn the_named_file_wins_over_the_credential() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::default().key_path(Some(dir.path())), PathBuf::new());
        let credential = dir.path().join(CREDENTIAL);
        std::fs::write(&credential, "x").unwrap();
        assert_eq!(Settings::default().key_path(Some(dir.path())), credential);
        let named = Settings { seal_key_file: "/k".into(), ..Settings::default() };
        assert_eq!(named.key_path(Some(dir.path())), PathBuf::from("/k"));
    }
}

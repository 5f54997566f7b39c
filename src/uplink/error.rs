//! Why the uplink cannot start. Everything here wants another configuration; what can be cured by
//! trying again never leaves the room.

use std::{fmt, io, path::PathBuf};

use rustls::pki_types::pem;
use thiserror::Error;

use super::{broker::Broker, settings::SettingsError};

/// Why the uplink cannot start, in the words of somebody who can change it.
#[derive(Debug, Error)]
pub enum UplinkError {
    /// A value in `[uplink]` cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),

    /// The password is not where the configuration says.
    #[error(
        "failed to read the password in `{path}`; check that the file exists and that the \
         daemon's user may read it"
    )]
    ReadPassword {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// The password file holds something else.
    #[error("the file `{path}` must hold the password and nothing else, in one line of UTF-8 text")]
    NotAPassword {
        /// The file.
        path: PathBuf,
    },

    /// A certificate or key is not where the configuration says.
    #[error(
        "failed to read `{path}`, named by `{key}`; check that the file exists and that the \
         daemon's user may read it"
    )]
    ReadPem {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// A file is damaged.
    #[error("failed to understand `{path}`, named by `{key}`; it must be text in PEM form")]
    DamagedPem {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },

    /// A file holds no certificate.
    #[error(
        "`{path}`, named by `{key}`, holds no certificate; it must have a block that begins with \
         `-----BEGIN CERTIFICATE-----`"
    )]
    NoCertificate {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },

    /// A file holds certificates, but none that can vouch for a broker.
    #[error("none of the {count} certificates in `{path}`, named by `uplink.ca_file`, is usable")]
    NoUsableAuthority {
        /// The file.
        path: PathBuf,
        /// How many it holds.
        count: usize,
    },

    /// A file holds no private key.
    #[error(
        "`{path}`, named by `uplink.key_file`, holds no private key; it must have a block that \
         begins with `-----BEGIN PRIVATE KEY-----`"
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },

    /// A private key wants a passphrase.
    #[error(
        "the private key in `{path}` is encrypted, and nobody is there to type its passphrase; \
         decrypt it with `openssl pkey` and protect the file by its permissions"
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },

    /// Certificate and key are not a pair.
    #[error("the private key in `{key}` does not belong to the certificate in `{certificate}`")]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },

    /// Certificate and key are of a kind that TLS cannot use.
    #[error("failed to use the certificate in `{certificate}` with the private key in `{key}`")]
    UnusableKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },

    /// The TLS library does not work with our settings.
    #[error("failed to set TLS up")]
    SetUpTls(#[source] rustls::Error),

    /// The broker's name has no address.
    #[error(
        "failed to find the address of {broker} or of the proxy before it; check the names in \
         `uplink`, and that this machine has a working name server (`getent hosts NAME`)"
    )]
    Resolve {
        /// The broker.
        broker: Broker,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Something that works and yet should be changed; printed by `check`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Advisory {
    /// Any user of the machine can read a secret.
    WorldReadable(PathBuf),
    /// The password travels unencrypted.
    PasswordInTheClear(Broker),
    /// systemd hands a password over, and there is no user name to go with it.
    CredentialUnused,
}

impl fmt::Display for Advisory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorldReadable(path) => write!(
                f,
                "every user of this machine can read the secret in `{0}`; run `chmod o= {0}`",
                path.display()
            ),
            Self::PasswordInTheClear(broker) => write!(
                f,
                "the password travels unencrypted to {broker}; use `mqtts://` in `uplink.broker`"
            ),
            Self::CredentialUnused => f.write_str(
                "systemd passes the credential `mqtt-password`, but `uplink.username` is empty, so \
                 it is not used",
            ),
        }
    }
}

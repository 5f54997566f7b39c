//! An authority made for a test, by OpenSSL, and what it vouched for.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{path::PathBuf, process::Command, sync::Arc};

use beacon_gateway::uplink::{BrokerUrl, Protocol, Settings};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;

use super::{mosquitto::Mosquitto, rig::settings};

/// An authority, and what it vouched for.
pub(crate) struct Authority {
    dir: TempDir,
}

/// How OpenSSL is to make a key pair and sign it.
const PAIR: [&str; 6] =
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

impl Authority {
    pub(crate) fn new() -> Self {
        let authority = Self { dir: TempDir::new().expect("no temporary directory") };
        authority.make_itself();
        authority
    }

    /// Makes `ca.pem` and `ca.key`, perhaps anew.
    fn make_itself(&self) {
        let rest =
            ["-nodes", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out"];
        self.openssl(&[&PAIR[..], &rest, &["ca.pem"]].concat());
    }

    /// Makes `name.pem` and `name.key`, which are good for two days.
    pub(crate) fn vouch_for(&self, name: &str, alternative_name: &str) {
        self.vouch_for_days(name, alternative_name, 2);
    }

    /// Makes `name.pem` and `name.key`, which are good for so many days.
    pub(crate) fn vouch_for_days(&self, name: &str, alternative_name: &str, days: u32) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let (subject, names) =
            (format!("/CN={name}"), format!("subjectAltName={alternative_name}"));
        let days = days.to_string();
        let rest = ["-nodes", "-days", &days, "-subj", &subject, "-addext", &names, "-addext"];
        let signed = ["basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey", "ca.key"];
        let out = ["-keyout", &key, "-out", &certificate];
        self.openssl(&[&PAIR[..], &rest, &signed, &out].concat());
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.dir)
            .output()
            .expect("openssl does not start; install the package `openssl`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The lines for a mosquitto with a certificate of this authority for 127.0.0.1.
    pub(crate) fn certified(&self) -> String {
        self.vouch_for("broker", "IP:127.0.0.1,DNS:localhost");
        let path = |name: &str| self.path(name).display().to_string();
        format!(
            "certfile {}\nkeyfile {}\ncafile {}",
            path("broker.pem"),
            path("broker.key"),
            path("ca.pem")
        )
    }

    /// A mosquitto with a certificate of this authority for 127.0.0.1.
    pub(crate) fn mosquitto(&self, extra: &str) -> Mosquitto {
        Mosquitto::start(&format!("{}\n{extra}", self.certified()))
    }

    pub(crate) fn settings(&self, mosquitto: &Mosquitto) -> Settings {
        Settings {
            broker: BrokerUrl::new(format!("mqtts://127.0.0.1:{}", mosquitto.port())),
            ca_file: self.path("ca.pem"),
            ..settings(Protocol::V5, mosquitto.port())
        }
    }

    /// What a server of the test needs to be taken for 127.0.0.1.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.vouch_for("broker", "IP:127.0.0.1,DNS:localhost");
        let chain = vec![CertificateDer::from_pem_file(self.path("broker.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path("broker.key")).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

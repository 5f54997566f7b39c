//! TLS with an authority made for the test, and what is said when a file is wrong.

use std::{fs, path::Path, process::Command};

use beacon_gateway::uplink::{Access, BrokerUrl, Protocol, Settings};

use crate::support::{
    authority::Authority,
    mosquitto::Mosquitto,
    rig::{Rig, numbered, offline_because},
};

#[tokio::test]
async fn records_travel_over_tls_in_both_versions_of_the_protocol() {
    let authority = Authority::new();
    let mosquitto = authority.mosquitto("");
    for protocol in [Protocol::V311, Protocol::V5] {
        let rig = Rig::start(Settings { protocol, ..authority.settings(&mosquitto) });
        rig.outbox.append(numbered(1..=100));
        rig.delivered().await;
        let (totals, _) = rig.stop().await;
        assert_eq!((totals.acknowledged, totals.faults), (100, 0));
    }
    // By name, which may lead to an IPv6 address nobody listens on first.
    let by_name = BrokerUrl::new(format!("mqtts://localhost:{}", mosquitto.port()));
    let mut rig = Rig::start(Settings { broker: by_name, ..authority.settings(&mosquitto) });
    rig.online().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_broker_of_another_authority_is_refused() {
    let authority = Authority::new();
    let mosquitto = authority.mosquitto("");
    let stranger = Authority::new();
    let settings = Settings { ca_file: stranger.path("ca.pem"), ..authority.settings(&mosquitto) };
    let mut rig = Rig::start(settings);
    rig.outbox.append(numbered(1..=1));
    offline_because(&mut rig, "TLS with the broker failed (invalid peer certificate").await;
    offline_because(&mut rig, "check `uplink.ca_file`").await;
    let (totals, outbox) = rig.stop().await;
    assert_eq!((totals.connections, outbox.pending()), (0, 1));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    authority.vouch_for("broker", "DNS:elsewhere.example.org");
    let path = |name: &str| authority.path(name).display().to_string();
    let mosquitto = Mosquitto::start(&format!(
        "certfile {}\nkeyfile {}\n",
        path("broker.pem"),
        path("broker.key")
    ));
    let mut rig = Rig::start(authority.settings(&mosquitto));
    offline_because(&mut rig, "TLS with the broker failed (invalid peer certificate").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_client_certificate_opens_the_door_and_nothing_else_does() {
    let authority = Authority::new();
    authority.vouch_for("gw1", "DNS:gw1");
    let mosquitto = authority.mosquitto("require_certificate true");
    let without = authority.settings(&mosquitto);
    let mut rig = Rig::start(without.clone());
    offline_because(&mut rig, "TLS with the broker failed").await;
    let (totals, _) = rig.stop().await;
    assert_eq!(totals.connections, 0);
    let with = Settings {
        certificate_file: authority.path("gw1.pem"),
        key_file: authority.path("gw1.key"),
        ..without
    };
    let rig = Rig::start(with);
    rig.outbox.append(numbered(1..=100));
    rig.delivered().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_counts_from_the_next_connection_on() {
    let authority = Authority::new();
    let mut mosquitto = authority.mosquitto("");
    let old = Authority::new();
    let ca_file = authority.path("trusted.pem");
    fs::copy(old.path("ca.pem"), &ca_file).unwrap();
    let settings = Settings { ca_file: ca_file.clone(), ..authority.settings(&mosquitto) };
    let mut rig = Rig::start(settings);
    offline_because(&mut rig, "TLS with the broker failed").await;
    fs::write(&ca_file, "half a certificate").unwrap();
    mosquitto.kill();
    offline_because(&mut rig, "cannot be reached").await;
    fs::copy(authority.path("ca.pem"), &ca_file).unwrap();
    assert!(mosquitto.start_again());
    rig.online().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_password_is_sent_and_a_wrong_one_refused_in_words() {
    let authority = Authority::new();
    let passwords = authority.path("passwords");
    // mosquitto_passwd is part of the package `mosquitto`.
    let made = Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&passwords)
        .args(["gateway", "s3cret"])
        .output()
        .expect("mosquitto_passwd does not start; install the package `mosquitto`");
    assert!(made.status.success());
    let mosquitto = authority
        .mosquitto(&format!("allow_anonymous false\npassword_file {}", passwords.display()));
    for (protocol, says) in
        [(Protocol::V5, "access rules (0x87)"), (Protocol::V311, "not authorised")]
    {
        for (password, welcome) in [("s3cret\n", true), ("guess\n", false)] {
            let password_file = authority.path("password");
            fs::write(&password_file, password).unwrap();
            let mut rig = Rig::start(Settings {
                protocol,
                username: "gateway".to_owned(),
                password_file,
                ..authority.settings(&mosquitto)
            });
            if welcome {
                rig.online().await;
            } else {
                offline_because(&mut rig, says).await;
            }
            rig.stop().await;
        }
    }
}

fn refusal(settings: &Settings) -> String {
    Access::load(settings, None).expect_err("it was loaded").to_string()
}

#[test]
fn a_file_that_is_wrong_is_named_with_what_is_wrong_with_it() {
    let authority = Authority::new();
    authority.vouch_for("gw1", "DNS:gw1");
    authority.vouch_for("gw2", "DNS:gw2");
    let write = |name: &str, contents: &str| {
        fs::write(authority.path(name), contents).unwrap();
        authority.path(name)
    };
    let good = Settings {
        broker: BrokerUrl::new("mqtts://broker.example.org"),
        ca_file: authority.path("ca.pem"),
        certificate_file: authority.path("gw1.pem"),
        key_file: authority.path("gw1.key"),
        ..Settings::default()
    };
    assert!(Access::load(&good, None).is_ok());
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = good.clone();
        change(&mut settings);
        refusal(&settings)
    };
    let says = |message: String, parts: &[&str]| {
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    };
    let nowhere = Path::new("/nonexistent/ca.pem").to_path_buf();
    says(
        with(&|s| s.ca_file.clone_from(&nowhere)),
        &["failed to read `/nonexistent/ca.pem`", "`uplink.ca_file`", "check that the file exists"],
    );
    let empty = write("empty.pem", "nothing here\n");
    says(with(&|s| s.ca_file.clone_from(&empty)), &["empty.pem", "holds no certificate"]);
    let block = |contents: &str| {
        format!("-----BEGIN CERTIFICATE-----\n{contents}\n-----END CERTIFICATE-----\n")
    };
    let damaged = write("damaged.pem", &block("!!!"));
    says(with(&|s| s.ca_file.clone_from(&damaged)), &["damaged.pem", "must be text in PEM form"]);
    let useless = write("useless.pem", &block("AAAA"));
    says(with(&|s| s.ca_file.clone_from(&useless)), &["none of the 1 certificates", "useless.pem"]);
    says(
        with(&|s| s.certificate_file.clone_from(&s.key_file)),
        &["gw1.key", "`uplink.certificate_file`", "holds no certificate"],
    );
    says(
        with(&|s| s.key_file.clone_from(&s.certificate_file)),
        &["gw1.pem", "`uplink.key_file`", "holds no private key"],
    );
    let other = authority.path("gw2.key");
    says(
        with(&|s| s.key_file.clone_from(&other)),
        &["the private key in", "gw2.key", "does not belong to the certificate in", "gw1.pem"],
    );
    authority.openssl(&[
        "pkey",
        "-in",
        "gw1.key",
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        "locked.key",
    ]);
    let locked = authority.path("locked.key");
    says(with(&|s| s.key_file.clone_from(&locked)), &["locked.key", "encrypted", "openssl pkey"]);
}

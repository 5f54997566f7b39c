//! Commands that are refused: reported by a word, and nothing has changed.
#![expect(clippy::indexing_slicing, reason = "the commands are those of the test itself")]

use std::{
    io,
    sync::{Arc, Mutex},
};

use beacon_gateway::{
    command::{Reason, Standing},
    uplink::{RegistryTopic::Upsert, Topic},
};
use serde_json::{Value, json};

use super::rig::{Corridor, PROTOCOLS, Platform, Rig, result_topic};
use crate::support::{
    eventually,
    mosquitto::Mosquitto,
    rig::topics,
    signer::{ADDRESS, Signer},
};

/// Everything that was logged.
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<u8>>>);

impl Journal {
    /// Takes what this thread logs from now on.
    pub(super) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let journal = Self::default();
        let writer = journal.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (journal, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Journal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Commands that must be refused by a gateway that has come to 3, and why.
fn bad_commands(signer: &Signer) -> Vec<(Reason, Vec<u8>)> {
    let stranger = Signer::new("platform-1", 99);
    let unknown = Signer::new("platform-9", 1);
    let with = |claim: &str, value: Value| {
        let body = json!({"subjects": []});
        let mut claims = Signer::claims("upsert", 4, &body);
        claims[claim] = value;
        signer.sign(&claims)
    };
    let good = signer.upsert(4, &["eve"]);
    vec![
        (Reason::Unsigned, br#"{"subjects":[]}"#.to_vec()),
        (Reason::Unsigned, good[..good.len() / 2].to_vec()),
        (Reason::Malformed, b"e30.e30.e30".to_vec()),
        (Reason::Signature, stranger.upsert(4, &["eve"])),
        (Reason::Signature, good[..good.len() - 2].to_vec()),
        (Reason::UnknownKey, unknown.upsert(4, &["eve"])),
        (Reason::Algorithm, b"eyJhbGciOiJub25lIn0.e30.AA".to_vec()),
        (Reason::Audience, with("aud", json!("acme/berlin-04"))),
        (Reason::Expired, with("exp", json!(1_700_000_000))),
        (Reason::Future, with("iat", json!(40_000_000_000_i64))),
        (Reason::WrongTopic, signer.withdraw(4, &["ann"])),
        (Reason::Claims, with("num", json!("4"))),
        (Reason::Replayed, signer.upsert(3, &["eve"])),
        (Reason::Replayed, signer.upsert(1, &["eve"])),
        (Reason::Gap, signer.upsert(9, &["eve"])),
        (Reason::Body, with("body", json!({"subjects": [], "secret": ADDRESS}))),
    ]
}

#[tokio::test]
async fn what_is_wrong_is_refused_counted_and_reported_and_changes_nothing() {
    for protocol in PROTOCOLS {
        let (journal, _guard) = Journal::start();
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let standing = Standing { last: 3, ..Standing::default() };
        let corridor = Corridor::with(standing);
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        let bad = bad_commands(&platform.signer);
        for (n, (reason, command)) in bad.iter().enumerate() {
            platform.tell(Upsert, command).await;
            let so_many = || rig.totals().refused_in_all() == n as u64 + 1;
            eventually(&format!("a refusal for {reason}"), so_many).await;
            platform.result(&[("reason", json!(reason.word()))]).await;
        }
        // The platform's own numbers go on where they were.
        assert_eq!(corridor.standing(), standing);
        assert!(corridor.orders().is_empty());
        platform.tell(Upsert, &platform.signer.upsert(4, &["ann"])).await;
        platform.result(&[("number", json!(4)), ("outcome", json!("done"))]).await;
        let totals = rig.stop().await;
        for (reason, _) in &bad {
            let expected = bad.iter().filter(|(other, _)| other == reason).count() as u64;
            assert_eq!(totals.refused_for(*reason), expected, "{reason}");
        }
        assert_eq!(totals.received, totals.refused_in_all() + totals.carried);

        // Nothing of a command is said again, neither to the platform nor to the log.
        let said: String = platform.results().iter().map(Value::to_string).collect();
        for text in [journal.text(), said] {
            assert!(!text.contains(ADDRESS) && !text.contains("eyJ"), "{text}");
            assert!(!text.contains("form-1") && !text.contains("eve"), "{text}");
        }
        assert!(journal.text().contains("A command was refused."));
    }
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_refused_under_one_name() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    let mut claims = Signer::claims("self-destruct", 1, &json!({}));
    claims["aud"] = json!("acme/berlin-03/gw1");
    let command = platform.signer.sign(&claims);
    let topic = topics().spell(Topic::Command("self-destruct"));
    platform.publisher.publish(&topic, &command).await;
    let refused = platform.result(&[("reason", json!("unknown_command"))]).await;
    assert_eq!((&refused["command"], &refused["number"]), (&json!("unknown"), &json!(1)));
    assert_eq!(platform.topics(), [result_topic("unknown")]);
    rig.stop().await;
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_and_answered_now_and_then() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    for _ in 0..200 {
        platform.tell(Upsert, b"forged").await;
    }
    eventually("all refused", || rig.totals().refused_in_all() == 200).await;
    // And what is sound gets through.
    platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
    platform.result(&[("outcome", json!("done"))]).await;
    assert_eq!(platform.results().len(), 21);
    rig.stop().await;
}

#[tokio::test]
async fn a_command_waits_for_the_clock_to_be_set() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    rig.synced.send_replace(false);
    platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
    eventually("a closed gate", || !rig.gate()).await;
    assert!(corridor.orders().is_empty() && platform.results().is_empty());
    rig.synced.send_replace(true);
    platform.result(&[("number", json!(1)), ("outcome", json!("done"))]).await;
    rig.caught_up().await;
    assert_eq!(rig.stop().await.refused_in_all(), 0);
}

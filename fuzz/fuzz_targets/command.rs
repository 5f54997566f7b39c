//! Any bytes are a command, or are not: judging them ends. Without a signature none is accepted;
//! with one, whatever the claims say, the numbers go forward and what is refused changes nothing.
#![no_main]

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use beacon_gateway::{
    command::{Decision, Desk, Moment, Settings, Standing, TrustedKey},
    engine::{ClockQuality, UnixTime},
    uplink::{RegistryTopic, Topics},
};
use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair};

static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());

const TOPICS: [&str; 6] = [
    "beacon/v1/acme/berlin-03/registry/upsert",
    "beacon/v1/acme/berlin-03/registry/withdraw",
    "beacon/v1/acme/berlin-03/registry/snapshot",
    "beacon/v1/acme/berlin-03/registry/withdrawn",
    "beacon/v1/acme/berlin-03/registry/version",
    "beacon/v1/acme/berlin-03/gw1/command/replay",
];

fn desk() -> Desk {
    let key = URL_SAFE_NO_PAD.encode(PAIR.public_key());
    let trusted_keys = vec![TrustedKey { id: "k".to_owned(), key }];
    let keyring = Settings { trusted_keys, ..Settings::default() }.validate().unwrap();
    let name = |name: &str| name.parse().unwrap();
    let topics = Topics::new(name("acme"), name("berlin-03"), name("gw1"));
    for (topic, text) in RegistryTopic::ALL.into_iter().zip(TOPICS) {
        assert_eq!(topics.spell_registry(topic), text);
    }
    Desk::new(keyring, topics, Standing { last: 4, ..Standing::default() })
}

/// The bytes as the claims of a good signature.
fn signed(claims: &[u8]) -> Vec<u8> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"k"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(PAIR.sign(message.as_bytes()));
    format!("{message}.{signature}").into_bytes()
}

// The first byte chooses: the topic (lowest three bits), whether the clock is set (the next), and
// whether the rest are whole messages or claims to be signed (the next); lines are one message each.
fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let quality = if choice & 8 == 0 { ClockQuality::Synced } else { ClockQuality::Unsynced };
    let now = Moment { unix: UnixTime::from_millis(1_800_000_000_000), quality };
    let mut desk = desk();
    for (n, line) in rest.split(|byte| *byte == b'\n').enumerate() {
        let topic = TOPICS[(usize::from(choice & 7) + n) % TOPICS.len()];
        let sign = choice & 16 != 0;
        let before = desk.standing();
        let message = if sign { signed(line) } else { line.to_vec() };
        match desk.judge(topic, &message, now) {
            Decision::Accept(accepted) => {
                assert!(sign, "nobody signed this");
                assert!(accepted.standing.last >= before.last);
                assert!(accepted.standing.floor >= before.floor);
                assert!(accepted.standing.list >= before.list);
                assert!(accepted.standing.gateway >= before.gateway);
                desk.carried(accepted.command, accepted.standing);
            }
            Decision::Noted(_) => assert!(sign, "nobody signed this"),
            Decision::Refuse(refusal) => assert!(sign || refusal.number.is_none()),
        }
        if let Some(wanted) = desk.wanted() {
            assert!(wanted.need > wanted.have && sign);
        }
    }
});

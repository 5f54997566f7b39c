//! A platform's key, and the commands it signs.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use beacon_gateway::{clock::Clock, command::TrustedKey};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// Signs commands.
pub(crate) struct Signer {
    id: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub(crate) fn new(id: &str, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        Self { id: id.to_owned(), pair }
    }

    /// The public half, as it stands in the configuration.
    pub(crate) fn trusted(&self) -> TrustedKey {
        let key = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        TrustedKey { id: self.id.clone(), key }
    }

    /// The claims of a command to the store of the tests, good for an hour.
    pub(crate) fn claims(command: &str, number: u64, body: &Value) -> Value {
        let now = Clock::start().wall().unix.as_millis() / 1000;
        json!({"iss": "platform", "aud": "acme/berlin-03", "iat": now, "exp": now + 3600,
               "num": number, "cmd": command, "body": body})
    }

    pub(crate) fn sign(&self, claims: &Value) -> Vec<u8> {
        let header = json!({"alg": "EdDSA", "kid": self.id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}").into_bytes()
    }

    /// A whole command.
    pub(crate) fn command(&self, command: &str, number: u64, body: &Value) -> Vec<u8> {
        self.sign(&Self::claims(command, number, body))
    }

    pub(crate) fn upsert(&self, number: u64, names: &[&str]) -> Vec<u8> {
        self.command("upsert", number, &json!({ "subjects": subjects(names) }))
    }

    pub(crate) fn withdraw(&self, number: u64, names: &[&str]) -> Vec<u8> {
        self.command("withdraw", number, &json!({ "subjects": names }))
    }

    pub(crate) fn part(&self, number: u64, (part, parts): (u32, u32), names: &[&str]) -> Vec<u8> {
        let body =
            json!({"snapshot": "s-1", "part": part, "parts": parts, "subjects": subjects(names)});
        self.command("snapshot", number, &body)
    }

    pub(crate) fn withdrawn(&self, number: u64, names: &[&str]) -> Vec<u8> {
        let entry = |name: &&str| json!({"subject": name, "since": "2026-06-01T00:00:00Z"});
        let list: Vec<Value> = names.iter().map(entry).collect();
        self.command("withdrawn", number, &json!({"withdrawn": list, "number": number}))
    }

    pub(crate) fn version(&self, number: u64) -> Vec<u8> {
        self.command("version", number, &json!({ "number": number }))
    }
}

/// An address that every subject of these tests has, to look for where it must not be.
pub(crate) const ADDRESS: &str = "C0:FE:22:33:44:55";

fn subjects(names: &[&str]) -> Vec<Value> {
    let subject = |name: &&str| {
        json!({"subject": name, "kind": "customer", "identifiers": [{"address": ADDRESS}],
               "consent": {"purposes": ["presence"], "from": "2026-01-01T00:00:00Z",
                           "proof": "form-1"}})
    };
    names.iter().map(subject).collect()
}

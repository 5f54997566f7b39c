//! Questions to gateways in, signed commands out, as `docs/commands.md` wants them.

use std::{fs, path::Path};

use anyhow::{Context, anyhow};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use beacon_gateway::clock::Clock;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

/// A gateway that was off for longer than this does not obey any more, in seconds.
const VALID_FOR: i64 = 3600;

/// Signs questions.
pub(crate) struct Asker {
    key: Ed25519KeyPair,
    key_id: String,
    /// The number of the last one.
    number: i64,
}

impl Asker {
    /// Reads a private key as `sign_command` writes it.
    pub(crate) fn new(file: &Path, key_id: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("failed to read `{}`", file.display()))?;
        let seed = hex::decode(text.trim()).context("the key file must hold hexadecimal digits")?;
        let key = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| anyhow!("the key must have 32 octets"))?;
        Ok(Self { key, key_id: key_id.to_owned(), number: 0 })
    }

    /// A command to the gateway of this source.
    pub(crate) fn sign(&mut self, source: &str, command: &str, body: &Value) -> Vec<u8> {
        let now = Clock::start().wall().unix.as_millis();
        // The numbers of commands to one gateway only need to grow: the time in milliseconds does.
        self.number = now.max(self.number + 1);
        let header = json!({"alg": "EdDSA", "kid": self.key_id});
        let claims = json!({
            "aud": source.trim_start_matches('/'),
            "iat": now / 1000,
            "exp": now / 1000 + VALID_FOR,
            "num": self.number,
            "cmd": command,
            "body": body,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}").into_bytes()
    }
}

//! `[identity]`: whom the gateway recognises, as the engine takes it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Invalid, Settings, Span, between};
use crate::engine::{IdentitySettings, frame::TokenUuid};

/// `[identity]`: whom the gateway recognises.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentitySection {
    /// The registry file, JSON Lines; empty means that nobody is enrolled. Read again on SIGHUP.
    pub registry: PathBuf,
    /// How many false recognitions a day a single matching resolvable address may be expected to
    /// cause, 0 to 1000. While more are expected, a second address must confirm the first.
    pub irk_max_false_per_day: f64,
    /// How many strangers' resolvable addresses a day to reckon with until a day was measured.
    pub irk_strangers_per_day: f64,
    /// How many keys may be tried against strangers' rotating addresses a second, 10000 to
    /// 1000000000.
    pub irk_checks_per_second: u32,
    /// How far an Eddystone-EID beacon's clock may be off, to either side, at most `24h`.
    pub eid_window: Span,
    /// How far to search for identities that rotate, to either side, while the clock is not synced,
    /// at most `7d`.
    pub wide_window: Span,
    /// The 16-bit service UUID that the operator owns and apps send their tokens under, like
    /// `"fc12"`; empty means the built-in 128-bit one alone.
    pub service_token_uuid: String,
    /// A folder of decoders for sensors that are not built in (docs/sensors.md); empty for none. A
    /// relative name counts from the folder of the configuration that says it.
    pub decoders: PathBuf,
}

impl Default for IdentitySection {
    fn default() -> Self {
        let engine = IdentitySettings::default();
        Self {
            registry: PathBuf::new(),
            irk_max_false_per_day: engine.irk_max_false_per_day,
            irk_strangers_per_day: engine.irk_strangers_per_day,
            irk_checks_per_second: engine.irk_checks_per_second,
            eid_window: Span(engine.eid_window),
            wide_window: Span(engine.wide_window),
            service_token_uuid: String::new(),
            decoders: PathBuf::new(),
        }
    }
}

impl Settings {
    /// The settings of the identity room.
    pub fn identity(&self) -> IdentitySettings {
        IdentitySettings {
            irk_max_false_per_day: self.identity.irk_max_false_per_day,
            irk_strangers_per_day: self.identity.irk_strangers_per_day,
            irk_checks_per_second: self.identity.irk_checks_per_second,
            eid_window: self.identity.eid_window.0,
            wide_window: self.identity.wide_window.0,
            tenant: self.tenant().unwrap_or_default(),
            token_uuid: self.identity.token_uuid().unwrap_or_default(),
            decoders: self.own_decoders,
        }
    }
}

impl IdentitySection {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let bounds = [
            ("identity.irk_max_false_per_day", self.irk_max_false_per_day, 1000.0),
            ("identity.irk_strangers_per_day", self.irk_strangers_per_day, 1e9),
        ];
        for (key, found, most) in bounds {
            if !(0.0..=most).contains(&found) {
                return Err(Invalid::new(
                    key,
                    found.to_string(),
                    &format!("allowed are 0 to {most}"),
                ));
            }
        }
        if !(10_000..=1_000_000_000).contains(&self.irk_checks_per_second) {
            return Err(Invalid::new(
                "identity.irk_checks_per_second",
                self.irk_checks_per_second.to_string(),
                "allowed are 10000 to 1000000000",
            ));
        }
        between("identity.eid_window", self.eid_window, Span::secs(0), Span::secs(86_400))?;
        between("identity.wide_window", self.wide_window, Span::secs(0), Span::secs(7 * 86_400))?;
        self.token_uuid().map(drop)
    }

    /// The operator's own UUID for service tokens, if one is set.
    fn token_uuid(&self) -> Result<Option<TokenUuid>, Invalid> {
        let text = self.service_token_uuid.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let is_hex = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let uuid = u16::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        uuid.and_then(TokenUuid::new).map(Some).ok_or_else(|| {
            Invalid::new(
                "identity.service_token_uuid",
                format!("`{text}`"),
                "write the four hexadecimal digits of a 16-bit UUID that you own, like `fc12`, and \
                 none that has another meaning here; or leave it empty",
            )
        })
    }
}

//! Section `[uplink]` of the configuration: its keys, their defaults and why, and what is allowed.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use super::broker::{Broker, BrokerUrl};
use crate::settings::Span;

/// Where Debian and its relatives keep the certificates of public authorities.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The most records in flight. rumqttc allocates four times as many slots and 16-bit packet
/// identifiers must not run out; beyond this a cut link only means more repetitions.
const WIDEST_WINDOW: u16 = 4096;

/// Section `[uplink]`. An empty text or path means: not set.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The broker's address, `mqtts://HOST:PORT` or `mqtt://HOST:PORT`. There is no default: what
    /// is heard in a shop must not go anywhere nobody chose.
    pub broker: BrokerUrl,
    /// `"5"` or `"3.1.1"`. MQTT 5 is the default because only there the broker says why it refuses
    /// a publish, and how many it takes at once.
    pub protocol: Protocol,
    /// The MQTT client identifier; derived from tenant, store and gateway when empty. It is fixed,
    /// so that the broker ends a half-dead connection of ours as soon as the next one comes.
    pub client_id: String,
    /// The user name, if the broker wants one.
    pub username: String,
    /// The file that holds the password, in one line. When empty, systemd's credential
    /// `mqtt-password` is used if there is one. The password itself is never in the configuration,
    /// because configurations are copied, shown and kept in version control.
    pub password_file: PathBuf,
    /// The certificates (PEM) of the authorities that may vouch for the broker. The default trusts
    /// what the operating system trusts; with an authority of your own, name its file here.
    pub ca_file: PathBuf,
    /// The client certificate and its chain (PEM), if the broker asks for one.
    pub certificate_file: PathBuf,
    /// The private key of the client certificate (PEM: PKCS#8, PKCS#1 or SEC1).
    pub key_file: PathBuf,
    /// The application protocols offered in the TLS handshake, most wanted first. Some hosted
    /// brokers want `["mqtt"]`, or `["x-amzn-mqtt-ca"]` on port 443; most want none.
    pub alpn: Vec<String>,
    /// How often an idle connection is tested, 5s to 1h. A dead link is noticed within twice this;
    /// 30s also keeps the usual routers from forgetting the connection.
    pub keep_alive: Span,
    /// How long name lookup, TCP, TLS and MQTT handshake may take together, 1s to 5m. Counted in
    /// whole seconds.
    pub connect_timeout: Span,
    /// How long the broker may leave everything unacknowledged before the connection is made anew,
    /// 1s to 1h. Long enough for a window of records over a bad mobile link.
    pub ack_timeout: Span,
    /// How many records may await an acknowledgement, 1 to 4096. The rate over a real link is this
    /// divided by the round-trip time; what is in flight when a link breaks is sent again. An
    /// MQTT 5 broker may ask for fewer.
    pub window: u16,
    /// How many events about the same subject, fixture or zone may await an acknowledgement, 1 to
    /// `window`. With 1 they arrive in order whatever the broker does: refuses one and takes the
    /// next, or loses one with a connection. More is faster where there are few subjects and the
    /// link is long, and keeps the order with brokers that never refuse anything.
    pub window_per_subject: u16,
    /// For how long after it was made a moment is worth delivering as that, 0s to 7d: an MQTT 5
    /// broker drops it after that instead of handing it to a subscriber who comes late. One that
    /// is sent later than this is delivered all the same, marked `historical` and without an expiry:
    /// as history it is as good as any. `0s` is for ever.
    pub moment_expiry: Span,
    /// The wait after the first failed connection, 10ms to 1h; it doubles with each further
    /// failure, and half of it is left to chance.
    pub backoff_min: Span,
    /// The longest wait between two attempts, at most 24h. Two minutes are short enough that
    /// nobody drives to the shop, and long enough for a broker that a thousand gateways wait for.
    pub backoff_max: Span,
    /// An event handed over later than this after it was made is marked `historical`, so that a
    /// consumer can tell news from backlog.
    pub historical_after: Span,
    /// How long a clean stop may go on delivering what is on disk, at most 1m. What remains is
    /// delivered after the next start.
    pub drain_timeout: Span,
}

/// The version of the protocol.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub enum Protocol {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.0.
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// A value in `[uplink]` that cannot work.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{key}` is {found}; allowed: {allowed}")]
pub struct SettingsError {
    /// The key, with its section.
    pub key: &'static str,
    /// What was found.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            broker: BrokerUrl::default(),
            protocol: Protocol::default(),
            client_id: String::new(),
            username: String::new(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::from(SYSTEM_ROOTS),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            alpn: Vec::new(),
            keep_alive: Span::secs(30),
            connect_timeout: Span::secs(10),
            ack_timeout: Span::secs(30),
            window: 64,
            window_per_subject: 1,
            moment_expiry: Span::secs(300),
            backoff_min: Span::secs(1),
            backoff_max: Span::secs(120),
            historical_after: Span::secs(60),
            drain_timeout: Span::secs(5),
        }
    }
}

impl Settings {
    /// Checks every value, and returns the broker's address.
    pub fn validate(&self) -> Result<Broker, SettingsError> {
        let broker = self.broker.parse().map_err(|allowed| {
            let found =
                if self.broker.is_empty() { "empty".into() } else { format!("{:?}", self.broker) };
            SettingsError { key: "uplink.broker", found, allowed }
        })?;
        self.validate_identity()?;
        self.validate_times()?;
        if !(1..=WIDEST_WINDOW).contains(&self.window) {
            return Err(refuse("uplink.window", self.window, format!("1 to {WIDEST_WINDOW}")));
        }
        if !(1..=self.window).contains(&self.window_per_subject) {
            let allowed = format!("1 to `uplink.window` ({})", self.window);
            return Err(refuse("uplink.window_per_subject", self.window_per_subject, allowed));
        }
        Ok(broker)
    }

    fn validate_identity(&self) -> Result<(), SettingsError> {
        for (key, text) in
            [("uplink.client_id", &self.client_id), ("uplink.username", &self.username)]
        {
            if text.len() > 256 || text.chars().any(char::is_control) {
                let found = format!("{} bytes, perhaps with control characters", text.len());
                return Err(refuse(key, found, "at most 256 bytes, no control characters"));
            }
        }
        if self.username.is_empty() && !self.password_file.as_os_str().is_empty() {
            let allowed = "a user name, because `uplink.password_file` is set";
            return Err(refuse("uplink.username", "empty", allowed));
        }
        let certificate = !self.certificate_file.as_os_str().is_empty();
        let key = !self.key_file.as_os_str().is_empty();
        if certificate && !key {
            let allowed = "the file with the private key of `uplink.certificate_file`";
            return Err(refuse("uplink.key_file", "empty", allowed));
        }
        if key && !certificate {
            let allowed = "the file with the certificate that belongs to `uplink.key_file`";
            return Err(refuse("uplink.certificate_file", "empty", allowed));
        }
        for protocol in &self.alpn {
            // The length is one byte on the wire (RFC 7301, 3.1).
            if !(1..=255).contains(&protocol.len()) {
                let found = format!("a list with a name of {} bytes", protocol.len());
                return Err(refuse("uplink.alpn", found, "names of 1 to 255 bytes"));
            }
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), SettingsError> {
        let (hour, minute) = (Span::secs(3600), Span::secs(60));
        let second = Span::secs(1);
        for (key, found, least, most) in [
            ("uplink.keep_alive", self.keep_alive, Span::secs(5), hour),
            ("uplink.connect_timeout", self.connect_timeout, second, Span::secs(300)),
            ("uplink.ack_timeout", self.ack_timeout, second, hour),
            ("uplink.backoff_min", self.backoff_min, Span::millis(10), hour),
            ("uplink.backoff_max", self.backoff_max, self.backoff_min, Span::secs(86_400)),
            ("uplink.drain_timeout", self.drain_timeout, Span(Duration::ZERO), minute),
            ("uplink.moment_expiry", self.moment_expiry, Span(Duration::ZERO), Span::secs(604_800)),
        ] {
            if found < least || found > most {
                let from = match key {
                    "uplink.backoff_max" => format!("`uplink.backoff_min` ({least})"),
                    _ => format!("\"{least}\""),
                };
                return Err(refuse(key, format!("\"{found}\""), format!("{from} to \"{most}\"")));
            }
        }
        Ok(())
    }
}

fn refuse(
    key: &'static str,
    found: impl fmt::Display,
    allowed: impl Into<String>,
) -> SettingsError {
    SettingsError { key, found: found.to_string(), allowed: allowed.into() }
}

// === impl Protocol ===

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProtocolText)
    }
}

/// Takes `"5"`, `5` and `"3.1.1"`: an environment variable `5` arrives as a number.
struct ProtocolText;

impl de::Visitor<'_> for ProtocolText {
    type Value = Protocol;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the version of MQTT, `\"5\"` or `\"3.1.1\"`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Protocol, E> {
        match text {
            "5" => Ok(Protocol::V5),
            "3.1.1" => Ok(Protocol::V311),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Protocol, E> {
        match number {
            5 => Ok(Protocol::V5),
            _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Protocol, E> {
        match number {
            5 => Ok(Protocol::V5),
            _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn working() -> Settings {
        Settings { broker: BrokerUrl::new("mqtts://broker.example.org"), ..Settings::default() }
    }

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = working();
        change(&mut settings);
        settings.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_lack_only_a_broker() {
        let message = Settings::default().validate().unwrap_err().to_string();
        assert!(
            message.starts_with("`uplink.broker` is empty; allowed: `mqtts://HOST`"),
            "{message}"
        );
        assert!(message.ends_with("there is no default broker"), "{message}");
        assert!(working().validate().unwrap().tls);
    }

    #[test]
    fn every_refusal_names_key_found_and_allowed() {
        let start = |message: &str, expected: &str| {
            assert!(message.starts_with(expected), "{message}");
        };
        start(&refused(|s| s.window = 0), "`uplink.window` is 0; allowed: 1 to 4096");
        start(
            &refused(|s| s.keep_alive = Span::secs(2)),
            "`uplink.keep_alive` is \"2s\"; allowed: \"5s\" to \"1h\"",
        );
        start(
            &refused(|s| s.backoff_max = Span::millis(20)),
            "`uplink.backoff_max` is \"20ms\"; allowed: `uplink.backoff_min` (1s) to \"1d\"",
        );
        start(&refused(|s| s.drain_timeout = Span::secs(61)), "`uplink.drain_timeout` is \"61s\"");
        start(
            &refused(|s| s.window_per_subject = 65),
            "`uplink.window_per_subject` is 65; allowed: 1 to `uplink.window` (64)",
        );
        start(&refused(|s| s.moment_expiry = Span::secs(604_801)), "`uplink.moment_expiry` is");
        start(&refused(|s| s.connect_timeout = Span::millis(1)), "`uplink.connect_timeout` is");
        start(&refused(|s| s.ack_timeout = Span::millis(999)), "`uplink.ack_timeout` is");
        start(&refused(|s| s.key_file = "k.pem".into()), "`uplink.certificate_file` is empty");
        start(&refused(|s| s.certificate_file = "c.pem".into()), "`uplink.key_file` is empty");
        start(&refused(|s| s.password_file = "p".into()), "`uplink.username` is empty");
        start(&refused(|s| s.client_id = "a\0b".into()), "`uplink.client_id` is 3 bytes");
        start(&refused(|s| s.alpn = vec![String::new()]), "`uplink.alpn` is a list");
    }

    #[test]
    fn credentials_in_the_address_are_refused_and_not_repeated() {
        let message = refused(|s| s.broker = BrokerUrl::new("mqtts://joe:s3cret@host"));
        assert!(message.contains("uplink.password_file"), "{message}");
        assert!(!message.contains("s3cret") && !message.contains("joe"), "{message}");
    }

    #[test]
    fn the_protocol_is_a_text_or_the_number_5() {
        let read = |json: &str| serde_json::from_str::<Protocol>(json);
        assert_eq!(read("\"5\"").unwrap(), Protocol::V5);
        assert_eq!(read("5").unwrap(), Protocol::V5);
        assert_eq!(read("\"3.1.1\"").unwrap(), Protocol::V311);
        for wrong in ["4", "\"3.1\"", "-5", "\"v5\"", "null"] {
            let message = read(wrong).unwrap_err().to_string();
            assert!(message.contains("`\"5\"` or `\"3.1.1\"`"), "{message}");
        }
    }

    #[test]
    fn settings_are_written_as_they_are_read_and_unknown_keys_are_refused() {
        let settings = working();
        let json = serde_json::to_value(&settings).unwrap();
        assert_eq!(json["protocol"], "5");
        assert_eq!(json["backoff_max"], "2m");
        assert_eq!(serde_json::from_value::<Settings>(json).unwrap(), settings);
        let typo = serde_json::from_str::<Settings>(r#"{"brokr":"mqtt://x"}"#);
        assert!(typo.unwrap_err().to_string().contains("unknown field `brokr`"));
    }
}

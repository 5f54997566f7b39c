//! Section `[uplink]` of the configuration: its keys, their defaults and why, and what is allowed.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use super::{
    broker::{Broker, BrokerUrl},
    line::ProxyUrl,
};
use crate::settings::Span;

/// Where Debian and its relatives keep the certificates of public authorities.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The most records in flight. rumqttc allocates four times as many slots and 16-bit packet
/// identifiers must not run out; beyond this a cut link only means more repetitions.
const WIDEST_WINDOW: u16 = 4096;

/// The most brokers: whoever is not found among so many is not found by trying.
const MOST_BROKERS: usize = 16;

/// Section `[uplink]`. An empty text or path means: not set.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The broker's address, `mqtts://HOST:PORT`, `wss://HOST:PORT/PATH`, `mqtt://HOST:PORT` or
    /// `ws://HOST:PORT/PATH`. There is no default: what is heard in a shop must not go anywhere
    /// nobody chose.
    pub broker: BrokerUrl,
    /// Further doors to the same platform, in order of preference, at most 15: each failed attempt
    /// takes the next one. They are for a broker whose members share sessions and retained
    /// messages, or mirror them.
    pub fallback_brokers: Vec<BrokerUrl>,
    /// How often it is looked, while another broker serves, whether the first can be reached
    /// again, 1s to 24h; `0s` stays where it is until that breaks. Up to half as long again, as
    /// chance decides, so that a fleet does not return at once.
    pub return_to_first: Span,
    /// `"5"` or `"3.1.1"`. MQTT 5 is the default because only there the broker says why it refuses
    /// a publish, and how many it takes at once.
    pub protocol: Protocol,
    /// The MQTT client identifier; derived from tenant, store and gateway when empty. It is fixed,
    /// so that the broker ends a half-dead connection of ours as soon as the next one comes.
    pub client_id: String,
    /// An HTTP proxy on the way to the broker, `http://HOST:PORT`. The environment (`https_proxy`)
    /// is not consulted: a service has none.
    pub proxy: ProxyUrl,
    /// The user name for the proxy, if it wants one.
    pub proxy_username: String,
    /// The file that holds the password for the proxy, in one line.
    pub proxy_password_file: PathBuf,
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
    /// How often the files of certificates and passwords are looked at, 1s to 24h. What was renewed
    /// is used once two looks have found the same, so that nothing is read half-written.
    pub renewal_check: Span,
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
    /// The wait after the first failed round of brokers, 10ms to 1h; it doubles with each further
    /// one, and half of it is left to chance.
    pub backoff_min: Span,
    /// The longest wait between two attempts, at most 24h. Two minutes are short enough that
    /// nobody drives to the shop, and long enough for a broker that a thousand gateways wait for.
    pub backoff_max: Span,
    /// After a connection that stood for a minute or longer was ended from the other side, the next
    /// attempt comes at some moment within this, at most 10m: everybody else's was perhaps ended,
    /// too. A link of ours that falls silent is made anew without this wait.
    pub spread: Span,
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

// === impl SettingsError ===

impl SettingsError {
    /// There is no broker at all.
    pub(super) fn no_broker() -> Self {
        refuse("uplink.broker", "empty", "at least one address")
    }
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            broker: BrokerUrl::default(),
            fallback_brokers: Vec::new(),
            return_to_first: Span::secs(900),
            protocol: Protocol::default(),
            client_id: String::new(),
            proxy: ProxyUrl::default(),
            proxy_username: String::new(),
            proxy_password_file: PathBuf::new(),
            username: String::new(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::from(SYSTEM_ROOTS),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            alpn: Vec::new(),
            renewal_check: Span::secs(60),
            keep_alive: Span::secs(30),
            connect_timeout: Span::secs(10),
            ack_timeout: Span::secs(30),
            window: 64,
            window_per_subject: 1,
            moment_expiry: Span::secs(300),
            backoff_min: Span::secs(1),
            backoff_max: Span::secs(120),
            spread: Span::secs(10),
            historical_after: Span::secs(60),
            drain_timeout: Span::secs(5),
        }
    }
}

impl Settings {
    /// Checks every value, and returns the address of the first broker.
    pub fn validate(&self) -> Result<Broker, SettingsError> {
        let broker = self.broker.parse().map_err(|allowed| {
            let found =
                if self.broker.is_empty() { "empty".into() } else { format!("{:?}", self.broker) };
            SettingsError { key: "uplink.broker", found, allowed }
        })?;
        self.validate_fallbacks(&broker)?;
        self.validate_proxy()?;
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

    /// Checks every value, and returns the addresses of all brokers in order of preference; there
    /// is at least one.
    pub fn brokers(&self) -> Result<Vec<Broker>, SettingsError> {
        let first = self.validate()?;
        let others = self.fallback_brokers.iter().filter_map(|url| url.parse().ok());
        Ok(std::iter::once(first).chain(others).collect())
    }

    fn validate_fallbacks(&self, first: &Broker) -> Result<(), SettingsError> {
        let key = "uplink.fallback_brokers";
        if self.fallback_brokers.len() >= MOST_BROKERS {
            let found = format!("a list of {}", self.fallback_brokers.len());
            return Err(refuse(key, found, format!("at most {}", MOST_BROKERS - 1)));
        }
        let mut known = vec![first.clone()];
        for url in &self.fallback_brokers {
            let broker = url.parse().map_err(|allowed| {
                let found = format!("a list with {url:?}");
                SettingsError { key, found, allowed }
            })?;
            if known.contains(&broker) {
                let found = format!("a list with {url:?}, which is named before");
                return Err(refuse(key, found, "each broker once"));
            }
            known.push(broker);
        }
        Ok(())
    }

    fn validate_proxy(&self) -> Result<(), SettingsError> {
        if !self.proxy.is_empty()
            && let Err(allowed) = self.proxy.parse()
        {
            return Err(refuse("uplink.proxy", format!("{:?}", self.proxy), allowed));
        }
        if self.proxy.is_empty() && !self.proxy_username.is_empty() {
            let allowed = "the address of the proxy, because `uplink.proxy_username` is set";
            return Err(refuse("uplink.proxy", "empty", allowed));
        }
        if self.proxy_username.is_empty() && !self.proxy_password_file.as_os_str().is_empty() {
            let allowed = "a user name, because `uplink.proxy_password_file` is set";
            return Err(refuse("uplink.proxy_username", "empty", allowed));
        }
        if self.proxy_username.contains(':') {
            // Basic separates name and password by the first colon (RFC 7617, 2).
            let found = "a text with a colon";
            return Err(refuse("uplink.proxy_username", found, "a name without a colon"));
        }
        Ok(())
    }

    fn validate_identity(&self) -> Result<(), SettingsError> {
        for (key, text) in [
            ("uplink.client_id", &self.client_id),
            ("uplink.username", &self.username),
            ("uplink.proxy_username", &self.proxy_username),
        ] {
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
        let (second, nothing, day) = (Span::secs(1), Span(Duration::ZERO), Span::secs(86_400));
        if self.return_to_first != nothing && !(second..=day).contains(&self.return_to_first) {
            let found = format!("\"{}\"", self.return_to_first);
            let allowed = "\"1s\" to \"1d\", or \"0s\" for never";
            return Err(refuse("uplink.return_to_first", found, allowed));
        }
        for (key, found, least, most) in [
            ("uplink.keep_alive", self.keep_alive, Span::secs(5), hour),
            ("uplink.connect_timeout", self.connect_timeout, second, Span::secs(300)),
            ("uplink.ack_timeout", self.ack_timeout, second, hour),
            ("uplink.backoff_min", self.backoff_min, Span::millis(10), hour),
            ("uplink.backoff_max", self.backoff_max, self.backoff_min, day),
            ("uplink.spread", self.spread, nothing, Span::secs(600)),
            ("uplink.renewal_check", self.renewal_check, second, day),
            ("uplink.drain_timeout", self.drain_timeout, nothing, minute),
            ("uplink.moment_expiry", self.moment_expiry, nothing, Span::secs(604_800)),
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
        let other = |text: &str| vec![BrokerUrl::new(text)];
        start(
            &refused(|s| s.fallback_brokers = other("http://b")),
            "`uplink.fallback_brokers` is a list with \"http://b\"; allowed: `mqtts://HOST`",
        );
        start(
            &refused(|s| s.fallback_brokers = other("mqtts://broker.example.org:8883")),
            "`uplink.fallback_brokers` is a list with \"mqtts://broker.example.org:8883\", which is \
             named before; allowed: each broker once",
        );
        start(
            &refused(|s| {
                s.fallback_brokers =
                    (1..=16).map(|n| BrokerUrl::new(format!("mqtt://b{n}"))).collect();
            }),
            "`uplink.fallback_brokers` is a list of 16; allowed: at most 15",
        );
        start(
            &refused(|s| s.return_to_first = Span::millis(1)),
            "`uplink.return_to_first` is \"1ms\"",
        );
        start(
            &refused(|s| s.spread = Span::secs(601)),
            "`uplink.spread` is \"601s\"; allowed: \"0s\"",
        );
        start(&refused(|s| s.renewal_check = Span::millis(1)), "`uplink.renewal_check` is \"1ms\"");
        start(
            &refused(|s| s.proxy = ProxyUrl::new("p:1")),
            "`uplink.proxy` is \"p:1\"; allowed: `http",
        );
        start(&refused(|s| s.proxy_username = "joe".into()), "`uplink.proxy` is empty");
        let proxy = || ProxyUrl::new("http://p:1");
        start(
            &refused(|s| (s.proxy, s.proxy_password_file) = (proxy(), "p".into())),
            "`uplink.proxy_username` is empty",
        );
        start(
            &refused(|s| (s.proxy, s.proxy_username) = (proxy(), "a:b".into())),
            "`uplink.proxy_username` is a text with a colon",
        );
    }

    #[test]
    fn brokers_are_listed_in_order_of_preference() {
        let fallback_brokers = ["wss://b", "mqtt://c"].map(BrokerUrl::new).to_vec();
        let settings = Settings { fallback_brokers, ..working() };
        let shown: Vec<_> = settings.brokers().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["mqtts://broker.example.org:8883", "wss://b:443/mqtt", "mqtt://c:1883"]);
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

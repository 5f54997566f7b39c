//! The broker's address: a configured text in, scheme, host and port out.

use std::{fmt, net::IpAddr};

use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};

/// What may be written; every refusal ends with it.
const ALLOWED: &str = "`mqtts://HOST` or `mqtts://HOST:PORT` (TLS, port 8883 unless given), or \
                       `mqtt://HOST:PORT` (no encryption, port 1883 unless given)";

/// The broker's address as configured. Shown without what somebody may have put before an `@`:
/// credentials do not belong in it, and must not reach a log from it.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct BrokerUrl(String);

/// Where the broker is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Broker {
    /// Over TLS (`mqtts`) or in the clear (`mqtt`).
    pub tls: bool,
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// The TCP port, never 0.
    pub port: u16,
}

// === impl BrokerUrl ===

impl BrokerUrl {
    /// Takes an address as configured.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Nothing is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the address apart, or says what would be allowed.
    pub fn parse(&self) -> Result<Broker, String> {
        if self.0.is_empty() {
            return Err(format!("{ALLOWED}; there is no default broker"));
        }
        let allowed = || ALLOWED.to_owned();
        let (scheme, rest) = self.0.split_once("://").ok_or_else(allowed)?;
        let (tls, default_port) = match scheme {
            "mqtts" => (true, 8883),
            "mqtt" => (false, 1883),
            _ => return Err(allowed()),
        };
        if rest.contains('@') {
            return Err(format!(
                "{ALLOWED}, without credentials; they go into `uplink.username` and \
                 `uplink.password_file`"
            ));
        }
        let (host, port) = split_port(rest).ok_or_else(allowed)?;
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(allowed)?,
            None => default_port,
        };
        if !is_host(host) || (tls && ServerName::try_from(host).is_err()) {
            return Err(allowed());
        }
        Ok(Broker { tls, host: host.to_owned(), port })
    }
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match after {
            "" => Some((host, None)),
            _ => Some((host, Some(after.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

/// An IP address, or at most 253 bytes (RFC 1035, 2.3.4, less the final dot) of the characters that
/// occur in names.
fn is_host(host: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    host.parse::<IpAddr>().is_ok()
        || ((1..=253).contains(&host.len()) && host.chars().all(name) && !host.starts_with('.'))
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rsplit_once('@') {
            Some((before, after)) => {
                let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
                write!(f, "{scheme}://…@{after}")
            }
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

// === impl Broker ===

impl Broker {
    /// The address is this machine's own, so nothing travels over a wire.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port } = self;
        let scheme = if *tls { "mqtts" } else { "mqtt" };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Broker, String> {
        BrokerUrl::new(text).parse()
    }

    #[test]
    fn addresses_are_taken_apart_and_written_back() {
        for (text, tls, host, port, shown) in [
            ("mqtts://b.example.org", true, "b.example.org", 8883, "mqtts://b.example.org:8883"),
            ("mqtts://b.example.org:1", true, "b.example.org", 1, "mqtts://b.example.org:1"),
            ("mqtt://localhost", false, "localhost", 1883, "mqtt://localhost:1883"),
            ("mqtt://192.0.2.7:65535", false, "192.0.2.7", 65535, "mqtt://192.0.2.7:65535"),
            ("mqtts://[2001:db8::1]:8884", true, "2001:db8::1", 8884, "mqtts://[2001:db8::1]:8884"),
            ("mqtt://[::1]", false, "::1", 1883, "mqtt://[::1]:1883"),
        ] {
            let broker = parse(text).unwrap();
            assert_eq!(broker, Broker { tls, host: host.to_owned(), port });
            assert_eq!(broker.to_string(), shown);
            assert_eq!(parse(&broker.to_string()), Ok(broker));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        for text in [
            "",
            "broker.example.org",
            "http://broker.example.org",
            "ws://broker.example.org",
            "mqtts://",
            "mqtts://:8883",
            "mqtts://host:0",
            "mqtts://host:65536",
            "mqtts://host:",
            "mqtts://host:88x",
            "mqtts://host/path",
            "mqtts://ho st",
            "mqtts://::1",
            "mqtts://[::1",
            "mqtts://[::1]8883",
            "mqtts://[nope]:8883",
            "mqtts://.host",
            "mqtts://host..org",
            "mqtts://user:secret@host:8883",
        ] {
            let allowed = parse(text).unwrap_err();
            assert!(allowed.contains("mqtts://HOST"), "{text}: {allowed}");
        }
    }

    #[test]
    fn what_stands_before_an_at_sign_is_never_shown() {
        let url = BrokerUrl::new("mqtts://user:s3cret@pass@host:8883");
        for shown in [url.to_string(), format!("{url:?}"), url.parse().unwrap_err()] {
            assert!(!shown.contains("s3cret") && !shown.contains("user:"), "{shown}");
        }
        assert_eq!(url.to_string(), "mqtts://…@host:8883");
    }
}

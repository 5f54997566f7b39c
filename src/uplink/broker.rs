//! A broker's address: a configured text in; by what way, host, port and path out.

use std::{fmt, net::IpAddr};

use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};

/// What may be written; every refusal ends with it.
const ALLOWED: &str = "`mqtts://HOST` or `mqtts://HOST:PORT` (TLS, port 8883 unless given), \
                       `wss://HOST:PORT/PATH` (WebSocket in TLS, port 443 and path `/mqtt` unless \
                       given), or without encryption `mqtt://HOST:PORT` (port 1883) or \
                       `ws://HOST:PORT/PATH` (port 80)";

/// The path at which brokers look for a WebSocket unless they are told otherwise: those of the
/// clouds, and most of the others; mosquitto takes any, and RabbitMQ wants `/ws`.
const PATH: &str = "/mqtt";

/// The longest path, in bytes: what is longer some server on the way will not take.
const LONGEST_PATH: usize = 1024;

/// The broker's address as configured. Shown without what somebody may have put before an `@`:
/// credentials do not belong in it, and must not reach a log from it.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct BrokerUrl(String);

/// Where the broker is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Broker {
    /// Over TLS (`mqtts`, `wss`) or in the clear (`mqtt`, `ws`).
    pub tls: bool,
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// The TCP port, never 0.
    pub port: u16,
    /// In a WebSocket at this path, which begins with `/`; `None` for MQTT by itself.
    pub path: Option<String>,
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
        let (tls, web, default_port) = match scheme {
            "mqtts" => (true, false, 8883),
            "mqtt" => (false, false, 1883),
            "wss" => (true, true, 443),
            "ws" => (false, true, 80),
            _ => return Err(allowed()),
        };
        if rest.contains('@') {
            return Err(format!(
                "{ALLOWED}, without credentials; they go into `uplink.username` and \
                 `uplink.password_file`"
            ));
        }
        let (authority, path) = match rest.find('/') {
            Some(at) if web => rest.split_at(at),
            _ => (rest, ""),
        };
        let path = match path {
            _ if !web => None,
            "" => Some(PATH.to_owned()),
            path if is_path(path) => Some(path.to_owned()),
            _ => return Err(allowed()),
        };
        let (host, port) = split_authority(authority, default_port).ok_or_else(allowed)?;
        if tls && ServerName::try_from(host.as_str()).is_err() {
            return Err(allowed());
        }
        Ok(Broker { tls, host, port, path })
    }
}

/// What may stand in the first line of an HTTP request without being written otherwise (RFC 3986,
/// 3.3 and 3.4), and no fragment.
fn is_path(path: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>' | '\\' | '`');
    path.len() <= LONGEST_PATH && path.chars().all(allowed)
}

/// Host, without brackets, and port, of which there is a default, if that is all there is.
pub(super) fn split_authority(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = split_port(text)?;
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => default_port,
    };
    is_host(host).then(|| (host.to_owned(), port))
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

/// Writes an address without what stands before an `@`.
pub(super) fn redacted(address: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match address.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            write!(f, "{scheme}://…@{after}")
        }
        None => f.write_str(address),
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(&self.0, f)
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

    /// Host and port as they are written in a request: an IPv6 address in brackets.
    pub(super) fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// This is what a broker calls another server: `host` or `host:port`, names without regard to
    /// case (MQTT 5.0, 4.11).
    pub(super) fn is_called(&self, reference: &str) -> bool {
        split_port(reference.trim()).is_some_and(|(host, port)| {
            host.eq_ignore_ascii_case(&self.host)
                && port.is_none_or(|port| port.parse() == Ok(self.port))
        })
    }
}

/// Host and port as they are written in a request: an IPv6 address in brackets.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.tls, &self.path) {
            (true, None) => "mqtts",
            (false, None) => "mqtt",
            (true, Some(_)) => "wss",
            (false, Some(_)) => "ws",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path.as_deref().unwrap_or_default())
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
            assert_eq!(broker, Broker { tls, host: host.to_owned(), port, path: None });
            assert_eq!(broker.to_string(), shown);
            assert_eq!(parse(&broker.to_string()), Ok(broker));
        }
    }

    #[test]
    fn a_websocket_has_a_path_and_the_ports_of_the_web() {
        for (text, tls, port, path, shown) in [
            ("wss://b.example.org", true, 443, "/mqtt", "wss://b.example.org:443/mqtt"),
            ("wss://b.example.org/", true, 443, "/", "wss://b.example.org:443/"),
            ("ws://[::1]:8080/a/b?c=d", false, 8080, "/a/b?c=d", "ws://[::1]:8080/a/b?c=d"),
            ("ws://localhost", false, 80, "/mqtt", "ws://localhost:80/mqtt"),
        ] {
            let broker = parse(text).unwrap();
            assert_eq!((broker.tls, broker.port, broker.path.as_deref()), (tls, port, Some(path)));
            assert_eq!(broker.to_string(), shown);
            assert_eq!(parse(&broker.to_string()), Ok(broker));
        }
        assert!(parse(&format!("wss://host/{}", "x".repeat(1024))).is_err(), "too long");
    }

    #[test]
    fn a_reference_to_another_server_is_recognised() {
        let broker = parse("mqtts://B.example.org").unwrap();
        for (reference, same) in [
            ("b.example.org", true),
            (" b.example.org:8883 ", true),
            ("b.example.org:1883", false),
            ("c.example.org", false),
            ("", false),
            ("[::1]:8883", false),
        ] {
            assert_eq!(broker.is_called(reference), same, "{reference}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        for text in [
            "",
            "broker.example.org",
            "http://broker.example.org",
            "wss:///mqtt",
            "wss://host/a b",
            "wss://host/#part",
            "ws://host:0/mqtt",
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

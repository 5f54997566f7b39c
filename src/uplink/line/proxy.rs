//! The way through an HTTP proxy: its address in, and a tunnel to the broker out (`CONNECT`, RFC
//! 9110, 9.3.6).
//!
//! No environment variable is consulted: a service has none that an operator would think of.
//! Credentials are Basic (RFC 7617) and come from a file. Nothing the proxy says is repeated but
//! the number of its answer.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::head::{self, Head, HeadError};
use crate::uplink::broker::{authority, redacted, split_authority};

/// What may be written; every refusal ends with it.
const ALLOWED: &str = "`http://HOST:PORT` or `http://HOST` (port 3128), without credentials; they \
                       go into `uplink.proxy_username` and `uplink.proxy_password_file`";

/// Squid's port, which most proxies have taken over.
const PORT: u16 = 3128;

/// The proxy's address as configured; empty for none. Shown without what somebody may have put
/// before an `@`.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ProxyUrl(String);

/// Where the proxy is, and what it takes to be served by it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::uplink) struct Proxy {
    /// A name or an IP address, the latter without brackets.
    pub(in crate::uplink) host: String,
    /// The TCP port.
    pub(in crate::uplink) port: u16,
    /// What goes into `Proxy-Authorization`.
    pub(in crate::uplink) credentials: Option<Credentials>,
}

/// User name and password as Basic writes them. `Debug` does not show them.
#[derive(Clone, Eq, PartialEq)]
pub(in crate::uplink) struct Credentials(String);

/// Why there is no tunnel.
#[derive(Debug)]
pub(super) enum NoTunnel {
    /// The connection to the proxy broke, or what came is no answer.
    Head(HeadError),
    /// The proxy answered with this status.
    Refused(u16),
}

/// Asks the proxy at the other end of `stream` for a tunnel to `host` and `port`. When this
/// succeeds, the next byte is the broker's.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), NoTunnel> {
    let target = authority(host, port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Credentials(credentials)) = &proxy.credentials {
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(credentials);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let broken = |error| NoTunnel::Head(HeadError::Io(error));
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let Head { status, .. } = head::read(stream).await.map_err(NoTunnel::Head)?;
    // Any success opens the tunnel, whatever else the answer says.
    if (200..300).contains(&status) { Ok(()) } else { Err(NoTunnel::Refused(status)) }
}

// === impl ProxyUrl ===

impl ProxyUrl {
    /// Takes an address as configured.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// No proxy is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes host and port out of the address, or says what would be allowed.
    pub(in crate::uplink) fn parse(&self) -> Result<(String, u16), String> {
        let allowed = || ALLOWED.to_owned();
        let rest = self.0.strip_prefix("http://").ok_or_else(allowed)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        split_authority(rest, PORT).ok_or_else(allowed)
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted(&self.0, f)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

// === impl Credentials ===

impl Credentials {
    pub(in crate::uplink) fn new(username: &str, password: &str) -> Self {
        Self(STANDARD.encode(format!("{username}:{password}")))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_others_refused_with_what_is_allowed() {
        let parse = |text: &str| ProxyUrl::new(text).parse();
        for (text, host, port) in [
            ("http://proxy.example.org:8080", "proxy.example.org", 8080),
            ("http://proxy.example.org", "proxy.example.org", 3128),
            ("http://192.0.2.1:1/", "192.0.2.1", 1),
            ("http://[2001:db8::1]:3128", "2001:db8::1", 3128),
        ] {
            assert_eq!(parse(text), Ok((host.to_owned(), port)));
        }
        for text in [
            "https://p:1",
            "p:1",
            "http://",
            "http://p:0",
            "http://p:x",
            "http://p/path",
            "http://u:s3cret@p:1",
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.starts_with("`http://HOST:PORT`"), "{message}");
            assert!(!message.contains("s3cret"));
        }
        assert!(!format!("{:?}", ProxyUrl::new("http://u:s3cret@p:1")).contains("s3cret"));
    }

    async fn ask(credentials: Option<Credentials>, answer: &str) -> (String, Result<(), NoTunnel>) {
        let (mut ours, mut theirs) = duplex(4096);
        theirs.write_all(answer.as_bytes()).await.unwrap();
        let proxy = Proxy { host: "p".to_owned(), port: 1, credentials };
        let result = tunnel(&mut ours, &proxy, "2001:db8::7", 8883).await;
        drop(ours);
        let mut request = String::new();
        theirs.read_to_string(&mut request).await.unwrap();
        (request, result)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_name_and_with_credentials_that_nobody_sees() {
        let credentials = Credentials::new("joe", "s3cret");
        assert_eq!(format!("{credentials:?}"), "Credentials(…)");
        let (request, result) = ask(Some(credentials), "HTTP/1.1 200 Fine\r\nVia: x\r\n\r\n").await;
        assert!(result.is_ok());
        assert_eq!(
            request,
            "CONNECT [2001:db8::7]:8883 HTTP/1.1\r\nHost: [2001:db8::7]:8883\r\n\
             Proxy-Authorization: Basic am9lOnMzY3JldA==\r\n\r\n"
        );
        let (request, result) = ask(None, "HTTP/1.0 204 None\r\n\r\n").await;
        assert!(result.is_ok() && !request.contains("Authorization"));
    }

    #[tokio::test]
    async fn every_other_answer_is_a_refusal() {
        for status in [100, 301, 403, 407, 502] {
            let (_, result) = ask(None, &format!("HTTP/1.1 {status} No\r\n\r\n")).await;
            assert!(matches!(result, Err(NoTunnel::Refused(found)) if found == status));
        }
        let (_, result) = ask(None, "SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
        assert!(matches!(result, Err(NoTunnel::Head(HeadError::NotHttp))));
    }
}

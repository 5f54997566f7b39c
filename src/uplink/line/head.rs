//! The head of an HTTP/1 answer: bytes from a proxy or a web server in, the status and the few
//! fields that count out. Total: whatever comes is a head or an error.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest head that is read, in bytes. Proxies add pages of explanation behind the head, which
/// nobody reads.
const LONGEST: usize = 16 * 1024;

/// What an answer says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Head {
    /// The status, 100 to 999.
    pub(super) status: u16,
    /// Names in small letters, and values without the spaces around them.
    fields: Vec<(String, String)>,
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum HeadError {
    /// The connection broke.
    Io(io::Error),
    /// Something else than HTTP came, or too much of it.
    NotHttp,
}

/// Reads a head, and not a byte of what follows it.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Head, HeadError> {
    let mut bytes = Vec::new();
    // Byte by byte: what follows belongs to whoever speaks next. A head is short and comes once a
    // connection.
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() == LONGEST || !could_be_http(&bytes) {
            return Err(HeadError::NotHttp);
        }
        bytes.push(stream.read_u8().await.map_err(HeadError::Io)?);
    }
    parse(&bytes).ok_or(HeadError::NotHttp)
}

/// Something else is recognised by its first bytes: whoever speaks it may never end a line.
fn could_be_http(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/1.").all(|(found, expected)| found == expected)
}

/// RFC 9112, 4 and 5.
fn parse(bytes: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (version, status) = (words.next()?, words.next()?);
    let minor = version.strip_prefix("HTTP/1.")?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if minor.len() != 1 || !is_number(minor) || status.len() != 3 || !is_number(status) {
        return None;
    }
    let status = status.parse().ok().filter(|status| *status >= 100)?;
    let fields = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Head { status, fields: fields.collect() })
}

impl Head {
    /// The value of a field, by its name in small letters, if it is there once.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(known, _)| known == name);
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut bytes: &[u8]) -> Result<(Head, usize), HeadError> {
        let head = read(&mut bytes).await?;
        Ok((head, bytes.len()))
    }

    #[tokio::test]
    async fn a_head_is_read_and_what_follows_is_left() {
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX:\r\nnonsense\r\n\
                       sec-websocket-ACCEPT:  abc= \r\n\r\nrest";
        let (head, left) = read_all(answer).await.unwrap();
        assert_eq!((head.status, left), (101, 4));
        assert_eq!(head.field("sec-websocket-accept"), Some("abc="));
        assert_eq!((head.field("x"), head.field("nonsense")), (Some(""), None));
        let (head, _) = read_all(b"HTTP/1.0 407\r\nA: 1\r\na: 2\r\n\r\n").await.unwrap();
        assert_eq!((head.status, head.field("a")), (407, None));
    }

    #[tokio::test]
    async fn whatever_else_comes_is_an_error_and_neither_a_panic_nor_endless() {
        for bytes in [
            &b"\x20\x02\x00\x00"[..],
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 +20 OK\r\n\r\n",
            b"HTTP/1.x 200 OK\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1\xFF200 OK\r\n\r\n",
            &[b"HTTP/1.1 200 OK\r\nX: ".as_slice(), vec![b'x'; 20_000].as_slice()].concat(),
        ] {
            assert!(matches!(read_all(bytes).await, Err(HeadError::NotHttp)));
        }
        assert!(matches!(read_all(b"HTTP/1.1 200 O").await, Err(HeadError::Io(_))));
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            let mut bytes = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n".to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..bytes.len());
                bytes[at] = random.u8(..);
            }
            read_all(&bytes).await.ok();
        }
    }
}

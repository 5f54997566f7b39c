//! The text of `hcidump --raw`: each packet as hexadecimal octets, H4 packet type first, after `>`
//! (received) or `<` (sent), with further lines indented.
//!
//! With `-t` a line begins with seconds since 1970, with `-t -V` with a local time. Without either
//! there are no times at all: then every packet is taken to come [`STEP_MICROS`] after the last.

use jiff::{civil::DateTime, tz::TimeZone};

use super::{
    ReplayError,
    container::{Body, Packet},
    link::Link,
    source::Source,
    timeline::Stamp,
};

/// The time between two packets of a text without times: 100 ms. A quiet room with a handful of
/// tags gives about ten reports a second; sensors, say, then come every second or so, and nobody
/// leaves the shop because a file has no clock.
const STEP_MICROS: i64 = 100_000;

/// Longest line: `hcidump` writes 20 octets a line, 60 characters; other tools all of a packet.
const LINE_MAX: usize = 4096;

/// Longest packet that is kept. An event has at most 258 bytes; longer packets carry data.
const KEPT_MAX: usize = 512;

const PACKET: &str = "packet";

/// Reads the packets of such a text.
#[derive(Default)]
pub(super) struct Hcidump {
    /// The packet being read, if its first line has been read.
    current: Option<Begun>,
    bytes: Vec<u8>,
    /// The packet before, which is complete.
    finished: Vec<u8>,
    packets: i64,
}

#[derive(Clone, Copy)]
struct Begun {
    stamp: Option<Stamp>,
    offset: u64,
    /// False once a line of it was no hexadecimal octets.
    sound: bool,
    /// False once another line stood between: what follows belongs to something else.
    goes_on: bool,
}

/// What a line is.
enum Line<'a> {
    /// The first line of a packet.
    First(Option<Stamp>, &'a [u8]),
    /// One that begins with white space or is nothing but octets: the packet goes on.
    Further(&'a [u8]),
    /// A banner, a message, an empty line.
    Other,
}

/// Whether the beginning of a file looks like such a text. `whole` says that there is no more.
pub(super) fn recognise(beginning: &[u8], whole: bool) -> bool {
    let complete = match beginning.iter().rposition(|byte| *byte == b'\n') {
        _ if whole => beginning,
        Some(end) => beginning.get(..end).unwrap_or_default(),
        None => return false,
    };
    complete.split(|byte| *byte == b'\n').take(64).any(|line| match Line::of(line) {
        // The H4 packet types: command, data, synchronous data, event, isochronous data.
        Line::First(_, digits) => {
            octets(digits).next().is_some_and(|octet| matches!(octet, Some(1..=5)))
        }
        _ => false,
    })
}

impl Hcidump {
    pub(super) fn next<'a>(
        &'a mut self,
        source: &mut Source,
    ) -> Result<Option<Packet<'a>>, ReplayError> {
        loop {
            let offset = source.offset();
            let Some(line) = source.line(LINE_MAX)? else {
                let Some(begun) = self.current.take() else { return Ok(None) };
                if self.bytes.len() < expected_length(&self.bytes) {
                    return Err(source.truncated(PACKET, begun.offset));
                }
                std::mem::swap(&mut self.finished, &mut self.bytes);
                return Ok(Some(self.finished(begun)));
            };
            match Line::of(line) {
                Line::First(stamp, digits) => {
                    let begun = Begun { stamp, offset, sound: true, goes_on: true };
                    let before = self.current.replace(begun);
                    std::mem::swap(&mut self.finished, &mut self.bytes);
                    self.bytes.fill(0);
                    self.bytes.clear();
                    self.extend(digits);
                    if let Some(before) = before {
                        return Ok(Some(self.finished(before)));
                    }
                }
                Line::Further(digits) => self.extend(digits),
                Line::Other => {
                    if let Some(begun) = &mut self.current {
                        begun.goes_on = false;
                    }
                }
            }
        }
    }

    fn extend(&mut self, digits: &[u8]) {
        let Some(begun) = self.current.as_mut().filter(|begun| begun.goes_on) else { return };
        for octet in octets(digits) {
            match octet {
                Some(octet) if self.bytes.len() < KEPT_MAX => self.bytes.push(octet),
                Some(_) => {}
                None => begun.sound = false,
            }
        }
    }

    fn finished(&mut self, begun: Begun) -> Packet<'_> {
        let counted = Stamp::Elapsed(self.packets.saturating_mul(STEP_MICROS));
        self.packets += 1;
        // What is no octets counts as a malformed packet, as an empty one does.
        let bytes = if begun.sound { self.finished.as_slice() } else { &[] };
        Packet {
            stamp: begun.stamp.unwrap_or(counted),
            body: Body::Radio { link: Link::H4, cut: false, bytes },
        }
    }
}

/// How long a packet says that it is; for what is no event, as long as it happens to be.
fn expected_length(packet: &[u8]) -> usize {
    match packet {
        [4, _, length, ..] => 3 + usize::from(*length),
        [4, ..] => 3,
        _ => packet.len(),
    }
}

impl<'a> Line<'a> {
    fn of(line: &'a [u8]) -> Self {
        match line.iter().position(|byte| matches!(byte, b'>' | b'<')) {
            Some(place) => {
                let (before, after) = line.split_at(place);
                let digits = after.get(1..).unwrap_or_default();
                match before.trim_ascii() {
                    [] => Self::First(None, digits),
                    time => {
                        stamp(time).map_or(Self::Other, |stamp| Self::First(Some(stamp), digits))
                    }
                }
            }
            None if line.trim_ascii().is_empty() => Self::Other,
            None if line.first().is_some_and(u8::is_ascii_whitespace) => Self::Further(line),
            None if octets(line).all(|octet| octet.is_some()) => Self::Further(line),
            None => Self::Other,
        }
    }
}

/// The octets on a line; `None` for whatever is none.
fn octets(digits: &[u8]) -> impl Iterator<Item = Option<u8>> {
    digits.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(|word| {
        let mut octet = [0];
        hex::decode_to_slice(word, &mut octet).ok().map(|()| octet[0])
    })
}

/// Reads `1606059318.742955`, or `2020-11-22 15:35:18.742955` in a time zone that nobody states.
fn stamp(text: &[u8]) -> Option<Stamp> {
    let text = str::from_utf8(text).ok()?;
    if let Some((date, time)) = text.split_once(' ') {
        let civil: DateTime = format!("{date}T{}", time.trim_start()).parse().ok()?;
        let micros = civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
        return Some(Stamp::Elapsed(micros));
    }
    let (seconds, fraction) = text.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() != 6 {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    Some(Stamp::Unix(seconds.checked_mul(1_000_000)?.checked_add(fraction.parse().ok()?)?))
}

//! A ring of keys: text lines `number:64 hex` in, keys by number out. The highest number is the
//! current one.

use std::{collections::BTreeMap, fmt, fmt::Write as _, str};

use thiserror::Error;
use zeroize::Zeroizing;

/// The longest text of a ring, in bytes: more keys than anybody would keep.
pub(super) const LONGEST: u64 = 64 * 1024;

/// One key of 32 octets. Cleared when dropped; `Debug` does not show it.
#[derive(Clone)]
pub(super) struct SealKey(Zeroizing<[u8; 32]>);

/// Keys by number. Never empty.
#[derive(Clone)]
pub struct KeyRing {
    keys: BTreeMap<u32, SealKey>,
    current: u32,
}

/// What is wrong with the text of a ring. Never repeats it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RingProblem {
    /// It has no key.
    #[error("there is no key in it")]
    Empty,
    /// It is longer than any ring.
    #[error("it is longer than 64 KiB")]
    TooLong,
    /// A line is no key.
    #[error("line {line} is not a key; write `number:` and 64 hexadecimal digits, like `1:…`")]
    Line {
        /// The line, from 1.
        line: usize,
    },
    /// A number stands twice.
    #[error("line {line} repeats the number of another key; each key needs its own")]
    Repeated {
        /// The line, from 1.
        line: usize,
    },
}

// === impl KeyRing ===

impl KeyRing {
    /// Reads a ring. Empty lines and lines that begin with `#` are passed over.
    pub fn parse(text: &[u8]) -> Result<Self, RingProblem> {
        if u64::try_from(text.len()).is_ok_and(|length| length > LONGEST) {
            return Err(RingProblem::TooLong);
        }
        let mut keys = BTreeMap::new();
        for (line, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            let (number, key) = key_line(text).ok_or(RingProblem::Line { line })?;
            if keys.insert(number, key).is_some() {
                return Err(RingProblem::Repeated { line });
            }
        }
        let current = *keys.last_key_value().ok_or(RingProblem::Empty)?.0;
        Ok(Self { keys, current })
    }

    /// A ring of one key, number 1.
    pub(super) fn of(octets: Zeroizing<[u8; 32]>) -> Self {
        Self { keys: BTreeMap::from([(1, SealKey(octets))]), current: 1 }
    }

    /// Adds a key under the next number, which becomes the current one; false when there is no
    /// number left.
    pub(super) fn add(&mut self, octets: Zeroizing<[u8; 32]>) -> bool {
        let highest = self.keys.last_key_value().map_or(0, |(&number, _)| number);
        let Some(next) = highest.checked_add(1) else { return false };
        self.keys.insert(next, SealKey(octets));
        self.current = next;
        true
    }

    /// Adds the keys of another ring, for opening; the current key stays. `Err` with the number of
    /// two keys that differ.
    pub(super) fn join(&mut self, other: &Self) -> Result<(), u32> {
        for (&number, key) in &other.keys {
            match self.keys.get(&number) {
                Some(known) if known.0 != key.0 => return Err(number),
                _ => drop(self.keys.insert(number, key.clone())),
            }
        }
        Ok(())
    }

    /// Forgets all keys but the current one.
    pub(super) fn keep_current(&mut self) {
        let current = self.current;
        self.keys.retain(|&number, _| number == current);
    }

    /// True when every key of `other` is in this ring.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.keys.keys().all(|number| self.keys.contains_key(number))
    }

    pub(super) fn current(&self) -> (u32, &SealKey) {
        match self.keys.get(&self.current) {
            Some(key) => (self.current, key),
            None => unreachable!("the current key is never removed"),
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&SealKey> {
        self.keys.get(&number)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.keys.keys().copied()
    }

    /// The text that [`Self::parse`] reads.
    pub(super) fn text(&self) -> Zeroizing<String> {
        // As long as it gets at most, so that no piece of it is left behind in memory.
        let mut text = Zeroizing::new(String::with_capacity(self.keys.len() * 80));
        for (number, key) in &self.keys {
            let written = write!(text, "{number}:")
                .and_then(|()| key.0.iter().try_for_each(|octet| write!(text, "{octet:02x}")))
                .and_then(|()| text.write_char('\n'));
            debug_assert!(written.is_ok(), "writing to a string does not fail");
        }
        text
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("numbers", &self.keys.keys())
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

// === impl SealKey ===

impl SealKey {
    pub(super) fn octets(&self) -> &[u8] {
        &self.0[..]
    }
}

fn key_line(line: &[u8]) -> Option<(u32, SealKey)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (number, digits) = line.split_at_checked(colon)?;
    let number = str::from_utf8(number.trim_ascii()).ok()?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = number.parse().ok().filter(|&number: &u32| number > 0)?;
    let mut octets = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits.get(1..)?.trim_ascii(), &mut octets[..]).ok()?;
    Some((number, SealKey(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_read_as_it_is_written() {
        let text = format!("# ours\r\n\n 3:{}\r\n1:{}", "0f".repeat(32), "A1".repeat(32));
        let ring = KeyRing::parse(text.as_bytes()).unwrap();
        assert_eq!((ring.current().0, ring.numbers().collect::<Vec<_>>()), (3, vec![1, 3]));
        let written = format!("1:{}\n3:{}\n", "a1".repeat(32), "0f".repeat(32));
        assert_eq!(ring.text().as_str(), written);
    }

    #[test]
    fn what_is_no_ring_is_refused_with_its_line_and_without_its_text() {
        let key = "5e".repeat(32);
        for (text, problem) in [
            (String::new(), RingProblem::Empty),
            ("# only this\n\n".to_owned(), RingProblem::Empty),
            (format!("1:{key}\n\n{key}"), RingProblem::Line { line: 3 }),
            (format!("0:{key}"), RingProblem::Line { line: 1 }),
            (format!("+1:{key}"), RingProblem::Line { line: 1 }),
            (format!("4294967296:{key}"), RingProblem::Line { line: 1 }),
            (format!("1:{}", &key[1..]), RingProblem::Line { line: 1 }),
            (format!("1:{key}\n1:{key}"), RingProblem::Repeated { line: 2 }),
            ("x".repeat(70_000), RingProblem::TooLong),
        ] {
            let found = KeyRing::parse(text.as_bytes()).unwrap_err();
            assert_eq!(found, problem);
            assert!(!found.to_string().contains("5e5e"));
        }
    }

    #[test]
    fn rings_are_joined_when_they_do_not_contradict_each_other() {
        let ring = |text: &str| KeyRing::parse(text.as_bytes()).unwrap();
        let (a, b) = ("aa".repeat(32), "bb".repeat(32));
        let mut joined = ring(&format!("1:{a}"));
        joined.join(&ring(&format!("1:{a}\n2:{b}"))).unwrap();
        assert_eq!((joined.current().0, joined.numbers().count()), (1, 2));
        assert_eq!(joined.join(&ring(&format!("2:{a}"))), Err(2));
        joined.keep_current();
        assert_eq!(joined.numbers().collect::<Vec<_>>(), [1]);
    }
}

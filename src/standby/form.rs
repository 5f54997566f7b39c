//! How a message between two gateways looks: what one tells in, sealed bytes out, and back.
//!
//! Sealed as `seal.rs` says (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03), for the *bond* as its place: a
//! label and the topic, which has tenant, store and the sender's name. Inside is one byte, the form (2), and
//! a stamp and a message in postcard's encoding (postcard wire format 1.0), with nothing behind.
//!
//! Pure and total: any bytes are read, or refused for a reason that repeats nothing of them.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    outbox::{MAX_SLOT, record::MAX_BYTES},
    relay::Run,
    seal::{SealError, Sealer},
    uplink::{Topic, Topics},
};

/// The largest sealed message, in bytes. One is begun anew at an eighth of that, and no single thing in it is
/// longer than a record.
pub const LARGEST: usize = 64 * 1024;

/// The longest pseudonym or name of a gateway, in bytes: names are at most 64 characters.
const LONGEST_NAME: usize = 256;

/// The form described above: the first octet of what is sealed.
pub const FORM: u8 = 2;

/// What a message is sealed for, before the topic.
const LABEL: &[u8] = b"beacon-gateway handover 1\0";

/// Where a gateway's messages belong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bond {
    topic: String,
}

/// When a message was sent, by the sender's wall clock.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stamp {
    /// In microseconds since 1970.
    pub sent_us: i64,
    /// How far that may be off, in microseconds, as the sender believes; `None` when it does not believe its
    /// clock.
    pub error_us: Option<u32>,
}

/// Names a visit, whichever gateway goes on with it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Key {
    /// The gateway that named it.
    pub gateway: String,
    /// Epoch, run and number there.
    pub visit: (u32, u64, u64),
}

/// What one gateway tells the other at once.
#[expect(clippy::struct_excessive_bools, reason = "four things that are each so or not so")]
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
pub struct Message {
    /// The sender's start: the epoch of its store, its last sequence then, and a mark by chance.
    pub run: (u32, u64, u64),
    /// Ascends by one within a start.
    pub counter: u64,
    /// The sender's uptime, in microseconds.
    pub uptime_us: i64,
    /// The receiver's start of which the sender has heard last.
    pub hears: Option<(u32, u64, u64)>,
    /// The sender makes events.
    pub acting: bool,
    /// The start of the receiver's, and the counter, up to which the sender has its whole picture.
    pub applied: Option<((u32, u64, u64), u64)>,
    /// The sender wants the whole picture.
    pub wants: bool,
    /// A whole picture begins with this message.
    pub base: bool,
    /// A whole picture ends with this message.
    pub whole: bool,
    /// Open visits by subject, as checkpoints; without one, the subject has none any more.
    pub visits: Vec<(String, Option<Vec<u8>>)>,
    /// When open visits were last true, in microseconds of the sender's uptime.
    pub seen: Vec<(String, i64)>,
    /// Events about subjects, as they are kept, numbered from one.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Up to which number the platform has them.
    pub delivered: u64,
    /// Visits that the receiver of this may have begun, and that are over.
    pub closed: Vec<Key>,
    /// What is remembered of fixtures, by the slot of each, as it is kept; without a value, nothing any more.
    pub fixtures: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Unread {
    /// Larger than [`LARGEST`].
    #[error("it is larger than 64 KiB")]
    TooLarge,
    /// It is no sealed message, or of a later form.
    #[error("it is no sealed message of this form")]
    Form,
    /// It was sealed with a key that is not here.
    #[error("it is sealed with a key of another number")]
    NoKey,
    /// It was altered, belongs elsewhere, or was sealed with another key of that number.
    #[error("it does not open here")]
    Sealed,
    /// What is in it makes no sense.
    #[error("what is in it makes no sense")]
    Shape,
}

// === impl Bond ===

impl Bond {
    /// Of what the gateway with these topics tells.
    pub fn new(topics: &Topics) -> Self {
        Self { topic: topics.spell(Topic::Handover) }
    }

    /// Where it is published.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    fn place(&self) -> Vec<u8> {
        [LABEL, self.topic.as_bytes()].concat()
    }
}

// === impl Message ===

impl Message {
    /// Whether it says anything about visits or fixtures.
    pub fn has_content(&self) -> bool {
        let is_empty =
            self.visits.is_empty() && self.records.is_empty() && self.fixtures.is_empty();
        self.base || self.whole || !is_empty
    }

    /// The sender's start.
    pub fn start(&self) -> Run {
        let (epoch, sequence, mark) = self.run;
        Run { epoch, sequence, mark }
    }

    /// Seals it for its place.
    pub fn seal(&self, stamp: Stamp, sealer: &Sealer, bond: &Bond) -> Result<Vec<u8>, SealError> {
        let plain = postcard::to_extend(&(stamp, self), vec![FORM]);
        sealer.seal(&bond.place(), &plain.map_err(|_| SealError::TooLong)?)
    }

    /// Opens and reads what [`Self::seal`] made for the same place.
    pub fn open(sealer: &Sealer, bond: &Bond, payload: &[u8]) -> Result<(Stamp, Self), Unread> {
        if payload.len() > LARGEST {
            return Err(Unread::TooLarge);
        }
        let bytes = sealer.open(&bond.place(), payload).map_err(|error| match error {
            SealError::NoKey { .. } => Unread::NoKey,
            SealError::Damaged => Unread::Sealed,
            SealError::Form | SealError::Random | SealError::TooLong => Unread::Form,
        })?;
        let (&form, rest) = bytes.split_first().ok_or(Unread::Form)?;
        if form != FORM {
            return Err(Unread::Form);
        }
        let (read, behind) =
            postcard::take_from_bytes::<(Stamp, Self)>(rest).map_err(|_| Unread::Shape)?;
        if behind.is_empty() && read.1.is_sound() { Ok(read) } else { Err(Unread::Shape) }
    }

    fn is_sound(&self) -> bool {
        let name = |name: &String| (1..=LONGEST_NAME).contains(&name.len());
        let value = |value: &Vec<u8>| value.len() <= MAX_BYTES;
        self.visits.iter().all(|(subject, visit)| name(subject) && visit.iter().all(value))
            && self.seen.iter().all(|(subject, _)| name(subject))
            && self.records.iter().all(|(_, record)| value(record))
            && self.closed.iter().all(|key| name(&key.gateway))
            && self.fixtures.iter().all(|(slot, record)| {
                (1..=MAX_SLOT).contains(&slot.len()) && record.iter().all(value)
            })
    }
}

/// What is in it is about people.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("counter", &self.counter)
            .field("acting", &self.acting)
            .field("visits", &self.visits.len())
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::KeyRing;

    fn sealer(digit: &str) -> Sealer {
        Sealer::new(KeyRing::parse(format!("1:{}", digit.repeat(64)).as_bytes()).unwrap())
    }

    fn bond(gateway: &str) -> Bond {
        let name = |text: &str| text.parse().unwrap();
        Bond::new(&Topics::new(name("t"), name("s"), name(gateway)))
    }

    fn message() -> Message {
        Message {
            run: (1, 2, 3),
            counter: 4,
            uptime_us: 5,
            acting: true,
            applied: Some(((6, 7, 8), 9)),
            base: true,
            visits: vec![("someone".to_owned(), Some(vec![1, 2])), ("other".to_owned(), None)],
            seen: vec![("someone".to_owned(), -7)],
            records: vec![(1, vec![3])],
            closed: vec![Key { gateway: "gw2".to_owned(), visit: (1, 2, 3) }],
            fixtures: vec![(b"fixture/x".to_vec(), Some(vec![4])), (b"fixture/y".to_vec(), None)],
            ..Message::default()
        }
    }

    #[test]
    fn what_was_sealed_opens_at_its_place_with_its_key_alone_and_shows_nobody() {
        let stamp = Stamp { sent_us: 11, error_us: Some(12) };
        let (ours, here) = (sealer("a"), bond("gw1"));
        assert_eq!(here.topic(), "beacon/v1/t/s/gw1/handover");
        let sealed = message().seal(stamp, &ours, &here).unwrap();
        assert_eq!(Message::open(&ours, &here, &sealed), Ok((stamp, message())));
        assert!(!sealed.windows(7).any(|bytes| bytes == b"someone"));
        assert!(!format!("{:?}", message()).contains("someone"));
        assert_eq!(Message::open(&ours, &bond("gw2"), &sealed), Err(Unread::Sealed));
        assert_eq!(Message::open(&sealer("b"), &here, &sealed), Err(Unread::Sealed));
        assert_eq!(Message::open(&ours, &here, b"{}"), Err(Unread::Form));
        assert_eq!(Message::open(&ours, &here, &vec![1; LARGEST + 1]), Err(Unread::TooLarge));
    }

    #[test]
    fn whatever_is_sealed_by_somebody_who_has_the_key_is_read_or_refused() {
        let (ours, here) = (sealer("a"), bond("gw1"));
        let plain = postcard::to_extend(&(Stamp::default(), message()), vec![FORM]).unwrap();
        for length in 0..plain.len() {
            let sealed = ours.seal(&here.place(), &plain[..length]).unwrap();
            assert!(Message::open(&ours, &here, &sealed).is_err(), "{length}");
        }
        for place in 0..plain.len() {
            for bit in 0..8 {
                let mut altered = plain.clone();
                altered[place] ^= 1 << bit;
                let sealed = ours.seal(&here.place(), &altered).unwrap();
                let read = Message::open(&ours, &here, &sealed);
                assert_ne!(read, Ok((Stamp::default(), message())), "{place} {bit}");
            }
        }
        let longer = [plain, vec![0]].concat();
        let sealed = ours.seal(&here.place(), &longer).unwrap();
        assert_eq!(Message::open(&ours, &here, &sealed), Err(Unread::Shape));
        for visits in [vec![(String::new(), None)], vec![("a".to_owned(), Some(vec![0; 5000]))]] {
            let odd = Message { visits, ..message() };
            let sealed = odd.seal(Stamp::default(), &ours, &here).unwrap();
            assert_eq!(Message::open(&ours, &here, &sealed), Err(Unread::Shape));
        }
    }
}

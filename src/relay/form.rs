//! How a message from a receiver to its lead looks: a batch in, sealed bytes out, and back.
//!
//! Sealed as `seal.rs` says (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03), for the *bond* as its place:
//! a label and the topic, which has tenant, store, gateway and radio. Inside is one byte, the form, and a
//! [`Plain`] in postcard's encoding (postcard wire format 1.0): integers as varints, nothing of a
//! variable length without its length before it, and nothing behind the end. In form 1 a fixture's data
//! are what it sent; in form 2 the length of its address (0 or 6) and its address stand before. Form 2 is
//! written only where there is an address, so that a lead of an earlier version reads the rest.
//!
//! Pure and total: any bytes are read, or refused for a reason that repeats nothing of them.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    engine::{LONGEST_FIXTURE_DATA, Pseudonym, ReceiverId, Rssi, Whose},
    seal::{SealError, Sealer},
    uplink::{Topic, Topics},
};

/// The most sightings of one message: a quarter of a second of a hundred tags.
pub const MOST_SIGHTINGS: usize = 32;

/// The largest sealed message, in bytes: 32 fixtures with the longest data and the longest names,
/// and some.
pub const LARGEST_BATCH: usize = 16 * 1024;

/// The longest pseudonym or name of a fixture, in bytes. The registry allows 64.
const LONGEST_NAME: usize = 64;

/// The form without addresses.
const FORM: u8 = 1;

/// The form with them.
const WITH_ADDRESSES: u8 = 2;

/// What a message is sealed for, before the topic.
const LABEL: &[u8] = b"beacon-gateway sighting 1\0";

/// Where a message belongs: tenant, store, gateway and radio.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bond {
    topics: Topics,
    topic: String,
}

/// One start of a receiver. A later one has a higher epoch or sequence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Run {
    /// The epoch of its store.
    pub epoch: u32,
    /// The last sequence in its store when it started.
    pub sequence: u64,
    /// By chance, so that another receiver that was given the same place is told apart.
    pub mark: u64,
}

/// What one message says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// The receiver's start.
    pub run: Run,
    /// Ascends by one within a start.
    pub counter: u64,
    /// When it was made, by the receiver's wall clock, in microseconds since 1970.
    pub sent_us: i64,
    /// How far that may be off, in microseconds, as the receiver believes; `None` when it does not
    /// believe its clock.
    pub error_us: Option<u32>,
    /// The radio has heard up to then whatever there was to hear.
    pub vouches: bool,
    /// The receiver stops.
    pub leaving: bool,
    /// Who was heard, in the order of time; at most [`MOST_SIGHTINGS`].
    pub sightings: Vec<Seen>,
}

/// One sighting of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Of whom.
    pub whose: Whose,
    /// By which of a subject's tags.
    pub tag: u8,
    /// How loud.
    pub rssi: Option<Rssi>,
    /// How long before the message was made, in whole milliseconds.
    pub age: Duration,
    /// The wider window was needed to recognise it.
    pub wide_window: bool,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Unread {
    /// Larger than [`LARGEST_BATCH`].
    #[error("it is larger than 16 KiB")]
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
    /// It has more than [`MOST_SIGHTINGS`].
    #[error("it has more than 32 sightings")]
    TooMany,
}

#[derive(Deserialize, Serialize)]
struct Plain<'a> {
    epoch: u32,
    sequence: u64,
    mark: u64,
    counter: u64,
    sent_us: i64,
    error_us: Option<u32>,
    vouches: bool,
    leaving: bool,
    #[serde(borrow)]
    sightings: Vec<PlainSeen<'a>>,
}

#[derive(Deserialize, Serialize)]
struct PlainSeen<'a> {
    who: &'a str,
    /// What a fixture sent; for a subject there is none.
    #[serde(borrow)]
    data: Option<&'a [u8]>,
    tag: u8,
    rssi: Option<i8>,
    age_ms: u32,
    wide_window: bool,
}

// === impl Bond ===

impl Bond {
    /// Of one radio of a gateway. `None` when its name cannot be a level of a topic.
    pub fn new(topics: &Topics, receiver: &ReceiverId) -> Option<Self> {
        Self::of(&topics.spell(Topic::Sighting(receiver.as_str())))
    }

    /// Of a topic, if it is one for sightings.
    pub fn of(topic: &str) -> Option<Self> {
        match Topics::read(topic) {
            Ok((topics, Topic::Sighting(_))) => Some(Self { topics, topic: topic.to_owned() }),
            _ => None,
        }
    }

    /// Where it is published.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether it is of the same tenant and store as a gateway with these topics.
    pub fn is_of_the_store_of(&self, other: &Topics) -> bool {
        self.topics.store_address() == other.store_address()
    }

    /// Whether it is of the gateway with these topics.
    pub fn is_of(&self, gateway: &Topics) -> bool {
        self.topics == *gateway
    }

    fn place(&self) -> Vec<u8> {
        [LABEL, self.topic.as_bytes()].concat()
    }
}

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.topic)
    }
}

// === impl Run ===

impl Run {
    /// Whether this start came after another one, by what cannot run backwards.
    pub fn is_after(&self, other: &Self) -> bool {
        (self.epoch, self.sequence) > (other.epoch, other.sequence)
    }
}

// === impl Batch ===

impl Batch {
    /// Seals it for its place.
    pub fn seal(&self, sealer: &Sealer, bond: &Bond) -> Result<Vec<u8>, SealError> {
        sealer.seal(&bond.place(), &self.write()?)
    }

    /// What is sealed.
    pub(super) fn write(&self) -> Result<Vec<u8>, SealError> {
        let Run { epoch, sequence, mark } = self.run;
        let form = if self.sightings.iter().any(Seen::has_address) { WITH_ADDRESSES } else { FORM };
        let data: Vec<_> = self.sightings.iter().map(|seen| seen.data(form)).collect();
        let seen = self.sightings.iter().zip(&data);
        let plain = Plain {
            epoch,
            sequence,
            mark,
            counter: self.counter,
            sent_us: self.sent_us,
            error_us: self.error_us,
            vouches: self.vouches,
            leaving: self.leaving,
            sightings: seen.map(|(seen, data)| PlainSeen::of(seen, data.as_deref())).collect(),
        };
        postcard::to_extend(&plain, vec![form]).map_err(|_| SealError::TooLong)
    }

    /// Opens and reads what [`Self::seal`] made for the same place.
    pub fn open(sealer: &Sealer, bond: &Bond, payload: &[u8]) -> Result<Self, Unread> {
        if payload.len() > LARGEST_BATCH {
            return Err(Unread::TooLarge);
        }
        let bytes = sealer.open(&bond.place(), payload).map_err(|error| match error {
            SealError::NoKey { .. } => Unread::NoKey,
            SealError::Damaged => Unread::Sealed,
            SealError::Form | SealError::Random | SealError::TooLong => Unread::Form,
        })?;
        Self::read(&bytes)
    }

    /// Reads what was sealed.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Unread> {
        let (&form, rest) = bytes.split_first().ok_or(Unread::Form)?;
        if ![FORM, WITH_ADDRESSES].contains(&form) {
            return Err(Unread::Form);
        }
        let (plain, behind) =
            postcard::take_from_bytes::<Plain<'_>>(rest).map_err(|_| Unread::Shape)?;
        if !behind.is_empty() {
            return Err(Unread::Shape);
        }
        if plain.sightings.len() > MOST_SIGHTINGS {
            return Err(Unread::TooMany);
        }
        let Plain { epoch, sequence, mark, counter, sent_us, error_us, vouches, leaving, .. } =
            plain;
        let sightings = plain.sightings.iter().map(|seen| seen.read(form));
        Ok(Self {
            run: Run { epoch, sequence, mark },
            counter,
            sent_us,
            error_us,
            vouches,
            leaving,
            sightings: sightings.collect::<Result<_, _>>()?,
        })
    }
}

// === impl Seen ===

impl Seen {
    const fn has_address(&self) -> bool {
        matches!(self.whose, Whose::Fixture { address: Some(_), .. })
    }

    /// What stands for a fixture's data.
    fn data(&self, form: u8) -> Option<Cow<'_, [u8]>> {
        let Whose::Fixture { data, address, .. } = &self.whose else { return None };
        if form == FORM {
            return Some(Cow::Borrowed(data));
        }
        let address = address.as_ref().map_or(&[][..], |octets| octets);
        let length = u8::try_from(address.len()).unwrap_or_default();
        Some(Cow::Owned([&[length][..], address, data].concat()))
    }
}

// === impl PlainSeen ===

impl<'a> PlainSeen<'a> {
    fn of(seen: &'a Seen, data: Option<&'a [u8]>) -> Self {
        let who = match &seen.whose {
            Whose::Subject(name) => name.as_str(),
            Whose::Fixture { id, .. } => id.as_str(),
        };
        Self {
            who,
            data,
            tag: seen.tag,
            rssi: seen.rssi.map(|Rssi(dbm)| dbm),
            age_ms: u32::try_from(seen.age.as_millis()).unwrap_or(u32::MAX),
            wide_window: seen.wide_window,
        }
    }

    fn read(&self, form: u8) -> Result<Seen, Unread> {
        let whose = match self.data {
            None => Whose::Subject(Pseudonym::new(self.who)),
            Some(data) => {
                let (address, data) = match (form, data) {
                    (FORM, data) | (_, [0, data @ ..]) => (None, data),
                    (_, [6, rest @ ..]) => {
                        let (address, data) = rest.split_first_chunk().ok_or(Unread::Shape)?;
                        (Some(*address), data)
                    }
                    _ => return Err(Unread::Shape),
                };
                if data.len() > LONGEST_FIXTURE_DATA {
                    return Err(Unread::Shape);
                }
                Whose::Fixture { id: self.who.to_owned(), data: data.to_vec(), address }
            }
        };
        let sound = (1..=LONGEST_NAME).contains(&self.who.len())
            && self.rssi.is_none_or(|dbm| (-127..=20).contains(&dbm));
        if !sound {
            return Err(Unread::Shape);
        }
        Ok(Seen {
            whose,
            tag: self.tag,
            rssi: self.rssi.map(Rssi),
            age: Duration::from_millis(self.age_ms.into()),
            wide_window: self.wide_window,
        })
    }
}

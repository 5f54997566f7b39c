//! Looks at a log before sled does, without writing: would sled take it for what it is?
//!
//! sled checks each message of its log by a sum. One that does not fit it takes for the place where
//! a power cut ended the log, and forgets or overwrites what lies behind; in the middle of the log it
//! passes over the rest of a segment, and goes on with older contents of what was there. After a
//! power cut that is right. After a damaged byte it costs thousands of records that are whole. So the
//! log is gone through by sled's own rules first (`pagecache/{logger,iterator,segment}.rs` of sled
//! 0.34.7), and what sled would have of it is compared with what the records themselves prove to have
//! been durable. Whatever is wrong is found before anything is overwritten.
//!
//! The log is a row of segments, and each place in them has a number that grows with time (LSN). A
//! segment begins with
//!
//! | bytes | what |
//! |---|---|
//! | 4 | the sum of the other 16, inverted |
//! | 8 | the LSN of its beginning, XOR `i64::MAX` |
//! | 8 | up to which LSN everything was durable then, XOR `i64::MAX` |
//!
//! and goes on with messages, each a sum (4, inverted, of the contents and then the rest of the
//! header), a kind (1), the length of the contents, the number of the segment and that of a page
//! (see [`varint`]), and the contents. Numbers are little-endian, sums CRC-32.
//!
//! It is total on any bytes, reads each byte once (the tail twice), and keeps a segment in memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::seal::StoreKey;

use super::{
    frame::{self, Spot},
    head::Head,
    open::SEGMENT_SIZE,
    salvage::find_mark,
};

/// The length of a segment, as sled counts.
const SEGMENT: u64 = SEGMENT_SIZE as u64;

/// The length of what a segment begins with.
const SEGMENT_HEADER: usize = 20;

/// Nothing begins in the last so many bytes of a segment.
const RED_ZONE: usize = 32;

/// Kinds of messages that mean something here; the others are pages or parts of them.
const CAP: u8 = 2;
const BATCH_MANIFEST: u8 = 3;
const KINDS: std::ops::RangeInclusive<u8> = 1..=11;

/// How many of the latest heads are opened: each proves the commit before it. More than one, because
/// some may be damaged.
const HEADS: usize = 64;

/// What was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Survey {
    /// The number of the last commit that is proved to have been durable: a later one was begun.
    pub(super) proven: u64,
    /// Why sled might not have all of it: it would cut off what was durable, or pass over a part.
    /// Whether anything that counts is lost by that is not to be seen from here: after a power cut,
    /// a segment that was about to be used again looks like that too. `None`: the log is what it is,
    /// or what a power cut has left of it.
    pub(super) doubt: Option<&'static str>,
}

/// A part of the log, as far as is kept of it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    at: u64,
    /// How far its messages are whole, as an offset in it.
    end: usize,
    /// Whether that is all that was ever to be in it.
    full: bool,
    /// The highest commit of which there is a head among its whole messages.
    newest: u64,
}

/// All that is seen in the bytes of a segment.
#[derive(Debug, Default)]
struct Seen {
    /// Its LSN, and up to where everything was durable; `None` where that is not whole.
    begins: Option<(u64, u64)>,
    end: usize,
    full: bool,
    /// Offset and commit of each head in it, whether its message is whole or not.
    heads: Vec<(usize, u64)>,
    /// Offset of each batch, and the LSN up to which the log must be whole for it to count.
    batches: Vec<(usize, u64)>,
    /// Whether there is anything in it that was sealed.
    is_sealed: bool,
}

/// Surveys a log. One that does not exist is sound: sled begins it.
pub(super) fn survey(log: &Path, key: &StoreKey) -> io::Result<Survey> {
    let file = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Survey { proven: 0, doubt: None });
        }
        file => file?,
    };
    let mut segments: BTreeMap<u64, Segment> = BTreeMap::new();
    let mut heads: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let (mut stable, mut doubt, mut is_sealed) = (0, None, false);
    let (mut bytes, mut at) = (Vec::with_capacity(SEGMENT_SIZE), 0);
    loop {
        bytes.clear();
        if (&file).take(SEGMENT).read_to_end(&mut bytes)? == 0 {
            break;
        }
        let seen = Seen::of(&bytes);
        is_sealed |= seen.is_sealed;
        for (offset, commit) in &seen.heads {
            let value = bytes.get(*offset..).unwrap_or_default();
            let length = frame::label(value).map_or(0, |label| label.length);
            heads.insert(*commit, value.get(..length).unwrap_or_default().to_vec());
            if heads.len() > HEADS {
                heads.pop_first();
            }
        }
        match seen.begins {
            Some((lsn, durable)) => {
                stable = durable.max(stable);
                let whole = seen.heads.iter().filter(|(offset, _)| *offset < seen.end);
                let newest = whole.map(|(_, commit)| *commit).max().unwrap_or(0);
                let segment = Segment { at, end: seen.end, full: seen.full, newest };
                if segments.insert(lsn, segment).is_some() {
                    doubt = Some("two segments of its log have the same number");
                }
            }
            // sled has freed it, or has not begun it.
            None if bytes.iter().all(|byte| *byte == 0) => {}
            None => doubt = Some("a segment of its log has lost its beginning"),
        }
        at += SEGMENT;
    }
    let proofs = heads.values().filter_map(|value| Head::decode(&frame::open(key, value)?.1));
    let proven = proofs.map(|head| head.previous).max().unwrap_or(0);
    let (newest, tip) = recovered(&file, &segments, stable)?;
    let mut before = segments.iter().filter(|(lsn, _)| lsn.saturating_add(SEGMENT) <= tip);
    if newest < proven {
        doubt = Some("commits would be cut off its end");
    } else if newest == 0 && is_sealed {
        doubt = Some("no head would be left of it");
    } else if before.any(|(_, segment)| !segment.full) {
        doubt = Some("a part of its log is damaged");
    }
    Ok(Survey { proven, doubt })
}

/// What sled would recover: the highest commit, and the LSN at which it would end the log.
fn recovered(
    file: &File,
    segments: &BTreeMap<u64, Segment>,
    stable: u64,
) -> io::Result<(u64, u64)> {
    // From the last one on that is known to have been durable, segments must follow each other.
    let mut expected = stable / SEGMENT * SEGMENT;
    let mut tail = Vec::new();
    let mut tip = 0;
    while let Some(segment) = segments.get(&expected) {
        tip = expected.saturating_add(segment.end.try_into().unwrap_or(u64::MAX));
        tail.push((expected, segment));
        let Some(next) = expected.checked_add(SEGMENT).filter(|_| segment.full) else { break };
        expected = next;
    }
    let lowest = tail.first().map_or(0, |(lsn, _)| *lsn);
    let mut newest = segments.range(..lowest).map(|(_, segment)| segment.newest).max().unwrap_or(0);
    // A batch counts if all of it is there.
    let mut heads = Vec::new();
    'tail: for (lsn, segment) in tail {
        let mut bytes = vec![0; SEGMENT_SIZE];
        let length = read_at(file, &mut bytes, segment.at)?;
        bytes.truncate(length);
        let seen = Seen::of(&bytes);
        let place = |offset: usize| lsn.saturating_add(offset.try_into().unwrap_or(u64::MAX));
        heads.extend(seen.heads.iter().map(|(offset, commit)| (place(*offset), *commit)));
        for (offset, until) in seen.batches {
            if until >= tip {
                tip = place(offset);
                break 'tail;
            }
        }
    }
    let heads = heads.iter().filter(|(lsn, _)| *lsn < tip).map(|(_, commit)| *commit);
    newest = heads.fold(newest, u64::max);
    Ok((newest, tip))
}

/// Reads until the end of the file or that of the buffer.
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(length.try_into().unwrap_or(u64::MAX))) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

impl Seen {
    fn of(bytes: &[u8]) -> Self {
        let mut seen = Self::default();
        let mut at = 0;
        while let Some(found) = bytes.get(at..).and_then(find_mark).map(|found| at + found) {
            if let Some(label) = bytes.get(found..).and_then(frame::label) {
                seen.is_sealed = true;
                if label.spot == Spot::Head {
                    seen.heads.push((found, label.commit));
                }
            }
            at = found + 1;
        }
        seen.begins = begins(bytes);
        if let Some((lsn, _)) = seen.begins {
            seen.walk(bytes, lsn / SEGMENT);
        }
        seen
    }

    /// Goes from message to message, up to the first that is not whole.
    fn walk(&mut self, bytes: &[u8], number: u64) {
        self.end = SEGMENT_HEADER;
        while self.end + RED_ZONE <= SEGMENT_SIZE {
            let rest = bytes.get(self.end..).unwrap_or_default();
            let Some(message) = Message::read(rest, number) else {
                // Between two runs sled passes over the very last place for a message.
                self.full = self.end + RED_ZONE == SEGMENT_SIZE;
                return;
            };
            if message.kind == CAP {
                break;
            }
            if message.kind == BATCH_MANIFEST {
                let Some(until) = message.contents.try_into().ok().map(i64::from_le_bytes) else {
                    return;
                };
                self.batches.push((self.end, until.try_into().unwrap_or(0)));
            }
            self.end += message.length;
        }
        self.full = true;
    }
}

/// A message that is whole.
struct Message<'a> {
    kind: u8,
    contents: &'a [u8],
    /// The length of all of it, in bytes.
    length: usize,
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8], segment: u64) -> Option<Self> {
        let (sum, rest) = bytes.split_first_chunk()?;
        let (&kind, rest) = rest.split_first()?;
        let (length, rest) = varint(rest)?;
        let (number, rest) = varint(rest)?;
        let (_page, rest) = varint(rest)?;
        if number != segment || !KINDS.contains(&kind) {
            return None;
        }
        let header = bytes.len() - rest.len();
        let contents = rest.get(..usize::try_from(length).ok()?)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(contents);
        hasher.update(bytes.get(4..header)?);
        let fits = hasher.finalize() == !u32::from_le_bytes(*sum);
        fits.then_some(Self { kind, contents, length: header + contents.len() })
    }
}

/// The LSN of a segment, and up to which everything was durable when it was begun.
fn begins(bytes: &[u8]) -> Option<(u64, u64)> {
    let (sum, rest) = bytes.split_first_chunk()?;
    let rest: &[u8; SEGMENT_HEADER - 4] = rest.first_chunk()?;
    if crc32fast::hash(rest) != !u32::from_le_bytes(*sum) {
        return None;
    }
    let (lsn, stable) = rest.split_first_chunk()?;
    let number = |bytes: [u8; 8]| i64::from_le_bytes(bytes) ^ i64::MAX;
    let lsn = u64::try_from(number(*lsn)).ok().filter(|lsn| lsn % SEGMENT == 0)?;
    // Before the first it is -1.
    Some((lsn, number(*stable.first_chunk()?).try_into().unwrap_or(0)))
}

/// A number of sled's, and what follows: one byte up to 240, two up to 2287, three up to 67823, and
/// more than that as a byte that says how many follow, and those.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let number = |byte: u8| u64::from(byte);
    Some(match first {
        0..=240 => (number(first), rest),
        241..=248 => {
            let (&low, rest) = rest.split_first()?;
            (240 + 256 * (number(first) - 241) + number(low), rest)
        }
        249 => {
            let ([high, low], rest) = rest.split_first_chunk()?;
            (2288 + 256 * number(*high) + number(*low), rest)
        }
        _ => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first) - 247)?;
            let mut wide = [0; 8];
            wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            (u64::from_le_bytes(wide), rest)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As sled writes a number.
    fn put(number: u64) -> Vec<u8> {
        let byte = |number: u64| u8::try_from(number).unwrap();
        match number {
            0..=240 => vec![byte(number)],
            241..=2287 => vec![byte((number - 240) / 256 + 241), byte((number - 240) % 256)],
            2288..=67823 => vec![249, byte((number - 2288) / 256), byte((number - 2288) % 256)],
            _ => {
                let length = usize::try_from(8 - number.leading_zeros() / 8).unwrap();
                [&[byte(247 + length as u64)], &number.to_le_bytes()[..length]].concat()
            }
        }
    }

    fn message(kind: u8, segment: u64, contents: &[u8]) -> Vec<u8> {
        let length = put(contents.len() as u64);
        let header = [[kind].as_slice(), &length, &put(segment), &put(70_000)].concat();
        let sum = !crc32fast::hash(&[contents, &header].concat());
        [sum.to_le_bytes().as_slice(), &header, contents].concat()
    }

    fn segment(number: u64, messages: &[Vec<u8>]) -> Vec<u8> {
        let lsn = (i64::try_from(number * SEGMENT).unwrap() ^ i64::MAX).to_le_bytes();
        let stable = (-1_i64 ^ i64::MAX).to_le_bytes();
        let rest = [lsn, stable].concat();
        let sum = (!crc32fast::hash(&rest)).to_le_bytes();
        let mut bytes = [sum.as_slice(), &rest, &messages.concat()].concat();
        bytes.resize(SEGMENT_SIZE, 0);
        bytes
    }

    #[test]
    fn numbers_are_read_as_sled_writes_them() {
        for number in [0, 240, 241, 2287, 2288, 67_823, 67_824, 1 << 24, 1 << 33, u64::MAX] {
            let bytes = [put(number), vec![7]].concat();
            assert_eq!(varint(&bytes), Some((number, [7].as_slice())), "{number}");
            assert_eq!(varint(&bytes[..bytes.len() - 2]), None, "{number}");
        }
    }

    #[test]
    fn messages_are_followed_to_the_first_that_is_damaged_or_to_the_last() {
        let page = message(8, 3, &[5; 300]);
        let batch = message(BATCH_MANIFEST, 3, &77_i64.to_le_bytes());
        let whole = [page.clone(), batch.clone(), page.clone()];
        let length: usize = SEGMENT_HEADER + whole.iter().map(Vec::len).sum::<usize>();
        let seen = Seen::of(&segment(3, &whole));
        assert_eq!((seen.begins, seen.end, seen.full), (Some((3 * SEGMENT, 0)), length, false));
        assert_eq!(seen.batches, [(SEGMENT_HEADER + page.len(), 77)]);
        let capped = [whole.to_vec(), vec![message(CAP, 3, &[0; 100])]].concat();
        let seen = Seen::of(&segment(3, &capped));
        assert_eq!((seen.end, seen.full), (length, true));
        // Of another segment, such as the one that was here before.
        let torn = [whole.to_vec(), vec![message(8, 2, &[5; 300])]].concat();
        assert_eq!(Seen::of(&segment(3, &torn)).end, length);
        for at in 0..length {
            let mut bytes = segment(3, &capped);
            bytes[at] ^= 0x10;
            let seen = Seen::of(&bytes);
            assert!(seen.begins.is_none() || (seen.end <= at && !seen.full), "byte {at}");
        }
    }

    #[test]
    fn no_bytes_however_strange_panic_or_go_on_for_ever() {
        let mut random = fastrand::Rng::with_seed(1);
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("db");
        let key = StoreKey::fresh().unwrap();
        for _ in 0..40 {
            let mut bytes = Vec::new();
            for _ in 0..random.usize(1..4) {
                let contents: Vec<u8> =
                    std::iter::repeat_with(|| random.u8(..)).take(900).collect();
                let number = random.u64(0..3);
                let messages = [message(random.u8(..), number, &contents), contents];
                bytes.extend(segment(number, &messages));
            }
            bytes.truncate(random.usize(0..=bytes.len()));
            for _ in 0..random.usize(0..5) {
                let at = random.usize(0..bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.u8(..);
                }
            }
            std::fs::write(&log, &bytes).unwrap();
            assert_eq!(survey(&log, &key).unwrap().proven, 0);
        }
        std::fs::remove_file(&log).unwrap();
        assert_eq!(survey(&log, &key).unwrap().doubt, None);
    }
}

//! Takes out of a block what it says twice, and what most blocks say.
//!
//! Records of one commit name the same zones, receivers, proofs and runs, and all records use the
//! same few words. So a block is written as what is new in it, and references to what was there
//! before: earlier in the block, or among the [`WORDS`]. It is a form of LZ77 in the manner of the
//! LZ4 block format: sequences of
//!
//! | what | as |
//! |---|---|
//! | how many new bytes follow (4 bits, 15 means 15 and a number more), how many old ones after them less three (4 bits, likewise) | 1 byte, numbers |
//! | the new bytes | bytes |
//! | how far back the old ones begin, at least 1; not in the last sequence | number |
//!
//! Reading is total: whatever it is given it ends, with at most as many bytes as are allowed. It is
//! of our own making because nothing in the tree does this, and a general compressor would bring
//! tables larger than the blocks.

use super::octets::{Rest, put};

/// What is taken as said before any block: words of records with their lengths before them, the most
/// frequent ones last, where they are nearest. It is a part of the layout of the store: another one
/// makes another layout.
const WORDS: &[u8] =
    b"\x07expired\x08narrowed\x09withdrawn\x0cnot_enrolled\x07resumed\x03new\x0bquarantined\
\x0frecords_dropped\x0bpowered_off\x0ano_adapter\x0cscan_refused\x06daemon\x05asset\x05staff\
\x0cout_of_range\x06absent\x07silence\x0bpm2_5_ug_m3\x0apm10_ug_m3\x09voc_index\x09nox_index\
\x07co2_ppm\x0blight_level\x0eilluminance_lx\x13acceleration_x_m_s2\x13acceleration_y_m_s2\
\x13acceleration_z_m_s2\x11measurement_count\x0emovement_count\x0cpeople_count\x05count\
\x07power_w\x0aenergy_kwh\x0ctx_power_dbm\x0bdew_point_c\x10moisture_percent\x0bwindow_open\
\x10garage_door_open\x09door_open\x04open\x06button\x09occupancy\x09vibration\x06motion\
\x0bbattery_low\x09battery_v\x0fbattery_percent\x0bpressure_pa\x10humidity_percent\
\x0dtemperature_c\x0fgateway_restart\x06silent\x05faded\x05moved\x07fainter\x06louder\
\x07arrived\x04exit\x08checkout\x08entrance\x0aengagement\x08presence\x05asset\x05staff\
\x08customer\x0aengagement\x08customer\x08presence\x03\x08presence\x07journey\x0aengagement";

/// Shorter repetitions are not worth a reference.
const SHORTEST: usize = 4;

/// What the lower four bits of a sequence's first byte count from.
const COUNTED_FROM: usize = 3;

/// From here on a length has a number of its own.
const LONG: usize = 15;

/// How many bytes are compared at once.
const PIECE: usize = 16;

/// How many places that begin alike are remembered, as a power of two.
const PLACES: u32 = 12;

/// The short form of some bytes.
pub(super) fn squeeze(plain: &[u8]) -> Vec<u8> {
    let said = [WORDS, plain].concat();
    let mut places = vec![usize::MAX; 1 << PLACES];
    let mut short = Vec::with_capacity(plain.len() / 2 + 16);
    let (mut at, mut new_from) = (0, WORDS.len());
    // What lies among the words is only remembered.
    while let Some(next) = said.get(at..at + SHORTEST) {
        let before = places.get_mut(hash(next)).map(|place| std::mem::replace(place, at));
        let before = before.filter(|before| at >= WORDS.len() && *before < at);
        let alike = before.map_or(0, |before| alike(&said, before, at));
        if alike < SHORTEST {
            at += 1;
            continue;
        }
        let back = at - before.unwrap_or_default();
        put_sequence(&mut short, said.get(new_from..at).unwrap_or_default(), Some((back, alike)));
        for inside in at + 1..at + alike {
            if let Some(next) = said.get(inside..inside + SHORTEST)
                && let Some(place) = places.get_mut(hash(next))
            {
                *place = inside;
            }
        }
        at += alike;
        new_from = at;
    }
    put_sequence(&mut short, said.get(new_from..).unwrap_or_default(), None);
    short
}

/// What was squeezed, if it was, and has at most `most` bytes.
pub(super) fn expand(short: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut rest = Rest(short);
    let most = most.checked_add(WORDS.len())?;
    // Nearly all blocks fit without growing, which would copy them, and clear what is left behind.
    let mut said = Vec::with_capacity(most);
    said.extend(WORDS);
    loop {
        let counts = rest.u8()?;
        let new = length(usize::from(counts >> 4), &mut rest)?;
        let old = length(usize::from(counts & 15), &mut rest)?;
        said.extend(rest.bytes(new)?);
        if rest.0.is_empty() {
            // There is nothing old in the last one.
            return (old == 0 && said.len() <= most).then(|| said.split_off(WORDS.len()));
        }
        let back = usize::try_from(rest.number()?).ok().filter(|back| *back > 0)?;
        let from = said.len().checked_sub(back)?;
        let end = from.checked_add(old.checked_add(COUNTED_FROM)?)?;
        if said.len().checked_add(end - from)? > most {
            return None;
        }
        if end <= said.len() {
            said.extend_from_within(from..end);
        } else {
            // They reach into what they make themselves.
            for at in from..end {
                said.push(*said.get(at)?);
            }
        }
    }
}

fn put_sequence(short: &mut Vec<u8>, new: &[u8], old: Option<(usize, usize)>) {
    let old_count = old.map_or(0, |(_, count)| count - COUNTED_FROM);
    let nibble = |count: usize| u8::try_from(count.min(LONG)).unwrap_or(0);
    short.push(nibble(new.len()) << 4 | nibble(old_count));
    for count in [new.len(), old_count] {
        if let Some(more) = count.checked_sub(LONG) {
            put(short, u64::try_from(more).unwrap_or(u64::MAX));
        }
    }
    short.extend(new);
    if let Some((back, _)) = old {
        put(short, u64::try_from(back).unwrap_or(u64::MAX));
    }
}

fn length(count: usize, rest: &mut Rest<'_>) -> Option<usize> {
    if count < LONG {
        return Some(count);
    }
    usize::try_from(rest.number()?).ok()?.checked_add(count)
}

/// How many bytes are the same from two places on.
fn alike(said: &[u8], one: usize, other: usize) -> usize {
    let one = said.get(one..).unwrap_or_default();
    let other = said.get(other..).unwrap_or_default();
    let pieces = one.chunks_exact(PIECE).zip(other.chunks_exact(PIECE));
    let whole = pieces.take_while(|(one, other)| one == other).count() * PIECE;
    let rest = one.iter().zip(other).skip(whole);
    whole + rest.take_while(|(one, other)| one == other).count()
}

fn hash(bytes: &[u8]) -> usize {
    let first = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    // Knuth's multiplicative hash: 2^32 divided by the golden ratio.
    usize::try_from(first.wrapping_mul(2_654_435_761) >> (32 - PLACES)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(plain: &[u8]) -> usize {
        let short = squeeze(plain);
        assert_eq!(expand(&short, plain.len()).as_deref(), Some(plain));
        assert!(plain.is_empty() || expand(&short, plain.len() - 1).is_none());
        short.len()
    }

    #[test]
    fn everything_comes_back_as_it_was() {
        let mut random = fastrand::Rng::with_seed(1);
        round(b"");
        round(&[7; 5000]);
        for _ in 0..500 {
            let alphabet = *random.choice(&[2, 5, 30, 255]).unwrap();
            let length = random.usize(0..3000);
            let mut plain: Vec<u8> = (0..length).map(|_| random.u8(0..=alphabet)).collect();
            for _ in 0..random.usize(0..20) {
                let from = random.usize(0..WORDS.len());
                let to = random.usize(from..WORDS.len());
                plain.extend(&WORDS[from..to]);
            }
            let short = round(&plain);
            assert!(short <= plain.len() + plain.len() / 100 + 8, "{short} for {}", plain.len());
        }
    }

    #[test]
    fn what_records_say_again_and_again_takes_little() {
        let plain = b"\x08customer\x08presence\x03\x08presence\x07journey\x0aengagement";
        assert!(round(plain) < plain.len() / 4);
        let twenty: Vec<u8> = (0..20_u8)
            .flat_map(|n| [b"\x0ccust_7f3a19".as_slice(), &[n, n ^ 0x5a], b"\x06bakery"].concat())
            .collect();
        assert!(round(&twenty) < twenty.len() / 2);
    }

    #[test]
    fn strange_bytes_are_refused_or_read_and_never_panic() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..50_000 {
            let bytes: Vec<u8> = (0..random.usize(0..30)).map(|_| random.u8(..)).collect();
            assert!(expand(&bytes, 1000).is_none_or(|plain| plain.len() <= 1000));
        }
        let short = squeeze(&[b"\x08customer".as_slice(), &[1; 200], b"\x07journey"].concat());
        for end in 0..short.len() {
            drop(expand(&short[..end], 1000));
        }
    }

    #[test]
    fn the_words_are_a_part_of_the_layout_and_stay_as_they_are() {
        let hash = ring::digest::digest(&ring::digest::SHA256, WORDS);
        let first: Vec<u8> = hash.as_ref().iter().take(4).copied().collect();
        assert_eq!((WORDS.len(), hex::encode(first).as_str()), (753, "bc974e81"));
    }
}

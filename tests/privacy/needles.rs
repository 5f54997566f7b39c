//! What must not be found, and where it was found all the same.
//!
//! A place is read in three ways: octet by octet; as text in hexadecimal digits, with or without
//! separators, in both cases; and as text in lists of decimal numbers, which is how `{:?}` shows
//! octets. Where nothing should be in base64 either, what that stands for is read like the place.

use std::{collections::HashMap, fmt};

/// Things to look for.
pub(crate) struct Needles {
    all: Vec<Needle>,
    /// The first needle that begins with four octets; the others follow by [`Needle::next`].
    by_head: HashMap<[u8; 4], usize>,
    /// Which three octets some needle begins with: one bit each.
    heads: Vec<u64>,
}

struct Needle {
    octets: Vec<u8>,
    what: What,
    whose: usize,
    next: Option<usize>,
}

/// What a needle is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum What {
    /// A stranger's address, in either order of its octets.
    StrangersAddress,
    /// Eight octets of what a stranger sent.
    StrangersData,
    /// Eight octets of a member's key.
    Key,
    /// A member's address, or what makes the member's beacon its own.
    Identifier,
    /// The name of a member who has withdrawn.
    Pseudonym,
}

/// A needle that was found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) what: What,
    /// The number of the stranger or the member.
    pub(crate) whose: usize,
    /// Where, in words.
    pub(crate) place: String,
    /// At which octet of that place.
    pub(crate) offset: usize,
}

/// No needle is shorter: the six octets of an address.
const SHORTEST: usize = 6;

/// So much of a place is looked at again when it is read piece by piece: longer than any needle is,
/// written out.
pub(crate) const OVERLAP: usize = 64;

impl Needles {
    pub(crate) fn new() -> Self {
        Self { all: Vec::new(), by_head: HashMap::new(), heads: vec![0; 1 << 18] }
    }

    /// Adds octets to be looked for. None of them is zero: pages of zeros are passed over.
    pub(crate) fn add(&mut self, octets: &[u8], what: What, whose: usize) {
        assert!(octets.len() >= SHORTEST && !octets.contains(&0), "not fit for a needle");
        let head = head(octets);
        let place = index(octets);
        self.heads[place / 64] |= 1 << (place % 64);
        let next = self.by_head.insert(head, self.all.len());
        self.all.push(Needle { octets: octets.to_vec(), what, whose, next });
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Looks everywhere in a piece of a place that begins at `offset`.
    pub(crate) fn search(&self, piece: &[u8], place: &str, offset: usize) -> Vec<Finding> {
        let mut found = Vec::new();
        self.octets(piece, &mut |needle, at| found.push(needle.found(place, offset + at)));
        self.digits(piece, &mut |needle, at| found.push(needle.found(place, offset + at)));
        for (octets, at) in decimal(piece) {
            self.octets(&octets, &mut |needle, _| found.push(needle.found(place, offset + at)));
        }
        found
    }

    /// Looks in what stands there in base64: as commands come, so that it is no place for a line.
    pub(crate) fn search_base64(&self, piece: &[u8], place: &str, offset: usize) -> Vec<Finding> {
        let mut found = Vec::new();
        let place = format!("{place}, in base64");
        for (octets, at) in base64(piece) {
            let mut found = |needle: &Needle, _| found.push(needle.found(&place, offset + at));
            self.octets(&octets, &mut found);
            self.digits(&octets, &mut found);
        }
        found
    }

    fn digits<'n>(&'n self, piece: &[u8], found: &mut dyn FnMut(&'n Needle, usize)) {
        for (digits, at) in hexadecimal(piece) {
            for skip in 0..2 {
                let pairs = digits[skip..].chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]);
                let octets: Vec<u8> = pairs.collect();
                self.octets(&octets, &mut |needle, _| found(needle, at));
            }
        }
    }

    fn octets<'n>(&'n self, piece: &[u8], found: &mut dyn FnMut(&'n Needle, usize)) {
        let mut at = 0;
        while at + SHORTEST <= piece.len() {
            let rest = &piece[at..];
            if rest[0] == 0 {
                // Nothing begins with zero, and most of memory is.
                at += if rest.starts_with(&[0; 64]) { 64 } else { 1 };
                continue;
            }
            let place = index(rest);
            if self.heads[place / 64] >> (place % 64) & 1 == 1 {
                let mut next = self.by_head.get(&head(rest)).copied();
                while let Some(number) = next {
                    let needle = &self.all[number];
                    if rest.starts_with(&needle.octets) {
                        found(needle, at);
                    }
                    next = needle.next;
                }
            }
            at += 1;
        }
    }
}

impl Needle {
    fn found(&self, place: &str, offset: usize) -> Finding {
        Finding { what: self.what, whose: self.whose, place: place.to_owned(), offset }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, whose, place, offset } = self;
        write!(f, "{what:?} of number {whose} in {place}, at {offset:#x}")
    }
}

fn head(octets: &[u8]) -> [u8; 4] {
    [octets[0], octets[1], octets[2], octets[3]]
}

fn index(octets: &[u8]) -> usize {
    usize::from(octets[0]) << 16 | usize::from(octets[1]) << 8 | usize::from(octets[2])
}

/// The runs of hexadecimal digits that are long enough for a needle, as digits, with their places.
/// One separator may stand between digits.
fn hexadecimal(piece: &[u8]) -> Vec<(Vec<u8>, usize)> {
    let mut runs = Vec::new();
    let (mut digits, mut start, mut separated) = (Vec::new(), 0, false);
    for (at, &byte) in piece.iter().chain(&[0]).enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b':' | b'-' | b'_' | b' ' if !digits.is_empty() && !separated => {
                separated = true;
                continue;
            }
            _ => {
                if digits.len() >= 2 * SHORTEST {
                    runs.push((std::mem::take(&mut digits), start));
                }
                digits.clear();
                separated = false;
                continue;
            }
        };
        if digits.is_empty() {
            start = at;
        }
        separated = false;
        digits.push(digit);
    }
    runs
}

/// What the runs of base64 that are long enough for a needle stand for, with their places. Which of
/// four digits a group begins with, nobody knows in the middle.
fn base64(piece: &[u8]) -> Vec<(Vec<u8>, usize)> {
    /// The octets of an address and the groups at both ends that are not whole.
    const SHORTEST_RUN: usize = SHORTEST * 4 / 3 + 6;
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let mut all = Vec::new();
    let mut start = 0;
    for run in piece.split(|byte| digit(*byte).is_none()) {
        let begin = start;
        start += run.len() + 1;
        if run.len() < SHORTEST_RUN {
            continue;
        }
        for skip in 0..4 {
            let groups = run[skip..].chunks_exact(4);
            let octets = groups.flat_map(|group| {
                let digits = group.iter().filter_map(|byte| digit(*byte));
                let [_, octets @ ..] =
                    digits.fold(0, |sum, digit| sum << 6 | u32::from(digit)).to_be_bytes();
                octets
            });
            all.push((octets.collect(), begin));
        }
    }
    all
}

/// The lists of numbers up to 255 that are long enough for a needle: `192, 17, 34, …`.
fn decimal(piece: &[u8]) -> Vec<(Vec<u8>, usize)> {
    let mut lists = Vec::new();
    let (mut octets, mut start): (Vec<u8>, _) = (Vec::new(), 0);
    let mut number: Option<u16> = None;
    for (at, &byte) in piece.iter().chain(&[0]).enumerate() {
        match byte {
            b'0'..=b'9' => {
                if octets.is_empty() && number.is_none() {
                    start = at;
                }
                let digit = u16::from(byte - b'0');
                number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            }
            b',' | b' ' | b']' | b'\n' => {
                if let Some(octet) = number.take().and_then(|number| u8::try_from(number).ok()) {
                    octets.push(octet);
                }
                if byte == b']' && octets.len() >= SHORTEST {
                    lists.push((std::mem::take(&mut octets), start));
                }
            }
            _ => {
                if let Some(octet) = number.take().and_then(|number| u8::try_from(number).ok()) {
                    octets.push(octet);
                }
                if octets.len() >= SHORTEST {
                    lists.push((std::mem::take(&mut octets), start));
                }
                octets.clear();
            }
        }
    }
    lists
}

/// The ways to read a place find what they should, and nothing else.
pub(crate) fn are_found_however_they_are_written() -> Result<(), String> {
    let octets = [0xc0, 0x11, 0x22, 0x33, 0xa4, 0x5f];
    let mut needles = Needles::new();
    needles.add(&octets, What::StrangersAddress, 7);
    let listed = octets.map(|octet| octet.to_string()).join(", ");
    let spaced = octets.map(|octet| format!("{octet:02x}")).join(" ");
    let lines = octets.map(|octet| format!("    {octet},\n")).concat();
    let raw = [&[0; 100][..], &octets, &[0; 100]].concat();
    let written: [&[u8]; 8] = [
        &raw,
        b"at C0:11:22:33:A4:5F.",
        b"dev_c0_11_22_33_a4_5f",
        b"\"c0112233a45f\"",
        b"xxffc0112233A45Fc",
        spaced.as_bytes(),
        listed.as_bytes(),
        lines.as_bytes(),
    ];
    for place in written {
        let found = needles.search(place, "a test", 0);
        if found.len() != 1 || found[0].whose != 7 {
            return Err(format!("{:?} is found {} times", place.escape_ascii(), found.len()));
        }
    }
    // {"irk":"c0112233a45f"}, twice, and c0112233a45f among other octets.
    let encoded: [&[u8]; 3] = [
        b"eyJpcmsiOiJjMDExMjIzM2E0NWYifQ",
        b".IeyJpcmsiOiJjMDExMjIzM2E0NWYifQ.",
        b"A////wBEiM6Rf////A",
    ];
    for place in encoded {
        let found = needles.search_base64(place, "a test", 0);
        if found.len() != 1 || !needles.search(place, "a test", 0).is_empty() {
            return Err(format!("{:?} is found {} times", place.escape_ascii(), found.len()));
        }
    }
    let others: [&[u8]; 4] = [
        b"c0:11:22:33:a4",
        b"c0112233a45e",
        b"192, 17, 34, 51, 164, 96",
        &[0xc0, 0x11, 0x22, 0x33],
    ];
    match others.iter().find(|place| !needles.search(place, "a test", 0).is_empty()) {
        None => Ok(()),
        Some(place) => Err(format!("something is found in {:?}", place.escape_ascii())),
    }
}

//! A debugger's look at this process, for tests: octets and places in; whether they stand there out.

use std::{
    collections::HashSet,
    fs::{self, File},
    hint::black_box,
    os::unix::fs::FileExt,
};

/// Something that is nowhere else in memory.
pub(crate) const MARK: u8 = 0xa7;

/// How much of the stack [`soil`] marks: as deep as what is called here goes without optimisation.
const SOILED: usize = 40 * 1024;

/// More than the frames of any function that has the stack below it cleared, in octets. There marks
/// may be left, in the room of variables that were not used.
const FRAME: usize = 8192;

/// So much memory is looked at at once, in bytes.
const PIECE: usize = 1 << 16;

/// Reads this process's memory past all types.
pub(crate) struct Debugger(File);

/// Octets to look for, eight at a time, and addresses of six. Kept inverted: they are not to be found
/// here.
#[derive(Default)]
pub(crate) struct Sought {
    inverted: HashSet<u64>,
    inverted_addresses: HashSet<u64>,
    /// Which first two octets there are: most of memory is passed over by this.
    heads: Vec<bool>,
}

/// Leaves marks on the stack, as far down as what is called next will reach, and tells from where on
/// that is.
#[inline(never)]
pub(crate) fn soil() -> usize {
    #[expect(clippy::large_stack_arrays, reason = "the stack is what it is about")]
    let mut marks = [MARK; SOILED];
    black_box(&mut marks).as_ptr().addr()
}

impl Debugger {
    pub(crate) fn new() -> Self {
        Self(File::open("/proc/self/mem").unwrap())
    }

    /// What stands at a place. Copied to the heap: the place may be on the stack, just below.
    pub(crate) fn octets<const N: usize>(&self, place: usize) -> Vec<u8> {
        let mut found = vec![0; N];
        self.0.read_exact_at(&mut found, u64::try_from(place).unwrap()).unwrap();
        found
    }

    /// How often eight marks stand where something was. (One may be there by chance, or because it
    /// is being looked for.)
    pub(crate) fn marks<const N: usize>(&self, place: usize) -> usize {
        self.octets::<N>(place).as_chunks().0.iter().filter(|eight| **eight == [MARK; 8]).count()
    }

    /// How often eight marks are left of those of [`soil`], in so many octets below the frame of
    /// whoever was to clear the stack.
    pub(crate) fn soil_left<const DEEP: usize>(&self, from: usize) -> usize {
        self.marks::<DEEP>(from + SOILED - FRAME - DEEP)
    }

    /// The same, in so many octets at the very top.
    pub(crate) fn soil_left_above<const DEEP: usize>(&self, from: usize) -> usize {
        self.marks::<DEEP>(from + SOILED - DEEP)
    }

    /// How often something sought stands anywhere that can be written: heaps, stacks, statics.
    pub(crate) fn everywhere(&self, sought: &Sought) -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut piece = vec![0; PIECE + 7];
        let mut found = 0;
        for (start, end) in maps.lines().filter_map(writable) {
            for at in (start..end).step_by(PIECE) {
                let length = usize::try_from(end - at).unwrap().min(PIECE + 7);
                // Another thread may have given it back.
                let Some(piece) = piece.get_mut(..length) else { continue };
                if self.0.read_exact_at(piece, at).is_ok() {
                    found += sought.count(piece);
                }
                piece.fill(0);
            }
        }
        found
    }
}

impl Sought {
    /// Adds octets; those behind the last eight of them are not looked for.
    pub(crate) fn add(&mut self, octets: &[u8]) {
        self.heads.resize(1 << 16, false);
        for eight in octets.as_chunks::<8>().0 {
            self.inverted.insert(!u64::from_le_bytes(*eight));
            let [first, second, ..] = *eight;
            self.heads[usize::from(u16::from_le_bytes([first, second]))] = true;
        }
    }

    /// Adds an address, in both orders of its octets.
    pub(crate) fn add_address(&mut self, octets: [u8; 6]) {
        self.heads.resize(1 << 16, false);
        let mut backwards = octets;
        backwards.reverse();
        for order in [octets, backwards] {
            let [first, second, ..] = order;
            self.inverted_addresses.insert(!address(order));
            self.heads[usize::from(u16::from_le_bytes([first, second]))] = true;
        }
    }

    fn count(&self, octets: &[u8]) -> usize {
        let (mut found, mut at) = (0, 0);
        while let Some(eight) = octets.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let [six @ .., _, _] = *eight;
            let [first, second, ..] = six;
            let head = u16::from_le_bytes([first, second]);
            if head == 0 && *eight == [0; 8] {
                at += 8;
                continue;
            }
            if self.heads[usize::from(head)] {
                let is_sought = self.inverted.contains(&!u64::from_le_bytes(*eight));
                let is_address = self.inverted_addresses.contains(&!address(six));
                found += usize::from(is_sought || is_address);
            }
            at += 1;
        }
        found
    }
}

/// An address as a number.
fn address(octets: [u8; 6]) -> u64 {
    octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// The range of a line of `/proc/self/maps`, if it may be written.
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    let (start, end) = range.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    permissions.starts_with("rw").then_some((number(start)?, number(end)?))
}

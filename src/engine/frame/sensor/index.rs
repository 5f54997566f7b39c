//! Finds the decoders that a structure may belong to, without asking all of them.

use super::{Carrier, Decoder, table::begins_with_one};

/// A table in the order of its carriers, made when the program is compiled.
pub(super) struct Index<const N: usize> {
    decoders: [Decoder; N],
    /// The first octets of all names by which something is known: most of what is in the air is told
    /// apart by them.
    initials: [bool; 256],
}

/// What is looked up: the kind of a carrier and its 16-bit identifier.
pub(super) const fn key(carrier: Carrier) -> u32 {
    match carrier {
        Carrier::Company(company) => company as u32,
        Carrier::Service(service) => 1 << 16 | service as u32,
        Carrier::LongService(_) => 2 << 16,
        Carrier::Named => 3 << 16,
        Carrier::Listed(service) => 4 << 16 | service as u32,
        Carrier::LongListed(_) => 5 << 16,
    }
}

impl<const N: usize> Index<N> {
    /// Joins the tables of the families.
    #[expect(
        clippy::indexing_slicing,
        reason = "evaluated by the compiler, which stops at a panic"
    )]
    pub(super) const fn new(families: &[&[Decoder]]) -> Self {
        let mut decoders = [families[0][0]; N];
        let mut initials = [false; 256];
        let (mut count, mut family) = (0, 0);
        while family < families.len() {
            let mut n = 0;
            while n < families[family].len() {
                let decoder = families[family][n];
                // Insertion sort, so that decoders of one carrier stay in the order of the table.
                let mut at = count;
                while at > 0 && key(decoders[at - 1].carrier) > key(decoder.carrier) {
                    decoders[at] = decoders[at - 1];
                    at -= 1;
                }
                decoders[at] = decoder;
                if matches!(decoder.carrier, Carrier::Named) {
                    let mut name = 0;
                    while name < decoder.names.len() {
                        initials[decoder.names[name].as_bytes()[0] as usize] = true;
                        name += 1;
                    }
                }
                count += 1;
                n += 1;
            }
            family += 1;
        }
        Self { decoders, initials }
    }

    /// All of them.
    pub(super) const fn all(&self) -> &[Decoder] {
        &self.decoders
    }

    /// Those with a key.
    pub(super) fn of(&'static self, key: u32) -> &'static [Decoder] {
        let from = self.decoders.partition_point(|decoder| self::key(decoder.carrier) < key);
        let rest = self.decoders.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|decoder| self::key(decoder.carrier) == key).count();
        rest.get(..count).unwrap_or_default()
    }

    /// Those that may know a sender by its name.
    pub(super) fn named(&'static self, name: &[u8]) -> impl Iterator<Item = &'static Decoder> {
        let known = name.first().and_then(|&initial| self.initials.get(usize::from(initial)));
        let decoders = if known == Some(&true) { self.of(key(Carrier::Named)) } else { &[] };
        decoders.iter().filter(move |decoder| begins_with_one(name, decoder.names))
    }
}

/// How many decoders the tables have.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which stops at a panic")]
pub(super) const fn count(families: &[&[Decoder]]) -> usize {
    let (mut count, mut family) = (0, 0);
    while family < families.len() {
        count += families[family].len();
        family += 1;
    }
    count
}

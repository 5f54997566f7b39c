//! Advertising data in, the parts of it that decoders ask for out.
//!
//! Nothing is taken apart ahead: each question walks the structures anew, of which there are three
//! or four. The first structure that answers it counts.

use std::{fmt, ops::RangeInclusive};

use arrayvec::ArrayVec;
use zeroize::Zeroize;

use super::{Refusal, Stop};
use crate::engine::frame::ad::{ad_type, structures};

/// `0000xxxx-0000-1000-8000-00805f9b34fb`, in which 16-bit UUIDs are short for (Core Specification
/// 5.4, Vol 3 Part B 2.5.1).
pub(super) const BASE_UUID: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

/// One advertisement, as decoders see it: both halves of it, where there was a scan response (the
/// kernel joins them).
#[derive(Clone, Copy)]
pub struct Heard<'a> {
    data: &'a [u8],
    /// The sender's address, most significant octet first; `None` where nobody told it. Some families
    /// repeat it in their data, and what is encrypted needs it.
    pub address: Option<[u8; 6]>,
    /// The key of this sender, where its owner gave one.
    pub key: Option<&'a BindKey>,
    /// What this sender's clock may read, where it is an Eddystone-EID beacon of which that is known.
    pub clock: Option<BeaconClock>,
}

/// What the clock of an Eddystone-EID beacon may read, in whole periods of its identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BeaconClock {
    first: u32,
    count: u8,
    exponent: u8,
}

/// What decrypts the frames of one sensor: 16 octets, or 12 for early Xiaomi sensors.
///
/// It is cleared when it is dropped, and `Debug` is redacted.
#[derive(Clone, Eq, PartialEq)]
pub struct BindKey(ArrayVec<u8, 16>);

impl<'a> Heard<'a> {
    /// Advertising data, of which neither address nor key are known.
    pub const fn new(data: &'a [u8]) -> Self {
        Self { data, address: None, key: None, clock: None }
    }

    /// What a cipher needs of the sender: its key, and its address.
    pub(super) fn secrets(&self) -> Result<(&'a BindKey, [u8; 6]), Stop> {
        self.key.zip(self.address).ok_or(Stop::Encrypted(Refusal::NoKey))
    }

    /// The local name, complete or shortened; empty where there is none.
    pub fn name(&self) -> &'a [u8] {
        let mut names = self.of_type(|t| matches!(t, ad_type::COMPLETE_NAME | ad_type::SHORT_NAME));
        names.next().map_or(&[], |(_, name)| name)
    }

    /// The complete local name, where there is one.
    pub fn complete_name(&self) -> Option<&'a [u8]> {
        self.of_type(|t| t == ad_type::COMPLETE_NAME).map(|(_, name)| name).next()
    }

    /// The data of one company, without its identifier.
    pub fn manufacturer(&self, company: u16) -> Option<&'a [u8]> {
        self.manufacturers().find(|(found, _)| *found == company).map(|(_, data)| data)
    }

    /// All manufacturer data: company identifier and what follows it.
    pub fn manufacturers(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        self.manufacturer_structures().filter_map(|data| {
            let (company, data) = data.split_first_chunk()?;
            Some((u16::from_le_bytes(*company), data))
        })
    }

    /// All manufacturer data, from the company identifier on.
    pub fn manufacturer_structures(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.of_type(|t| t == ad_type::MANUFACTURER_DATA).map(|(_, data)| data)
    }

    /// The data of a service with a 16-bit UUID, without the UUID.
    pub fn service_data(&self, service: u16) -> Option<&'a [u8]> {
        let mut data = self.of_type(|t| t == ad_type::SERVICE_DATA_16);
        data.find_map(|(_, data)| data.strip_prefix(&service.to_le_bytes()))
    }

    /// Whether a service is listed, by its 16-bit UUID.
    pub fn lists(&self, service: u16) -> bool {
        self.lists_long(BASE_UUID | u128::from(service) << 96)
            || self
                .of_type(|t| matches!(t, ad_type::SOME_SERVICES_16 | ad_type::ALL_SERVICES_16))
                .any(|(_, list)| {
                    list.as_chunks::<2>().0.iter().any(|uuid| *uuid == service.to_le_bytes())
                })
    }

    /// Whether a service is listed by its 128-bit UUID.
    pub fn lists_long(&self, service: u128) -> bool {
        self.of_type(|t| matches!(t, ad_type::SOME_SERVICES_128 | ad_type::ALL_SERVICES_128)).any(
            |(_, list)| list.as_chunks::<16>().0.iter().any(|uuid| *uuid == service.to_le_bytes()),
        )
    }

    fn of_type<F: Fn(u8) -> bool>(
        &self,
        wanted: F,
    ) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a, F> {
        structures(self.data)
            .filter(move |structure| structure.complete && wanted(structure.ad_type))
            .map(|structure| (structure.ad_type, structure.data))
    }
}

impl fmt::Debug for Heard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heard").field("octets", &self.data.len()).finish_non_exhaustive()
    }
}

impl BeaconClock {
    /// How many periods are tried at most: each is one more chance for a wrong key.
    pub const MOST: u8 = 8;

    /// So many periods of 2^exponent seconds, counted from when the clock read zero; `None` where that are
    /// none or more than [`Self::MOST`], or for an exponent beyond 15. The clock has 32 bits of seconds;
    /// periods that it has not are left out.
    pub fn new(periods: RangeInclusive<u32>, exponent: u8) -> Option<Self> {
        let (first, last) = (*periods.start(), (*periods.end()).min(u32::MAX >> exponent.min(15)));
        let count = last.checked_sub(first)?.checked_add(1)?;
        let count = u8::try_from(count).ok().filter(|count| *count <= Self::MOST)?;
        (exponent <= 15).then_some(Self { first, count, exponent })
    }

    /// When each of the periods began, in seconds.
    pub fn readings(self) -> impl Iterator<Item = u32> {
        let Self { first, count, exponent } = self;
        (0..u32::from(count)).map(move |number| first.saturating_add(number) << exponent)
    }

    /// How long all of them take together, in seconds.
    pub const fn span_s(self) -> u32 {
        (self.count as u32) << self.exponent
    }
}

impl BindKey {
    /// Wraps a key; `None` for one that has neither 16 nor 12 octets.
    pub fn new(octets: &[u8]) -> Option<Self> {
        matches!(octets.len(), 12 | 16).then(|| ArrayVec::try_from(octets).ok().map(Self))?
    }

    /// The key's octets: only for a cipher.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BindKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BindKey(redacted)")
    }
}

impl Drop for BindKey {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found_wherever_it_stands() {
        let data = hex::decode(
            concat!(
                "020106",
                "03030a18",
                "0416cdfd01",
                "05ff990405aa",
                "05095445 5354",
                "1106 fb349b5f80000080001000 00 f0ff 0000",
            )
            .replace(' ', ""),
        )
        .unwrap();
        let heard = Heard::new(&data);
        assert_eq!(heard.name(), b"TEST");
        assert_eq!(heard.manufacturer(0x0499), Some(&[0x05, 0xaa][..]));
        assert_eq!(heard.manufacturer(0x0498), None);
        assert_eq!(heard.service_data(0xfdcd), Some(&[0x01][..]));
        assert!(heard.lists(0x180a) && heard.lists(0xfff0) && !heard.lists(0x180b));
        assert_eq!(Heard::new(&[]).name(), b"");
    }

    #[test]
    fn a_clock_reads_whole_periods_and_never_many() {
        let readings = |periods, exponent| {
            BeaconClock::new(periods, exponent).map(|clock| clock.readings().collect::<Vec<_>>())
        };
        assert_eq!(readings(3..=5, 4), Some(vec![48, 64, 80]));
        assert_eq!(readings(3..=10, 4).map(|all| all.len()), Some(8));
        assert_eq!(readings(3..=11, 4), None);
        let (late, early) = (5, 4);
        assert_eq!(readings(late..=early, 4), None);
        assert_eq!(readings(0..=u32::MAX, 0), None);
        assert_eq!(readings(u32::MAX..=u32::MAX, 0), Some(vec![u32::MAX]));
        assert_eq!(readings(0x1_ffff..=0x2_0001, 15), Some(vec![0xffff_8000]));
        assert_eq!(readings(0..=0, 16), None);
        assert_eq!(BeaconClock::new(3..=5, 4).map(BeaconClock::span_s), Some(48));
    }

    #[test]
    fn a_key_has_one_of_two_lengths_and_does_not_show_itself() {
        for length in 0..20 {
            assert_eq!(BindKey::new(&[7; 20][..length]).is_some(), length == 12 || length == 16);
        }
        let key = BindKey::new(&[0x5a; 16]).unwrap();
        assert_eq!(format!("{key:?}"), "BindKey(redacted)");
        assert_eq!(key.octets(), [0x5a; 16]);
    }
}

//! Advertising data in, AD structures out (Core Specification 5.4, Vol 3 Part C 11).

/// AD types (Assigned Numbers, 2.3; data formats in Core Specification Supplement, Part A).
pub(super) mod ad_type {
    pub(in crate::engine::frame) const SOME_SERVICES_16: u8 = 0x02;
    pub(in crate::engine::frame) const ALL_SERVICES_16: u8 = 0x03;
    pub(in crate::engine::frame) const SOME_SERVICES_32: u8 = 0x04;
    pub(in crate::engine::frame) const ALL_SERVICES_32: u8 = 0x05;
    pub(in crate::engine::frame) const SOME_SERVICES_128: u8 = 0x06;
    pub(in crate::engine::frame) const ALL_SERVICES_128: u8 = 0x07;
    pub(in crate::engine::frame) const SHORT_NAME: u8 = 0x08;
    pub(in crate::engine::frame) const COMPLETE_NAME: u8 = 0x09;
    pub(in crate::engine::frame) const SOLICITED_SERVICES_16: u8 = 0x14;
    pub(in crate::engine::frame) const SOLICITED_SERVICES_128: u8 = 0x15;
    pub(in crate::engine::frame) const SERVICE_DATA_16: u8 = 0x16;
    pub(in crate::engine::frame) const SOLICITED_SERVICES_32: u8 = 0x1f;
    pub(in crate::engine::frame) const SERVICE_DATA_32: u8 = 0x20;
    pub(in crate::engine::frame) const SERVICE_DATA_128: u8 = 0x21;
    pub(in crate::engine::frame) const MANUFACTURER_DATA: u8 = 0xff;
}

/// One AD structure.
#[derive(Clone, Copy)]
pub(super) struct Structure<'a> {
    /// What the data is.
    pub(super) ad_type: u8,
    /// The data, without length and type.
    pub(super) data: &'a [u8],
    /// False when the advertising data ended before the structure did.
    pub(super) complete: bool,
}

/// The AD structures in the order they stand; the last one may be incomplete.
///
/// A length octet of 0 ends the significant part early; what follows it is padding.
pub(super) fn structures(mut rest: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    std::iter::from_fn(move || {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (structure, tail, complete) = match after.split_at_checked(usize::from(length)) {
            Some((structure, tail)) => (structure, tail, true),
            None => (after, &[][..], false),
        };
        rest = tail;
        let (&ad_type, data) = structure.split_first()?;
        Some(Structure { ad_type, data, complete })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(data: &[u8]) -> Vec<(u8, &[u8], bool)> {
        structures(data).map(|s| (s.ad_type, s.data, s.complete)).collect()
    }

    #[test]
    fn structures_are_split_at_their_lengths() {
        assert_eq!(
            split(&[2, 0x01, 0x06, 1, 0x09, 3, 0xff, 0x4c, 0x00]),
            [(0x01, &[0x06][..], true), (0x09, &[], true), (0xff, &[0x4c, 0x00], true)]
        );
        assert_eq!(split(&[]), []);
    }

    #[test]
    fn a_zero_length_ends_the_data_early() {
        assert_eq!(split(&[2, 0x01, 0x06, 0, 2, 0x0a, 0x04]), [(0x01, &[0x06][..], true)]);
    }

    #[test]
    fn a_truncated_last_structure_is_told_apart_and_spoils_nothing_before_it() {
        assert_eq!(
            split(&[2, 0x01, 0x06, 9, 0x16, 0xd2]),
            [(0x01, &[0x06][..], true), (0x16, &[0xd2], false)]
        );
        assert_eq!(split(&[2, 0x01, 0x06, 9]), [(0x01, &[0x06][..], true)]);
    }
}

//! Where in a frame a whole number stands, and what must be true of an octet. Octets in, numbers out;
//! nothing behind the end is read.

/// A condition on one octet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Test {
    /// Where it stands, from 0.
    pub at: usize,
    /// Which of its bits count.
    pub mask: u8,
    /// What those bits must be.
    pub is: u8,
}

/// Where a whole number stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Bits {
    /// Its first octet, from 0.
    pub at: usize,
    /// How many octets, 1 to 8.
    pub octets: usize,
    /// Whether the most significant octet comes first.
    pub big: bool,
    /// How many bits to shift it down, after the octets were joined.
    pub shift: u32,
    /// How many bits it has after that; 0 for all that are left.
    pub width: u32,
    /// What its most significant bit means.
    pub sign: Sign,
}

/// What a number's most significant bit means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sign {
    /// One more bit of the value.
    None,
    /// Two's complement.
    Twos,
    /// Minus, and the other bits are the magnitude.
    Magnitude,
}

// === impl Test ===

impl Test {
    /// An octet is this.
    pub const fn is(at: usize, is: u8) -> Self {
        Self { at, mask: 0xff, is }
    }

    /// Some bits of an octet are this.
    pub const fn bits(at: usize, mask: u8, is: u8) -> Self {
        Self { at, mask, is }
    }

    /// Whether it is true of the data; what is behind the end is not.
    pub fn holds(&self, data: &[u8]) -> bool {
        data.get(self.at).is_some_and(|octet| octet & self.mask == self.is)
    }
}

// === impl Bits ===

impl Bits {
    /// Little-endian, unsigned.
    pub const fn le(at: usize, octets: usize) -> Self {
        Self { at, octets, big: false, shift: 0, width: 0, sign: Sign::None }
    }

    /// Big-endian, unsigned.
    pub const fn be(at: usize, octets: usize) -> Self {
        Self { big: true, ..Self::le(at, octets) }
    }

    /// In two's complement.
    pub const fn signed(self) -> Self {
        Self { sign: Sign::Twos, ..self }
    }

    /// So many bits of it, after a shift.
    pub const fn part(self, shift: u32, width: u32) -> Self {
        Self { shift, width, ..self }
    }

    /// The number; `None` where the data ends before it does.
    pub fn number(&self, data: &[u8]) -> Option<i64> {
        let octets = data.get(self.at..self.at.checked_add(self.octets)?)?;
        let join = |number: u64, octet: &u8| number << 8 | u64::from(*octet);
        let joined =
            if self.big { octets.iter().fold(0, join) } else { octets.iter().rev().fold(0, join) };
        let shifted = joined.checked_shr(self.shift)?;
        let left = u32::try_from(self.octets).ok()?.checked_mul(8)?.checked_sub(self.shift)?;
        let width = if self.width == 0 { left } else { self.width };
        let unused = 64_u32.checked_sub(width)?;
        let number = shifted.checked_shl(unused)?;
        match self.sign {
            // Shifting back fills up with zeros, or with the sign.
            Sign::None => i64::try_from(number.checked_shr(unused)?).ok(),
            Sign::Twos => number.cast_signed().checked_shr(unused),
            Sign::Magnitude => {
                let magnitude = i64::try_from((number << 1).checked_shr(unused + 1)?).ok()?;
                Some(if number >> 63 == 1 { -magnitude } else { magnitude })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_either_end_with_every_kind_of_sign() {
        let data = [0x12, 0x80, 0x34, 0xff];
        assert_eq!(Bits::le(0, 2).number(&data), Some(0x8012));
        assert_eq!(Bits::be(0, 2).number(&data), Some(0x1280));
        assert_eq!(Bits::le(0, 2).signed().number(&data), Some(-0x7fee));
        assert_eq!(Bits { sign: Sign::Magnitude, ..Bits::le(0, 2) }.number(&data), Some(-0x12));
        assert_eq!(Bits::be(0, 3).part(4, 12).number(&data), Some(0x803));
        assert_eq!(Bits::be(1, 1).part(7, 1).number(&data), Some(1));
        assert_eq!(Bits::le(3, 1).part(0, 4).signed().number(&data), Some(-1));
        assert_eq!(Bits::le(3, 2).number(&data), None);
        assert_eq!(Bits::le(0, 8).signed().number(&[0xff; 8]), Some(-1));
        assert_eq!(Bits::le(0, 8).number(&[0xff; 8]), None, "beyond what is exact");
    }

    #[test]
    fn numbers_that_make_no_sense_are_absent_and_do_not_panic() {
        for octets in [0, 1, 8, 9, usize::MAX] {
            for shift in [0, 7, 8, 63, 64, u32::MAX] {
                for width in [0, 1, 63, 64, 65, u32::MAX] {
                    for sign in [Sign::None, Sign::Twos, Sign::Magnitude] {
                        for at in [0, 1, usize::MAX] {
                            let bits = Bits { at, octets, big: true, shift, width, sign };
                            let _number = bits.number(&[0xff; 12]);
                        }
                    }
                }
            }
        }
    }
}

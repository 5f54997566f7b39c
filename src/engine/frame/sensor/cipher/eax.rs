//! AES-128-EAX: a key in, what was encrypted with it out, if its tag fits.
//!
//! Source: Bellare, Rogaway, Wagner, "The EAX Mode of Operation" (FSE 2004); its OMAC is CMAC (RFC 4493) of
//! the message behind a block that says which of three it is. Written here because the crate `eax` takes
//! nonces of 16 octets only, and Eddystone's have six.

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};

/// Which message a sum is of.
const NONCE: u8 = 0;
const HEADER: u8 = 1;
const CONTENT: u8 = 2;

const BLOCK: usize = 16;

/// A key, and the header that goes with all its messages.
pub(super) struct Eax {
    cipher: Aes128,
    header: u128,
}

impl Eax {
    /// `None` for a key that has not 16 octets.
    pub(super) fn new(key: &[u8], header: &[u8]) -> Option<Self> {
        let mut eax = Self { cipher: Aes128::new_from_slice(key).ok()?, header: 0 };
        eax.header = eax.omac(HEADER, header);
        Some(eax)
    }

    /// Encrypts in place, and makes the whole tag.
    #[cfg(test)]
    pub(super) fn seal(&self, nonce: &[u8], content: &mut [u8]) -> [u8; BLOCK] {
        let start = self.omac(NONCE, nonce);
        self.stream(start, content);
        (start ^ self.header ^ self.omac(CONTENT, content)).to_be_bytes()
    }

    /// Decrypts in place; false, and nothing done, where the tag, which may be cut short, is not that of
    /// the content.
    pub(super) fn open(&self, nonce: &[u8], content: &mut [u8], tag: &[u8]) -> bool {
        let start = self.omac(NONCE, nonce);
        let made = (start ^ self.header ^ self.omac(CONTENT, content)).to_be_bytes();
        let differs = made.iter().zip(tag).fold(0, |differs, (made, sent)| differs | (made ^ sent));
        if differs != 0 || tag.is_empty() || tag.len() > made.len() {
            return false;
        }
        self.stream(start, content);
        true
    }

    /// Encrypts or decrypts, which is the same.
    fn stream(&self, start: u128, content: &mut [u8]) {
        let mut counter = start;
        for block in content.chunks_mut(BLOCK) {
            let stream = self.encrypt(counter).to_be_bytes();
            block.iter_mut().zip(stream).for_each(|(octet, stream)| *octet ^= stream);
            counter = counter.wrapping_add(1);
        }
    }

    /// CMAC of a message behind a block that ends with a number.
    fn omac(&self, number: u8, message: &[u8]) -> u128 {
        let whole = doubled(self.encrypt(0));
        if message.is_empty() {
            return self.encrypt(u128::from(number) ^ whole);
        }
        let mut sum = self.encrypt(u128::from(number));
        let mut blocks = message.chunks(BLOCK).peekable();
        while let Some(octets) = blocks.next() {
            let last = match (blocks.peek(), octets.len()) {
                (Some(_), _) => 0,
                (None, BLOCK) => whole,
                (None, _) => doubled(whole),
            };
            sum = self.encrypt(sum ^ padded(octets) ^ last);
        }
        sum
    }

    fn encrypt(&self, block: u128) -> u128 {
        let mut block = block.to_be_bytes().into();
        self.cipher.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    }
}

/// Up to a block of octets, most significant first; one and zeros behind what is shorter.
fn padded(octets: &[u8]) -> u128 {
    let mut block = [0; BLOCK];
    for (slot, octet) in block.iter_mut().zip(octets.iter().chain(&[0x80])) {
        *slot = *octet;
    }
    u128::from_be_bytes(block)
}

/// Twice a number in the field of 2^128 elements, as CMAC makes its subkeys.
const fn doubled(number: u128) -> u128 {
    number << 1 ^ if number >> 127 == 1 { 0x87 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    #[test]
    fn sums_are_those_of_rfc_4493() {
        let eax = Eax::new(&hex("2b7e151628aed2a6abf7158809cf4f3c"), &[]).unwrap();
        // The block in front is a part of the message there.
        assert_eq!(doubled(eax.encrypt(0)), 0xfbee_d618_3571_3366_7c85_e08f_7236_a8de);
        assert_eq!(doubled(doubled(eax.encrypt(0))), 0xf7dd_ac30_6ae2_66cc_f90b_c11e_e46d_513b);
    }

    /// Appendix of the paper: key, nonce, header, ciphertext with its tag of 16 octets, message.
    #[test]
    fn what_the_paper_encrypted_is_opened_and_nothing_that_was_changed() {
        for [key, nonce, header, sealed, message] in [
            [
                "233952dee4d5ed5f9b9c6d6ff80ff478",
                "62ec67f9c3a4a407fcb2a8c49031a8b3",
                "6bfb914fd07eae6b",
                "e037830e8389f27b025a2d6527e79d01",
                "",
            ],
            [
                "91945d3f4dcbee0bf45ef52255f095a4",
                "becaf043b0a23d843194ba972c66debd",
                "fa3bfd4806eb53fa",
                "19dd5c4c9331049d0bdab0277408f67967e5",
                "f7fb",
            ],
            [
                "8395fcf1e95bebd697bd010bc766aac3",
                "22e7add93cfc6393c57ec0b3c17d6b44",
                "126735fcc320d25a",
                "cb8920f87a6c75cff39627b56e3ed197c552d295a7cfc46afc253b4652b1af3795b124ab6e",
                "ca40d7446e545ffaed3bd12a740a659ffbbb3ceab7",
            ],
        ] {
            let (nonce, sealed) = (hex(nonce), hex(sealed));
            let eax = Eax::new(&hex(key), &hex(header)).unwrap();
            let open = |nonce: &[u8], sealed: &[u8]| {
                let (content, tag) = sealed.split_at(sealed.len() - 16);
                let mut content = content.to_vec();
                eax.open(nonce, &mut content, tag).then_some(content)
            };
            assert_eq!(open(&nonce, &sealed), Some(hex(message)));
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(&nonce, &changed), None, "{bit}");
            }
            assert_eq!(open(&nonce[1..], &sealed), None);
        }
        assert!(Eax::new(&[0; 12], &[]).is_none());
        assert!(!Eax::new(&[0; 16], &[]).unwrap().open(&[], &mut [], &[]), "no tag proves nothing");
    }
}

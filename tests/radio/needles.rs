//! What must not be found anywhere, in every form in which a program may write octets down.

use std::collections::{BTreeSet, HashMap};

/// Octets that belong to somebody who did not opt in.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Needle {
    /// What it is; part of a failure's message, so it must not be secret.
    pub(crate) what: String,
    pub(crate) octets: Vec<u8>,
}

/// All needles in all forms.
pub(crate) struct Haystacks {
    patterns: Vec<(String, &'static str, Vec<u8>)>,
    /// Patterns by their first octets.
    by_head: HashMap<[u8; HEAD], Vec<usize>, rustc_hash::FxBuildHasher>,
}

/// An address has six octets, and no form is shorter than the octets themselves.
const HEAD: usize = 6;

impl Haystacks {
    pub(crate) fn new(needles: &BTreeSet<Needle>) -> Self {
        let mut patterns = Vec::new();
        for needle in needles {
            for (form, pattern) in forms(&needle.octets) {
                patterns.push((needle.what.clone(), form, pattern));
            }
        }
        let mut by_head: HashMap<_, Vec<usize>, _> = HashMap::default();
        for (index, (_, _, pattern)) in patterns.iter().enumerate() {
            if let Some(head) = pattern.first_chunk::<HEAD>() {
                by_head.entry(*head).or_default().push(index);
            }
        }
        Self { patterns, by_head }
    }

    /// How many patterns are looked for.
    pub(crate) fn len(&self) -> usize {
        self.patterns.len()
    }

    /// What is found in some octets: what it is and in which form.
    pub(crate) fn search(&self, haystack: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (start, head) in haystack.windows(HEAD).enumerate() {
            let Ok(head) = <[u8; HEAD]>::try_from(head) else { continue };
            for index in self.by_head.get(&head).into_iter().flatten() {
                if let Some((what, form, pattern)) = self.patterns.get(*index)
                    && haystack.get(start..).is_some_and(|rest| rest.starts_with(pattern))
                {
                    found.insert(format!("{what} as {form}"));
                }
            }
        }
        found
    }

    /// Hides each pattern in turn and looks for it; the error is the first that is not found.
    pub(crate) fn prove(&self) -> Result<(), String> {
        for (what, form, pattern) in &self.patterns {
            let planted =
                [b"2026-11-21 something before [".as_slice(), pattern, b"] after"].concat();
            if !self.search(&planted).contains(&format!("{what} as {form}")) {
                return Err(format!("{what} was planted as {form} and not found"));
            }
        }
        if self.patterns.is_empty() {
            Err("there is nothing to look for".to_owned())
        } else {
            Ok(())
        }
    }
}

/// The forms in which a program may write octets down, in both orders.
fn forms(octets: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let reversed: Vec<u8> = octets.iter().rev().copied().collect();
    let mut forms: Vec<(&'static str, Vec<u8>)> = Vec::new();
    for octets in [octets, &reversed] {
        let joined = |separator: &str, write: fn(&u8) -> String| {
            let parts: Vec<String> = octets.iter().map(write).collect();
            parts.join(separator).into_bytes()
        };
        let lower = |octet: &u8| format!("{octet:02x}");
        let upper = |octet: &u8| format!("{octet:02X}");
        forms.extend([
            ("octets", octets.to_vec()),
            ("hexadecimal", joined("", lower)),
            ("hexadecimal", joined("", upper)),
            ("hexadecimal with colons", joined(":", lower)),
            ("hexadecimal with colons", joined(":", upper)),
            ("hexadecimal with dashes", joined("-", lower)),
            ("hexadecimal with dashes", joined("-", upper)),
            ("hexadecimal with underscores", joined("_", lower)),
            ("hexadecimal with underscores", joined("_", upper)),
            ("hexadecimal with spaces", joined(" ", lower)),
            ("hexadecimal with spaces", joined(" ", upper)),
            ("a list in hexadecimal", joined(", ", lower)),
            ("a list in hexadecimal", joined(", ", upper)),
            ("a list in hexadecimal", joined(", ", |octet| format!("0x{octet:02x}"))),
            ("a list in decimal", joined(", ", u8::to_string)),
            ("a list in decimal", joined(",", u8::to_string)),
            ("escaped text", octets.escape_ascii().to_string().into_bytes()),
        ]);
        forms.extend((0..3).map(|before| ("base64", base64_inside(octets, before))));
    }
    forms.retain(|(_, pattern)| pattern.len() >= HEAD);
    forms.sort();
    forms.dedup();
    forms
}

/// The characters of base64 that are made of these octets alone, when so many octets, modulo three,
/// stand before them (RFC 4648, section 4).
fn base64_inside(octets: &[u8], before: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = |octet: &u8| (0..8).rev().map(move |bit| octet >> bit & 1).collect::<Vec<_>>();
    let all: Vec<u8> = octets.iter().flat_map(bits).collect();
    // The first character that holds none of the bits before.
    let skip = (6 - before * 8 % 6) % 6;
    let characters = all.get(skip..).unwrap_or_default().chunks_exact(6);
    let character = |six: &[u8]| {
        let index = six.iter().fold(0_usize, |index, bit| index << 1 | usize::from(*bit));
        ALPHABET.get(index).copied().unwrap_or(b'=')
    };
    characters.map(character).collect()
}

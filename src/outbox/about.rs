//! Whom a record is about: a number in place of a name, so that the outbox finds what is about
//! somebody without knowing what a record means.

use std::collections::BTreeSet;

use ring::digest;

/// Stands for a subject: the same for the same pseudonym, in every run and every version.
///
/// It is no secret and hides nothing: whoever knows the pseudonyms can compute it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(pub u64);

/// Whom a stored record is about, as far as the store knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum About {
    /// Nobody: a sensor or the gateway itself.
    Nobody,
    /// One subject.
    Subject(Tag),
    /// It was stored by a version of this program that did not write that down. It may be about
    /// anybody.
    Unknown,
}

impl Tag {
    /// The first 64 bits of the SHA-256 of the pseudonym. Two pseudonyms of a chain share a tag
    /// about as often as never (a million of them: 1 in 37 million), and then the judge of an erasure
    /// still tells their records apart.
    pub fn of(pseudonym: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, pseudonym.as_bytes());
        let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
        Self(u64::from_be_bytes(first))
    }

    /// The tag of what is no person: a `fixture`, a `zone`, the `gateway`. It says whose order a
    /// record keeps. The first 64 bits of the SHA-512/256 of kind and name: another function than
    /// that for pseudonyms, so that no name whatever is taken for a person's by an erasure.
    pub fn of_thing(kind: &str, name: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA512_256);
        context.update(kind.as_bytes());
        // No kind has a byte like this, so that it cannot run into the name.
        context.update(&[0]);
        context.update(name.as_bytes());
        let first = context.finish().as_ref().first_chunk().copied().unwrap_or_default();
        Self(u64::from_be_bytes(first))
    }
}

impl About {
    /// Whose order it keeps, if that is known.
    pub(super) fn tag(self) -> Option<Tag> {
        match self {
            Self::Subject(tag) => Some(tag),
            Self::Nobody | Self::Unknown => None,
        }
    }

    /// Whether a record can be about one of these.
    pub(super) fn concerns(self, who: &BTreeSet<Tag>) -> bool {
        match self {
            Self::Nobody => false,
            Self::Subject(tag) => who.contains(&tag),
            Self::Unknown => true,
        }
    }
}

impl From<Option<Tag>> for About {
    fn from(tag: Option<Tag>) -> Self {
        tag.map_or(Self::Nobody, Self::Subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_beginning_of_a_hash_that_others_can_compute() {
        // FIPS 180-2, appendix B.1: SHA-256 of `abc` is ba7816bf 8f01cfea and so on.
        assert_eq!(Tag::of("abc"), Tag(0xba78_16bf_8f01_cfea));
        assert_ne!(Tag::of("cust_1"), Tag::of("cust_2"));
    }

    #[test]
    fn no_thing_has_the_tag_of_a_person_or_of_a_thing_of_another_kind() {
        let things = [Tag::of_thing("fixture", "a"), Tag::of_thing("zone", "a")];
        let names = ["a", "fixture\0a", "zone\0a", "\0a"].map(Tag::of);
        assert_ne!(things[0], things[1]);
        assert!(!names.iter().any(|name| things.contains(name)));
    }

    #[test]
    fn what_is_not_known_to_be_about_somebody_concerns_everybody() {
        let who = BTreeSet::from([Tag(1), Tag(2)]);
        assert!(About::Unknown.concerns(&who) && About::Subject(Tag(2)).concerns(&who));
        assert!(!About::Nobody.concerns(&who) && !About::Subject(Tag(3)).concerns(&who));
    }
}

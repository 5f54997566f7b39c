//! The registry alone: slots, names, and who has which identifier.

use super::*;
use crate::engine::{Key, ReportPolicy, SubjectKind, UnixTime};

fn subject(name: &str, identifiers: &[Identifier]) -> Subject {
    Subject {
        pseudonym: Pseudonym::new(name),
        kind: SubjectKind::Asset,
        identifiers: identifiers.to_vec(),
        consent: None,
    }
}

fn irk(n: u8) -> Identifier {
    Identifier::Irk(Key::new([n; 16]))
}

fn eid(n: u8, rotation_exponent: u8) -> Identifier {
    let clock_zero = UnixTime::from_millis(i64::from(rotation_exponent));
    Identifier::EddystoneEid { identity_key: Key::new([n; 16]), rotation_exponent, clock_zero }
}

fn fixture(id: &str, identifier: Identifier) -> Fixture {
    let report = ReportPolicy::default();
    Fixture {
        id: id.to_owned(),
        zone: None,
        hangs: None,
        identifier: identifier.into(),
        key: None,
        canary: false,
        report,
    }
}

fn conflict(first: &str, second: &str, kind: &'static str) -> AmbiguousRegistry {
    let (first, second) = (first.to_owned(), second.to_owned());
    AmbiguousRegistry::Identifier { first, second, kind }
}

#[test]
fn two_entries_that_could_be_confused_are_refused_by_name() {
    let refused = |subjects: &[Subject], fixtures: Vec<Fixture>| {
        Registry::new(subjects.to_vec(), fixtures).unwrap_err()
    };
    let (a, b) = (subject("a", &[irk(1), eid(1, 4)]), subject("b", &[eid(2, 4), eid(1, 9)]));
    assert_eq!(refused(&[a.clone(), b], vec![]), conflict("a", "b", "eddystone_eid"));
    let same = subject("a", &[irk(3)]);
    assert_eq!(refused(&[a.clone(), same], vec![]), AmbiguousRegistry::Pseudonym("a".into()));
    assert_eq!(refused(&[subject("c", &[irk(5), irk(5)])], vec![]), conflict("c", "c", "irk"));
    let door = fixture("door", irk(1));
    assert_eq!(refused(&[a], vec![door.clone()]), conflict("a", "door", "irk"));
    let other = fixture("door", irk(2));
    assert_eq!(refused(&[], vec![door, other]), AmbiguousRegistry::FixtureId("door".into()));
}

#[test]
fn a_change_that_is_refused_leaves_everything_as_it_was() {
    let subjects = vec![subject("a", &[irk(1), irk(2)]), subject("b", &[irk(3)])];
    let mut registry = Registry::new(subjects, vec![fixture("door", irk(9))]).unwrap();
    for (name, identifiers, first) in [
        ("a", vec![irk(7), irk(3)], "b"),
        ("b", vec![irk(8), irk(9)], "door"),
        ("c", vec![irk(6), irk(2)], "a"),
        ("c", vec![irk(5), irk(5)], "c"),
    ] {
        let refused = registry.upsert(subject(name, &identifiers)).unwrap_err();
        assert_eq!(refused, conflict(first, name, "irk"));
    }
    assert_eq!((registry.subject_count(), registry.by_pseudonym("c")), (2, None));
    let all: Vec<_> = registry.identifiers().map(|(_, identifier)| *identifier).collect();
    assert_eq!(all, [irk(1), irk(2), irk(3)]);
    // What the refused ones wanted is free, and what the others have is not.
    registry.upsert(subject("c", &[irk(5), irk(6), irk(7), irk(8)])).unwrap();
    for taken in [1, 2, 3, 5, 6, 7, 8, 9] {
        assert!(registry.upsert(subject("d", &[irk(taken)])).is_err(), "{taken}");
    }
}

#[test]
fn a_subject_keeps_its_slot_when_it_changes_and_gives_it_away_when_it_leaves() {
    let subjects = vec![subject("a", &[irk(1)]), subject("b", &[irk(2)])];
    let mut registry = Registry::new(subjects, vec![]).unwrap();
    let a = registry.by_pseudonym("a").unwrap();
    let upserted = registry.upsert(subject("a", &[irk(1), irk(4)])).unwrap();
    assert_eq!((upserted.index, upserted.before.unwrap().identifiers()), (a, &[irk(1)][..]));
    let (index, leaver) = registry.withdraw(&Pseudonym::new("a")).unwrap();
    assert_eq!((index, leaver.identifiers()), (a, &[irk(1), irk(4)][..]));
    assert!(registry.subject(a).is_none() && registry.withdraw(&Pseudonym::new("a")).is_none());
    assert_eq!(registry.subject_count(), 1);
    let newcomer = registry.upsert(subject("c", &[irk(1)])).unwrap();
    assert!(newcomer.index == a && newcomer.before.is_none());
    assert_eq!(registry.by_pseudonym("c"), Some(a));
}

#[test]
fn many_come_and_go_and_each_is_found_by_name_and_by_device() {
    let key = |n: u32| Identifier::Irk(Key::new((u128::from(n) << 17).to_be_bytes()));
    let mut registry = Registry::default();
    for n in 0..3000 {
        registry.upsert(subject(&format!("s{n}"), &[key(2 * n), key(2 * n + 1)])).unwrap();
    }
    for n in (0..3000).step_by(3) {
        registry.withdraw(&Pseudonym::new(&format!("s{n}"))).unwrap();
    }
    for n in 0..3000 {
        let found = registry.by_pseudonym(&format!("s{n}"));
        assert_eq!(found.is_some(), n % 3 != 0, "{n}");
        let name = found.and_then(|index| registry.name(index));
        assert!(name.is_none_or(|name| name == format!("s{n}")));
        let taken = registry.upsert(subject("probe", &[key(2 * n + 1)])).is_err();
        assert_eq!(taken, n % 3 != 0, "{n}");
    }
    registry.withdraw(&Pseudonym::new("probe")).unwrap();
    assert_eq!(registry.subject_count(), 2000);
    assert!(registry.subjects.len() <= 3001, "slots are used again");
}

#[test]
fn what_leaves_is_overwritten() {
    let address = Identifier::Address([7; 6]);
    let mut leaver = Leaver(Box::new(subject("a", &[irk(7), eid(7, 3), address])));
    leaver.0.scrub();
    let key = Key::new([0; 16]);
    assert!(matches!(
        leaver.identifiers(),
        [Identifier::Irk(a), Identifier::EddystoneEid { identity_key: b, .. }, Identifier::Address(c)]
            if *a == key && *b == key && *c == [0; 6]
    ));
}

#[test]
fn a_slot_is_as_small_as_a_hundred_thousand_members_need() {
    // 9.6 MB for 100,000 slots; what is behind the pointers comes on top.
    assert!(size_of::<Option<Subject>>() <= 96);
    assert!(size_of::<Identifier>() <= 40);
    assert_eq!(size_of::<Owner>(), 12);
}

#[test]
fn one_proof_of_many_grants_is_kept_once() {
    use crate::engine::{Consent, Purposes};
    let proof = || Arc::from("form-3");
    let grant =
        |proof| Consent { purposes: Purposes::ALL, from: UnixTime::default(), until: None, proof };
    let subjects = (0..3)
        .map(|n| Subject { consent: Some(grant(proof())), ..subject(&format!("s{n}"), &[irk(n)]) });
    let registry = Registry::new(subjects.collect(), vec![]).unwrap();
    let mut proofs = registry.subjects().map(|subject| &subject.consent.as_ref().unwrap().proof);
    let first = proofs.next().unwrap();
    assert!(proofs.all(|proof| Arc::ptr_eq(proof, first)));
}

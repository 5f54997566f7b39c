//! Whatever comes on the topic of sightings is read or refused: no panic, within its bounds, and nothing of
//! it shown. And what was sealed is opened as it was, in its place and nowhere else.

use std::time::Duration;

use super::*;
use crate::{
    engine::{LONGEST_FIXTURE_DATA, Pseudonym, Rssi, Whose},
    seal::KeyRing,
};

/// How many random inputs; more with `BEACON_GATEWAY_FUZZ_ROUNDS`.
fn rounds() -> usize {
    let wanted = std::env::var("BEACON_GATEWAY_FUZZ_ROUNDS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(4_000)
}

fn sealer(text: &str) -> Sealer {
    Sealer::new(KeyRing::parse(text.as_bytes()).unwrap())
}

fn key(number: u32, digit: char) -> String {
    format!("{number}:{}\n", digit.to_string().repeat(64))
}

fn bond(topic: &str) -> Bond {
    Bond::of(topic).unwrap()
}

const TOPIC: &str = "beacon/v1/acme/berlin-03/gw2/sighting/local";

fn random(rng: &mut fastrand::Rng) -> Batch {
    let seen = |rng: &mut fastrand::Rng| {
        let name: String = (0..rng.usize(1..=64)).map(|_| rng.alphanumeric()).collect();
        let data = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
        Seen {
            whose: if rng.bool() {
                Whose::Subject(Pseudonym::new(&name))
            } else {
                Whose::Fixture { id: name, data, address: rng.bool().then(|| [rng.u8(..); 6]) }
            },
            tag: rng.u8(..),
            rssi: rng.bool().then(|| Rssi(rng.i8(-127..=20))),
            age: Duration::from_millis(rng.u32(..).into()),
            wide_window: rng.bool(),
        }
    };
    // Mostly few, which is what a receiver sends, and what a change is likely to hit.
    let most = if rng.u8(..) < 8 { MOST_SIGHTINGS } else { 3 };
    let sightings = (0..rng.usize(..=most)).map(|_| seen(rng)).collect();
    Batch {
        run: Run { epoch: rng.u32(..), sequence: rng.u64(..), mark: rng.u64(..) },
        counter: rng.u64(..),
        sent_us: rng.i64(..),
        error_us: rng.bool().then(|| rng.u32(..)),
        vouches: rng.bool(),
        leaving: rng.bool(),
        sightings,
    }
}

/// A message of the greatest size that a receiver makes.
fn largest() -> Batch {
    let data = vec![0xFF; LONGEST_FIXTURE_DATA];
    let seen = Seen {
        whose: Whose::Fixture { id: "x".repeat(64), data, address: Some([0xFF; 6]) },
        tag: u8::MAX,
        rssi: Some(Rssi(-127)),
        age: Duration::from_millis(u32::MAX.into()),
        wide_window: true,
    };
    Batch {
        run: Run { epoch: u32::MAX, sequence: u64::MAX, mark: u64::MAX },
        counter: u64::MAX,
        sent_us: i64::MIN,
        error_us: Some(u32::MAX),
        vouches: true,
        leaving: true,
        sightings: vec![seen; MOST_SIGHTINGS],
    }
}

#[test]
fn what_was_sealed_opens_as_it_was_in_its_place_and_nowhere_else() {
    let (ours, here) = (sealer(&key(1, 'a')), bond(TOPIC));
    let elsewhere = ["other/berlin-03/gw2/sighting/local", "acme/berlin-04/gw2/sighting/local"]
        .into_iter()
        .chain(["acme/berlin-03/gw3/sighting/local", "acme/berlin-03/gw2/sighting/other"])
        .map(|rest| bond(&format!("beacon/v1/{rest}")));
    let elsewhere: Vec<Bond> = elsewhere.collect();
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..rounds() / 20 {
        let batch = random(&mut rng);
        let sealed = batch.seal(&ours, &here).unwrap();
        assert_eq!(Batch::open(&ours, &here, &sealed), Ok(batch));
        for place in &elsewhere {
            assert_eq!(Batch::open(&ours, place, &sealed), Err(Unread::Sealed), "{place}");
        }
    }
}

#[test]
fn the_largest_message_fits_and_a_larger_one_is_not_looked_at() {
    let (ours, here) = (sealer(&key(1, 'a')), bond(TOPIC));
    let sealed = largest().seal(&ours, &here).unwrap();
    assert!(sealed.len() <= LARGEST_BATCH, "{}", sealed.len());
    assert_eq!(Batch::open(&ours, &here, &sealed), Ok(largest()));
    assert_eq!(Batch::open(&ours, &here, &vec![1; LARGEST_BATCH + 1]), Err(Unread::TooLarge));
    let mut more = largest();
    let small = Seen { whose: Whose::Subject(Pseudonym::new("s")), ..more.sightings[0].clone() };
    more.sightings = vec![small; MOST_SIGHTINGS + 1];
    let sealed = more.seal(&ours, &here).unwrap();
    assert_eq!(Batch::open(&ours, &here, &sealed), Err(Unread::TooMany));
}

#[test]
fn a_message_with_a_bit_changed_or_a_byte_missing_does_not_open() {
    let (ours, here) = (sealer(&key(1, 'a')), bond(TOPIC));
    let batch = Batch { sightings: Vec::new(), ..largest() };
    let sealed = batch.seal(&ours, &here).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(Batch::open(&ours, &here, &altered).is_err(), "bit {bit}");
    }
    for length in 0..sealed.len() {
        assert!(Batch::open(&ours, &here, &sealed[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn keys_are_changed_without_a_pause_and_a_key_that_is_gone_opens_nothing() {
    let (old, new) = (sealer(&key(1, 'a')), sealer(&key(2, 'b')));
    let both = sealer(&(key(1, 'a') + &key(2, 'b')));
    let (here, batch) = (bond(TOPIC), largest());
    let by_old = batch.seal(&old, &here).unwrap();
    let by_new = batch.seal(&both, &here).unwrap();
    assert!(
        Batch::open(&both, &here, &by_old).is_ok() && Batch::open(&new, &here, &by_new).is_ok()
    );
    assert_eq!(Batch::open(&old, &here, &by_new), Err(Unread::NoKey));
    assert_eq!(Batch::open(&new, &here, &by_old), Err(Unread::NoKey));
    assert_eq!(Batch::open(&sealer(&key(1, 'c')), &here, &by_old), Err(Unread::Sealed));
}

#[test]
fn whatever_is_inside_is_read_or_refused_and_what_is_read_is_within_bounds() {
    let mut rng = fastrand::Rng::with_seed(2);
    let (ours, here) = (sealer(&key(1, 'a')), bond(TOPIC));
    for round in 0..rounds() {
        // Mostly what was made and then cut and changed, as random bytes alone get nowhere.
        let mut bytes = random(&mut rng).write().unwrap();
        if round % 8 == 0 {
            bytes = (0..rng.usize(..300)).map(|_| rng.u8(..)).collect();
            bytes.insert(0, 1);
        }
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..bytes.len().clamp(1, 400));
            match rng.u8(..4) {
                0 if at < bytes.len() => bytes[at] = rng.u8(..),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at.min(bytes.len()), rng.u8(..)),
            }
        }
        let read = Batch::read(&bytes);
        if let Ok(batch) = &read {
            assert!(batch.sightings.len() <= MOST_SIGHTINGS);
            for seen in &batch.sightings {
                assert!(seen.rssi.is_none_or(|Rssi(dbm)| (-127..=20).contains(&dbm)));
                if let Whose::Fixture { data, .. } = &seen.whose {
                    assert!(data.len() <= LONGEST_FIXTURE_DATA);
                }
            }
        }
        assert!(Batch::open(&ours, &here, &bytes).is_err(), "what is not sealed is nothing");
        if round % 64 == 0 {
            // Sealed by whoever has the key, it comes to the same.
            let place = [b"beacon-gateway sighting 1\0", TOPIC.as_bytes()].concat();
            let sealed = ours.seal(&place, &bytes).unwrap();
            assert_eq!(Batch::open(&ours, &here, &sealed), read);
        }
    }
}

#[test]
fn only_topics_for_sightings_are_places() {
    for topic in ["", "beacon/v1/a/b/c/state", "beacon/v1/a/b/c/sighting", "x/a/b/c/sighting/d"] {
        assert_eq!(Bond::of(topic), None, "{topic}");
    }
    let topics = Topics::read("beacon/v1/acme/berlin-03/gw1/state").unwrap().0;
    assert!(bond(TOPIC).is_of_the_store_of(&topics));
    assert!(!bond("beacon/v1/acme/b/gw1/sighting/x").is_of_the_store_of(&topics));
    let own = Bond::new(&topics, &ReceiverId::new("shelf-3")).unwrap();
    assert_eq!(own.topic(), "beacon/v1/acme/berlin-03/gw1/sighting/shelf-3");
}

//! What either of two gateways takes of the other, whoever sends it: with the key that both have, and without.
//! The fuzz target `handover` does the same for long.
#![expect(clippy::indexing_slicing, reason = "two gateways, by their places")]

mod trial;

use std::time::Duration;

use beacon_gateway::{
    engine::ClockQuality,
    standby::{FORM, Message, Part, Stamp},
};
use trial::{Played, Side, play};

const SECOND: Duration = Duration::from_secs(1);

/// A message before it is sealed: form, stamp, content.
fn plain(stamp: Stamp, message: &Message) -> Vec<u8> {
    postcard::to_extend(&(stamp, message), vec![FORM]).unwrap()
}

/// What each of two gateways tells the other while somebody is there, as inputs of the other one.
fn conversation(quality: ClockQuality) -> [Vec<u8>; 2] {
    let mut sides = [Part::Lead, Part::Standby].map(|part| Side::new(part, quality));
    let unsynced = if quality == ClockQuality::Synced { 0 } else { 2 };
    // What the lead tells is heard by the standby, and the other way round.
    let mut inputs = [vec![4 << 4 | 8 | unsynced], vec![4 << 4 | 8 | unsynced | 1]];
    for second in 0..40 {
        for which in [0, 1] {
            sides[which].pass(SECOND, (second < 20).then_some("m"));
            let stamp = sides[which].stamp();
            for message in sides[which].settle() {
                let plain = plain(stamp, &message);
                let length = u16::try_from(plain.len()).unwrap();
                inputs[which].extend([&length.to_le_bytes()[..], &plain].concat());
                let other = &mut sides[1 - which];
                let sealed = other.sealed(&plain);
                assert_eq!(other.take(&sealed, false), Ok(()), "{second} {which}");
            }
        }
    }
    inputs
}

#[test]
fn what_two_gateways_tell_each_other_is_taken_and_nothing_of_it_without_their_key() {
    for quality in [ClockQuality::Synced, ClockQuality::Unsynced] {
        for mut input in conversation(quality) {
            let Played { taken, .. } = play(&input);
            assert!(taken > 10, "{taken}");
            input[0] |= 4;
            assert_eq!(play(&input).taken, 0);
        }
    }
}

#[test]
fn a_conversation_that_was_cut_or_changed_is_taken_or_refused() {
    let mut random = fastrand::Rng::with_seed(0x4a4d);
    let inputs = conversation(ClockQuality::Synced);
    for _ in 0..10 {
        for input in &inputs {
            let mut changed = input.clone();
            for _ in 0..random.usize(1..6) {
                let place = random.usize(0..changed.len());
                changed[place] ^= 1 << random.u8(..8);
            }
            changed.truncate(random.usize(1..=changed.len()));
            play(&changed);
        }
    }
}

/// A line is an input of the fuzz target `handover`.
#[test]
fn what_a_fuzzer_found_worth_keeping_is_taken_or_refused() {
    let mut all = Played::default();
    for line in include_str!("../../fuzz/corpora/handover.hex").lines() {
        let Played { taken, refused } = play(&hex::decode(line).unwrap());
        (all.taken, all.refused) = (all.taken + taken, all.refused + refused);
    }
    assert!(all.taken > 0 && all.refused > 0, "the form may have changed: {all:?}");
}

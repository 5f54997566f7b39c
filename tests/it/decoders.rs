//! Content that nobody meant, over every decoder. The example `storm` does the same for long.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use beacon_gateway::engine::frame::sensor::built_in;

#[path = "../../examples/storm/trial.rs"]
mod trial;

use trial::{Tried, arbitrary_content, arbitrary_frames};

#[test]
fn arbitrary_advertising_data_is_seldom_taken_for_a_sensor() {
    let frames = 200_000;
    let matches = arbitrary_frames(frames, 0x5eed);
    writeln!(io::stderr(), "of {frames} arbitrary frames were taken for {matches:?}").unwrap();
    assert!(matches.values().sum::<u64>() * 1_000 < frames, "{matches:?}");
}

#[test]
fn every_decoder_takes_arbitrary_content_and_tells_only_what_can_be() {
    let mut asked = BTreeMap::<_, u64>::new();
    for decoder in built_in() {
        let Tried { read, malformed, encrypted } = arbitrary_content(decoder, 500, 0x5eed);
        *asked.entry(decoder.family).or_default() += read + malformed + encrypted;
    }
    let never: Vec<_> = asked.iter().filter(|(_, times)| **times == 0).collect();
    assert!(never.is_empty(), "their decoders were never asked: {never:?}");
}

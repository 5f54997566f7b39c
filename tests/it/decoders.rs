//! Content that nobody meant, over every decoder. The example `storm` does the same for long.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use beacon_gateway::engine::frame::{
    Context, decode_in,
    sensor::{BindKey, built_in},
};

#[path = "../../examples/storm/trial.rs"]
mod trial;

use trial::{ADDRESS, Tried, arbitrary_content, arbitrary_frames, attempt};

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
    // Chance does not write its numbers, which are text.
    asked.remove("garnet");
    let never: Vec<_> = asked.iter().filter(|(_, times)| **times == 0).collect();
    assert!(never.is_empty(), "their decoders were never asked: {never:?}");
}

/// A line is an input of the fuzz targets `sensor` and `sensor_frames`: it begins with what they choose
/// by, and data follows.
#[test]
fn what_a_fuzzer_found_worth_keeping_is_taken() {
    let inputs =
        |kept: &str| kept.lines().map(|line| hex::decode(line).unwrap()).collect::<Vec<_>>();
    let decoders = built_in();
    for input in inputs(include_str!("../../fuzz/corpora/sensor.hex")) {
        let [decoder, choice, data @ ..] = input.as_slice() else { continue };
        let decoder = &decoders[usize::from(*decoder) % decoders.len()];
        let name = decoder.names.get(usize::from(choice >> 2)).copied().unwrap_or_default();
        let key = BindKey::new(&[0x5a; 16]).filter(|_| choice & 1 == 1);
        let _told = attempt(decoder, data, name, Some(ADDRESS), key.as_ref());
    }
    for input in inputs(include_str!("../../fuzz/corpora/sensor_frames.hex")) {
        let Some((key, data)) = input.get(1..).and_then(<[u8]>::split_first_chunk::<16>) else {
            continue;
        };
        let Some((address, data)) = data.split_first_chunk() else { continue };
        let key = BindKey::new(key);
        let context = Context { address: Some(*address), key: key.as_ref(), ..Context::default() };
        for frame in decode_in(data, context).iter().flatten() {
            assert!(frame.readings().all(|it| it.quantity.is_plausible(it.value)), "{frame:?}");
        }
    }
}

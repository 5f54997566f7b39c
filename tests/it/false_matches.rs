//! Arbitrary advertising data is seldom taken for a sensor's.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    io::{self, Write as _},
};

use beacon_gateway::engine::frame::{Context, decode_in};

/// How often arbitrary advertising data is taken for a sensor. The number of frames comes from
/// `BEACON_GATEWAY_FALSE_MATCHES`; the rate of each family is printed.
#[test]
fn arbitrary_advertising_data_is_seldom_taken_for_a_sensor() {
    let frames: u64 = env::var("BEACON_GATEWAY_FALSE_MATCHES")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(200_000);
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let mut matches = BTreeMap::<_, u64>::new();
    let mut data = Vec::new();
    for _ in 0..frames {
        // One structure that is complete, of a type that decoders look at, under any identifier.
        let length = random.usize(3..28);
        data.clear();
        data.push(u8::try_from(length + 1).unwrap());
        data.push(if random.bool() { 0xff } else { 0x16 });
        data.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
        for frame in decode_in(&data, Context::default()).iter().flatten() {
            *matches.entry(frame.family()).or_default() += 1;
        }
    }
    let mut lines = format!("of {frames} arbitrary frames were taken for\n");
    for (family, count) in &matches {
        writeln!(lines, "{count:10} {family}").unwrap();
    }
    io::stderr().write_all(lines.as_bytes()).unwrap();
    let all: u64 = matches.values().sum();
    assert!(all * 1_000 < frames, "{lines}");
}

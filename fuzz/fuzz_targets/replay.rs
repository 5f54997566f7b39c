//! Any bytes are a recording, or are not: reading them ends, in the order of time, with at most one
//! error, and with counts that add up.
#![no_main]

use std::io::Cursor;

use beacon_gateway::{engine::Uptime, scan::replay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let length = bytes.len();
    let Ok(mut recording) = replay::read("fuzz", Cursor::new(bytes.to_vec()), None) else { return };
    let mut advertisements = 0_u64;
    let mut failed = false;
    let mut last = Uptime::ZERO;
    for heard in recording.by_ref() {
        assert!(!failed, "something came after the error");
        match heard {
            Ok(heard) => {
                assert!(heard.heard >= last && heard.data().len() <= 1650);
                last = heard.heard;
                advertisements += 1;
            }
            Err(error) => {
                failed = true;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    let counts = recording.counts();
    assert_eq!(counts.advertisements, advertisements);
    // The shortest report has ten bytes, the shortest packet of any format one.
    assert!(advertisements <= length as u64 / 10 && counts.packets <= length as u64);
});

//! Any line has one answer, which is one line of JSON.
#![no_main]

use beacon_gateway::decode::decode_line;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let answer = decode_line(line);
    assert!(answer.starts_with('{') && answer.ends_with('}') && !answer.contains('\n'));
});

//! Whatever comes to one of two gateways as the other's word is taken or refused: nothing without the key that
//! both have, nothing twice; and what it leads to names nobody who is not enrolled, and can be told.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/handover/trial.rs"]
#[allow(dead_code, reason = "the tests play conversations with it, too")]
mod trial;

fuzz_target!(|input: &[u8]| {
    let _played = trial::play(input);
});

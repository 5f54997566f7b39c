//! Any decoder of the table takes any data, with and without a key, and tells only what can be.
#![no_main]

use beacon_gateway::engine::frame::sensor::{BindKey, built_in};
use libfuzzer_sys::fuzz_target;

#[path = "../../examples/storm/trial.rs"]
#[allow(dead_code, reason = "the fuzzer makes its content itself")]
mod trial;

// Which decoder, which of its names and whether there is a key and an address; then its data.
fuzz_target!(|input: &[u8]| {
    let [decoder, choice, data @ ..] = input else { return };
    let decoders = built_in();
    let decoder = &decoders[usize::from(*decoder) % decoders.len()];
    let name = decoder.names.get(usize::from(choice >> 2)).copied().unwrap_or_default();
    let key = BindKey::new(&[0x5a; 16]).filter(|_| choice & 1 == 1);
    let address = (choice & 2 == 2).then_some(trial::ADDRESS);
    let _told = trial::attempt(decoder, data, name, address, key.as_ref());
});

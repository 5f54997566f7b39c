//! Any row of packets, from the kernel or from a controller, is answered in some way.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| {
    beacon_gateway::scan::hci::rehearsal::play(script);
});

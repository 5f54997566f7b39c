//! Any advertising data decodes without panicking, to its last reading.
#![no_main]

use beacon_gateway::engine::frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let decoded = frame::decode(data);
    if frame::never_processed(data) {
        assert!(decoded.is_err() && frame::encrypted_family(data).is_none());
    }
    for frame in decoded.iter().flatten() {
        assert!(frame.readings().all(|reading| reading.value.is_finite()));
        if let frame::Frame::EddystoneUrl(url) = frame {
            assert!(url.to_string().starts_with("http"));
        }
    }
});

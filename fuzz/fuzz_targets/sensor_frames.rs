//! Any AD structures with any key and any address tell only what can be, and what one key opens another
//! one does not.
//!
//! The first octet says which of key and address are known (1, 4) and that the key is a short one (2); then
//! come 16 octets of key, six of address, and advertising data.
#![no_main]

use beacon_gateway::engine::frame::{Context, Frame, decode_in, never_processed, sensor::BindKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [flags, rest @ ..] = data else { return };
    let Some((key, rest)) = rest.split_first_chunk::<16>() else { return };
    let Some((address, data)) = rest.split_first_chunk::<6>() else { return };
    let length = if flags & 2 == 0 { 16 } else { 12 };
    let known = BindKey::new(&key[..length]).filter(|_| flags & 1 != 0);
    let address = Some(*address).filter(|_| flags & 4 != 0);
    let context = Context { address, key: known.as_ref(), ..Context::default() };
    let Ok(frames) = decode_in(data, context) else { return };
    assert!(!never_processed(data));
    for frame in &frames {
        for reading in frame.readings() {
            assert!(reading.value.is_finite() && reading.quantity.is_plausible(reading.value));
        }
        assert!(frame.freshness().is_none() || frame.is_sealed());
        assert!(!frame.is_sealed() || known.is_some());
    }
    // A tag of one octet and content that makes sense is found by who looks for it long enough.
    let sealed = |frame: &Frame<'_>| frame.is_sealed() && length == 16;
    if frames.iter().any(sealed) {
        let mut other = *key;
        other[0] ^= 1;
        let other = BindKey::new(&other);
        let context = Context { address, key: other.as_ref(), ..Context::default() };
        assert!(!decode_in(data, context).iter().flatten().any(sealed));
    }
});

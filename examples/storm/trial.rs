//! Trials of the decoders with content that nobody meant: for the example `storm`, which does them for
//! long, and for the tests, which do them for a moment.

use std::collections::BTreeMap;

use beacon_gateway::engine::frame::{
    Context, decode_in,
    sensor::{About, BeaconClock, BindKey, Carrier, Decoder, Heard, Stop, families},
};
use fastrand::Rng;

/// How often arbitrary advertising data was taken for something, by family.
pub(crate) type Matches = BTreeMap<&'static str, u64>;

/// What one decoder made of content that fits it and is otherwise arbitrary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    /// It read values, or at least a model.
    pub(crate) read: u64,
    /// It said that the format was broken.
    pub(crate) malformed: u64,
    /// It could not open it.
    pub(crate) encrypted: u64,
}

thread_local! {
    /// What is documented of the families.
    static ABOUT: Vec<About> = families();
}

/// Who sends it.
pub(crate) const ADDRESS: [u8; 6] = [0xa4, 0xc1, 0x38, 1, 2, 3];

/// Takes so many pieces of arbitrary advertising data: one structure that is complete, of a type that
/// decoders look at, under any identifier.
pub(crate) fn arbitrary_frames(frames: u64, seed: u64) -> Matches {
    let mut random = Rng::with_seed(seed);
    let mut matches = Matches::new();
    let mut data = Vec::new();
    for _ in 0..frames {
        let length = random.usize(3..28);
        data.clear();
        data.push(u8::try_from(length + 1).expect("at most 28"));
        data.push(if random.bool() { 0xff } else { 0x16 });
        data.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
        for frame in decode_in(&data, Context::default()).iter().flatten() {
            *matches.entry(frame.family()).or_default() += 1;
        }
    }
    matches
}

/// Gives a decoder so much content that it cannot refuse for its length or its conditions, with and
/// without a key.
pub(crate) fn arbitrary_content(decoder: &'static Decoder, tries: u64, seed: u64) -> Tried {
    let mut random = Rng::with_seed(seed);
    let mut came_to = Tried::default();
    for _ in 0..tries {
        let data = content(decoder, &mut random);
        let name = random.choice(decoder.names).copied().unwrap_or_default();
        let octets = random.u128(..).to_be_bytes();
        let octets = if random.bool() { &octets[..] } else { &octets[..12] };
        let key = BindKey::new(octets).filter(|_| random.bool());
        let address = random.bool().then_some(ADDRESS);
        match attempt(decoder, &data, name, address, key.as_ref()) {
            Ok(()) => came_to.read += 1,
            Err(Stop::Malformed) => came_to.malformed += 1,
            Err(Stop::Encrypted(_)) => came_to.encrypted += 1,
            Err(Stop::NotMine) => {}
        }
        let cut = data.get(..random.usize(..=data.len())).unwrap_or_default();
        let _shorter = attempt(decoder, cut, name, address, key.as_ref());
    }
    came_to
}

/// Has a decoder read its data, alone and in a whole advertisement.
///
/// # Panics
/// When it tells what cannot be, what its family does not list, or what no key opened.
pub(crate) fn attempt(
    decoder: &'static Decoder,
    data: &[u8],
    name: &str,
    address: Option<[u8; 6]>,
    key: Option<&BindKey>,
) -> Result<(), Stop> {
    let advertisement = advertisement(decoder, name, data);
    // Any time will do.
    let clock = key.and_then(|_| BeaconClock::new(7..=9, 10));
    let context = Context { address, key, clock, ..Context::default() };
    for frame in decode_in(&advertisement, context).iter().flatten() {
        assert!(frame.readings().all(|it| it.quantity.is_plausible(it.value)), "{frame:?}");
    }
    let mut heard = Heard::new(&advertisement);
    (heard.address, heard.key, heard.clock) = (address, key, clock);
    let measured = decoder.decode(&heard, data)?;
    let family = decoder.family;
    assert!(!measured.sealed || key.is_some(), "{family} opened without a key");
    let about = ABOUT.with(|about| about.iter().find(|it| it.family == family).copied());
    let about = about.expect("every decoder's family is listed");
    for reading in &measured.readings {
        assert!(reading.quantity.is_plausible(reading.value), "{family} tells {reading:?}");
        assert!(about.quantities.contains(&reading.quantity), "{family} tells {reading:?}");
    }
    let known = measured.model.is_none_or(|model| about.models.contains(&model));
    assert!(known, "{family} is {:?}", measured.model);
    Ok(())
}

/// Content that a decoder cannot refuse for its length or its conditions, otherwise arbitrary.
fn content(decoder: &Decoder, random: &mut Rng) -> Vec<u8> {
    let (least, most) = decoder.length;
    let length = random.usize(least..=most.min(least + 12));
    let mut data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
    // Small numbers are what a sensor is more likely to tell.
    let below = random.choice([256, 256, 0x20, 4]).unwrap_or(256);
    for octet in &mut data {
        *octet = u8::try_from(u16::from(*octet) % below).unwrap_or_default();
    }
    // Some families repeat their address, from either end.
    let mut address = ADDRESS;
    if random.bool() {
        address.reverse();
    }
    if random.bool()
        && let Some(place) = data.get_mut(random.usize(0..8)..).and_then(|it| it.first_chunk_mut())
    {
        *place = address;
    }
    for test in decoder.when {
        if let Some(octet) = data.get_mut(test.at) {
            *octet = *octet & !test.mask | test.is;
        }
    }
    data
}

/// Advertising data with a decoder's carrier, a service that it wants listed, and a name.
fn advertisement(decoder: &Decoder, name: &str, data: &[u8]) -> Vec<u8> {
    let (kind, identifier) = match decoder.carrier {
        Carrier::Company(id) => (0xff, id.to_le_bytes().to_vec()),
        Carrier::Service(id) => (0x16, id.to_le_bytes().to_vec()),
        Carrier::LongService(id) => (0x21, id.to_le_bytes().to_vec()),
        Carrier::Named | Carrier::Listed(_) | Carrier::LongListed(_) => (0xff, Vec::new()),
    };
    let listed = match decoder.carrier {
        Carrier::Listed(service) => Some(service),
        _ => decoder.lists,
    };
    let mut advertisement = Vec::new();
    let mut push = |kind: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        if let Ok(length) = u8::try_from(content.len() + 1) {
            advertisement.extend([length, kind]);
            advertisement.extend(content);
        }
    };
    if let Some(service) = listed {
        push(0x03, &[&service.to_le_bytes()]);
    }
    if let Carrier::LongListed(service) = decoder.carrier {
        push(0x07, &[&service.to_le_bytes()]);
    }
    push(kind, &[&identifier, data]);
    if !name.is_empty() {
        push(0x09, &[name.as_bytes()]);
    }
    advertisement
}

//! Encrypted frames of formats whose plain frames are read elsewhere.
//!
//! Sources: bthome.io/encryption; `github.com/google/eddystone`, `eddystone-tlm/tlm-encrypted.md`. What
//! Eddystone encrypts needs, beside the key, the clock of the beacon, which is known of beacons whose
//! identifiers are recognised. The order of the nonce's octets, that there is no header, and the octet that
//! may follow are from two firmwares: `eddystone_security.c` of Nordic's nrf5-sdk-for-eddystone, and
//! `TLMFrame.cpp` of Arm's example of an Eddystone beacon.

use crate::engine::frame::{
    BtHome, EddystoneTlm, Kind, bthome, eddystone, family,
    sensor::{
        Decoder, Heard, Measured, Refusal, Stop, Test,
        cipher::{self, TAG},
    },
};

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::service(family::BTHOME, u16::from_le_bytes(bthome::SERVICE)).code(bthome),
    Decoder::service(family::EDDYSTONE_TLM, u16::from_le_bytes(eddystone::SERVICE))
        .when(&[Test::is(0, eddystone::TLM), Test::is(1, eddystone::ENCRYPTED_TLM)])
        .code(telemetry),
];

/// Device information, perhaps the address; then objects, counter and tag.
fn bthome(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let (info, rest) = match data.split_first() {
        Some((info, rest)) if bthome::is_encrypted(data) => (*info, rest),
        _ => return Err(Stop::NotMine),
    };
    let (mut heard, mut sealed) = (*heard, rest);
    if bthome::repeats_address(info) {
        let (address, rest) = rest.split_first_chunk::<6>().ok_or(no_key_or(&heard))?;
        (heard.address, sealed) = (Some(cipher::reversed(*address)), rest);
    }
    let (key, address) = heard.secrets()?;
    let (sealed, tag) = sealed.split_last_chunk::<TAG>().ok_or(cipher::TRUNCATED)?;
    let (content, counter) = sealed.split_last_chunk::<4>().ok_or(cipher::TRUNCATED)?;
    let nonce: [&[u8]; 4] = [&address, &bthome::SERVICE, &[info], counter];
    let plain = cipher::open(key, &nonce, &[], content, *tag)?;
    let counter = u32::from_le_bytes(*counter);
    (measured.sealed, measured.freshness) = (true, Some(counter));
    let bthome = BtHome::decrypted(info, &plain).ok_or(Stop::Malformed)?;
    measured.model = bthome::shelly::model(&heard);
    measured.counter = bthome.packet_id().map(u32::from).or(Some(counter));
    for reading in bthome.readings() {
        measured.event |= reading.quantity.kind() == Kind::Event;
        measured.push_at(reading.quantity, reading.instance, reading.value);
    }
    Ok(())
}

/// Frame type and version; then telemetry, salt and tag, and in Nordic's frames an octet for later use.
fn telemetry(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let (key, clock) = heard.key.zip(heard.clock).ok_or(Stop::Encrypted(Refusal::NoKey))?;
    let (_, rest) = data.split_first_chunk::<2>().ok_or(Stop::NotMine)?;
    let (content, rest) = rest.split_first_chunk::<12>().ok_or(cipher::TRUNCATED)?;
    let (salt, rest) = rest.split_first_chunk::<2>().ok_or(cipher::TRUNCATED)?;
    let (tag, rest) = rest.split_first_chunk::<2>().ok_or(cipher::TRUNCATED)?;
    if !matches!(rest, [] | [0]) {
        return Err(Stop::Malformed);
    }
    let plain = cipher::open_timed(key, clock, *salt, *content, *tag)?;
    let tlm = EddystoneTlm::decode(&plain).ok_or(Stop::Malformed)?;
    let uptime = plain.last_chunk().map(|tenths| u32::from_be_bytes(*tenths));
    (measured.sealed, measured.freshness) = (true, uptime);
    measured.opens_for = Some(clock.span_s().saturating_mul(10));
    measured.take(tlm.readings().into_iter().flatten());
    Ok(())
}

/// Why a frame stays closed that ends before its content does.
const fn no_key_or(heard: &Heard<'_>) -> Stop {
    match heard.key {
        None => Stop::Encrypted(Refusal::NoKey),
        Some(_) => cipher::TRUNCATED,
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::frame::{
        Context, Frame, Undecoded, decode_in,
        sensor::{BeaconClock, BindKey, Refusal, telemetry},
    };

    const KEY: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 18, 19, 20, 21, 22];
    /// 3 V, -15.5 °C, 69 advertisements, 60.1 s.
    const PLAIN: [u8; 12] = [0x0b, 0xb8, 0xf0, 0x80, 0, 0, 0, 69, 0, 0, 0x02, 0x59];

    fn opened(
        data: &[u8],
        key: Option<&[u8]>,
        clock: Option<BeaconClock>,
    ) -> Result<String, Refusal> {
        let key = key.map(|key| BindKey::new(key).unwrap());
        let context = Context { key: key.as_ref(), clock, ..Context::default() };
        let frames = match decode_in(data, context) {
            Ok(frames) => frames,
            Err(Undecoded::Encrypted { family: "eddystone_tlm", why }) => return Err(why),
            Err(other) => panic!("{other}"),
        };
        let [Frame::Sensor(sensor)] = frames[..] else { panic!("{frames:?}") };
        let measured = sensor.measured();
        assert!(measured.sealed);
        let words =
            measured.readings.iter().map(|it| format!("{} {}", it.quantity.name(), it.value));
        let words: Vec<_> = words.chain(measured.freshness.map(|it| format!("@{it}"))).collect();
        Ok(words.join(" "))
    }

    fn clock(first: u32, last: u32, exponent: u8) -> Option<BeaconClock> {
        BeaconClock::new(first..=last, exponent)
    }

    fn service(data: &str) -> Vec<u8> {
        let data = hex::decode(data).unwrap();
        [&[u8::try_from(data.len() + 3).unwrap(), 0x16, 0xaa, 0xfe][..], &data].concat()
    }

    const TOLD: &str = "battery_v 3 temperature_c -15.5 advertisement_count 69 uptime_s 60.1 @601";

    /// Nobody published one: made by another program (`PyCryptodome`, mode EAX, tag of two octets), the first
    /// of what Nordic's firmware has to try it with.
    #[test]
    fn what_another_program_encrypted_is_opened() {
        let nordic = hex::decode("589417b0324b1b71d7a6751852867ae8").unwrap();
        let sealed = service("2001d5d89979ae79ebee4e385fa5f6830efb");
        let told = "temperature_c 28.25 advertisement_count 72 uptime_s 11.5 @115";
        assert_eq!(opened(&sealed, Some(&nordic), clock(64, 64, 10)).as_deref(), Ok(told));
        for (sealed, period, exponent) in [
            ("20018f2b601f73072313fc7b8885a55afb22", 64, 10),
            ("20018f2b601f73072313fc7b8885a55afb2200", 64, 10),
            ("2001c1a9f861aac2eb770805375ea55a9a38", 0x0102_0400 >> 7, 7),
        ] {
            let clock = clock(period, period, exponent);
            assert_eq!(
                opened(&service(sealed), Some(&KEY), clock).as_deref(),
                Ok(TOLD),
                "{sealed}"
            );
        }
    }

    #[test]
    fn a_clock_that_is_off_by_a_period_is_found_where_its_neighbours_are_tried() {
        for exponent in 0..=15 {
            for period in [0_u32, 7, 8, u32::MAX >> exponent] {
                let sealed = telemetry(KEY, period << exponent, [7, 9], PLAIN);
                let around = clock(period.saturating_sub(1), period.saturating_add(1), exponent);
                assert_eq!(opened(&sealed, Some(&KEY), around).as_deref(), Ok(TOLD));
                if let Some(later) = clock(period.wrapping_add(1), period.wrapping_add(2), exponent)
                {
                    let answer = opened(&sealed, Some(&KEY), Some(later));
                    assert_eq!(answer, Err(Refusal::WrongKey), "{exponent} {period}");
                }
            }
        }
    }

    #[test]
    fn without_the_key_and_the_clock_it_stays_closed_and_what_is_cut_off_is_said_to_be() {
        let sealed = telemetry(KEY, 7 << 10, [7, 9], PLAIN);
        let now = clock(7, 7, 10);
        assert_eq!(opened(&sealed, None, now), Err(Refusal::NoKey));
        assert_eq!(opened(&sealed, Some(&KEY), None), Err(Refusal::NoKey));
        assert_eq!(opened(&sealed, Some(&KEY[..12]), now), Err(Refusal::WrongKey));
        for length in 0..16 {
            let cut = service(&hex::encode(&sealed[4..][..2 + length]));
            assert_eq!(opened(&cut, Some(&KEY), now), Err(Refusal::Truncated), "{length}");
        }
        let longer = service(&hex::encode([&sealed[4..], &[1]].concat()));
        let key = BindKey::new(&KEY).unwrap();
        let context = Context { key: Some(&key), clock: now, ..Context::default() };
        let malformed = Undecoded::Malformed { format: "eddystone_tlm" };
        assert_eq!(decode_in(&longer, context), Err(malformed));
    }

    /// The proof has two octets: with three readings of the clock a foreign frame fits once in 22,000.
    #[test]
    fn chance_opens_as_many_as_two_octets_let_through() {
        let now = clock(6, 8, 10);
        let opens = (0..44_000_u128).filter(|number| {
            let key = (number << 64 | 0x7e1e).to_be_bytes();
            let sealed = telemetry(key, 7 << 10, [7, 9], PLAIN);
            opened(&sealed, Some(&KEY), now).is_ok()
        });
        let opens = opens.count();
        assert!(opens <= 12, "{opens} of 2 that are expected");
    }
}

//! Advertising data, octet by octet: AD structures (Core Specification Supplement, Part A) and the
//! formats inside them. Only this file knows the layouts; nothing here is read back.

const COMPANY_APPLE: u16 = 0x004c;
const COMPANY_RADIUS: u16 = 0x0118;
const COMPANY_RUUVI: u16 = 0x0499;
const SERVICE_EDDYSTONE: u16 = 0xfeaa;
const SERVICE_BTHOME: u16 = 0xfcd2;
const SERVICE_EXPOSURE: u16 = 0xfd6f;

/// The AD structures of one advertisement, in order.
#[derive(Debug, Default)]
pub(super) struct Data(Vec<u8>);

/// What a Ruuvi tag reports in data format 5.
pub(super) struct RuuviFields {
    pub(super) temperature_c: f64,
    pub(super) humidity_pct: f64,
    pub(super) pressure_pa: f64,
    pub(super) battery_v: f64,
    pub(super) sequence: u16,
    pub(super) address: [u8; 6],
}

impl Data {
    /// One AD structure: length, type, content.
    pub(super) fn structure(mut self, kind: u8, content: &[u8]) -> Self {
        self.0.push(u8::try_from(content.len() + 1).unwrap_or(u8::MAX));
        self.0.push(kind);
        self.0.extend_from_slice(content);
        self
    }

    /// Octets as they are, well formed or not.
    pub(super) fn raw(mut self, octets: &[u8]) -> Self {
        self.0.extend_from_slice(octets);
        self
    }

    /// LE General Discoverable, no classic Bluetooth.
    pub(super) fn flags(self) -> Self {
        self.structure(0x01, &[0x06])
    }

    pub(super) fn name(self, name: &str) -> Self {
        self.structure(0x09, name.as_bytes())
    }

    /// Complete list of 16-bit service UUIDs with one member.
    pub(super) fn service(self, uuid: u16) -> Self {
        self.structure(0x03, &uuid.to_le_bytes())
    }

    pub(super) fn manufacturer(self, company: u16, content: &[u8]) -> Self {
        self.prefixed(0xff, company, content)
    }

    pub(super) fn service_data(self, uuid: u16, content: &[u8]) -> Self {
        self.prefixed(0x16, uuid, content)
    }

    fn prefixed(self, kind: u8, prefix: u16, content: &[u8]) -> Self {
        let mut octets = prefix.to_le_bytes().to_vec();
        octets.extend_from_slice(content);
        self.structure(kind, &octets)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Apple's proximity beacon ("Proximity Beacon Specification", Release R1, 2015).
pub(super) fn ibeacon(uuid: [u8; 16], major: u16, minor: u16, power: i8) -> Vec<u8> {
    let mut content = vec![0x02, 0x15];
    content.extend(uuid);
    content.extend(major.to_be_bytes());
    content.extend(minor.to_be_bytes());
    content.extend(power.to_be_bytes());
    Data::default().flags().manufacturer(COMPANY_APPLE, &content).finish()
}

/// `AltBeacon` 1.0.
pub(super) fn altbeacon(id: [u8; 20], power: i8) -> Vec<u8> {
    let mut content = vec![0xbe, 0xac];
    content.extend(id);
    content.extend(power.to_be_bytes());
    content.push(0);
    Data::default().flags().manufacturer(COMPANY_RADIUS, &content).finish()
}

fn eddystone(content: &[u8]) -> Vec<u8> {
    Data::default()
        .flags()
        .service(SERVICE_EDDYSTONE)
        .service_data(SERVICE_EDDYSTONE, content)
        .finish()
}

/// Eddystone-UID; the power is that at 0 m.
pub(super) fn eddystone_uid(power: i8, namespace: [u8; 10], instance: [u8; 6]) -> Vec<u8> {
    let mut content = vec![0x00, power.cast_unsigned()];
    content.extend(namespace);
    content.extend(instance);
    content.extend([0, 0]);
    eddystone(&content)
}

/// Eddystone-EID; the power is that at 0 m.
pub(super) fn eddystone_eid(power: i8, eid: [u8; 8]) -> Vec<u8> {
    let mut content = vec![0x30, power.cast_unsigned()];
    content.extend(eid);
    eddystone(&content)
}

/// Eddystone-URL of `https://` (scheme 3) and an encoded rest.
pub(super) fn eddystone_url(power: i8, rest: &[u8]) -> Vec<u8> {
    let mut content = vec![0x10, power.cast_unsigned(), 0x03];
    content.extend_from_slice(rest);
    eddystone(&content)
}

/// Eddystone-TLM, unencrypted: battery in millivolts, temperature in 1/256 degree, advertisements
/// sent, uptime in 0.1 s.
pub(super) fn eddystone_tlm(battery_v: f64, temperature_c: f64, sent: u32, age_s: f64) -> Vec<u8> {
    let mut content = vec![0x20, 0x00];
    content.extend(fixed::<2>(battery_v * 1000.0));
    content.extend(fixed::<2>(temperature_c * 256.0));
    content.extend(sent.to_be_bytes());
    content.extend(fixed::<4>(age_s * 10.0));
    eddystone(&content)
}

/// Ruuvi data format 5 (`RAWv2`).
pub(super) fn ruuvi(fields: &RuuviFields) -> Vec<u8> {
    // +4 dBm, counted in steps of 2 from -40 dBm.
    const TX_POWER: f64 = 22.0;
    let mut content = vec![0x05];
    content.extend(fixed::<2>(fields.temperature_c / 0.005));
    content.extend(fixed::<2>(fields.humidity_pct / 0.0025));
    content.extend(fixed::<2>(fields.pressure_pa - 50_000.0));
    for milli_g in [4.0, -8.0, 1036.0] {
        content.extend(fixed::<2>(milli_g));
    }
    // 11 bits of battery above 1.6 V in millivolts, then 5 bits of transmit power.
    let battery = (fields.battery_v * 1000.0 - 1600.0).clamp(0.0, 2046.0).round();
    content.extend(fixed::<2>(battery * 32.0 + TX_POWER));
    content.push(66);
    content.extend(fields.sequence.to_be_bytes());
    content.extend(fields.address);
    Data::default().flags().manufacturer(COMPANY_RUUVI, &content).finish()
}

/// `BTHome` version 2, not encrypted. Objects stand in the order of their ids, as they must.
pub(super) fn bthome(objects: &[(u8, &[u8])]) -> Vec<u8> {
    let mut content = vec![0x40];
    for (id, value) in objects {
        content.push(*id);
        content.extend_from_slice(value);
    }
    Data::default().flags().service_data(SERVICE_BTHOME, &content).finish()
}

/// A phone's status message of the kind that Apple's devices send all day.
pub(super) fn phone(random: [u8; 5]) -> Vec<u8> {
    let mut content = vec![0x10, 0x05];
    content.extend(random);
    Data::default().flags().structure(0x0a, &[0x0c]).manufacturer(COMPANY_APPLE, &content).finish()
}

/// Apple Find My, separated: 22 octets of a rotating public key, the rest lies in the address.
pub(super) fn find_my(random: [u8; 24]) -> Vec<u8> {
    let mut content = vec![0x12, 0x19, 0x10];
    content.extend(random);
    Data::default().manufacturer(COMPANY_APPLE, &content).finish()
}

/// Exposure Notification: rolling proximity identifier and encrypted metadata.
pub(super) fn exposure(random: [u8; 20]) -> Vec<u8> {
    Data::default()
        .structure(0x01, &[0x1a])
        .service(SERVICE_EXPOSURE)
        .service_data(SERVICE_EXPOSURE, &random)
        .finish()
}

/// The nearest whole number in big-endian two's complement; what does not fit wraps.
pub(super) fn fixed<const N: usize>(value: f64) -> [u8; N] {
    whole(value).to_be_bytes().last_chunk().copied().unwrap_or([0; N])
}

/// As [`fixed`], least significant octet first.
pub(super) fn fixed_le<const N: usize>(value: f64) -> [u8; N] {
    whole(value).to_le_bytes().first_chunk().copied().unwrap_or([0; N])
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and so far out nobody reads")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

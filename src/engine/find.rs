//! What a technician sees who looks for a new sensor: whatever sends frames of sensors and belongs to
//! nobody who is enrolled. `scan --sensors` alone asks, and the daemon never does.
//!
//! This is the one way on which a stranger's address or serial number can be read:
//! [`HeardSensor::unveil_address`], [`HeardSensor::unveil_serial`]. `tests/it/tidy.rs` says who may call them.

use std::fmt;

use arrayvec::ArrayVec;
use zeroize::Zeroizing;

use super::{
    Advertisement, DeviceAddress, Engine, FixtureIndex, Looked, Resolution, Uptime,
    advertisement::AddressKind,
    fixture::known,
    frame::{
        self, Frame, Quantity, Reading, Undecoded,
        sensor::{Heard, Refusal, SerialNumber, serials},
    },
};

/// A sensor that was heard. `Debug` is redacted: it may be a neighbour's.
pub struct HeardSensor<'a> {
    /// The fixture, where it is one that is listed.
    pub fixture: Option<FixtureIndex>,
    /// The family of its frame.
    pub family: &'static str,
    /// The product, where the frame tells it.
    pub model: Option<&'static str>,
    /// Its local name as sent; empty where the advertisement has none.
    pub name: &'a [u8],
    /// The name is whole, so that a fixture can be known by it.
    pub name_is_complete: bool,
    /// What it tells, or why that cannot be read.
    pub told: Result<ArrayVec<Reading, MOST>, Refusal>,
    address: DeviceAddress,
    serial: Option<SerialNumber>,
}

/// How many readings of one advertisement are shown.
const MOST: usize = frame::MAX_FRAMES * frame::sensor::MAX_READINGS;

/// How long an address lasts (Core Specification 5.4, Vol 6 Part B 1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lasting {
    /// Given by the maker, for good.
    Public,
    /// Made up, and kept at least until the batteries are changed.
    Static,
    /// Changes every few minutes, and only who has its key can tell.
    Resolvable,
    /// Changes whenever the device likes.
    NonResolvable,
}

/// An address in plain text, for a technician's terminal. It is cleared when it is dropped, and has
/// neither `Debug` nor `Display`.
pub struct Unveiled {
    text: Zeroizing<String>,
    lasting: Lasting,
}

impl HeardSensor<'_> {
    /// Who sent it, to tell devices apart: an address that does not show itself.
    pub const fn sender(&self) -> DeviceAddress {
        self.address
    }

    /// The address in plain text, to be shown to the technician who looks for this sensor, and to
    /// nobody else: not to a log, a file or a topic. `None` where no receiver told it, and for a
    /// fixture, which has a name.
    pub fn unveil_address(&self) -> Option<Unveiled> {
        if self.fixture.is_some() || self.address.is_unknown() {
            return None;
        }
        let octets = self.address.octets().map(|octet| format!("{octet:02X}"));
        let text = Zeroizing::new(octets.join(":"));
        Some(Unveiled { text, lasting: Lasting::of(self.address) })
    }

    /// The number that its frames tell, with its family, under the same condition.
    pub fn unveil_serial(&self) -> Option<(&'static str, Zeroizing<String>)> {
        let number = self.serial.filter(|_| self.fixture.is_none())?;
        Some((number.family, Zeroizing::new(hex::encode(number.serial.octets()))))
    }
}

impl fmt::Debug for HeardSensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeardSensor").field("family", &self.family).finish_non_exhaustive()
    }
}

impl Lasting {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Static => "static",
            Self::Resolvable => "resolvable",
            Self::NonResolvable => "non_resolvable",
        }
    }

    /// Whether a device can be known by such an address.
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Public | Self::Static)
    }

    const fn of(address: DeviceAddress) -> Self {
        let [first, ..] = address.octets();
        match (address.kind(), first >> 6) {
            (AddressKind::Public, _) => Self::Public,
            (AddressKind::Random, 0b11) => Self::Static,
            (AddressKind::Random, 0b01) => Self::Resolvable,
            (AddressKind::Random, _) => Self::NonResolvable,
        }
    }
}

impl Unveiled {
    /// Six octets, as people write them.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How long it lasts.
    pub const fn lasting(&self) -> Lasting {
        self.lasting
    }
}

impl Engine {
    /// Whose an advertisement is, and what sensor it comes from, for a technician who looks for a new one.
    ///
    /// No sensor for everything else: beacons and phones, what is enrolled as a subject (whether the
    /// consent is live or not), what is never processed, and what sends no frame of a sensor.
    pub fn find_sensor<'a>(
        &mut self,
        advertisement: &'a Advertisement,
    ) -> (Resolution, Option<HeardSensor<'a>>) {
        let now = advertisement.heard;
        self.identity.work(now, &self.wall);
        let looked = self.look(now, advertisement);
        (looked.resolution, self.sensor_in(now, advertisement, looked))
    }

    fn sensor_in<'a>(
        &self,
        now: Uptime,
        advertisement: &'a Advertisement,
        looked: Looked<'a>,
    ) -> Option<HeardSensor<'a>> {
        let Looked { decoded, resolution, is_subjects, .. } = looked;
        let (data, address) = (advertisement.data(), advertisement.address());
        let fixture = match resolution {
            Resolution::Fixture(index) => Some(index),
            Resolution::Subject(_) | Resolution::Anonymous if is_subjects => return None,
            Resolution::Subject(_) | Resolution::Anonymous => None,
        };
        let heard = Heard::new(data);
        let (name, name_is_complete) = match heard.complete_name() {
            Some(name) => (name, true),
            None => (heard.name(), false),
        };
        let of = |family, model, told| {
            let serial = serials(data, |of| of == family).next();
            Some(HeardSensor {
                fixture,
                family,
                model,
                name,
                name_is_complete,
                told,
                address,
                serial,
            })
        };
        let listed = fixture.and_then(|index| self.identity.registry().fixture(index));
        let clock = fixture.and_then(|index| self.identity.beacon_clock(now, index));
        let decoded = match listed.and_then(|it| Some((it, it.key.as_ref()?))) {
            Some((fixture, key)) => {
                let address = fixture.address().or(known(address));
                let context = self.identity.context();
                frame::decode_in(data, frame::Context { address, key: Some(key), clock, ..context })
            }
            None => decoded,
        };
        let frames = decoded.as_deref().unwrap_or_default();
        if let Err(Undecoded::Encrypted { family, why }) = decoded {
            return of(family, None, Err(why));
        }
        let first = frames.iter().find(|frame| is_sensors(frame, frames))?;
        let told = frames.iter().filter(|frame| is_sensors(frame, frames));
        let told = Ok(told.flat_map(Frame::readings).take(MOST).collect());
        let (family, model) = (first.family(), frames.iter().find_map(Frame::model));
        of(family, model, told)
    }
}

/// Whether a frame makes its sender a sensor.
///
/// Makers put a beacon's frame beside a sensor's. But what sends telemetry beside a beacon's
/// identifier is a beacon, which somebody may carry; and a battery or a transmit power in service data
/// is what earphones and wristbands tell.
fn is_sensors(frame: &Frame<'_>, all: &[Frame<'_>]) -> bool {
    let is_beacons = |frame: &Frame<'_>| {
        matches!(
            frame,
            Frame::IBeacon(_)
                | Frame::AltBeacon(_)
                | Frame::EddystoneUid(_)
                | Frame::EddystoneUrl(_)
                | Frame::EddystoneEid(_)
                | Frame::ServiceToken(_)
        )
    };
    match frame {
        Frame::EddystoneTlm(_) => !all.iter().any(is_beacons),
        Frame::Sensor(_) if frame.family() == "gatt" => {
            let own = [Quantity::BatteryPercent, Quantity::TxPowerDbm];
            frame.readings().any(|reading| !own.contains(&reading.quantity))
        }
        Frame::BtHome(_) | Frame::Ruuvi(_) | Frame::Sensor(_) => true,
        other => !is_beacons(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        AddressSeed, ClockQuality, Consent, Fixture, Identifier, Identity, IdentitySettings,
        PresenceSettings, Pseudonym, Purposes, ReceiverId, Registry, ReportPolicy, Rssi, Subject,
        SubjectKind, UnixTime, VisitId, WallClock,
    };

    const BTHOME: &[u8] = &[6, 0x16, 0xd2, 0xfc, 0x40, 0x01, 0x5d];
    const BTHOME_ENCRYPTED: &[u8] = &[
        17, 0x16, 0xd2, 0xfc, 0x41, 0xa4, 0x72, 0x66, 0xc9, 0x5f, 0x73, 0, 0x11, 0x22, 0x33, 0x78,
        0x23, 0x72,
    ];
    const TLM: &[u8] =
        &[17, 0x16, 0xaa, 0xfe, 0x20, 0, 11, 0xb8, 0x15, 0x80, 0, 0, 0, 1, 0, 0, 0, 9];
    const URL: &[u8] = &[7, 0x16, 0xaa, 0xfe, 0x10, 0x00, 0x02, b'a'];
    const EXPOSURE: &[u8] = &[3, 0x03, 0x6f, 0xfd];
    const BATTERY: &[u8] = &[4, 0x16, 0x0f, 0x18, 80];
    const NAME: &[u8] = &[4, 0x09, b'A', b'B', b'C'];
    const OURS: [u8; 6] = [0xc0, 0, 0, 0, 0, 1];
    const MEMBERS: [u8; 6] = [0xc0, 0, 0, 0, 0, 2];
    const LAPSED: [u8; 6] = [0xc0, 0, 0, 0, 0, 3];
    const STRANGERS: [u8; 6] = [0xc0, 0xff, 0xee, 0, 0, 4];

    fn engine() -> Engine {
        let subject = |name: &str, address, until| Subject {
            pseudonym: Pseudonym::new(name),
            kind: SubjectKind::Customer,
            identifiers: vec![Identifier::Address(address)],
            consent: Some(Consent {
                purposes: Purposes::ALL,
                from: UnixTime::from_millis(0),
                until,
                proof: "p".into(),
            }),
        };
        let fixture = Fixture {
            id: "door".to_owned(),
            zone: None,
            hangs: None,
            canary: false,
            identifier: Identifier::Address(OURS).into(),
            key: None,
            report: ReportPolicy::default(),
        };
        let ended = Some(UnixTime::from_millis(1));
        let subjects = vec![subject("one", MEMBERS, None), subject("two", LAPSED, ended)];
        let registry = Registry::new(subjects, vec![fixture]).unwrap();
        let seed = AddressSeed::new(7);
        let identity = Identity::new(registry, IdentitySettings::default(), seed);
        let first = VisitId { epoch: 0, run: 0, number: 1 };
        Engine::new(identity, PresenceSettings::default(), first)
    }

    fn heard(octets: [u8; 6], kind: AddressKind, parts: &[&[u8]]) -> Advertisement {
        let address = DeviceAddress::new(octets, kind);
        let receiver = ReceiverId::default();
        Advertisement::new(Uptime::ZERO, receiver, address, Some(Rssi(-50)), &parts.concat())
    }

    fn family(octets: [u8; 6], parts: &[&[u8]]) -> Option<&'static str> {
        let advertisement = heard(octets, AddressKind::Random, parts);
        engine().find_sensor(&advertisement).1.map(|found| found.family)
    }

    #[test]
    fn a_strangers_sensor_is_found_and_nothing_else_of_a_stranger() {
        assert_eq!(family(STRANGERS, &[BTHOME]), Some("bthome"));
        assert_eq!(family(STRANGERS, &[BTHOME, URL]), Some("bthome"), "makers put a beacon there");
        assert_eq!(family(STRANGERS, &[TLM]), Some("eddystone_tlm"));
        for (parts, what) in [
            (&[TLM, URL][..], "a beacon with telemetry"),
            (&[URL], "a beacon"),
            (&[BTHOME, EXPOSURE], "what is never processed"),
            (&[BATTERY], "what tells its battery alone"),
            (&[NAME], "a name"),
            (&[], "an address"),
        ] {
            assert_eq!(family(STRANGERS, parts), None, "{what}");
        }
    }

    #[test]
    fn one_look_says_whose_it_is_and_what_sensor() {
        let mut engine = engine();
        let (at, unix) = (Uptime::ZERO, UnixTime::from_millis(1_000_000));
        engine.handle_clock(WallClock { at, unix, quality: ClockQuality::Synced });
        let mut look = |octets| {
            let advertisement = heard(octets, AddressKind::Random, &[BTHOME]);
            let (resolution, sensor) = engine.find_sensor(&advertisement);
            let whose = match resolution {
                Resolution::Subject(_) => "subject",
                Resolution::Fixture(_) => "fixture",
                Resolution::Anonymous => "nobody",
            };
            (whose, sensor.is_some())
        };
        assert_eq!(look(MEMBERS), ("subject", false));
        assert_eq!(look(LAPSED), ("nobody", false));
        assert_eq!(look(OURS), ("fixture", true));
        assert_eq!(look(STRANGERS), ("nobody", true));
    }

    #[test]
    fn what_is_enrolled_is_never_shown_whether_its_consent_is_live_or_not() {
        assert_eq!(family(MEMBERS, &[BTHOME]), None);
        assert_eq!(family(LAPSED, &[BTHOME]), None);
    }

    #[test]
    fn a_fixture_has_its_place_and_no_address() {
        let advertisement = heard(OURS, AddressKind::Random, &[BTHOME, NAME]);
        let mut engine = engine();
        let found = engine.find_sensor(&advertisement).1.unwrap();
        let id = engine.identity().registry().fixture(found.fixture.unwrap()).unwrap().id.clone();
        assert_eq!((id.as_str(), found.name), ("door", &b"ABC"[..]));
        assert!(found.unveil_address().is_none());
    }

    #[test]
    fn an_encrypted_frame_tells_its_family_and_what_it_needs() {
        let advertisement = heard(STRANGERS, AddressKind::Random, &[BTHOME_ENCRYPTED]);
        let mut engine = engine();
        let found = engine.find_sensor(&advertisement).1.unwrap();
        assert_eq!((found.family, found.told.clone()), ("bthome", Err(Refusal::NoKey)));
    }

    #[test]
    fn an_address_is_unveiled_for_whoever_asks_and_shows_itself_to_nobody_else() {
        use AddressKind::{Public, Random};
        for (first, kind, lasting) in [
            (0x40, Public, Lasting::Public),
            (0xc0, Random, Lasting::Static),
            (0x40, Random, Lasting::Resolvable),
            (0x00, Random, Lasting::NonResolvable),
        ] {
            let advertisement = heard([first, 0xff, 0xee, 0, 0, 4], kind, &[BTHOME]);
            let mut engine = engine();
            let found = engine.find_sensor(&advertisement).1.unwrap();
            let unveiled = found.unveil_address().unwrap();
            assert_eq!(unveiled.as_str(), format!("{first:02X}:FF:EE:00:00:04"));
            assert_eq!(unveiled.lasting(), lasting);
            let shown = format!("{found:?} {:?}", found.sender());
            assert!(!shown.contains("FF") && !shown.contains("255"), "{shown}");
        }
        let nobodys = heard([0; 6], Public, &[BTHOME]);
        let mut engine = engine();
        assert!(engine.find_sensor(&nobodys).1.unwrap().unveil_address().is_none());
    }
}

//! Room 2. Advertising data in, typed [`Frame`]s out. Total: no input panics.
//!
//! Nothing is allocated. A frame borrows the bytes it was read from, so it cannot outlive the
//! advertisement. Frames that name a tag, or tell what a sensor sent, have a redacted `Debug`.
//!
//! | part | reads |
//! |---|---|
//! | `ad` | advertising data, structure by structure |
//! | `never` | what must not be processed at all |
//! | `ibeacon`, `altbeacon`, `ruuvi` | manufacturer data |
//! | `eddystone`, `bthome`, `service_token` | service data |
//! | `rolling_uuid` | lists of services, for what only the identity room can tell |
//! | `sensor` | the sensors of all other families, from one table |
//! | `quantity`, `reading` | nothing: the words in which sensors' values are told |

mod ad;

mod altbeacon;
pub use altbeacon::AltBeacon;

mod bthome;
pub use bthome::{BtHome, Firmware};

mod eddystone;
pub use eddystone::{EddystoneEid, EddystoneTlm, EddystoneUid, EddystoneUrl};

mod ibeacon;
pub use ibeacon::IBeacon;

mod never;
pub use never::{never_processed, never_processed_list};

mod quantity;
pub use quantity::{Kind, Quantity};

mod reading;
pub use reading::{Action, Reading};

mod rolling_uuid;
pub(crate) use rolling_uuid::rolling_uuids;

mod ruuvi;
pub use ruuvi::Ruuvi;

pub mod sensor;

mod service_token;
pub use service_token::ServiceToken;

#[cfg(test)]
mod totality;

use ad::{Structure, ad_type, structures};
use arrayvec::ArrayVec;
use sensor::{BeaconClock, BindKey, Found, Heard, Measured, OwnDecoders, Refusal, Sensor, Stop};
use thiserror::Error;

/// How many frames one advertisement may carry.
///
/// The kernel joins an advertisement with its scan response, so a tag that alternates two formats
/// can show both at once; more than four has not been seen. Further frames are ignored.
pub const MAX_FRAMES: usize = 4;

/// The frames of one advertisement, in the order of their AD structures.
pub type Frames<'a> = ArrayVec<Frame<'a>, MAX_FRAMES>;

/// What the bytes say.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// Apple iBeacon.
    IBeacon(IBeacon),
    /// Radius Networks AltBeacon.
    AltBeacon(AltBeacon),
    /// Eddystone-UID.
    EddystoneUid(EddystoneUid),
    /// Eddystone-URL.
    EddystoneUrl(EddystoneUrl<'a>),
    /// Eddystone-TLM, unencrypted.
    EddystoneTlm(EddystoneTlm),
    /// Eddystone-EID.
    EddystoneEid(EddystoneEid),
    /// BTHome version 2, unencrypted.
    BtHome(BtHome<'a>),
    /// Ruuvi data formats 3, 5, 6 and E1.
    Ruuvi(Ruuvi),
    /// The token of an app of ours.
    ServiceToken(ServiceToken),
    /// A sensor of a family in the table.
    Sensor(Sensor<'a>),
}

/// What is known beside the advertising data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// A 16-bit UUID under which an operator's apps send tokens.
    pub token_uuid: Option<TokenUuid>,
    /// The operator's own decoders.
    pub own: OwnDecoders,
    /// The sender's address, most significant octet first, where it is known. Only for those families
    /// whose frames repeat or use it.
    pub address: Option<[u8; 6]>,
    /// The sender's key, where its owner gave one.
    pub key: Option<&'a BindKey>,
    /// What the sender's clock may read, where it is an Eddystone-EID beacon of which that is known.
    pub clock: Option<BeaconClock>,
}

/// A 16-bit service UUID that an operator owns and has apps send their tokens under, in the place
/// of the built-in 128-bit one. It leaves room for the transmit power.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenUuid(u16);

impl TokenUuid {
    /// Wraps a UUID; `None` for one that is never processed or that another format here has.
    pub fn new(uuid: u16) -> Option<Self> {
        let taken = [bthome::SERVICE, eddystone::SERVICE].contains(&uuid.to_le_bytes());
        (!taken && !never::is_never_processed(uuid)).then_some(Self(uuid))
    }
}

/// Why advertising data yielded no frame.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Undecoded {
    /// No AD structure in it is in a format we speak.
    #[error("no known frame format")]
    Unknown,
    /// One of its AD structures must not be processed. Which one, nobody is told.
    #[error("never processed")]
    Refused,
    /// It announced a format we speak and then broke its rules.
    #[error("malformed {format} frame")]
    Malformed {
        /// The format it announced.
        format: &'static str,
    },
    /// It is in a format we speak, and its content is encrypted.
    #[error("encrypted {family} frame")]
    Encrypted {
        /// The family.
        family: &'static str,
        /// Why it stays encrypted.
        why: Refusal,
    },
}

/// What one AD structure is to one format: `None` when it does not announce it, `Err` with the
/// format's name when it does and breaks its rules.
type Announced<T> = Option<Result<T, &'static str>>;

/// Decodes every AD structure that is in a format we know.
///
/// A structure that breaks the rules of its format does not spoil the others: it is told only
/// when no other yields a frame.
pub fn decode(data: &[u8]) -> Result<Frames<'_>, Undecoded> {
    decode_with(data, None)
}

/// [`decode`], with service tokens under a UUID of the operator's own as well.
pub fn decode_with(data: &[u8], token_uuid: Option<TokenUuid>) -> Result<Frames<'_>, Undecoded> {
    decode_in(data, Context { token_uuid, ..Context::default() })
}

/// [`decode`], with all that is known beside the data.
///
/// What is encrypted is told only when nothing else yields a frame and nothing is malformed.
pub fn decode_in<'a>(data: &'a [u8], context: Context<'a>) -> Result<Frames<'a>, Undecoded> {
    open(data, context).0
}

/// [`decode_in`], and why one of the frames stayed encrypted, even where others did not.
pub fn open<'a>(
    data: &'a [u8],
    context: Context<'a>,
) -> (Result<Frames<'a>, Undecoded>, Option<Refusal>) {
    let Some(read) = read(data, context) else { return (Err(Undecoded::Refused), None) };
    let why = read.encrypted.map(|(_, why)| why);
    (read.told(), why)
}

/// Nothing for what must not be processed.
fn read<'a>(data: &'a [u8], context: Context<'a>) -> Option<SoFar<'a>> {
    if never_processed(data) {
        return None;
    }
    let Context { token_uuid, own, address, key, clock } = context;
    let mut heard = Heard::new(data);
    (heard.address, heard.key, heard.clock) = (address, key, clock);
    let mut so_far = SoFar::default();
    for structure in structures(data).filter(|structure| structure.complete) {
        match decode_structure(structure, token_uuid) {
            Some(Ok(Frame::BtHome(bthome))) => {
                so_far.push(Frame::BtHome(bthome.of(bthome::shelly::model(&heard))));
            }
            Some(Ok(frame)) => so_far.push(frame),
            Some(Err(format)) => so_far.malformed = so_far.malformed.or(Some(format)),
            None => {}
        }
        so_far.sensor(Sensor::of_structure(&heard, structure, own));
        if so_far.frames.is_full() {
            break;
        }
    }
    so_far.sensor(Sensor::of_name(&heard, own));
    Some(so_far)
}

/// What the structures of one advertisement yielded so far.
#[derive(Default)]
struct SoFar<'a> {
    frames: Frames<'a>,
    malformed: Option<&'static str>,
    encrypted: Option<(&'static str, Refusal)>,
}

impl<'a> SoFar<'a> {
    /// Adds a frame, unless there are enough.
    fn push(&mut self, frame: Frame<'a>) {
        if !self.frames.is_full() {
            self.frames.push(frame);
        }
    }

    /// Adds what a sensor's decoders found. One that reads several structures of an advertisement is
    /// found at each of them, and stands there once.
    fn sensor(&mut self, found: Found<'a>) {
        let known = |family| self.frames.iter().any(|frame| frame.family() == family);
        match found {
            Found::Sensor(sensor) if !known(sensor.family()) => self.push(Frame::Sensor(sensor)),
            Found::Stopped(family, Stop::Malformed) => {
                self.malformed = self.malformed.or(Some(family));
            }
            Found::Stopped(family, Stop::Encrypted(why)) => {
                self.encrypted = self.encrypted.or(Some((family, why)));
            }
            Found::Sensor(_) | Found::Stopped(_, Stop::NotMine) | Found::Nothing => {}
        }
    }

    fn told(self) -> Result<Frames<'a>, Undecoded> {
        match self {
            Self { frames, .. } if !frames.is_empty() => Ok(frames),
            Self { malformed: Some(format), .. } => Err(Undecoded::Malformed { format }),
            Self { encrypted: Some((family, why)), .. } => {
                Err(Undecoded::Encrypted { family, why })
            }
            Self { .. } => Err(Undecoded::Unknown),
        }
    }
}

/// Service data under 32-bit UUIDs belongs to no format we speak.
fn decode_structure(
    Structure { ad_type, data, .. }: Structure<'_>,
    token_uuid: Option<TokenUuid>,
) -> Announced<Frame<'_>> {
    let service_token =
        |data| ServiceToken::decode(data).map(|announced| announced.map(Frame::ServiceToken));
    match ad_type {
        ad_type::MANUFACTURER_DATA => IBeacon::decode(data)
            .map(|announced| announced.map(Frame::IBeacon))
            .or_else(|| Ruuvi::decode(data).map(|announced| announced.map(Frame::Ruuvi)))
            .or_else(|| AltBeacon::decode(data).map(|announced| announced.map(Frame::AltBeacon))),
        ad_type::SERVICE_DATA_16 => match *data.first_chunk()? {
            bthome::SERVICE => {
                BtHome::decode(data.get(2..)?).map(|announced| announced.map(Frame::BtHome))
            }
            eddystone::SERVICE => eddystone::decode(data.get(2..)?),
            service if token_uuid.is_some_and(|TokenUuid(own)| own.to_le_bytes() == service) => {
                service_token(data.get(2..)?)
            }
            _ => None,
        },
        ad_type::SERVICE_DATA_128 => service_token(data.strip_prefix(&service_token::SERVICE)?),
        _ => None,
    }
}

/// The family of the first frame that is encrypted, in advertising data that is otherwise unknown.
pub fn encrypted_family(data: &[u8]) -> Option<&'static str> {
    match decode(data) {
        Err(Undecoded::Encrypted { family, .. }) => Some(family),
        _ => None,
    }
}

/// What the families of frames are called in payloads.
pub(in crate::engine::frame) mod family {
    pub(super) const BTHOME: &str = "bthome";
    pub(super) const EDDYSTONE_TLM: &str = "eddystone_tlm";
}

impl<'a> Frame<'a> {
    /// The family's name in payloads, metrics and the configuration.
    pub const fn family(&self) -> &'static str {
        match self {
            Self::IBeacon(_) => "ibeacon",
            Self::AltBeacon(_) => "altbeacon",
            Self::EddystoneUid(_) => "eddystone_uid",
            Self::EddystoneUrl(_) => "eddystone_url",
            Self::EddystoneTlm(_) => family::EDDYSTONE_TLM,
            Self::EddystoneEid(_) => "eddystone_eid",
            Self::BtHome(_) => family::BTHOME,
            Self::Ruuvi(_) => "ruuvi",
            Self::ServiceToken(_) => "service_token",
            Self::Sensor(sensor) => sensor.family(),
        }
    }

    /// What changes with each new message of a sensor, and is the same when one is repeated, in
    /// formats that have such a thing; wraps.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::BtHome(bthome) => bthome.packet_id().map(u32::from),
            Self::Sensor(sensor) => sensor.measured().counter,
            _ => None,
        }
    }

    /// Whether the sender's key opened it.
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Sensor(sensor) if sensor.measured().sealed)
    }

    /// The counter that the sender's key vouches for, of which a replay has an old one.
    pub fn freshness(&self) -> Option<u32> {
        match self {
            Self::Sensor(sensor) => sensor.measured().freshness,
            _ => None,
        }
    }

    /// The product, where the frame tells it.
    pub fn model(&self) -> Option<&'static str> {
        match self {
            Self::BtHome(bthome) => bthome.model(),
            Self::Ruuvi(ruuvi) => Some(ruuvi.model()),
            Self::Sensor(sensor) => sensor.measured().model,
            _ => None,
        }
    }

    /// All that a sensor frame says, read once; nothing for a beacon frame.
    pub fn measured(&self) -> Option<Measured> {
        let mut measured = Measured { counter: self.number(), ..Measured::default() };
        match self {
            Self::Sensor(sensor) => return Some(sensor.measured()),
            Self::EddystoneTlm(tlm) => measured.take(tlm.readings().into_iter().flatten()),
            Self::Ruuvi(ruuvi) => measured.take(ruuvi.readings().into_iter().flatten()),
            Self::BtHome(bthome) => measured.take(bthome.readings()),
            Self::IBeacon(_)
            | Self::AltBeacon(_)
            | Self::EddystoneUid(_)
            | Self::EddystoneUrl(_)
            | Self::EddystoneEid(_)
            | Self::ServiceToken(_) => return None,
        }
        measured.model = self.model();
        Some(measured)
    }

    /// What a sensor frame measured; nothing for a beacon frame. Values that cannot be are left out.
    pub fn readings(&self) -> impl Iterator<Item = Reading> + use<'a> {
        let (tlm, ruuvi, bthome, sensor) = match *self {
            Self::EddystoneTlm(tlm) => (Some(tlm.readings()), None, None, None),
            Self::Ruuvi(ruuvi) => (None, Some(ruuvi.readings()), None, None),
            Self::BtHome(bthome) => (None, None, Some(bthome.readings()), None),
            Self::Sensor(sensor) => (None, None, None, Some(sensor.measured().readings)),
            Self::IBeacon(_)
            | Self::AltBeacon(_)
            | Self::EddystoneUid(_)
            | Self::EddystoneUrl(_)
            | Self::EddystoneEid(_)
            | Self::ServiceToken(_) => (None, None, None, None),
        };
        let fixed = tlm.into_iter().flatten().chain(ruuvi.into_iter().flatten()).flatten();
        let fixed = fixed.chain(bthome.into_iter().flatten());
        let plausible = fixed.filter(|reading| reading.quantity.is_plausible(reading.value));
        plausible.chain(sensor.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[u8] = &[2, 0x01, 0x06];
    const BTHOME: &[u8] = &[6, 0x16, 0xd2, 0xfc, 0x40, 0x01, 0x5d];
    const TRUNCATED_BTHOME: &[u8] = &[5, 0x16, 0xd2, 0xfc, 0x40, 0x01];
    const EDDYSTONE_URL: &[u8] = &[7, 0x16, 0xaa, 0xfe, 0x10, 0x00, 0x02, b'a'];
    const EXPOSURE: &[u8] = &[3, 0x03, 0x6f, 0xfd];
    const BAD_IBEACON: &[u8] = &[6, 0xff, 0x4c, 0x00, 0x02, 0x15, 0x00];

    fn families(parts: &[&[u8]]) -> Result<Vec<&'static str>, Undecoded> {
        decode(&parts.concat()).map(|frames| frames.iter().map(Frame::family).collect())
    }

    #[test]
    fn frames_come_in_the_order_of_their_structures() {
        assert_eq!(families(&[FLAGS, BTHOME, EDDYSTONE_URL]), Ok(vec!["bthome", "eddystone_url"]));
        assert_eq!(families(&[EDDYSTONE_URL, FLAGS, BTHOME]), Ok(vec!["eddystone_url", "bthome"]));
    }

    #[test]
    fn more_frames_than_fit_are_ignored() {
        assert_eq!(families(&[BTHOME; 9]), Ok(vec!["bthome"; MAX_FRAMES]));
    }

    #[test]
    fn a_truncated_last_structure_does_not_spoil_those_before_it() {
        assert_eq!(families(&[BTHOME, &BTHOME[..5]]), Ok(vec!["bthome"]));
        assert_eq!(families(&[&BTHOME[..5]]), Err(Undecoded::Unknown));
    }

    #[test]
    fn a_malformed_structure_is_told_only_when_no_other_yields_a_frame() {
        assert_eq!(families(&[TRUNCATED_BTHOME, EDDYSTONE_URL]), Ok(vec!["eddystone_url"]));
        assert_eq!(families(&[EDDYSTONE_URL, TRUNCATED_BTHOME]), Ok(vec!["eddystone_url"]));
        assert_eq!(
            families(&[FLAGS, BAD_IBEACON, TRUNCATED_BTHOME]),
            Err(Undecoded::Malformed { format: "iBeacon" }),
            "the first that is malformed"
        );
    }

    #[test]
    fn what_is_never_processed_takes_everything_beside_it_along() {
        for parts in [[EXPOSURE, BTHOME], [BTHOME, EXPOSURE], [EXPOSURE, BAD_IBEACON]] {
            assert_eq!(families(&parts), Err(Undecoded::Refused));
        }
        let behind_more_than_fit = [BTHOME, BTHOME, BTHOME, BTHOME, BTHOME, EXPOSURE];
        assert_eq!(families(&behind_more_than_fit), Err(Undecoded::Refused));
    }

    #[test]
    fn wider_service_data_and_other_structures_are_ignored() {
        let wide = [7, 0x20, 0xd2, 0xfc, 0x00, 0x00, 0x40, 0x01];
        assert_eq!(families(&[&wide, FLAGS]), Err(Undecoded::Unknown));
        assert_eq!(families(&[&[1, 0x16], &[2, 0x16, 0xd2], &[1, 0xff]]), Err(Undecoded::Unknown));
        assert_eq!(families(&[]), Err(Undecoded::Unknown));
    }

    #[test]
    fn a_token_is_read_under_our_uuid_and_under_one_that_the_operator_owns() {
        let token = [&[0x01][..], &[7; 12]].concat();
        let ours = [&[30, 0x21][..], &service_token::SERVICE, &token].concat();
        assert_eq!(ours.len(), 31, "it fills a legacy advertisement");
        assert_eq!(families(&[&ours]), Ok(vec!["service_token"]));
        assert_eq!(
            families(&[&[18, 0x21], &ours[2..19]]),
            Err(Undecoded::Malformed { format: service_token::FORMAT })
        );

        let short = [&[17, 0x16, 0x12, 0xfc][..], &token, &[0xf9]].concat();
        assert_eq!(families(&[FLAGS, &short]), Err(Undecoded::Unknown));
        let of = |uuid| decode_with(&short, TokenUuid::new(uuid)).map(|frames| frames.to_vec());
        let expected = ServiceToken { token: [7; 12], tx_power: Some(-7) };
        assert_eq!(of(0xfc12), Ok(vec![Frame::ServiceToken(expected)]));
        assert_eq!(of(0xfc13), Err(Undecoded::Unknown));
    }

    #[test]
    fn a_token_uuid_cannot_be_one_that_means_something_else() {
        for taken in [0xfcd2, 0xfeaa, 0xfd6f, 0x1809] {
            assert_eq!(TokenUuid::new(taken), None, "{taken:x}");
        }
    }

    #[test]
    fn an_encrypted_frame_stays_so_and_its_family_can_be_told() {
        let bthome = [6, 0x16, 0xd2, 0xfc, 0x41, 0x01, 0x5d];
        assert_eq!(
            families(&[FLAGS, &bthome]),
            Err(Undecoded::Encrypted { family: "bthome", why: Refusal::NoKey })
        );
        assert_eq!(encrypted_family(&[FLAGS, &bthome].concat()), Some("bthome"));
        let tlm = [5, 0x16, 0xaa, 0xfe, 0x20, 0x01];
        assert_eq!(encrypted_family(&[FLAGS, &tlm].concat()), Some("eddystone_tlm"));
        assert_eq!(encrypted_family(&[EXPOSURE, &bthome].concat()), None, "never processed");
        assert_eq!(encrypted_family(BTHOME), None);
    }

    #[test]
    fn a_beacon_frame_has_no_readings() {
        let frames = decode(EDDYSTONE_URL).unwrap();
        assert_eq!(frames[0].readings().count(), 0);
        assert_eq!(decode(BTHOME).unwrap()[0].readings().count(), 1);
    }
}

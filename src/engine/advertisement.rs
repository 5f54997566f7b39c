//! What the `scan` room hands to the engine: one advertising report, as heard.

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

use super::Uptime;

/// Names the radio, and so the place, where an advertisement was heard.
///
/// The name is the operator's (`local` unless configured otherwise), never an address.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReceiverId(Arc<str>);

impl ReceiverId {
    /// Wraps a receiver's name.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The receiver's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ReceiverId {
    fn default() -> Self {
        Self::new("local")
    }
}

/// Signal strength in dBm, -127 to 20, as reported by the controller.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Rssi(pub i8);

impl Rssi {
    /// Reads the RSSI octet of an advertising report: 127 says that the controller could not tell
    /// (Core Specification 5.4, Vol 4 Part E 7.7.65.2).
    pub const fn from_report(octet: i8) -> Option<Self> {
        if octet == 127 { None } else { Some(Self(octet)) }
    }
}

/// Whether an address is registered with the IEEE or made up by the device.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AddressKind {
    /// Assigned by the manufacturer; never changes.
    Public,
    /// Made up by the device; the two most significant bits say how long it lasts.
    Random,
}

/// A Bluetooth device address.
///
/// `Debug` is redacted and there is no `Display`: an address is personal data and may belong to
/// somebody who has not opted in.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeviceAddress {
    octets: [u8; 6],
    kind: AddressKind,
}

impl DeviceAddress {
    /// Stands where nobody told the address: some remote receivers name a beacon by what it sends
    /// alone. Nobody is known by it, and it is not counted.
    pub const UNKNOWN: Self = Self { octets: [0; 6], kind: AddressKind::Public };

    /// Whether nobody told it.
    pub const fn is_unknown(&self) -> bool {
        matches!(self.octets, [0, 0, 0, 0, 0, 0])
    }

    /// Wraps six octets, most significant first (the order in which people write them).
    pub const fn new(octets: [u8; 6], kind: AddressKind) -> Self {
        Self { octets, kind }
    }

    /// The octets, most significant first. Only for matching: see `tests/it/tidy.rs`.
    pub const fn octets(&self) -> [u8; 6] {
        self.octets
    }

    /// Public or random.
    pub const fn kind(&self) -> AddressKind {
        self.kind
    }

    /// True for a resolvable private address: random, with the most significant bits `01`
    /// (Core Specification 5.4, Vol 6 Part B 1.3.2.2).
    pub const fn is_resolvable(&self) -> bool {
        let [first, ..] = self.octets;
        matches!(self.kind, AddressKind::Random) && first >> 6 == 0b01
    }
}

impl fmt::Debug for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceAddress(redacted, {:?})", self.kind)
    }
}

/// A text that should have been a Bluetooth address and is not. The text is not repeated.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not a Bluetooth address; write six hexadecimal octets, like `C0:11:22:33:44:55`")]
pub struct NotAnAddress;

/// Six octets written by a person: `C0:11:22:33:44:55`, with `:` or `-` or nothing between.
pub fn parse_octets(text: &str) -> Result<[u8; 6], NotAnAddress> {
    let bytes = text.trim().as_bytes();
    let digits: Vec<u8> = match bytes.len() {
        12 => bytes.to_vec(),
        17 => {
            let separated =
                bytes.chunks(3).all(|chunk| matches!(chunk, [_, _] | [_, _, b':' | b'-']));
            if !separated {
                return Err(NotAnAddress);
            }
            bytes.chunks(3).flat_map(|chunk| chunk.iter().take(2).copied()).collect()
        }
        _ => return Err(NotAnAddress),
    };
    let mut octets = [0; 6];
    hex::decode_to_slice(&digits, &mut octets).map_err(|_| NotAnAddress)?;
    Ok(octets)
}

impl FromStr for DeviceAddress {
    type Err = NotAnAddress;

    /// Reads an address whose kind nobody stated: random when its two most significant bits mark
    /// it as static random or resolvable, else public.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octets = parse_octets(text)?;
        let kind = match octets[0] >> 6 {
            0b11 | 0b01 => AddressKind::Random,
            _ => AddressKind::Public,
        };
        Ok(Self::new(octets, kind))
    }
}

/// One advertising report from one radio.
///
/// What came over the air, address and data, lies in one box that is cleared when it is dropped.
/// Whoever passes an advertisement on moves a pointer: no copy stays behind in a queue or in a frame
/// of the stack. `Debug` shows sizes only: the data may be a stranger's.
#[derive(Clone, Eq, PartialEq)]
pub struct Advertisement {
    /// When it was heard.
    pub heard: Uptime,
    /// The radio that heard it.
    pub receiver: ReceiverId,
    /// How loud it was; `None` when the controller could not tell.
    pub rssi: Option<Rssi>,
    sent: Sent,
}

/// What came over the air: [`HEAD`] octets of the address and its kind, then the data.
#[derive(Clone, Eq, PartialEq)]
struct Sent(Box<[u8]>);

/// One octet for the kind of the address, and six of the address.
const HEAD: usize = 7;

/// The kind of a public address in [`Sent`]; anything else is random.
const PUBLIC: u8 = 0;
const RANDOM: u8 = 1;

impl Advertisement {
    /// Boxes a report: heard then, by that radio, from that address, so loud, with that advertising
    /// data (a sequence of AD structures, 0 to 1650 octets).
    pub fn new(
        heard: Uptime,
        receiver: ReceiverId,
        address: DeviceAddress,
        rssi: Option<Rssi>,
        data: &[u8],
    ) -> Self {
        Self { heard, receiver, rssi, sent: Sent::new(address, data) }
    }

    /// The address it was sent from.
    pub fn address(&self) -> DeviceAddress {
        self.sent.address()
    }

    /// Advertising data: a sequence of AD structures, 0 to 1650 octets.
    pub fn data(&self) -> &[u8] {
        self.sent.data()
    }
}

impl fmt::Debug for Advertisement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advertisement")
            .field("heard", &self.heard)
            .field("receiver", &self.receiver)
            .field("rssi", &self.rssi)
            .field("bytes", &self.data().len())
            .finish_non_exhaustive()
    }
}

impl Sent {
    fn new(address: DeviceAddress, data: &[u8]) -> Self {
        // Of the right size at once: a vector that grows leaves copies behind.
        let mut sent = Vec::with_capacity(HEAD + data.len());
        sent.push(match address.kind {
            AddressKind::Public => PUBLIC,
            AddressKind::Random => RANDOM,
        });
        sent.extend_from_slice(&address.octets);
        sent.extend_from_slice(data);
        Self(sent.into_boxed_slice())
    }

    fn address(&self) -> DeviceAddress {
        match self.0.first_chunk::<HEAD>() {
            Some(&[PUBLIC, ref octets @ ..]) => DeviceAddress::new(*octets, AddressKind::Public),
            Some(&[_, ref octets @ ..]) => DeviceAddress::new(*octets, AddressKind::Random),
            // Cannot be: the head is always written.
            None => DeviceAddress::new([0; 6], AddressKind::Random),
        }
    }

    fn data(&self) -> &[u8] {
        self.0.get(HEAD..).unwrap_or_default()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.fill(0);
        // Without it the compiler may leave out what nobody reads any more.
        zeroize::optimization_barrier(&*self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_the_ways_people_write_it() {
        let octets = [0xc0, 0x11, 0x22, 0x33, 0x44, 0xaf];
        for text in ["C0:11:22:33:44:AF", "c0-11-22-33-44-af", "c011223344AF"] {
            assert_eq!(parse_octets(text), Ok(octets), "{text}");
        }
        for text in [
            "",
            "C0:11:22:33:44",
            "C0:11:22:33:44:GG",
            "C0:11:22:33:44:5",
            "C0 11 22 33 44 AF",
            "é0:11:22:33:44:5",
        ] {
            assert_eq!(parse_octets(text), Err(NotAnAddress), "{text}");
        }
    }

    #[test]
    fn an_address_never_shows_itself() {
        let address = DeviceAddress::new([0xc0, 0xff, 0xee, 0x33, 0x44, 0x55], AddressKind::Random);
        let advertisement = Advertisement::new(
            Uptime::ZERO,
            ReceiverId::default(),
            address,
            Some(Rssi(-60)),
            &[0xc0, 0xff, 0xee],
        );
        let shown = format!("{address:?} {advertisement:?}").to_lowercase();
        assert!(!shown.contains("ff") && !shown.contains("238"), "{shown}");
    }

    #[test]
    fn an_advertisement_gives_back_what_it_was_made_of() {
        for kind in [AddressKind::Public, AddressKind::Random] {
            for length in [0, 1, 31, 255, 1650] {
                let address = DeviceAddress::new([0xc0, 1, 2, 3, 4, 5], kind);
                let data: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
                let one =
                    Advertisement::new(Uptime::ZERO, ReceiverId::default(), address, None, &data);
                assert_eq!((one.address(), one.data()), (address, data.as_slice()));
                assert_eq!(one.clone(), one);
            }
        }
    }

    #[test]
    fn only_random_addresses_with_the_right_bits_are_resolvable() {
        let resolvable =
            |first, kind| DeviceAddress::new([first, 0, 0, 0, 0, 0], kind).is_resolvable();
        assert!(resolvable(0x40, AddressKind::Random) && resolvable(0x7f, AddressKind::Random));
        assert!(!resolvable(0x40, AddressKind::Public));
        assert!(!resolvable(0xc0, AddressKind::Random) && !resolvable(0x3f, AddressKind::Random));
    }
}

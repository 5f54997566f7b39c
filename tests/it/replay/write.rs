//! Writes recordings of every format, from the formats' own descriptions and independently of the
//! code that reads them. Every kind of file written here was once opened with `tshark` 4.0.17 to
//! see that it finds the same addresses, strengths and data in it.

use std::fmt::Write as _;

use beacon_gateway::engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi, Uptime};

/// When the recordings begin: 2025-11-21T10:55:02.417Z, in microseconds since 1970.
pub(super) const STARTED_MICROS: i64 = 1_763_722_502_417_000;

/// A unit of time of 2^-30 seconds, as pcapng writes it.
pub(super) const BINARY_30: u8 = 0x80 + 30;

/// One legacy advertisement as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// After the beginning of the recording.
    pub(super) micros: i64,
    /// The type of its PDU: 0 `ADV_IND`, 2 `ADV_NONCONN_IND`, 4 `SCAN_RSP`, 6 `ADV_SCAN_IND`.
    pub(super) pdu: u8,
    pub(super) address: DeviceAddress,
    pub(super) rssi: i8,
    pub(super) data: Vec<u8>,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Little,
    Big,
}

/// Whether and how a text says when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Times {
    None,
    Unix,
    Local,
}

/// A recording and what should be read from it.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) expected: Vec<Advertisement>,
    /// Whether the format says at what wall time the recording began.
    pub(super) knows_the_beginning: bool,
}

/// A few advertisements that differ in everything that can differ.
pub(super) fn sample() -> Vec<Sent> {
    let sent = |micros, pdu, first, kind, rssi, data: &[u8]| Sent {
        micros,
        pdu,
        address: DeviceAddress::new([first, 0x22, 0x33, 0x44, 0x55, 0x66], kind),
        rssi,
        data: data.to_vec(),
    };
    let longest = [&[30, 0xff, 0x99, 0x04][..], &[0x55; 27]].concat();
    vec![
        sent(0, 0, 0xc1, AddressKind::Random, -60, &[2, 1, 6, 3, 3, 0xaa, 0xfe]),
        sent(250_000, 4, 0xc1, AddressKind::Random, -61, &[5, 9, b'n', b'a', b'm', b'e']),
        sent(250_001, 2, 0x00, AddressKind::Public, -127, &longest),
        sent(7_000_000, 6, 0x41, AddressKind::Random, -1, &[]),
    ]
}

/// The same advertisements in every format, link type, byte order and unit of time.
pub(super) fn all(sent: &[Sent]) -> Vec<Written> {
    let mut written = vec![
        btsnoop(1001, sent),
        btsnoop(1002, sent),
        btsnoop(2001, sent),
        json_lines(sent),
        hcidump(Times::None, sent),
        hcidump(Times::Unix, sent),
        hcidump(Times::Local, sent),
    ];
    for link in [187, 201, 251, 254, 256, 272] {
        written.push(pcap(link, Order::Little, false, sent));
    }
    written.push(pcap(187, Order::Big, false, sent));
    written.push(pcap(256, Order::Little, true, sent));
    written.push(pcap(272, Order::Big, true, sent));
    for link in [187, 251, 272] {
        written.push(pcapng(link, Order::Little, 6, sent));
    }
    written.push(pcapng(201, Order::Big, 9, sent));
    written.push(pcapng(256, Order::Little, BINARY_30, sent));
    written
}

fn written(name: String, bytes: Vec<u8>, sent: &[Sent], rssi: bool) -> Written {
    let expected = sent
        .iter()
        .map(|sent| {
            let (heard, by) = (Uptime::from_micros(sent.micros), ReceiverId::default());
            let rssi = rssi.then_some(Rssi(sent.rssi));
            Advertisement::new(heard, by, sent.address, rssi, &sent.data)
        })
        .collect();
    Written { name, bytes, expected, knows_the_beginning: true }
}

// === Packets ===

/// An HCI event with one LE Advertising Report.
pub(super) fn event(sent: &Sent) -> Vec<u8> {
    let event_type = match sent.pdu {
        0 => 0,
        2 => 3,
        4 => 4,
        6 => 2,
        other => panic!("no such PDU in a report: {other}"),
    };
    let length = u8::try_from(sent.data.len()).unwrap();
    let mut event = vec![0x3e, 12 + length, 0x02, 1, event_type, kind(sent)];
    event.extend(sent.address.octets().iter().rev());
    event.push(length);
    event.extend(&sent.data);
    event.push(sent.rssi.cast_unsigned());
    event
}

/// A Link Layer packet: access address, PDU, checksum.
fn air(sent: &Sent) -> Vec<u8> {
    let header = sent.pdu | if kind(sent) == 1 { 0x40 } else { 0 };
    let mut pdu = vec![header, u8::try_from(6 + sent.data.len()).unwrap()];
    pdu.extend(sent.address.octets().iter().rev());
    pdu.extend(&sent.data);
    air_packet(&pdu)
}

pub(super) fn air_packet(pdu: &[u8]) -> Vec<u8> {
    [&[0xd6, 0xbe, 0x89, 0x8e], pdu, &checksum(pdu)].concat()
}

/// The checksum as the specification draws it: a shift register of 24 bits, preset to 0x555555, fed
/// with each octet's least significant bit first, and sent with its highest bit first.
fn checksum(pdu: &[u8]) -> [u8; 3] {
    let mut register: u32 = 0x55_5555;
    for octet in pdu {
        for bit in 0..8 {
            let feedback = (register >> 23) ^ u32::from(octet >> bit) & 1;
            register = (register << 1) & 0xff_ffff;
            if feedback & 1 == 1 {
                register ^= 0x00_065b;
            }
        }
    }
    let [_, high, middle, low] = register.to_be_bytes();
    [high, middle, low].map(u8::reverse_bits)
}

fn kind(sent: &Sent) -> u8 {
    u8::from(sent.address.kind() == AddressKind::Random)
}

/// An advertisement as packets of a pcap link type are.
fn packet(link: u32, sent: &Sent) -> Vec<u8> {
    match link {
        187 => [vec![4], event(sent)].concat(),
        201 => [vec![0, 0, 0, 1, 4], event(sent)].concat(),
        251 => air(sent),
        254 => [vec![0, 0, 0, 3], event(sent)].concat(),
        // De-whitened, signal valid, checksum checked and right.
        256 => {
            let header = [37, sent.rssi.cast_unsigned(), 0, 0, 0xd6, 0xbe, 0x89, 0x8e, 0x03, 0x0c];
            [&header[..], &air(sent)].concat()
        }
        272 => nordic(2, 1, sent),
        other => panic!("no such link type: {other}"),
    }
}

/// A packet of Nordic's sniffer, in one of three versions of its header.
pub(super) fn nordic(version: u8, flags: u8, sent: &Sent) -> Vec<u8> {
    let air = air(sent);
    let length = u8::try_from(10 + air.len()).unwrap();
    let header = match version {
        1 => [7, 6, length, 1, 9, 0, 0x06],
        2 => [7, length, 0, 2, 9, 0, 0x06],
        _ => [7, length, 0, 3, 9, 0, 0x02],
    };
    [&header[..], &[10, flags, 37, sent.rssi.unsigned_abs(), 0, 0, 1, 2, 3, 4], &air].concat()
}

// === Files ===

pub(super) fn btsnoop(datalink: u32, sent: &[Sent]) -> Written {
    let mut bytes = b"btsnoop\0\0\0\0\x01".to_vec();
    bytes.extend(datalink.to_be_bytes());
    for sent in sent {
        let (flags, packet) = match datalink {
            1001 => (3, event(sent)),
            1002 => (3, [vec![4], event(sent)].concat()),
            // The adapter is in the upper half.
            _ => (0x0001_0003, event(sent)),
        };
        bytes.extend(btsnoop_record(flags, sent.micros, &packet));
    }
    written(format!("btsnoop {datalink}"), bytes, sent, true)
}

pub(super) fn btsnoop_record(flags: u32, micros: i64, packet: &[u8]) -> Vec<u8> {
    let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
    let stamp = 0x00dc_ddb3_0f2f_8000 + STARTED_MICROS + micros;
    [&length[..], &length, &flags.to_be_bytes(), &[0; 4], &stamp.to_be_bytes(), packet].concat()
}

pub(super) fn pcap(link: u32, order: Order, nanoseconds: bool, sent: &[Sent]) -> Written {
    let magic = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let version = [order.u16(2), order.u16(4)].concat();
    let mut bytes = [order.u32(magic), version, vec![0; 8], order.u32(262_144)].concat();
    bytes.extend(order.u32(link));
    for sent in sent {
        bytes.extend(pcap_record(order, nanoseconds, sent.micros, &packet(link, sent)));
    }
    written(format!("pcap {link} {order:?} {nanoseconds}"), bytes, sent, link != 251)
}

pub(super) fn pcap_record(order: Order, nanoseconds: bool, micros: i64, packet: &[u8]) -> Vec<u8> {
    let micros = u64::try_from(STARTED_MICROS + micros).unwrap();
    let fraction = u32::try_from(micros % 1_000_000).unwrap();
    let fraction = if nanoseconds { fraction * 1000 + 999 } else { fraction };
    let length = order.u32(u32::try_from(packet.len()).unwrap());
    let seconds = order.u32(u32::try_from(micros / 1_000_000).unwrap());
    [seconds, order.u32(fraction), length.clone(), length, packet.to_vec()].concat()
}

pub(super) fn pcapng(link: u32, order: Order, resolution: u8, sent: &[Sent]) -> Written {
    let mut bytes = section(order);
    bytes.extend(interface(order, link, Some(resolution)));
    for sent in sent {
        bytes.extend(enhanced(order, 0, resolution, sent.micros, &packet(link, sent)));
    }
    let name = format!("pcapng {link} {order:?} {resolution:#x}");
    written(name, bytes, sent, link != 251)
}

pub(super) fn section(order: Order) -> Vec<u8> {
    let body = [order.u32(0x1a2b_3c4d), order.u16(1), order.u16(0), vec![0xff; 8]].concat();
    block(order, 0x0a0d_0d0a, &body)
}

pub(super) fn interface(order: Order, link: u32, resolution: Option<u8>) -> Vec<u8> {
    let link = order.u16(u16::try_from(link).unwrap());
    let mut body = [link, vec![0; 2], order.u32(0)].concat();
    // A name, whose length is no multiple of four, and then the unit of time.
    body.extend([order.u16(2), order.u16(5), b"radio\0\0\0".to_vec()].concat());
    if let Some(resolution) = resolution {
        body.extend([order.u16(9), order.u16(1), vec![resolution, 0, 0, 0]].concat());
    }
    body.extend([0; 4]);
    block(order, 1, &body)
}

pub(super) fn enhanced(
    order: Order,
    interface: u32,
    resolution: u8,
    micros: i64,
    packet: &[u8],
) -> Vec<u8> {
    let micros = u128::try_from(STARTED_MICROS + micros).unwrap();
    let ticks = match resolution {
        6 => micros,
        9 => micros * 1000 + 999,
        // Powers of two do not hit a microsecond exactly: the next later one does.
        binary if binary > 0x80 => (micros << (binary & 0x7f)).div_ceil(1_000_000),
        coarser => micros / 10_u128.pow(6 - u32::from(coarser)),
    };
    let [high, low] = [ticks >> 32, ticks & 0xffff_ffff].map(|half| u32::try_from(half).unwrap());
    let length = u32::try_from(packet.len()).unwrap();
    let numbers = [interface, high, low, length, length].map(|number| order.u32(number)).concat();
    block(order, 6, &[numbers, padded(packet)].concat())
}

pub(super) fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}

pub(super) fn block(order: Order, block_type: u32, body: &[u8]) -> Vec<u8> {
    let length = order.u32(u32::try_from(body.len() + 12).unwrap());
    [order.u32(block_type), length.clone(), body.to_vec(), length].concat()
}

pub(super) fn hcidump(times: Times, sent: &[Sent]) -> Written {
    let mut text = "HCI sniffer - Bluetooth packet analyzer ver 5.56\n\
                    device: hci0 snap_len: 1500 filter: 0xffffffffffffffff\n"
        .to_owned();
    for sent in sent {
        let micros = STARTED_MICROS + sent.micros;
        let stamp = match times {
            Times::None => String::new(),
            Times::Unix => format!("{}.{:06} ", micros / 1_000_000, micros % 1_000_000),
            Times::Local => {
                // Somewhere east of Greenwich.
                let at = jiff::Timestamp::from_microsecond(micros + 3_600_000_000).unwrap();
                format!("{} ", at.strftime("%Y-%m-%d %H:%M:%S.%6f"))
            }
        };
        let begin = format!("{stamp}> ");
        for (place, line) in [vec![4], event(sent)].concat().chunks(20).enumerate() {
            text += if place == 0 { &begin } else { "  " };
            for octet in line {
                write!(text, "{octet:02X} ").unwrap();
            }
            text += "\n";
        }
    }
    let mut written = written(format!("hcidump {times:?}"), text.into_bytes(), sent, true);
    written.knows_the_beginning = times == Times::Unix;
    if times == Times::None {
        for (advertisement, place) in written.expected.iter_mut().zip(0..) {
            advertisement.heard = Uptime::from_micros(place * 100_000);
        }
    }
    written
}

pub(super) fn json_lines(sent: &[Sent]) -> Written {
    let started = jiff::Timestamp::from_microsecond(STARTED_MICROS).unwrap();
    let mut text = format!("{{\"beacon_gateway_recording\":1,\"started\":\"{started}\"}}\n");
    for sent in sent {
        let address = sent.address.octets().map(|octet| format!("{octet:02X}")).join(":");
        let line = serde_json::json!({
            "t": f64::from(i32::try_from(sent.micros).unwrap()) / 1e6,
            "receiver": "local",
            "address": address,
            "kind": if kind(sent) == 1 { "random" } else { "public" },
            "rssi": sent.rssi,
            "adv": hex::encode(&sent.data),
        });
        writeln!(text, "{line}").unwrap();
    }
    written("JSON Lines".to_owned(), text.into_bytes(), sent, true)
}

// === impl Order ===

impl Order {
    pub(super) fn u16(self, number: u16) -> Vec<u8> {
        match self {
            Self::Little => number.to_le_bytes().to_vec(),
            Self::Big => number.to_be_bytes().to_vec(),
        }
    }

    pub(super) fn u32(self, number: u32) -> Vec<u8> {
        match self {
            Self::Little => number.to_le_bytes().to_vec(),
            Self::Big => number.to_be_bytes().to_vec(),
        }
    }
}

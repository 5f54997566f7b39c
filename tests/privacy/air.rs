//! What goes through the air, as a controller would report it: HCI events in a btsnoop stream, which
//! the gateway under test reads with the code that reads live sockets.

/// One advertisement to be heard.
#[derive(Clone)]
pub(crate) struct Sent {
    /// Most significant octet first.
    pub(crate) address: [u8; 6],
    pub(crate) random: bool,
    pub(crate) rssi: i8,
    pub(crate) data: Vec<u8>,
}

/// Advertising data under construction: AD structures (Core Specification Supplement, Part A 1).
#[derive(Default)]
pub(crate) struct Data(Vec<u8>);

/// The beginning of a btsnoop stream of packets of the Linux monitor (datalink 2001).
pub(crate) fn preamble() -> Vec<u8> {
    let mut stream = b"btsnoop\0\0\0\0\x01".to_vec();
    stream.extend(2001_u32.to_be_bytes());
    stream
}

impl Sent {
    /// Appends it to a btsnoop stream: one LE Advertising Report (Core Specification 5.4, Vol 4
    /// Part E 7.7.65.2), or two fragments of an LE Extended Advertising Report (7.7.65.13).
    pub(crate) fn write(&self, stream: &mut Vec<u8>) {
        if self.data.len() <= 31 {
            // ADV_NONCONN_IND
            let mut event = vec![0x02, 1, 0x03, u8::from(self.random)];
            event.extend(self.address.iter().rev());
            event.push(length(&self.data));
            event.extend(&self.data);
            event.push(self.rssi.cast_unsigned());
            record(&event, stream);
            return;
        }
        let (first, second) = self.data.split_at(self.data.len() / 2);
        for (part, more) in [(first, 1 << 5), (second, 0)] {
            let mut event = vec![0x0d, 1, more, 0, u8::from(self.random)];
            event.extend(self.address.iter().rev());
            // Two PHYs, the set, no transmit power; then no periodic interval and no target.
            event.extend([1, 2, 3, 0x7f, self.rssi.cast_unsigned()]);
            event.extend([0; 9]);
            event.push(length(part));
            event.extend(part);
            record(&event, stream);
        }
    }
}

/// One record: lengths, the monitor's opcode for an event, no drops, and a time nobody asks for.
fn record(parameters: &[u8], stream: &mut Vec<u8>) {
    const BEGIN: u64 = 0x00e0_3ab4_4a67_6000;
    let total = u32::try_from(parameters.len() + 2).expect("events are short");
    for number in [total, total, 3, 0] {
        stream.extend(number.to_be_bytes());
    }
    stream.extend(BEGIN.to_be_bytes());
    stream.extend([0x3e, length(parameters)]);
    stream.extend(parameters);
}

impl Data {
    pub(crate) fn structure(mut self, kind: u8, content: &[u8]) -> Self {
        self.0.extend([length(content) + 1, kind]);
        self.0.extend(content);
        self
    }

    pub(crate) fn flags(self) -> Self {
        self.structure(0x01, &[0x06])
    }

    pub(crate) fn manufacturer(self, company: u16, content: &[u8]) -> Self {
        self.structure(0xff, &[&company.to_le_bytes(), content].concat())
    }

    pub(crate) fn service(self, uuid: u16) -> Self {
        self.structure(0x03, &uuid.to_le_bytes())
    }

    pub(crate) fn service_data(self, uuid: u16, content: &[u8]) -> Self {
        self.structure(0x16, &[&uuid.to_le_bytes(), content].concat())
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Apple's proximity beacon; the last octet is its power at a metre.
pub(crate) fn ibeacon(uuid: &[u8], numbers: [u8; 4]) -> Vec<u8> {
    Data::default()
        .flags()
        .manufacturer(0x004c, &[&[0x02, 0x15], uuid, &numbers, &[0xc5]].concat())
        .finish()
}

/// `AltBeacon` 1.0.
pub(crate) fn altbeacon(id: &[u8]) -> Vec<u8> {
    let content = [&[0xbe, 0xac], id, &[0xc5, 0]].concat();
    Data::default().manufacturer(0x0118, &content).finish()
}

/// An Eddystone frame.
pub(crate) fn eddystone(frame: &[u8]) -> Vec<u8> {
    Data::default().service(0xfeaa).service_data(0xfeaa, frame).finish()
}

/// An app's token, in the form for Android. There is no room for flags.
pub(crate) fn service_token(token: &[u8]) -> Vec<u8> {
    // 4c7148cd-69b9-4363-ba4c-b74990a1b2dc, least significant octet first.
    const UUID: u128 = 0x4c71_48cd_69b9_4363_ba4c_b749_90a1_b2dc;
    Data::default().structure(0x21, &[&UUID.to_le_bytes(), &[1][..], token].concat()).finish()
}

/// An app's rolling UUID, from the octets that were derived for it, most significant first.
pub(crate) fn rolling_uuid(octets: &[u8]) -> Vec<u8> {
    let mut uuid = octets.to_vec();
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid.reverse();
    Data::default().flags().structure(0x07, &uuid).finish()
}

fn length(octets: &[u8]) -> u8 {
    u8::try_from(octets.len()).expect("what is sent here is short")
}

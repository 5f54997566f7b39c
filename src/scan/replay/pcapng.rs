//! pcapng: blocks, each with its type and length (draft-ietf-opsawg-pcapng). What Wireshark and
//! `dumpcap` write.
//!
//! Sections and interfaces in any number; blocks that carry no packets are passed over unread.

use super::{
    ReplayError,
    container::{Body, MAX_PACKET, Packet},
    link::{self, Link},
    pcap::Order,
    source::Source,
    timeline::Stamp,
};

/// Begins a section; the same in both byte orders, so it also begins every file.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Options of an interface description: the unit of its times, and what to add to them, in seconds.
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_TIME_OFFSET: u16 = 14;

/// Type, length and the length again at the end of the block.
const BLOCK_OVERHEAD: u32 = 12;

/// A section has a handful of interfaces; the bound keeps a damaged file from filling the memory.
const INTERFACES_MAX: usize = 4096;

/// Longest block that is read into memory: a packet with its block header and some options.
const BLOCK_MAX: usize = MAX_PACKET + 4096;

const BLOCK: &str = "pcapng block";
const BLOCK_END: &str = "the length of the pcapng block once more";

/// Reads the packets of a pcapng file.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    /// Those of the current section, in the order of their descriptions.
    interfaces: Vec<Interface>,
    /// Whether any interface, in any section, recorded what we decode.
    any_supported: bool,
    /// The last link type seen that we do not decode.
    unsupported: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Option<Link>,
    /// The unit of its times, as the format writes it.
    resolution: u8,
    /// Seconds to add to its times.
    offset: i64,
    /// The longest piece of a packet it kept; 0 is without limit.
    snap_length: u32,
}

/// A block whose type and length have been read.
#[derive(Clone, Copy)]
struct Block {
    begin: u64,
    /// Its length as it is written, to compare with the one at its end.
    length: [u8; 4],
    /// How many bytes there are between the two lengths.
    body: usize,
}

/// Where in a block's body a packet is, and what is said about it.
struct Found {
    interface: Interface,
    ticks: Option<u64>,
    cut: bool,
    start: usize,
    length: usize,
}

impl Pcapng {
    pub(super) fn new() -> Self {
        let order = Order::Little;
        Self { order, interfaces: Vec::new(), any_supported: false, unsupported: None }
    }

    pub(super) fn next<'a>(
        &mut self,
        source: &'a mut Source,
    ) -> Result<Option<Packet<'a>>, ReplayError> {
        loop {
            if !source.fill(1)? {
                return self.end(source);
            }
            let begin = source.offset();
            let block_type = source.array(BLOCK, begin)?;
            let length = source.array(BLOCK, begin)?;
            if block_type == SECTION_HEADER {
                self.section(source, length, begin)?;
                continue;
            }
            let block = self.block(source, length, begin)?;
            match self.order.u32(block_type) {
                INTERFACE_DESCRIPTION => self.interface(source, block)?,
                kind @ (OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET) => {
                    return self.packet(source, kind, block).map(Some);
                }
                _ => {
                    source.skip(block.body as u64, BLOCK, begin)?;
                    block.end(source)?;
                }
            }
        }
    }

    /// At the end of a file that never had anything for us, says so.
    fn end(&self, source: &Source) -> Result<Option<Packet<'static>>, ReplayError> {
        match self.unsupported {
            Some(link_type) if !self.any_supported => Err(link::unsupported(source, link_type)),
            _ => Ok(None),
        }
    }

    fn block(&self, source: &Source, length: [u8; 4], begin: u64) -> Result<Block, ReplayError> {
        let total = self.order.u32(length);
        let body = total.checked_sub(BLOCK_OVERHEAD).filter(|_| total.is_multiple_of(4));
        match body.and_then(|body| usize::try_from(body).ok()) {
            Some(body) => Ok(Block { begin, length, body }),
            None => Err(source.damaged(begin + 4, "the length of a pcapng block")),
        }
    }

    /// Only a section's magic number tells in which order its length was written.
    fn section(
        &mut self,
        source: &mut Source,
        length: [u8; 4],
        begin: u64,
    ) -> Result<(), ReplayError> {
        let magic: [u8; 4] = source.array(BLOCK, begin)?;
        self.order = match u32::from_le_bytes(magic) {
            0x1a2b_3c4d => Order::Little,
            0x4d3c_2b1a => Order::Big,
            _ => return Err(source.damaged(begin + 8, "the byte-order magic of a pcapng section")),
        };
        self.interfaces.clear();
        let block = self.block(source, length, begin)?;
        let Some(rest) = block.body.checked_sub(magic.len()) else {
            return Err(source.damaged(begin + 4, "the length of a pcapng section header"));
        };
        source.skip(rest as u64, BLOCK, begin)?;
        block.end(source)
    }

    fn interface(&mut self, source: &mut Source, block: Block) -> Result<(), ReplayError> {
        if block.body > BLOCK_MAX || self.interfaces.len() >= INTERFACES_MAX {
            return Err(source.damaged(block.begin, "fewer or shorter interface descriptions"));
        }
        let body = source.take(block.body, BLOCK, block.begin)?;
        let Some((interface, link_type)) = Interface::read(self.order, body) else {
            return Err(source.damaged(block.begin + 4, "the length of an interface description"));
        };
        match interface.link {
            Some(_) => self.any_supported = true,
            None => self.unsupported = Some(link_type),
        }
        self.interfaces.push(interface);
        block.end(source)
    }

    fn packet<'a>(
        &mut self,
        source: &'a mut Source,
        kind: u32,
        block: Block,
    ) -> Result<Packet<'a>, ReplayError> {
        let Block { begin, length, body } = block;
        if body > BLOCK_MAX {
            return Err(source.damaged(begin + 4, "a packet of at most 262144 bytes"));
        }
        if !source.fill(body + 4)? {
            return Err(source.truncated(BLOCK, begin));
        }
        // The length at the end is checked before the packet is believed.
        let Some((whole, trailer)) = source.ahead().split_at_checked(body) else {
            return Err(source.truncated(BLOCK, begin));
        };
        if !trailer.starts_with(&length) {
            return Err(source.damaged(begin + 8 + body as u64, BLOCK_END));
        }
        let found =
            if kind == SIMPLE_PACKET { self.simple(whole) } else { self.enhanced(kind, whole) };
        let Some(Found { interface, ticks, cut, start, length }) = found else {
            return Err(source.damaged(begin, "a packet of an interface described before"));
        };
        let whole = source.take(body + 4, BLOCK, begin)?;
        let bytes = whole.get(start..start + length).unwrap_or_default();
        Ok(Packet {
            stamp: ticks.map_or(Stamp::Unknown, |ticks| Stamp::Unix(interface.micros(ticks))),
            body: Body::Radio { link: interface.link.unwrap_or(Link::Unsupported), cut, bytes },
        })
    }

    /// Interface, time, captured length, original length, data. In the obsolete packet block the
    /// interface is shorter and followed by a count of drops; the rest is the same.
    fn enhanced(&self, kind: u32, body: &[u8]) -> Option<Found> {
        let (&[a0, a1, a2, a3], rest) = body.split_first_chunk()?;
        let ([high, low, captured, original], rest) = numbers(self.order, rest)?;
        let interface = if kind == OBSOLETE_PACKET {
            usize::from(self.order.u16([a0, a1]))
        } else {
            usize::try_from(self.order.u32([a0, a1, a2, a3])).ok()?
        };
        let interface = *self.interfaces.get(interface)?;
        let ticks = Some(u64::from(high) << 32 | u64::from(low));
        let length = usize::try_from(captured).ok().filter(|length| *length <= rest.len())?;
        let start = body.len() - rest.len();
        Some(Found { interface, ticks, cut: captured < original, start, length })
    }

    /// Original length and data, from the first interface, without a time.
    fn simple(&self, body: &[u8]) -> Option<Found> {
        let ([original], rest) = numbers(self.order, body)?;
        let interface = *self.interfaces.first()?;
        let captured = match interface.snap_length {
            0 => original,
            limit => original.min(limit),
        };
        let length = usize::try_from(captured).ok().filter(|length| *length <= rest.len())?;
        let start = body.len() - rest.len();
        Some(Found { interface, ticks: None, cut: captured < original, start, length })
    }
}

impl Block {
    /// Every block says its length once more at its end.
    fn end(&self, source: &mut Source) -> Result<(), ReplayError> {
        let offset = source.offset();
        let again: [u8; 4] = source.array(BLOCK, self.begin)?;
        if again == self.length { Ok(()) } else { Err(source.damaged(offset, BLOCK_END)) }
    }
}

impl Interface {
    /// Link type (2), reserved (2), snap length (4), options.
    fn read(order: Order, body: &[u8]) -> Option<(Self, u32)> {
        let (&[l0, l1, _, _, s0, s1, s2, s3], mut options) = body.split_first_chunk()?;
        let link_type = u32::from(order.u16([l0, l1]));
        let mut interface = Self {
            link: Link::of_pcap(link_type),
            // Microseconds, unless an option says otherwise.
            resolution: 6,
            offset: 0,
            snap_length: order.u32([s0, s1, s2, s3]),
        };
        while let Some((&[c0, c1, n0, n1], rest)) = options.split_first_chunk() {
            let length = usize::from(order.u16([n0, n1]));
            let Some(value) = rest.get(..length) else { break };
            match (order.u16([c0, c1]), value) {
                (0, _) => break,
                (OPTION_TIME_RESOLUTION, [resolution]) => interface.resolution = *resolution,
                (OPTION_TIME_OFFSET, seconds) => {
                    if let Ok(seconds) = seconds.try_into() {
                        interface.offset = order.i64(seconds);
                    }
                }
                _ => {}
            }
            options = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Some((interface, link_type))
    }

    /// Converts a time to microseconds since 1970.
    fn micros(&self, ticks: u64) -> i64 {
        let ticks = u128::from(ticks);
        let exponent = u32::from(self.resolution & 0x7f);
        let micros = if self.resolution & 0x80 != 0 {
            (ticks * 1_000_000).checked_shr(exponent).unwrap_or(0)
        } else if let Some(finer) = exponent.checked_sub(6) {
            10_u128.checked_pow(finer).map_or(0, |divisor| ticks / divisor)
        } else {
            ticks * 10_u128.pow(6 - exponent)
        };
        let offset = self.offset.saturating_mul(1_000_000);
        i64::try_from(micros).unwrap_or(i64::MAX).saturating_add(offset)
    }
}

/// Splits numbers of four bytes off.
fn numbers<const N: usize>(order: Order, mut bytes: &[u8]) -> Option<([u32; N], &[u8])> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let (four, rest) = bytes.split_first_chunk()?;
        *number = order.u32(*four);
        bytes = rest;
    }
    Some((numbers, bytes))
}

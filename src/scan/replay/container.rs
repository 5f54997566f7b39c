//! Which format a recording is in. The beginning of a file in, the reader of its packets out.
//!
//! All formats are read by our own code over one bounded buffer, and not by a library for two of
//! them: an error has to say at which byte of the file, a pipe may hand out a few bytes at a time,
//! and a block's claimed length must not decide how much memory is taken.

use super::{
    Format, ReplayError,
    btsnoop::{self, Btsnoop},
    hcidump::{self, Hcidump},
    json_lines::{JsonLines, Recorded},
    link::Link,
    pcap::{self, Pcap},
    pcapng::{self, Pcapng},
    source::Source,
    timeline::Stamp,
};

/// The reader of one format.
pub(super) enum Container {
    Btsnoop(Btsnoop),
    Pcap(Pcap),
    Pcapng(Pcapng),
    Hcidump(Hcidump),
    JsonLines(JsonLines),
}

/// One packet of a recording.
pub(super) struct Packet<'a> {
    pub(super) stamp: Stamp,
    pub(super) body: Body<'a>,
}

pub(super) enum Body<'a> {
    /// Bytes as a radio or its driver knew them; `cut` when the recorder did not keep them all.
    Radio { link: Link, cut: bool, bytes: &'a [u8] },
    /// A line of our own format.
    Ours(Recorded),
}

/// What the beginning of a recording announces.
enum Magic {
    Btsnoop,
    Pcap((pcap::Order, bool)),
    Pcapng,
    Hcidump,
    JsonLines,
    Gzip,
    /// Nothing we know.
    Nothing,
    /// Too little to tell.
    Perhaps,
}

/// Longest packet of a recording: what capture tools themselves keep at most.
pub(super) const MAX_PACKET: usize = 262_144;

/// How much of a file is looked at to recognise it.
const RECOGNISE_MAX: usize = 4096;

impl Container {
    pub(super) fn format(&self) -> Format {
        match self {
            Self::Btsnoop(_) => Format::Btsnoop,
            Self::Pcap(_) => Format::Pcap,
            Self::Pcapng(_) => Format::Pcapng,
            Self::Hcidump(_) => Format::Hcidump,
            Self::JsonLines(_) => Format::JsonLines,
        }
    }

    /// Looks at no more of the beginning than it needs, so that a pipe need not be full first.
    pub(super) fn recognise(source: &mut Source) -> Result<Self, ReplayError> {
        let mut whole = false;
        loop {
            match Self::magic(source.ahead(), whole) {
                Magic::Btsnoop => return Btsnoop::open(source).map(Self::Btsnoop),
                Magic::Pcap(kind) => return Pcap::open(source, kind).map(Self::Pcap),
                Magic::Pcapng => return Ok(Self::Pcapng(Pcapng::new())),
                Magic::Hcidump => return Ok(Self::Hcidump(Hcidump::default())),
                Magic::JsonLines => return JsonLines::open(source).map(Self::JsonLines),
                Magic::Gzip => return Err(ReplayError::Compressed { name: source.name() }),
                Magic::Nothing if source.ahead().is_empty() => {
                    return Err(ReplayError::Empty { name: source.name() });
                }
                Magic::Nothing => return Err(ReplayError::Unrecognised { name: source.name() }),
                Magic::Perhaps => whole = !source.fill_some()?,
            }
        }
    }

    fn magic(beginning: &[u8], whole: bool) -> Magic {
        match beginning {
            _ if beginning.starts_with(&btsnoop::MAGIC) => return Magic::Btsnoop,
            [0x1f, 0x8b, ..] => return Magic::Gzip,
            [b'{', ..] => return Magic::JsonLines,
            _ if beginning.starts_with(&pcapng::SECTION_HEADER) => return Magic::Pcapng,
            _ => {}
        }
        if let Some(kind) = beginning.first_chunk().and_then(|magic| pcap::recognise(*magic)) {
            return Magic::Pcap(kind);
        }
        if hcidump::recognise(beginning, whole) {
            return Magic::Hcidump;
        }
        // A byte that no text has says that more of it would not help.
        let binary = beginning.len() >= btsnoop::MAGIC.len() && beginning.contains(&0);
        if whole || binary || beginning.len() >= RECOGNISE_MAX {
            Magic::Nothing
        } else {
            Magic::Perhaps
        }
    }

    pub(super) fn next<'a>(
        &'a mut self,
        source: &'a mut Source,
    ) -> Result<Option<Packet<'a>>, ReplayError> {
        match self {
            Self::Btsnoop(btsnoop) => btsnoop.next(source),
            Self::Pcap(pcap) => pcap.next(source),
            Self::Pcapng(pcapng) => pcapng.next(source),
            Self::Hcidump(hcidump) => hcidump.next(source),
            Self::JsonLines(lines) => lines.next(source),
        }
    }
}

//! Recordings. A file or a pipe in, [`Advertisement`]s out, in the order and at the times recorded.
//!
//! The format is recognised by its content. Reading streams with bounded memory, never seeks and
//! never panics; a file that is cut short or damaged yields what could be read and then one error.

mod btsnoop;
mod container;
mod error;
mod hcidump;
mod json_lines;
mod link;
mod link_layer;
mod pace;
mod pcap;
mod pcapng;
mod source;
mod timeline;

use std::{collections::VecDeque, fmt, io::Read, path::Path, sync::Arc};

pub(in crate::scan) use self::json_lines::VERSION as JSON_LINES_VERSION;
use self::{
    container::{Body, Container},
    json_lines::Recorded,
    source::Source,
    timeline::Timeline,
};
pub use self::{
    error::ReplayError,
    pace::{NotASpeed, Pace, Played, Speed, run},
    source::Progress,
};
use super::hci::{HciReports, Report, Unusable};
use crate::{
    engine::{Advertisement, ReceiverId, UnixTime, Uptime},
    forget,
};

/// The advertisements of one recording, in order. After an error there is nothing more.
///
/// An advertisement's `heard` counts from the beginning of the recording, which is its first
/// packet, or what its header says; see [`Recording::starting_at`].
pub struct Recording {
    source: Source,
    container: Container,
    hci: HciReports,
    timeline: Timeline,
    /// The advertisements of the last packet read that have not been handed on yet.
    waiting: VecDeque<Waiting>,
    state: State,
    receiver: ReceiverId,
    begin: Uptime,
    counts: Counts,
}

/// The format of a recording.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// btsnoop: Android's HCI log, `btmon -w`, `hcidump -w`.
    Btsnoop,
    /// pcap: `tcpdump`, sniffers.
    Pcap,
    /// pcapng: Wireshark, `dumpcap`.
    Pcapng,
    /// The text of `hcidump --raw`.
    Hcidump,
    /// Our own: `scan --record`.
    JsonLines,
}

/// What has been found in a recording so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Packets of any kind.
    pub packets: u64,
    /// Advertisements handed on; one packet may hold several.
    pub advertisements: u64,
    /// Packets that complete no advertising report: commands, connections, scan requests, and all
    /// but the last fragment of an extended advertisement.
    pub other: u64,
    /// Reports that contradict the specification.
    pub malformed: u64,
    /// Packets that the radio received with errors.
    pub bad_checksum: u64,
    /// Reports without an address.
    pub anonymous: u64,
    /// Parts of longer advertisements whose other parts are missing.
    pub incomplete: u64,
    /// Packets of which the recorder kept only the beginning.
    pub cut_short: u64,
    /// Packets in a form we do not speak, beside others.
    pub unsupported: u64,
    /// How often the recorder's clock was set back by more than a second.
    pub clock_steps: u64,
}

/// An advertisement that has been read.
struct Waiting {
    /// Heard at a time that counts from the beginning of the recording.
    advertisement: Advertisement,
    /// The recording names the receiver.
    names_receiver: bool,
}

enum State {
    Reading,
    /// The error that comes after what is waiting.
    Failed(ReplayError),
    Ended,
}

/// Opens a recording, or standard input for `-`, and reads its first packet.
///
/// Fails only when there is nothing that could be replayed; whatever goes wrong later comes from
/// the iterator.
pub fn open(path: &Path) -> Result<Recording, ReplayError> {
    Recording::of(Source::open(path)?)
}

/// Reads a recording from anywhere. The name is for messages; the length, if known, for
/// [`Progress`].
pub fn read(
    name: &str,
    reader: impl Read + Send + 'static,
    length: Option<u64>,
) -> Result<Recording, ReplayError> {
    Recording::of(Source::new(name, Box::new(reader), length))
}

// === impl Recording ===

impl Recording {
    fn of(mut source: Source) -> Result<Self, ReplayError> {
        let container = Container::recognise(&mut source)?;
        let timeline = match &container {
            Container::JsonLines(lines) => Timeline::begun(lines.started),
            _ => Timeline::default(),
        };
        let mut recording = Self {
            source,
            container,
            hci: HciReports::default(),
            timeline,
            waiting: VecDeque::new(),
            state: State::Reading,
            receiver: ReceiverId::default(),
            begin: Uptime::ZERO,
            counts: Counts::default(),
        };
        // The first packet says when the recording began.
        recording.read_packet();
        Ok(recording)
    }

    /// Names the receiver of all advertisements. Our own format names its receivers itself.
    #[must_use]
    pub fn heard_by(mut self, receiver: ReceiverId) -> Self {
        self.receiver = receiver;
        self
    }

    /// Places the beginning of the recording at an uptime other than zero.
    #[must_use]
    pub fn starting_at(mut self, begin: Uptime) -> Self {
        self.begin = begin;
        self
    }

    /// The file's name, for messages.
    pub fn name(&self) -> Arc<str> {
        self.source.name()
    }

    /// The format it was recognised as.
    pub fn format(&self) -> Format {
        self.container.format()
    }

    /// The wall time of its beginning, if it knows.
    pub fn started_unix(&self) -> Option<UnixTime> {
        self.timeline.started()
    }

    /// When the last packet read was recorded, on the same time as the advertisements.
    pub fn position(&self) -> Uptime {
        self.begin + self.timeline.position().since(Uptime::ZERO)
    }

    /// A handle that tells how far it has been read.
    pub fn progress(&self) -> Progress {
        self.source.progress().clone()
    }

    /// What has been found so far.
    pub fn counts(&self) -> Counts {
        Counts { clock_steps: self.timeline.steps(), ..self.counts }
    }

    /// Reads one packet, and remembers when there is no other.
    fn read_packet(&mut self) {
        if self.source.ahead().is_empty() {
            // The next bytes may be long in coming, and what was read last is somebody's.
            forget::burn_stack();
        }
        match self.try_read_packet() {
            Ok(true) => {}
            Ok(false) => self.state = State::Ended,
            Err(error) => self.state = State::Failed(error),
        }
        if !matches!(self.state, State::Reading) {
            self.counts.incomplete += self.hci.abandon();
        }
    }

    /// Not part of its caller, who could not clear its own frame of the stack.
    #[inline(never)]
    fn try_read_packet(&mut self) -> Result<bool, ReplayError> {
        let Self { source, container, hci, timeline, waiting, counts, receiver, .. } = self;
        let Some(packet) = container.next(source)? else { return Ok(false) };
        counts.packets += 1;
        let heard = timeline.place(packet.stamp);
        match packet.body {
            Body::Ours(Recorded { receiver: named, address, rssi, data }) => {
                let names_receiver = named.is_some();
                let by = named.unwrap_or_else(|| receiver.clone());
                let advertisement = Advertisement::new(heard, by, address, rssi, &data);
                waiting.push_back(Waiting { advertisement, names_receiver });
            }
            Body::Radio { cut: true, .. } => counts.add(Unusable::CutShort),
            Body::Radio { link, cut: false, bytes } => {
                let mut silent = true;
                link.reports(bytes, hci, &mut |report| {
                    silent = false;
                    match report {
                        Ok(Report { address, rssi, data }) => {
                            let by = receiver.clone();
                            let advertisement = Advertisement::new(heard, by, address, rssi, data);
                            waiting.push_back(Waiting { advertisement, names_receiver: false });
                        }
                        Err(unusable) => counts.add(unusable),
                    }
                });
                counts.other += u64::from(silent);
            }
        }
        Ok(true)
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("name", &self.name())
            .field("format", &self.format())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Iterator for Recording {
    type Item = Result<Advertisement, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(Waiting { mut advertisement, names_receiver }) = self.waiting.pop_front() {
                self.counts.advertisements += 1;
                advertisement.heard = self.begin + advertisement.heard.since(Uptime::ZERO);
                if !names_receiver {
                    // It may have been named after this packet was read.
                    advertisement.receiver = self.receiver.clone();
                }
                return Some(Ok(advertisement));
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Reading => {
                    self.state = State::Reading;
                    self.read_packet();
                }
                State::Failed(error) => return Some(Err(error)),
                State::Ended => return None,
            }
        }
    }
}

// === impl Format ===

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Btsnoop => "btsnoop",
            Self::Pcap => "pcap",
            Self::Pcapng => "pcapng",
            Self::Hcidump => "hcidump",
            Self::JsonLines => "json_lines",
        })
    }
}

// === impl Counts ===

impl Counts {
    /// Everything that carried no usable advertisement although it should have, by reason.
    pub fn unusable(&self) -> [(&'static str, u64); 6] {
        [
            ("malformed", self.malformed),
            ("bad_checksum", self.bad_checksum),
            ("anonymous", self.anonymous),
            ("incomplete", self.incomplete),
            ("cut_short", self.cut_short),
            ("unsupported", self.unsupported),
        ]
    }

    /// The same, all reasons together.
    pub fn unusable_total(&self) -> u64 {
        self.unusable().iter().map(|(_, count)| count).sum()
    }

    fn add(&mut self, unusable: Unusable) {
        let count = match unusable {
            Unusable::Malformed => &mut self.malformed,
            Unusable::BadChecksum => &mut self.bad_checksum,
            Unusable::Anonymous => &mut self.anonymous,
            Unusable::Incomplete => &mut self.incomplete,
            Unusable::CutShort => &mut self.cut_short,
            Unusable::Unsupported => &mut self.unsupported,
        };
        *count += 1;
    }
}

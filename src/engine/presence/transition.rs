//! The words of the presence room: zones, sightings, visits, and what can change.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::engine::{ReceiverId, Rssi, SubjectIndex, SubjectKind, Uptime, place::FloorPlan};

/// Names an area of the shop.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ZoneId(Arc<str>);

impl ZoneId {
    /// Wraps a zone's name.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The zone's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named area, recognised by how loud a tag is heard there.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name.
    pub id: ZoneId,
    /// At least this loud to enter, in dBm.
    pub enter_rssi: f64,
    /// Below this to leave, in dBm; lower than `enter_rssi`.
    pub exit_rssi: f64,
    /// After how long a stay is reported as dwelling; ascending.
    pub loitering: Vec<Duration>,
    /// The receivers whose surroundings it is; empty means every receiver.
    pub receivers: Vec<ReceiverId>,
}

impl Zone {
    /// Whether this receiver's surroundings belong to it.
    pub(in crate::engine) fn is_heard_by(&self, receiver: &ReceiverId) -> bool {
        self.receivers.is_empty() || self.receivers.contains(receiver)
    }
}

/// When a subject counts as present.
#[derive(Clone, Debug)]
pub struct PresenceSettings {
    /// The zones.
    pub zones: Vec<Zone>,
    /// The receivers that there are. Others are taken as they come.
    pub receivers: Vec<ReceiverId>,
    /// Time constant of the signal's smoothing.
    pub smoothing: Duration,
    /// How long a signal must stay below a zone's exit threshold.
    pub exit_delay: Duration,
    /// Unseen for at least this long, a subject has left.
    pub exit_timeout: Duration,
    /// Unseen for this long, even a slow tag has left.
    pub exit_timeout_max: Duration,
    /// How many of its own intervals a tag may be silent.
    pub exit_after_missed: u32,
    /// How often an open visit's checkpoint is refreshed.
    pub checkpoint_interval: Duration,
    /// After a restart, a visit seen at most this long ago goes on.
    pub resume_within: Duration,
    /// Who comes back within this of having been found to have left goes on with the visit: its end
    /// is told only then. Zero tells it at once.
    pub merge_gap: Duration,
    /// A tag that was heard for this long without moving was left behind. Zero: never.
    pub left_behind_after: Duration,
    /// The plan by which zones are decided; without one, thresholds decide.
    pub floor: Option<PresenceFloor>,
    /// What no event ever names.
    pub private: Private,
}

/// A floor plan, and what its zones are here.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceFloor {
    /// The plan.
    pub plan: FloorPlan,
    /// For each zone of the plan its index among [`PresenceSettings::zones`]; none for one that must
    /// not be named.
    pub zones: Vec<Option<usize>>,
}

/// Places where nobody's presence is anybody's business.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Private {
    /// Their names.
    pub zones: Vec<ZoneId>,
    /// The receivers that hang there: they start no visit, and no event names them.
    pub receivers: Vec<ReceiverId>,
}

impl Default for PresenceSettings {
    /// No zones, so nobody ever enters one, and no plan; the times are those of the shipped
    /// configuration, but that visits end at once and no tag is ever taken to be left behind.
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            receivers: Vec::new(),
            smoothing: Duration::from_secs(3),
            exit_delay: Duration::from_secs(10),
            exit_timeout: Duration::from_secs(30),
            exit_timeout_max: Duration::from_mins(10),
            exit_after_missed: 6,
            checkpoint_interval: Duration::from_mins(1),
            resume_within: Duration::from_mins(5),
            merge_gap: Duration::ZERO,
            left_behind_after: Duration::ZERO,
            floor: None,
            private: Private::default(),
        }
    }
}

/// One observation of a subject.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// Who.
    pub subject: SubjectIndex,
    /// What the subject is: a thing may lie still.
    pub kind: SubjectKind,
    /// By which of its tags: the identifier's place among the subject's.
    pub tag: u8,
    /// Where.
    pub receiver: &'a ReceiverId,
    /// How loud; `None` when the controller could not tell.
    pub rssi: Option<Rssi>,
    /// It took the wider window that is searched while the clock is not synced.
    pub wide_window: bool,
}

/// Names one visit: unique for a gateway within an epoch of its store.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct VisitId {
    /// The epoch of the store in which it began.
    pub epoch: u32,
    /// The run of the program in which it began: the last sequence in the store at its start.
    pub run: u64,
    /// Unique within the run, ascending.
    pub number: u64,
}

/// One past or present stay in a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Stay {
    /// Where.
    pub zone: ZoneId,
    /// From when.
    pub entered: Uptime,
    /// Until when; for a present stay, until when it is known to have lasted.
    pub left: Uptime,
}

/// What a visit looked like to the radio.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Advertisements heard.
    pub sightings: u32,
    /// Mean signal strength, in dBm.
    pub mean_rssi: Option<f64>,
    /// The longest time without one.
    pub longest_gap: Duration,
    /// Whether any of them was only recognised because the clock was not synced and a wider window
    /// was searched.
    pub wide_window: bool,
}

/// A visit as far as it is known, for events and checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct VisitRecord {
    /// Its name.
    pub id: VisitId,
    /// The gateway that named it, if that was another one, which has handed it over.
    pub begun_at: Option<Arc<str>>,
    /// When it began.
    pub started: Uptime,
    /// When it was last true.
    pub last_seen: Uptime,
    /// The receiver that heard it first.
    pub first_receiver: ReceiverId,
    /// The receiver that heard it last.
    pub last_receiver: ReceiverId,
    /// Stays in zones, oldest first, at most [`MAX_STAYS`]: the middle of a longer path is cut.
    pub stays: Vec<Stay>,
    /// Whether stays were cut.
    pub stays_cut: bool,
    /// Whether the last of `stays` is going on.
    pub in_zone: bool,
    /// How many loitering delays of the present stay were reported.
    pub dwelled: usize,
    /// Time in each zone, all stays together.
    pub dwell: BTreeMap<ZoneId, Duration>,
    /// How it looked to the radio.
    pub quality: Quality,
    /// Why it is over, where its end is held back in case the subject returns.
    pub left: Option<ExitReason>,
}

impl VisitRecord {
    /// Forgets the stays before the present one. Says whether there were any.
    pub(in crate::engine) fn forget_path(&mut self) -> bool {
        let present = if self.in_zone { self.stays.pop() } else { None };
        let had_path = !self.stays.is_empty() || !self.dwell.is_empty();
        self.stays.clear();
        self.dwell.clear();
        self.stays.extend(present);
        had_path
    }

    /// Forgets all stays in these zones, the present one included.
    pub(in crate::engine) fn forget_zones(&mut self, zones: &[ZoneId]) {
        let last = self.stays.last();
        if self.in_zone && last.is_some_and(|stay| zones.contains(&stay.zone)) {
            self.in_zone = false;
            self.dwelled = 0;
        }
        self.stays.retain(|stay| !zones.contains(&stay.zone));
        self.dwell.retain(|zone, _| !zones.contains(zone));
    }
}

/// How many stays of a visit are kept, so that a record keeps to its 2 KiB.
pub const MAX_STAYS: usize = 32;

/// A change in a subject's presence.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// When it happened, not when it was noticed.
    pub at: Uptime,
    /// Who.
    pub subject: SubjectIndex,
    /// The visit, as it was right after the change.
    pub visit: VisitRecord,
    /// What changed.
    pub kind: TransitionKind,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum TransitionKind {
    /// A visit began.
    VisitStarted,
    /// A visit ended.
    VisitEnded(ExitReason),
    /// A zone was entered.
    ZoneEntered {
        /// Which.
        zone: ZoneId,
        /// Why it is believed.
        reason: EnterReason,
        /// How sure, 0 to 1.
        confidence: f64,
    },
    /// A stay reached a loitering delay.
    ZoneDwelled {
        /// Where.
        zone: ZoneId,
        /// The delay that was reached.
        delay: Duration,
    },
    /// A zone was left.
    ZoneExited {
        /// Which.
        zone: ZoneId,
        /// How long the stay was.
        stayed: Duration,
        /// Why it is believed.
        reason: ExitReason,
    },
}

/// Why a zone was entered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EnterReason {
    /// The subject was not in any zone.
    Arrived,
    /// It grew louder than another zone demands.
    Louder,
    /// It grew fainter than the zone before demands.
    Fainter,
    /// All receivers together place it there on the floor plan.
    Placed,
}

/// Why a zone was left or a visit ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExitReason {
    /// It went elsewhere in the shop: into another zone, or out of all.
    Moved,
    /// The signal stayed below the exit threshold.
    Faded,
    /// Nothing was heard any more.
    Silent,
    /// The gateway was restarted and too much time had passed.
    GatewayRestart,
    /// The tag has not moved for hours: nobody carries it.
    TagLeftBehind,
}

impl EnterReason {
    /// The name used in payloads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Louder => "louder",
            Self::Fainter => "fainter",
            Self::Placed => "placed",
        }
    }
}

impl ExitReason {
    /// The name used in payloads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Faded => "faded",
            Self::Silent => "silent",
            Self::GatewayRestart => "gateway_restart",
            Self::TagLeftBehind => "tag_left_behind",
        }
    }
}

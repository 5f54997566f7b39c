//! Beside room 4. Whoever is near, as salted marks, in; one anonymous count a zone and bin out.
//!
//! Off unless the operator switches it on. Promises: an address goes no further than [`Salt::mark`];
//! the salt lasts one bin and cannot be had back; no figure below `k` is told, zero neither; every
//! zone has its count in every bin, so that nothing follows from a count that is missing.
//!
//! What is counted are radio addresses, which are neither devices nor people: phones change theirs
//! about every 15 minutes. `PRIVACY.md` says what can be concluded.

mod cell;
mod salt;
mod sketch;

use std::{collections::BTreeMap, time::Duration};

pub use salt::FootfallSeed;

use super::{
    ClockQuality, RadioState, ReceiverId, Rssi, UnixTime, Uptime, WallClock, Zone, ZoneId,
    presence::louder_zone,
};
use cell::Cell;
use salt::{Mark, Salt};

/// How everybody is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct FootfallSettings {
    /// How long is counted together. Bins begin at multiples of it on the wall clock.
    pub bin: Duration,
    /// Fainter than this is not counted, however faint its zone may be, in dBm.
    pub min_rssi: f64,
    /// A figure below this is not told.
    pub k: u32,
}

/// What was counted in one zone in one bin.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// Where.
    pub zone: ZoneId,
    /// How long was counted; shorter than a bin after a start and before a stop.
    pub length: Duration,
    /// For how much of it all receivers of the zone could hear.
    pub covered: Duration,
    /// Different addresses heard; `None` when they were fewer than `k`.
    pub addresses: Option<u32>,
    /// Different addresses heard in the busiest minute; `None` when they were fewer than `k`.
    pub busiest_minute: Option<u32>,
    /// The `k` in force.
    pub k: u32,
}

/// Figures are rounded to a multiple of this.
pub const ROUNDED_TO: u32 = 5;

/// A second figure is counted by the minute: most addresses outlive many of them.
const MINUTE: Duration = Duration::from_mins(1);

/// How many bins at once are told of that ended while time stood still for us: twelve hours of the
/// shortest. In more than that nobody was counting.
const MAX_CATCH_UP: usize = 144;

/// The room.
#[derive(Debug)]
pub(super) struct Footfall {
    settings: FootfallSettings,
    zones: Vec<Zone>,
    /// One for each zone, in the same order.
    cells: Vec<Cell>,
    salt: Salt,
    bin: Option<Bin>,
    deaf: BTreeMap<ReceiverId, Uptime>,
}

/// The bin that is being counted.
#[derive(Clone, Copy, Debug)]
struct Bin {
    began: Uptime,
    minute_ends: Uptime,
    ends: Uptime,
}

// === impl Footfall ===

impl Footfall {
    pub(super) fn new(settings: FootfallSettings, zones: &[Zone], seed: FootfallSeed) -> Self {
        Self {
            settings,
            zones: zones.to_vec(),
            cells: zones.iter().map(|_| Cell::default()).collect(),
            salt: Salt::new(seed),
            bin: None,
            deaf: BTreeMap::new(),
        }
    }

    /// Counts whoever was heard, in the zone that this loudness means. `mark` is asked only then.
    pub(super) fn count(
        &mut self,
        receiver: &ReceiverId,
        rssi: Option<Rssi>,
        mark: impl FnOnce(&Salt) -> Mark,
    ) {
        let Some(dbm) = rssi.map(|Rssi(dbm)| f64::from(dbm)) else { return };
        if dbm < self.settings.min_rssi {
            return;
        }
        let zone = louder_zone(&self.zones, receiver, dbm);
        if let Some(cell) = zone.and_then(|(index, _)| self.cells.get_mut(index)) {
            cell.add(mark(&self.salt));
        }
    }

    /// Closes the bins that ended by `now`; tells when each ended, and its counts.
    pub(super) fn turn(&mut self, now: Uptime, wall: &WallClock) -> Vec<(Uptime, Count)> {
        let mut counts = Vec::new();
        let mut bin = self.bin.unwrap_or_else(|| self.open(now, wall));
        for _ in 0..MAX_CATCH_UP {
            if now < bin.ends {
                break;
            }
            self.close(bin, bin.ends, &mut counts);
            bin = self.open(bin.ends, wall);
        }
        if bin.ends <= now {
            bin = self.open(now, wall);
        }
        if bin.minute_ends <= now {
            self.cells.iter_mut().for_each(Cell::end_minute);
            let minutes = u32::try_from(now.since(bin.began).as_secs() / 60).unwrap_or(u32::MAX);
            bin.minute_ends = bin.began + MINUTE * minutes.saturating_add(1);
        }
        self.bin = Some(bin);
        counts
    }

    /// Nothing more will be counted: tells what the unfinished bin has so far.
    pub(super) fn stop(&mut self, now: Uptime, wall: &WallClock) -> Vec<(Uptime, Count)> {
        let mut counts = Vec::new();
        if let Some(bin) = self.bin.take() {
            self.close(bin, now, &mut counts);
            self.bin = Some(self.open(now, wall));
        }
        counts
    }

    /// The wall clock was read, and said something else `before`. The end of the bin moves to the
    /// nearest edge by the new reading.
    pub(super) fn clock(&mut self, wall: &WallClock, before: &WallClock) -> Vec<(Uptime, Count)> {
        if self.bin.is_none() {
            self.bin = Some(self.open(wall.at, wall));
            return Vec::new();
        }
        // What is over ended by the clock of the time.
        let counts = self.turn(wall.at, before);
        if let Some(bin) = self.bin.filter(|_| wall.quality == ClockQuality::Synced) {
            let mut ends = self.edge_before(bin.ends + self.settings.bin / 2, wall);
            if ends <= wall.at {
                ends = self.edge_after(wall.at, wall);
            }
            self.bin = Some(Bin { ends, ..bin });
        }
        counts
    }

    /// A receiver's state changed.
    pub(super) fn radio(&mut self, now: Uptime, receiver: &ReceiverId, state: RadioState) {
        let changed_at = match state {
            RadioState::Deaf { since, .. } => {
                self.deaf.entry(receiver.clone()).or_insert(since);
                since
            }
            RadioState::Hearing | RadioState::Quiet => {
                self.deaf.remove(receiver);
                now
            }
            RadioState::Suspect { .. } => return,
        };
        for (zone, cell) in self.zones.iter().zip(&mut self.cells) {
            let is_deaf = self.deaf.keys().any(|deaf| zone.is_heard_by(deaf));
            cell.set_deaf(is_deaf, changed_at);
        }
    }

    /// When the bin ends.
    pub(super) fn next_deadline(&self) -> Option<Uptime> {
        self.bin.map(|bin| bin.ends)
    }

    fn open(&self, began: Uptime, wall: &WallClock) -> Bin {
        Bin { began, minute_ends: began + MINUTE, ends: self.edge_after(began, wall) }
    }

    fn close(&mut self, bin: Bin, at: Uptime, counts: &mut Vec<(Uptime, Count)>) {
        let (length, k) = (at.since(bin.began), self.settings.k);
        for (zone, cell) in self.zones.iter().zip(&mut self.cells) {
            let told = cell.close(bin.began, at);
            let count = Count {
                zone: zone.id.clone(),
                length,
                covered: length.saturating_sub(told.deaf),
                addresses: told.addresses.figure(k),
                busiest_minute: told.busiest_minute.figure(k),
                k,
            };
            counts.push((at, count));
        }
        self.salt.turn();
    }

    /// The first edge of bins after an uptime.
    fn edge_after(&self, at: Uptime, wall: &WallClock) -> Uptime {
        self.edge_before(at, wall) + self.settings.bin
    }

    /// The last edge of bins at or before an uptime.
    fn edge_before(&self, at: Uptime, wall: &WallClock) -> Uptime {
        let bin = i64::try_from(self.settings.bin.as_millis()).unwrap_or(i64::MAX).max(1);
        let unix = wall.unix_at(at).as_millis();
        wall.uptime_of(UnixTime::from_millis(unix.saturating_sub(unix.rem_euclid(bin))))
    }
}

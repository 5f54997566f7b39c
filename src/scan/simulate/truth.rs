//! What really happened, to judge by it what the gateway makes of what it hears.

use std::{sync::Arc, time::Duration};

use super::{journey::Journey, plan::Plan};
use crate::engine::Uptime;

/// What happened so far. A visit under way is written down with the end it is going to have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// The visits of all subjects, in the order in which they were decided on. In a shop without
    /// end this grows by one entry for each visit.
    pub visits: Vec<Visit>,
    /// How many strangers came by, on the street or in the shop.
    pub strangers: u64,
}

/// One stay of one subject in the shop.
#[derive(Clone, Debug, PartialEq)]
pub struct Visit {
    /// The pseudonym.
    pub subject: Arc<str>,
    /// Whether the subject's consent was live; nothing may be known of this visit otherwise.
    pub consented: bool,
    /// The first step over the threshold. The start of the simulation for what is always there.
    pub from: Uptime,
    /// The last step over the threshold, for what leaves.
    pub until: Option<Uptime>,
    /// Where in between, in order. Between two stays lies the corridor.
    pub stays: Vec<Stay>,
}

/// An unbroken time in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Stay {
    /// The zone.
    pub zone: Arc<str>,
    /// From when.
    pub from: Uptime,
    /// Until when.
    pub until: Uptime,
}

// === impl Visit ===

impl Visit {
    /// The zone at a time.
    pub fn zone_at(&self, at: Uptime) -> Option<&str> {
        let stay = self.stays.iter().find(|stay| stay.from <= at && at < stay.until)?;
        Some(&stay.zone)
    }

    /// Appends the zones that a journey leads through while in the shop.
    pub(super) fn follow(&mut self, plan: &Plan, journey: &Journey) {
        // A step of a tenth of a second is a hand's breadth of way.
        const STEP: Duration = Duration::from_millis(100);
        let Some((entered, left)) = journey.inside else { return };
        let mut now = entered;
        while now < left {
            let next = (now + STEP).min(left);
            let zone = journey.place(now).and_then(|place| plan.zone_at(place.at));
            if let Some(zone) = zone {
                match self.stays.last_mut() {
                    Some(stay) if stay.until == now && *stay.zone == *zone => stay.until = next,
                    _ => self.stays.push(Stay { zone: Arc::from(zone), from: now, until: next }),
                }
            }
            now = next;
        }
    }
}

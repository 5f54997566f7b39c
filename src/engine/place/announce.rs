//! When a change of zone is worth announcing: probabilities over time in, changes out.
//!
//! For each zone that leads over the announced one, the seconds are counted that announcing it would
//! be expected to have put right: the difference of the two probabilities, over time, less a lead
//! that it must have (a one-sided CUSUM; Page, "Continuous inspection schemes", 1954). When they
//! reach what a change costs, it is announced, dated to when the count last rose from nothing. A
//! zone that is much more probable is announced soon, one that hardly leads late or never.

use super::{Whereabouts, model::Model};
use crate::engine::Uptime;

/// What was announced of one subject, and what may come.
#[derive(Clone, Debug)]
pub(super) struct Announcer {
    told: Whereabouts,
    /// For each zone, then outside of all, then `unknown`: what changing to it would be worth.
    cases: Vec<Case>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Case {
    /// In seconds.
    worth: f32,
    /// When it last was nothing.
    since: Uptime,
}

/// A change to announce.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Announcement {
    pub(super) to: Whereabouts,
    pub(super) since: Uptime,
    pub(super) confidence: f32,
}

impl Announcer {
    pub(super) fn new(zones: usize) -> Self {
        Self { told: Whereabouts::Unknown, cases: vec![Case::default(); zones + 2] }
    }

    pub(super) fn told(&self) -> Whereabouts {
        self.told
    }

    /// Takes in the probabilities at the end of a step: of each zone, and last of being outside of
    /// all of them. `standing` and `unmoved` say how probable it is that they stand, and that they
    /// are still where they have been for minutes.
    pub(super) fn step(
        &mut self,
        now: Uptime,
        probabilities: &[f32],
        (standing, unmoved): (f32, f32),
        model: &Model,
    ) -> Option<Announcement> {
        let seconds = model.step.as_secs_f32();
        let zones = probabilities.len().saturating_sub(1);
        let current = match self.told {
            Whereabouts::Zone(zone) => probabilities.get(zone).copied().unwrap_or(0.0),
            Whereabouts::Elsewhere => probabilities.last().copied().unwrap_or(0.0),
            Whereabouts::Unknown => model.thin,
        };
        // Nobody changes zones standing; but where they came to stand may be seen late, and a tag
        // that never moved may have been in the wrong zone from the start. Whoever is nearly sure is
        // announced in the end.
        let lead = match self.told {
            Whereabouts::Unknown => 0.0,
            _ => (model.lead + model.standing_lead * standing + model.unmoved_lead * unmoved)
                .min(model.most_lead),
        };
        // Until something was announced every second is a wrong one, and there is nothing to flap from.
        let cost = match self.told {
            Whereabouts::Unknown => model.first_worth_s,
            _ => model.worth_s,
        };
        let unknown = std::iter::once(&model.thin);
        let all = probabilities.iter().chain(unknown).enumerate();
        let mut best: Option<(usize, f32, Case)> = None;
        for ((index, probability), case) in all.zip(&mut self.cases) {
            let place = place(index, zones);
            if place == self.told {
                *case = Case { worth: 0.0, since: now };
                continue;
            }
            let (lead, cost) = match place {
                Whereabouts::Unknown => (0.0, model.unknown_worth_s * model.thin),
                Whereabouts::Zone(_) | Whereabouts::Elsewhere => (lead, cost),
            };
            let worth = case.worth + (probability - current - lead) * seconds;
            if worth <= 0.0 {
                *case = Case { worth: 0.0, since: now };
                continue;
            }
            case.worth = worth;
            let ripe = worth >= cost;
            if ripe && best.is_none_or(|(_, most, _)| *probability > most) {
                best = Some((index, *probability, *case));
            }
        }
        let (index, confidence, case) = best?;
        self.told = place(index, zones);
        self.cases.fill(Case { worth: 0.0, since: now });
        Some(Announcement { to: self.told, since: case.since, confidence })
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self, now: Uptime) {
        self.told = Whereabouts::Unknown;
        self.cases.fill(Case { worth: 0.0, since: now });
    }
}

fn place(index: usize, zones: usize) -> Whereabouts {
    match index {
        zone if zone < zones => Whereabouts::Zone(zone),
        outside if outside == zones => Whereabouts::Elsewhere,
        _ => Whereabouts::Unknown,
    }
}

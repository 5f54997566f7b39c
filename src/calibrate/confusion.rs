//! Which zone is taken for which: what a method announced and where the tag truly was in, counts of
//! seconds out.

use crate::{
    engine::place::{FloorPlan, ZoneKind},
    evaluate::{Run, Stay, Walk},
};

/// Seconds by where the tag was and what was announced at that time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confusion {
    /// For each zone of the plan, and behind them for no zone, a row of counts: told to be in each
    /// zone, in none, and nobody knows where.
    rows: Vec<Vec<u32>>,
    zones: usize,
}

impl Confusion {
    /// Nothing yet.
    pub fn new(zones: usize) -> Self {
        Self { rows: vec![vec![0; zones + 2]; zones + 1], zones }
    }

    /// Takes in a run. A private zone counts as none: nothing names it.
    pub(super) fn take(&mut self, run: &Run, plan: &FloorPlan, walk: &Walk) {
        let named =
            |zone: &usize| plan.zones.get(*zone).is_some_and(|zone| zone.kind != ZoneKind::Private);
        for moment in &run.moments {
            let Some(truth) = walk.zone_at(plan, moment.at) else { continue };
            let truth = truth.filter(named).unwrap_or(self.zones);
            let stay: Option<&Stay> = run.stays.iter().rev().find(|it| it.noticed <= moment.at);
            let announced = match stay {
                Some(Stay { unknown: false, zone, .. }) => zone.unwrap_or(self.zones),
                Some(_) | None => self.zones + 1,
            };
            if let Some(cell) = self.rows.get_mut(truth).and_then(|row| row.get_mut(announced)) {
                *cell = cell.saturating_add(1);
            }
        }
    }

    /// Seconds in a zone, by what was announced: the zones, then no zone, then that nobody can tell.
    pub fn row(&self, zone: usize) -> &[u32] {
        self.rows.get(zone).map(Vec::as_slice).unwrap_or_default()
    }

    /// Seconds in a zone.
    pub fn seconds(&self, zone: usize) -> u32 {
        self.row(zone).iter().fold(0, |sum, it| sum.saturating_add(*it))
    }

    /// Share of the seconds in a zone in which it was announced, 0 to 1; none when nobody was there.
    pub fn right(&self, zone: usize) -> Option<f64> {
        let seconds = self.seconds(zone);
        let right = self.row(zone).get(zone).copied().unwrap_or(0);
        (seconds > 0).then(|| f64::from(right) / f64::from(seconds))
    }

    /// What else was announced there, most often first: the column and its share, 0 to 1.
    pub fn confused_with(&self, zone: usize) -> Vec<(usize, f64)> {
        let seconds = f64::from(self.seconds(zone).max(1));
        let others = self.row(zone).iter().enumerate();
        let mut others: Vec<(usize, f64)> = others
            .filter(|(column, count)| *column != zone && **count > 0)
            .map(|(column, count)| (column, f64::from(*count) / seconds))
            .collect();
        others.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        others
    }
}

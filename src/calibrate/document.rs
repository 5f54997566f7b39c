//! What was found out, as JSON for programs.

use serde_json::{Value, json};

use super::{Fit, Scope, Study, Survey, Trial, Weakness};
use crate::{
    engine::{ReceiverId, ZoneId, place::FloorPlan},
    evaluate::Score,
};

/// Everything as one JSON object.
pub fn document(study: &Study, plan: &FloorPlan) -> Value {
    let recommended = study.proof.recommended();
    let proof = &study.proof;
    let best = recommended.map_or(&proof.nothing, |scope| proof.trial(scope));
    json!({
        "walks": study.walks,
        "readings": study.readings,
        "recommended": recommended.map(name),
        "held_out": {
            "folds": proof.folds,
            "by": if proof.by_walk { "walk" } else { "piece" },
            "without": trial(&proof.nothing),
            "offsets": trial(&proof.offsets),
            "offsets_and_law": trial(&proof.full),
        },
        "law": law(&study.fit),
        "receivers": receivers(study, plan),
        "zones": zones(study, best),
        "survey": study.survey.as_ref().map(|survey| self::survey(survey, &study.zones)),
    })
}

fn name(scope: Scope) -> &'static str {
    match scope {
        Scope::Offsets => "offsets",
        Scope::Full => "offsets_and_law",
    }
}

fn trial(trial: &Trial) -> Value {
    let score: &Score = &trial.score;
    json!({
        "seconds": score.seconds,
        "right": round(score.share_right()),
        "right_dated": round(score.share_right_dated()),
        "changes": score.changes,
        "true_changes": score.true_changes,
        "error_m": score.error_mean().map(round),
    })
}

fn law(fit: &Fit) -> Value {
    json!({
        "reference_dbm": near(fit.law.reference_dbm),
        "reference_error_db": near(fit.reference_error_db),
        "exponent": near(fit.law.exponent),
        "exponent_error": near(fit.exponent_error),
        "spread_db": near(fit.law.spread_db),
        "fitted": fit.scope == Scope::Full,
    })
}

fn receivers(study: &Study, plan: &FloorPlan) -> Vec<Value> {
    let receivers = plan.receivers.iter().zip(&study.fit.offsets);
    receivers
        .map(|(receiver, offset)| {
            json!({
                "id": receiver.id.as_str(),
                "offset_db": near(offset.db),
                "error_db": near(offset.error_db),
                "readings": offset.readings,
            })
        })
        .collect()
}

fn zones(study: &Study, best: &Trial) -> Vec<Value> {
    let zones = study.zones.iter().enumerate().zip(&study.fingerprints);
    zones
        .map(|((zone, id), fingerprint)| {
            let confused = best.confusion.confused_with(zone);
            let confused = confused.into_iter().map(
                |(other, share)| json!({ "zone": column(&study.zones, other), "share": round(share) }),
            );
            let heard = fingerprint.heard.iter().map(|level| {
                json!({
                    "receiver": ReceiverId::as_str(&level.receiver),
                    "mean_dbm": near(level.mean_dbm),
                    "spread_db": near(level.spread_db),
                    "readings": level.readings,
                })
            });
            json!({
                "id": id.as_str(),
                "seconds": best.confusion.seconds(zone),
                "right": best.confusion.right(zone).map(round),
                "confused_with": confused.collect::<Vec<_>>(),
                "heard": heard.collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn survey(survey: &Survey, zones: &[ZoneId]) -> Value {
    let dead = survey.dead.iter().map(|spot| {
        json!({
            "x": near(spot.at.x),
            "y": near(spot.at.y),
            "area_m2": near(spot.area_m2),
            "zone": column(zones, spot.zone),
            "why": match spot.weakness {
                Weakness::Deaf => "fewer_than_two_receivers",
                Weakness::Vague => "error_larger_than_zone",
            },
            "error_m": near(spot.error_m),
        })
    });
    let suggestion = survey.suggestion.as_ref().map(|it| {
        json!({
            "x": near(it.at.x),
            "y": near(it.at.y),
            "error_m": near(it.error_m),
            "dead_m2": near(it.dead_m2),
        })
    });
    json!({
        "error_m": near(survey.error_m),
        "dead_spots": dead.collect::<Vec<_>>(),
        "add_receiver": suggestion,
    })
}

/// The name of a column of a confusion; `none` for no zone, `unknown` where nobody can tell.
pub(super) fn column(zones: &[ZoneId], column: usize) -> &str {
    match zones.get(column) {
        Some(zone) => zone.as_str(),
        None if column == zones.len() => "none",
        None => "unknown",
    }
}

/// To four places: more would only be noise.
fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// To two.
fn near(number: f32) -> f64 {
    (f64::from(number) * 100.0).round() / 100.0
}

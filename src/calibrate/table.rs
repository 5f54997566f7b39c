//! What was found out, as tables for people.

use std::io::{self, Write};

use super::{
    DeadSpot, Fingerprint, Level, Scope, Study, Survey, Trial, Weakness, document::column,
};
use crate::engine::place::FloorPlan;

/// So many dead spots are told; the picture shows all.
const MOST_SPOTS: usize = 8;

/// How many zones that one is taken for are named.
const MOST_CONFUSED: usize = 3;

/// Writes everything.
pub fn write(out: &mut impl Write, study: &Study, plan: &FloorPlan) -> io::Result<()> {
    let Study { walks, readings, .. } = study;
    let zones = study.zones.len();
    writeln!(out, "{readings} readings in {walks} walk(s), {zones} zones\n")?;
    proof(out, study)?;
    writeln!(out)?;
    receivers(out, study, plan)?;
    writeln!(out)?;
    self::zones(out, study)?;
    if let Some(survey) = &study.survey {
        writeln!(out)?;
        self::survey(out, survey, study)?;
    }
    Ok(())
}

fn proof(out: &mut impl Write, study: &Study) -> io::Result<()> {
    let proof = &study.proof;
    if proof.folds == 0 {
        return writeln!(
            out,
            "There is too little to leave a part out and see whether a calibration helps: record a \
             minute in each zone, or a second walk."
        );
    }
    let left_out = match (proof.by_walk, proof.folds) {
        (true, folds) => format!("each of {folds} parts of the walks left out in turn"),
        (false, _) => "every other piece of 20 s left out in turn".to_owned(),
    };
    writeln!(out, "On what was left out of the fit ({left_out}):")?;
    writeln!(out, "{:<24}{:>9}{:>12}{:>14}", "", "right", "changes", "error")?;
    let mut row = |name: &str, trial: &Trial| {
        let score = &trial.score;
        let right = format!("{:.1} %", 100.0 * score.share_right());
        let changes = format!("{} / {}", score.changes, score.true_changes);
        let error = score.error_mean().map_or_else(|| "-".to_owned(), |it| format!("{it:.2} m"));
        writeln!(out, "{name:<24}{right:>9}{changes:>12}{error:>14}")
    };
    row("as configured", &proof.nothing)?;
    row("with offsets", &proof.offsets)?;
    if study.survey.is_some() {
        row("with offsets and law", &proof.full)?;
    }
    let said = match proof.recommended() {
        None => "No calibration helps here: what is configured stays as it is.",
        Some(Scope::Offsets) => "Recommended: the offsets.",
        Some(Scope::Full) => "Recommended: the offsets and the law.",
    };
    writeln!(out, "{said}")
}

fn receivers(out: &mut impl Write, study: &Study, plan: &FloorPlan) -> io::Result<()> {
    let fit = &study.fit;
    writeln!(out, "{:<24}{:>16}{:>10}", "receiver", "offset", "readings")?;
    for (receiver, offset) in plan.receivers.iter().zip(&fit.offsets) {
        let name = receiver.id.as_str();
        let db = match offset.readings {
            0 => "not heard from".to_owned(),
            _ => format!("{:+.1} ± {:.1} dB", offset.db, offset.error_db),
        };
        writeln!(out, "{name:<24}{db:>16}{:>10}", offset.readings)?;
    }
    if fit.scope == Scope::Full {
        let law = fit.law;
        writeln!(
            out,
            "One metre away {:.1} ± {:.1} dBm, exponent {:.2} ± {:.2}, spread {:.1} dB, from {} spots.",
            law.reference_dbm,
            fit.reference_error_db,
            law.exponent,
            fit.exponent_error,
            law.spread_db,
            fit.spots
        )?;
    }
    Ok(())
}

fn zones(out: &mut impl Write, study: &Study) -> io::Result<()> {
    let proof = &study.proof;
    let best = proof.recommended().map_or(&proof.nothing, |scope| proof.trial(scope));
    writeln!(out, "{:<24}{:>8}{:>9}  taken for", "zone", "seconds", "right")?;
    for (zone, id) in study.zones.iter().enumerate() {
        let confusion = &best.confusion;
        let right = confusion.right(zone);
        let right = right.map_or_else(|| "-".to_owned(), |it| format!("{:.0} %", 100.0 * it));
        let name = |other| column(&study.zones, other);
        let confused = confusion.confused_with(zone).into_iter().take(MOST_CONFUSED);
        let confused: Vec<String> =
            confused.map(|(it, share)| format!("{} {:.0} %", name(it), 100.0 * share)).collect();
        let (id, seconds, confused) = (id.as_str(), confusion.seconds(zone), confused.join(", "));
        writeln!(out, "{id:<24}{seconds:>8}{right:>9}  {confused}")?;
    }
    let often = |level: &&Level, seconds: u32| level.readings.saturating_mul(2) >= seconds;
    let hear = |it: &Fingerprint| it.heard.iter().filter(|level| often(level, it.seconds)).count();
    let silent = study.fingerprints.iter().filter(|it| it.seconds > 0 && hear(it) < 2);
    let silent: Vec<&str> = silent.map(|it| it.zone.as_str()).collect();
    if !silent.is_empty() {
        writeln!(
            out,
            "Fewer than two receivers heard the tag every other second in: {}.",
            silent.join(", ")
        )?;
    }
    Ok(())
}

fn survey(out: &mut impl Write, survey: &Survey, study: &Study) -> io::Result<()> {
    writeln!(
        out,
        "By the law, a place in a zone can be found to within {:.1} m on average.",
        survey.error_m
    )?;
    for spot in survey.dead.iter().take(MOST_SPOTS) {
        let DeadSpot { at, area_m2, zone, weakness, error_m } = spot;
        let why = match weakness {
            Weakness::Deaf => "fewer than two receivers hear well",
            Weakness::Vague => "the error is larger than the zone",
        };
        writeln!(
            out,
            "Dead spot: {area_m2:.0} m² of `{}` around ({:.1}, {:.1}): {why} (error {error_m:.1} m).",
            column(&study.zones, *zone),
            at.x,
            at.y
        )?;
    }
    if let Some(more) = survey.dead.len().checked_sub(MOST_SPOTS).filter(|it| *it > 0) {
        writeln!(out, "And {more} smaller ones; --plot shows them.")?;
    }
    match &survey.suggestion {
        Some(it) => writeln!(
            out,
            "Add a receiver at ({:.1}, {:.1}): the error falls from {:.1} m to {:.1} m, the dead spots \
             to {:.0} m².",
            it.at.x, it.at.y, survey.error_m, it.error_m, it.dead_m2
        ),
        None => writeln!(out, "One more receiver would not help much."),
    }
}

//! The comparison as a table for people.

use std::io::{self, Write};

use super::{Cost, Evaluation, Score};

/// Heads of the columns, and how wide each is.
const COLUMNS: [(&str, usize); 9] = [
    ("right", 7),
    ("dated", 7),
    ("unknown", 8),
    ("changes", 13),
    ("missed", 14),
    ("invented", 9),
    ("delay 50/95%", 14),
    ("error mean/90%", 16),
    ("sure-true", 10),
];

const NAME: usize = 24;

/// How wide the names of faults are.
const FAULT: usize = 33;

/// What the columns mean.
const LEGEND: &str = "\
right     seconds in the right zone, by what was announced at that time
dated     the same by the times that the announcements name, once all are in
unknown   seconds in which no zone was announced
changes   announced / true changes of zone
missed    true stays in a zone that were never announced, of all
invented  announced stays that never were
delay     from a true change to its announcement, in seconds: median and 95th percentile
error     distance to the true position in metres: mean and 90th percentile
sure-true how far confidence and truth are apart on average (expected calibration error)

Nothing is fitted to these walks: the estimator runs with its defaults and starts anew for each
walk, so that leaving a walk out changes nothing; the rows by walk show how far they differ. The
others run with their published parameters.";

/// Writes the comparison.
pub fn write(out: &mut impl Write, evaluation: &Evaluation) -> io::Result<()> {
    let Evaluation { walks, zones, verdicts, .. } = evaluation;
    writeln!(out, "{} walks, {} zones\n", walks.len(), zones.len())?;
    write!(out, "{:<NAME$}", "")?;
    for (head, width) in COLUMNS {
        write!(out, "{head:>width$}")?;
    }
    writeln!(out)?;
    for verdict in verdicts {
        row(out, verdict.method.name(), &verdict.all)?;
    }
    if let Some(own) = verdicts.first().filter(|_| walks.len() > 1) {
        writeln!(out)?;
        for (walk, score) in walks.iter().zip(&own.walks) {
            let name: String = walk.chars().take(NAME - 3).collect();
            row(out, &format!("  {name}"), score)?;
        }
    }
    if let Some(own) = verdicts.first() {
        writeln!(
            out,
            "\nOf the seconds in which {} was this sure, it was right in:",
            own.method.name()
        )?;
        for bin in own.all.reliability.iter().filter(|bin| bin.seconds > 0) {
            let seconds = f64::from(bin.seconds);
            let (sure, right) = (bin.sure / seconds, f64::from(bin.right) / seconds);
            let seconds = bin.seconds;
            writeln!(out, "  {:>4.0} %  {:>4.0} %  ({seconds} s)", 100.0 * sure, 100.0 * right)?;
        }
    }
    writeln!(out, "\n{LEGEND}")
}

/// Writes what faults of receivers cost. `name` says what a receiver is called by its place on the plan.
pub fn write_faults(
    out: &mut impl Write,
    costs: &[Cost],
    name: impl Fn(usize) -> String,
) -> io::Result<()> {
    write!(out, "{:<FAULT$}", "a receiver that")?;
    for (head, width) in COLUMNS {
        write!(out, "{head:>width$}")?;
    }
    writeln!(out)?;
    for Cost { fault, all, worst } in costs {
        cells(out, (fault.name(), FAULT), all)?;
        if let Some((receiver, right)) = worst {
            write!(out, "  {:.1} % with {}", 100.0 * right, name(*receiver))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn row(out: &mut impl Write, name: &str, score: &Score) -> io::Result<()> {
    cells(out, (name, NAME), score)?;
    writeln!(out)
}

fn cells(out: &mut impl Write, (name, width): (&str, usize), score: &Score) -> io::Result<()> {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let pair = |first: Option<f64>, second: Option<f64>| match first.zip(second) {
        Some((first, second)) => format!("{first:.2} / {second:.2}"),
        None => "-".to_owned(),
    };
    let cells = [
        percent(score.share_right()),
        percent(score.share_right_dated()),
        percent(f64::from(score.unknown) / f64::from(score.seconds.max(1))),
        format!("{} / {}", score.changes, score.true_changes),
        format!("{} / {}", score.missed, score.visits),
        score.invented.to_string(),
        pair(score.delay(0.5), score.delay(0.95)),
        pair(score.error_mean(), score.error(0.9)),
        score.calibration_error().map_or_else(|| "-".to_owned(), |error| format!("{error:.2}")),
    ];
    write!(out, "{name:<width$}")?;
    cells.iter().zip(COLUMNS).try_for_each(|(cell, (_, width))| write!(out, "{cell:>width$}"))
}

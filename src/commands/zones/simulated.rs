//! `zones evaluate --simulated`: the twelve made-up shops as a table or as JSON.

use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};

use super::{EvaluateOptions, bar, faults, numbers, round};
use crate::{
    commands::{Failure, broken_pipe},
    evaluate::{Cost, Outcome, SHOPS, Score, Still, simulate, simulate_faults, still},
};

/// How long each walk is, in seconds.
const WALK_SECONDS: u32 = 600;

/// How many tags lie still.
const SPOTS: u32 = 20;

pub(super) fn run(options: &EvaluateOptions) -> Result<(), Failure> {
    let &EvaluateOptions { seeds, still: hours, json: as_json, .. } = options;
    let walks_in_all = usize::try_from(seeds).unwrap_or(usize::MAX).saturating_mul(SHOPS.len());
    let walks = bar(walks_in_all, "walks", as_json);
    let outcomes = simulate(seeds, WALK_SECONDS, || walks.inc(1));
    walks.finish_and_clear();
    let costs = options.faults.then(|| {
        let walks = bar(walks_in_all, "walks with faults", as_json);
        let costs = simulate_faults(seeds, WALK_SECONDS, || walks.inc(1));
        walks.finish_and_clear();
        costs
    });
    let lain = hours.map(|hours| {
        let spots = bar(usize::try_from(SPOTS).unwrap_or(0), "tags that lie still", as_json);
        let lain = still(SPOTS, hours, || spots.inc(1));
        spots.finish_and_clear();
        lain
    });
    let mut out = BufWriter::new(anstream::stdout().lock());
    let written = if as_json {
        writeln!(out, "{:#}", document(&outcomes, costs.as_deref(), lain.as_ref()))
    } else {
        let told = write(&mut out, seeds, &outcomes, lain.as_ref());
        told.and_then(|()| faults::write(&mut out, costs.as_deref(), nobody))
    };
    written.and_then(|()| out.flush()).or_else(broken_pipe)
}

fn write(
    out: &mut impl Write,
    seeds: u32,
    outcomes: &[Outcome],
    lain: Option<&Still>,
) -> io::Result<()> {
    writeln!(
        out,
        "{} made-up shops, {seeds} seeds, walks of {WALK_SECONDS} s\n\n\
         {:<24}{:>16}{:>16}{:>20}{:>10}{:>16}",
        SHOPS.len(),
        "",
        "right",
        "dated",
        "changes / true",
        "invented",
        "error mean/90%"
    )?;
    for outcome in outcomes {
        let all = sum(&outcome.seeds);
        writeln!(
            out,
            "{:<24}{:>16}{:>16}{:>20}{:>10}{:>16}",
            outcome.method.name(),
            spread(&outcome.seeds, |score| 100.0 * score.share_right()).percent(),
            spread(&outcome.seeds, |score| 100.0 * score.share_right_dated()).percent(),
            spread(&outcome.seeds, changes).plain(),
            all.invented,
            errors(&all),
        )?;
    }
    if let Some(own) = outcomes.first() {
        writeln!(out, "\nShop by shop, {}:", own.method.name())?;
        for (layout, score) in SHOPS.iter().zip(&own.shops) {
            let (width, depth) = layout.size;
            let shop = format!(
                "  {} {width} x {depth} m, {} receivers, {} zones",
                layout.name,
                layout.receivers,
                layout.zones.0 * layout.zones.1
            );
            writeln!(
                out,
                "{shop:<50}{:>8}{:>8}{:>8.2}{:>16}",
                format!("{:.1} %", 100.0 * score.share_right()),
                format!("{:.1} %", 100.0 * score.share_right_dated()),
                changes(score),
                errors(score)
            )?;
        }
    }
    if let Some(lain) = lain {
        writeln!(
            out,
            "\nTags that lie still for {} h, the first two minutes left out:",
            lain.hours
        )?;
        for (on_border, what) in [(false, "in the open"), (true, "on a border")] {
            let (changes, spots) = lain.changes_an_hour(on_border);
            writeln!(out, "  {what}: {changes:.2} changes announced an hour ({spots} spots)")?;
        }
    }
    writeln!(
        out,
        "\nThe estimator knows zones and receivers. Signals, bodies, shelves, passers-by and ways are\n\
         made up from the seed, and of another form than what it assumes. After ± is the standard\n\
         deviation over the seeds. The other columns are those of `zones evaluate --walk`."
    )
}

/// Which receiver it was differs from shop to shop.
fn nobody(_: usize) -> String {
    String::new()
}

/// A mean with its standard deviation.
struct Spread {
    mean: f64,
    deviation: f64,
}

impl Spread {
    fn percent(&self) -> String {
        format!("{:.1} ± {:.1} %", self.mean, self.deviation)
    }

    fn plain(&self) -> String {
        format!("{:.2} ± {:.2}", self.mean, self.deviation)
    }
}

fn spread(scores: &[Score], of: impl Fn(&Score) -> f64) -> Spread {
    let count = f64::from(u32::try_from(scores.len()).unwrap_or(u32::MAX)).max(1.0);
    let mean = scores.iter().map(&of).sum::<f64>() / count;
    let square = scores.iter().map(|score| (of(score) - mean).powi(2)).sum::<f64>();
    Spread { mean, deviation: (square / (count - 1.0).max(1.0)).sqrt() }
}

fn changes(score: &Score) -> f64 {
    f64::from(score.changes) / f64::from(score.true_changes.max(1))
}

fn errors(score: &Score) -> String {
    let both = score.error_mean().zip(score.error(0.9));
    both.map_or_else(|| "-".to_owned(), |(mean, most)| format!("{mean:.2} / {most:.2}"))
}

fn sum(scores: &[Score]) -> Score {
    scores.iter().fold(Score::default(), Score::and)
}

fn document(outcomes: &[Outcome], costs: Option<&[Cost]>, lain: Option<&Still>) -> Value {
    let methods = outcomes.iter().map(|outcome| {
        let shops = SHOPS.iter().zip(&outcome.shops).map(|(layout, score)| {
            let mut document = numbers(score);
            if let Some(fields) = document.as_object_mut() {
                fields.insert("shop".to_owned(), json!(layout.name));
            }
            document
        });
        json!({
            "method": outcome.method.name(),
            "all": numbers(&sum(&outcome.seeds)),
            "seeds": outcome.seeds.iter().map(numbers).collect::<Vec<_>>(),
            "shops": shops.collect::<Vec<_>>(),
        })
    });
    let lain = lain.map(|lain| {
        let spots = lain.spots.iter().map(|spot| {
            json!({
                "shop": spot.shop,
                "x": round(f64::from(spot.at.x)),
                "y": round(f64::from(spot.at.y)),
                "border_m": round(f64::from(spot.border_m)),
                "on_border": spot.is_on_border(),
                "changes": spot.changes,
                "right_seconds": spot.right,
            })
        });
        json!({
            "hours": lain.hours,
            "changes_an_hour": round(lain.changes_an_hour(false).0),
            "changes_an_hour_on_border": round(lain.changes_an_hour(true).0),
            "spots": spots.collect::<Vec<_>>(),
        })
    });
    json!({
        "shops": SHOPS.map(|layout| layout.name),
        "walk_seconds": WALK_SECONDS,
        "methods": methods.collect::<Vec<_>>(),
        "faults": costs.map(|costs| faults::document(costs, nobody)),
        "still": lain,
    })
}

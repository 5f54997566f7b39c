//! `zones`: how well people can be placed in this shop, and what helps.

mod calibrate;
mod faults;
mod listen;
mod simulated;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Common, Failure, broken_pipe, say};
use crate::{
    engine::{
        ZoneId,
        place::{Extent, FloorPlan, FloorZone, Method, Point, Polygon, Shape, ZoneKind},
    },
    evaluate::{
        Evaluation, FAULTS, Score, Walk, WalkError, befall, draw, evaluate, read_dev, read_par,
        read_walks, write,
    },
    gateway::chain,
    settings::{Floor, Invalid, Settings},
};

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    view: View,
}

#[derive(Debug, Subcommand)]
enum View {
    /// Compare the gateway's estimator, and what other systems do, with walks whose positions are
    /// known.
    Evaluate(EvaluateOptions),
    /// Find out how the receivers hear, from recorded walks or from a tag that is carried about now,
    /// say what would help, and keep it for the gateway.
    Calibrate(calibrate::CalibrateOptions),
}

#[derive(Args, Debug)]
struct EvaluateOptions {
    /// A recorded walk with true positions: JSON Lines, or `.mbd` of the
    /// Position-Annotated-BLE-RSSI-Dataset.
    #[arg(long = "walk", value_name = "FILE", required_unless_present = "simulated", num_args = 1..)]
    walks: Vec<PathBuf>,
    /// Compare on walks in twelve made-up shops instead of recorded ones.
    #[arg(long, conflicts_with_all = ["walks", "receivers", "zones", "plot"])]
    simulated: bool,
    /// How many times each made-up shop is made up anew.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000), requires = "simulated")]
    seeds: u32,
    /// Let twenty tags lie still in made-up shops for so many hours each as well.
    #[arg(long, value_name = "HOURS", value_parser = hours, requires = "simulated")]
    still: Option<f32>,
    /// Show besides what it costs when a receiver dies, is dead for a while, is late, or hears 8 dB less
    /// or more: each receiver in turn, or one of each made-up shop.
    #[arg(long)]
    faults: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Draw floor plan, true and estimated path to this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    plan: PlanOptions,
}

/// Where the floor plan comes from.
#[derive(Args, Debug)]
struct PlanOptions {
    /// Take the receivers from this `.dev` file instead of the configuration, and the limits of the
    /// area from the `.par` file beside it.
    #[arg(long, value_name = "FILE")]
    receivers: Option<PathBuf>,
    /// Take these zones instead of the configuration's: `nearest` (around each receiver) or
    /// `quadrants:X,Y` (four, split at X and Y metres).
    #[arg(long, value_name = "ZONES", value_parser = split)]
    zones: Option<Split>,
    #[command(flatten)]
    common: Common,
}

/// Zones that need no configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Split {
    Nearest,
    Quadrants(Point),
}

/// Quadrants reach this far beyond the plan, in metres.
const BEYOND: f32 = 1000.0;

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.view {
        View::Evaluate(options) => run_evaluate(options),
        View::Calibrate(options) => calibrate::run(options),
    }
}

fn run_evaluate(options: &EvaluateOptions) -> Result<(), Failure> {
    if options.simulated {
        return simulated::run(options);
    }
    let (Floor { plan, zones }, settings) = options.plan.floor(Settings::floor)?;
    if let Some(advice) = settings.as_ref().and_then(Settings::calibration_advice) {
        say(&format!("Calibration: {advice}."));
    }
    let mut walks: Vec<Walk> = Vec::new();
    for path in &options.walks {
        walks.extend(read_walks(path, &plan.receivers, &zones)?);
    }
    for walk in walks.iter().filter(|walk| walk.strange > 0) {
        let Walk { name, strange, .. } = walk;
        say(&format!("{name}: {strange} readings are of receivers that are not on the plan."));
    }
    if plan.method() == Method::Nearest {
        say("No two receivers have a position: zones are told apart by who hears best.");
    }
    let evaluation = evaluate(&plan, &zones, &walks);
    if let Some(path) = &options.plot {
        draw_to(path, draw(&evaluation, &plan, &walks))?;
    }
    let costs = options.faults.then(|| {
        let faults = bar(FAULTS.len(), "faults", options.json);
        let costs = befall(&plan, &walks, || faults.inc(1));
        faults.finish_and_clear();
        costs
    });
    let name = |place: usize| {
        let receiver = plan.receivers.get(place);
        receiver.map_or_else(String::new, |receiver| receiver.id.as_str().to_owned())
    };
    let mut out = BufWriter::new(anstream::stdout().lock());
    let written = if options.json {
        let mut document = document(&evaluation);
        if let Some((costs, fields)) = costs.as_ref().zip(document.as_object_mut()) {
            fields.insert("faults".to_owned(), faults::document(costs, name));
        }
        writeln!(out, "{document:#}")
    } else {
        let told = write(&mut out, &evaluation);
        told.and_then(|()| faults::write(&mut out, costs.as_deref(), name))
    };
    written.and_then(|()| out.flush()).or_else(broken_pipe)
}

/// A bar that fills, on a terminal.
fn bar(total: usize, what: &str, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let form = format!("{{bar:40}} {{pos}}/{{len}} {what} ({{eta}})");
    let style =
        ProgressStyle::with_template(&form).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)).with_style(style)
}

/// Writes a picture, if there is one.
fn draw_to(path: &Path, picture: Option<String>) -> Result<(), Failure> {
    let picture = picture.ok_or_else(|| {
        let found = "nothing has a place that could be drawn; give [[receiver]] a `position`";
        Failure::Configuration(found.to_owned())
    })?;
    let written = File::create(path).and_then(|mut file| file.write_all(picture.as_bytes()));
    written.map_err(|error| Failure::Failed(format!("cannot write `{}`: {error}", path.display())))
}

impl PlanOptions {
    /// The floor plan, and the configuration that it is of, if it is of any. `of` takes it from there.
    fn floor(
        &self,
        of: fn(&Settings) -> Result<Floor, Invalid>,
    ) -> Result<(Floor, Option<Settings>), Failure> {
        let (mut floor, settings) = if self.receivers.is_some() && self.zones.is_some() {
            (Floor::default(), None)
        } else {
            let settings = self.common.load()?;
            // What was found out about the configured receivers says nothing of others.
            let of = if self.receivers.is_some() { Settings::measured_floor } else { of };
            let floor = of(&settings).map_err(|error| Failure::Configuration(error.to_string()))?;
            (floor, Some(settings))
        };
        if let Some(path) = &self.receivers {
            let named = |shape: &Shape| matches!(shape, Shape::Around(_));
            if floor.plan.zones.iter().any(|zone| named(&zone.shape)) {
                let found = "zones that name `receivers` do not fit --receivers; give them a `polygon`, or use --zones";
                return Err(Failure::Configuration(found.to_owned()));
            }
            floor.plan.receivers = read_dev(path)?;
            floor.plan.extent = read_par(path)?;
        }
        if let Some(split) = self.zones {
            split.apply(&mut floor);
        }
        if floor.plan.method() == Method::Threshold {
            let found = "a single receiver tells near from far and no more; telling zones apart needs two, \
                         as [[receiver]] with positions or with --receivers";
            return Err(Failure::Configuration(found.to_owned()));
        }
        if floor.zones.is_empty() {
            let found =
                "no zone has a place; give [[zone]] a `polygon` or `receivers`, or use --zones";
            return Err(Failure::Configuration(found.to_owned()));
        }
        Ok((floor, settings))
    }
}

impl Split {
    fn apply(self, floor: &mut Floor) {
        // Where people can be is not changed by how it is divided.
        let FloorPlan { receivers, .. } = &floor.plan;
        let placed = receivers.iter().filter_map(|receiver| receiver.position);
        let extent = floor.plan.extent.or_else(|| Some(Extent::around(placed)?.widened(1.0)));
        let mut zones = Vec::new();
        let mut names = Vec::new();
        match self {
            Self::Nearest => {
                for (index, receiver) in receivers.iter().enumerate() {
                    zones.push(Shape::Around(vec![index]));
                    names.push(ZoneId::new(receiver.id.as_str()));
                }
            }
            Self::Quadrants(at) => {
                let least = Point::new(at.x - BEYOND, at.y - BEYOND);
                let most = Point::new(at.x + BEYOND, at.y + BEYOND);
                let quadrants = [
                    ("south_west", least, at),
                    ("south_east", Point::new(at.x, least.y), Point::new(most.x, at.y)),
                    ("north_west", Point::new(least.x, at.y), Point::new(at.x, most.y)),
                    ("north_east", at, most),
                ];
                for (name, least, most) in quadrants {
                    if let Some(polygon) = Polygon::rectangle(Extent { least, most }) {
                        zones.push(Shape::Polygon(polygon));
                        names.push(ZoneId::new(name));
                    }
                }
            }
        }
        let kind = ZoneKind::Shelf;
        floor.plan.zones = zones.into_iter().map(|shape| FloorZone { kind, shape }).collect();
        floor.plan.extent = extent;
        floor.zones = names;
    }
}

fn split(text: &str) -> Result<Split, String> {
    let quadrants = || {
        let (x, y) = text.strip_prefix("quadrants:")?.split_once(',')?;
        let at = Point::new(x.trim().parse().ok()?, y.trim().parse().ok()?);
        at.is_sound().then_some(Split::Quadrants(at))
    };
    match text {
        "nearest" => Ok(Split::Nearest),
        _ => quadrants().ok_or_else(|| "write `nearest` or `quadrants:10.3,8.8`".to_owned()),
    }
}

fn hours(text: &str) -> Result<f32, String> {
    let hours = text.parse().ok().filter(|hours| (0.05..=1000.0).contains(hours));
    hours.ok_or_else(|| "write hours, 0.05 to 1000".to_owned())
}

fn document(evaluation: &Evaluation) -> Value {
    let methods = evaluation.verdicts.iter().map(|verdict| {
        let walks = evaluation.walks.iter().zip(&verdict.walks);
        let walks: Vec<Value> = walks
            .map(|(name, score)| {
                let mut document = numbers(score);
                if let Some(fields) = document.as_object_mut() {
                    fields.insert("walk".to_owned(), json!(name));
                }
                document
            })
            .collect();
        json!({ "method": verdict.method.name(), "all": numbers(&verdict.all), "walks": walks })
    });
    json!({
        "zones": evaluation.zones.iter().map(ZoneId::as_str).collect::<Vec<_>>(),
        "walks": evaluation.walks,
        "fitted": false,
        "methods": methods.collect::<Vec<_>>(),
    })
}

fn numbers(score: &Score) -> Value {
    let reliability = score.reliability.iter().filter(|bin| bin.seconds > 0).map(|bin| {
        let seconds = f64::from(bin.seconds);
        json!({
            "seconds": bin.seconds,
            "confidence": round(bin.sure / seconds),
            "right": round(f64::from(bin.right) / seconds),
        })
    });
    json!({
        "seconds": score.seconds,
        "right": round(score.share_right()),
        "right_dated": round(score.share_right_dated()),
        "unknown_seconds": score.unknown,
        "changes": score.changes,
        "true_changes": score.true_changes,
        "visits": score.visits,
        "visits_missed": score.missed,
        "visits_invented": score.invented,
        "delay_s": { "median": score.delay(0.5).map(round), "p95": score.delay(0.95).map(round) },
        "error_m": { "mean": score.error_mean().map(round), "p90": score.error(0.9).map(round) },
        "calibration_error": score.calibration_error().map(round),
        "reliability": reliability.collect::<Vec<_>>(),
    })
}

/// To four places: more would only be noise.
fn round(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

impl From<WalkError> for Failure {
    fn from(error: WalkError) -> Self {
        Self::Failed(chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_on_the_command_line_are_read_or_refused() {
        assert_eq!(split("nearest"), Ok(Split::Nearest));
        assert_eq!(split("quadrants:10.3, 8.8"), Ok(Split::Quadrants(Point::new(10.3, 8.8))));
        for wrong in ["", "farthest", "quadrants:1", "quadrants:a,b", "quadrants:nan,1"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}

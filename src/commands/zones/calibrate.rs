//! `zones calibrate`: a technician's walks in, or their tag as it is heard now; how the receivers hear,
//! how well zones are told apart and what would help out, and a file that the gateway loads.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    PlanOptions, draw_to,
    listen::{self, Stays, Tag},
};
use crate::{
    calibrate::{
        CalibrationError, Recording, Study, document, draw, study, write_file, write_table,
    },
    clock::Clock,
    commands::{Failure, broken_pipe, say, span},
    engine::{
        ZoneId,
        place::{Method, ZoneKind},
    },
    evaluate::{Walk, parse_walks, read_walks},
    gateway::chain,
    settings::{Floor, Settings},
    uplink::payload::utc,
};

#[derive(Args, Debug)]
pub(super) struct CalibrateOptions {
    /// A recorded walk with true positions or zones: JSON Lines, or `.mbd` of the
    /// Position-Annotated-BLE-RSSI-Dataset.
    #[arg(long = "walk", value_name = "FILE", num_args = 1.., required_unless_present = "tag")]
    walks: Vec<PathBuf>,
    /// Listen to this tag of the shop's own now: the id of a `[[fixture]]`, or a Bluetooth address.
    #[arg(long, value_name = "IDENTIFIER")]
    tag: Option<String>,
    /// The zone in which the tag is now; without it, every zone is asked for in turn.
    #[arg(long, value_name = "NAME", requires = "tag")]
    zone: Option<String>,
    /// How long to listen in a zone.
    #[arg(long = "for", value_name = "DURATION", value_parser = span, default_value = "60s", requires = "tag")]
    duration: Duration,
    /// Write what was heard of the tag to this new file, for `--walk`.
    #[arg(long, value_name = "FILE", requires = "tag")]
    save: Option<PathBuf>,
    /// Write the calibration to this file instead of the one that `zones.calibration` names.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Draw floor plan, confusion, dead spots and the suggested receiver to this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    plan: PlanOptions,
}

/// The file of a recording.
struct Saved {
    path: PathBuf,
    file: File,
}

/// Only the user who records may read it: it says when somebody was where.
const MODE: u32 = 0o600;

pub(super) fn run(options: &CalibrateOptions) -> Result<(), Failure> {
    let (floor, settings) = options.plan.floor(Settings::measured_floor)?;
    let Floor { plan, zones } = &floor;
    let mut walks: Vec<Walk> = Vec::new();
    for path in &options.walks {
        walks.extend(read_walks(path, &plan.receivers, zones)?);
    }
    if let Some(tag) = &options.tag {
        let settings = settings.as_ref().ok_or_else(|| {
            let found = "--tag listens with the receivers of a configuration; leave out --receivers or --zones";
            Failure::Configuration(found.to_owned())
        })?;
        let tag = Tag::named(tag, settings)?;
        let stays = stays(options.zone.as_deref(), &floor)?;
        let saved = options.save.as_deref().map(Saved::create).transpose()?;
        let recording = listen::record(settings, tag, stays, options.duration)?;
        walks.extend(heard(&recording, saved, &floor)?);
    }
    for Walk { name, strange, .. } in walks.iter().filter(|walk| walk.strange > 0) {
        say(&format!("{name}: {strange} readings are of receivers that are not on the plan."));
    }
    let study = study(plan, zones, &walks);
    if let Some(path) = &options.plot {
        draw_to(path, draw(&study, plan))?;
    }
    let mut out = BufWriter::new(anstream::stdout().lock());
    let written = if options.json {
        writeln!(out, "{:#}", document(&study, plan))
    } else {
        write_table(&mut out, &study, plan)
    };
    written.and_then(|()| out.flush()).or_else(broken_pipe)?;
    keep(options, settings.as_ref(), &floor, &study)
}

/// The zones in which a tag is listened to: the one that was named, or all.
fn stays(zone: Option<&str>, floor: &Floor) -> Result<Stays, Failure> {
    let Floor { plan, zones } = floor;
    let Some(name) = zone else {
        // What a private zone sounds like is nobody's business, and nothing that could be announced.
        let open = plan.zones.iter().zip(zones);
        let open = open.filter(|(zone, _)| zone.kind != ZoneKind::Private);
        return Ok(Stays::Each(open.map(|(_, id)| id.clone()).collect()));
    };
    let zone = ZoneId::new(name);
    if zones.contains(&zone) {
        return Ok(Stays::Here(zone));
    }
    let known: Vec<&str> = zones.iter().map(ZoneId::as_str).collect();
    let known = known.join(", ");
    let found = format!("there is no zone `{name}` on the floor plan, which has {known}");
    Err(Failure::Configuration(found))
}

impl Saved {
    /// Makes the file before anybody walks for it.
    fn create(path: &Path) -> Result<Self, Failure> {
        let made = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
        let file = made.map_err(|error| {
            let hint = "choose a name that is not taken, where this user may write";
            Failure::Failed(format!("cannot create `{}`: {error}; {hint}", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), file })
    }
}

/// A recording as a walk, by way of its file: what is fitted now is what will be fitted again.
fn heard(recording: &Recording, saved: Option<Saved>, floor: &Floor) -> Result<Vec<Walk>, Failure> {
    if recording.readings() == 0 {
        if let Some(Saved { path, .. }) = saved {
            // Nothing would be in it.
            drop(fs::remove_file(path));
        }
        let found =
            "no receiver heard the tag; is it switched on, and does `beacon-gateway scan` show it?";
        return Err(Failure::Failed(found.to_owned()));
    }
    let text = recording.walk();
    let mut name = PathBuf::from("live");
    if let Some(Saved { path, mut file }) = saved {
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| {
            Failure::Failed(format!("cannot write `{}`: {error}", path.display()))
        })?;
        say(&format!("{} readings are in `{}`.", recording.readings(), path.display()));
        name = path;
    }
    Ok(parse_walks(&name, &text, &floor.plan.receivers, &floor.zones)?)
}

/// Writes the calibration, if it is worth it.
fn keep(
    options: &CalibrateOptions,
    settings: Option<&Settings>,
    floor: &Floor,
    study: &Study,
) -> Result<(), Failure> {
    let configured = settings.and_then(|settings| settings.calibrated.as_ref());
    let path = options.output.as_ref().or(configured.map(|it| &it.path));
    let made = utc(Clock::start().wall().unix);
    let Some(calibration) = study.calibration(&floor.plan, made) else {
        let why = match study.proof.folds {
            0 => "too little was recorded to tell whether a calibration helps",
            _ => "no calibration helps on what was left out of the fit",
        };
        let kept =
            path.map_or_else(String::new, |path| format!("; `{}` stays as it is", path.display()));
        // Whoever saves what was heard in one zone goes on to the next.
        if options.save.is_some() && study.proof.folds == 0 || path.is_none() {
            say(&format!("Nothing is written: {why}{kept}."));
            return Ok(());
        }
        return Err(Failure::Failed(format!("nothing is written: {why}{kept}")));
    };
    let Some(path) = path else {
        say("To keep the calibration, name a file: `calibration` in [zones], or --output.");
        return Ok(());
    };
    write_file(path, &calibration)?;
    say(&format!("The calibration is in `{}`.", path.display()));
    if floor.plan.method() == Method::Nearest {
        say("No two receivers have a position: with positions, places could be told, too.");
    }
    if configured.is_none_or(|configured| configured.path != *path) {
        say("The gateway loads it when `calibration` in [zones] names it; restart it then.");
    } else {
        say("The gateway loads it when it starts next: `systemctl restart beacon-gateway`.");
    }
    Ok(())
}

impl From<CalibrationError> for Failure {
    fn from(error: CalibrationError) -> Self {
        Self::Failed(chain(&error))
    }
}

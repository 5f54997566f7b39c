//! A picture of what was found out: the plan, how often each zone is told right, dead spots, and where
//! one more receiver would help. Grey tones and hatching, so that it can be read when printed.

use std::fmt::{self, Write};

use super::{Study, Survey, Weakness, document::column};
use crate::{
    engine::place::{FloorPlan, Point},
    evaluate::plot::{
        EDGE, HEAD, Sheet, borders, escape,
        labels::{Labels, Words},
        line, middle, receiver_labels,
    },
};

/// Room below the plan for what the signs mean.
const FOOT: f32 = 76.0;

const STYLE: &str = "\
text{font:12px sans-serif;fill:#222}.head{font-size:15px;font-weight:bold}.small{font-size:10px;fill:#444}\
.zone{font-size:13px;font-weight:bold;fill:#222}.sub{font-size:11px;fill:#222}\
.halo{stroke:#fff;stroke-width:3px;stroke-linejoin:round}\
.floor{fill:none;stroke:#222;stroke-width:1.5}.border{fill:none;stroke:#777;stroke-width:1;stroke-dasharray:5 4}\
.receiver{fill:#1f4e9c;stroke:#fff;stroke-width:0.8}.new{fill:#fff;stroke:#b3261e;stroke-width:2}\
.newtext{fill:#b3261e;font-weight:bold}.bar{fill:none;stroke:#222;stroke-width:1.2}";

/// Hatching for what is not heard, dots for what is not placed well.
const PATTERNS: &str = "\
<defs><pattern id=\"deaf\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect width=\"7\" height=\"7\" fill=\"#e6e6e6\"/><path d=\"M0 0v7\" stroke=\"#777\" stroke-width=\"2.4\"/></pattern>\
<pattern id=\"vague\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\"><rect width=\"7\" height=\"7\" fill=\"#f4f4f4\"/>\
<circle cx=\"3.5\" cy=\"3.5\" r=\"1.3\" fill=\"#888\"/></pattern></defs>";

/// Draws it as SVG 1.1; none when nothing has a place.
pub fn draw(study: &Study, plan: &FloorPlan) -> Option<String> {
    let sheet = Sheet::new(plan.extent()?, EDGE / 2.0);
    let mut svg = String::new();
    write(&mut svg, study, plan, &sheet).ok()?;
    Some(svg)
}

fn write(svg: &mut String, study: &Study, plan: &FloorPlan, sheet: &Sheet) -> fmt::Result {
    let (width, depth) = (sheet.size.0 * sheet.scale, sheet.size.1 * sheet.scale);
    let (left, top) = (EDGE, sheet.top + HEAD);
    let (whole, height) = (sheet.width(), top + depth + FOOT);
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{whole:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {whole:.0} {height:.0}\">\n<style>{STYLE}</style>\n{PATTERNS}\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    )?;
    let proof = &study.proof;
    let best = proof.recommended().map_or(&proof.nothing, |scope| proof.trial(scope));
    let right = if proof.folds > 0 {
        format!("right in {:.0} % of held-out seconds", 100.0 * best.score.share_right())
    } else {
        "too little was recorded to say how well".to_owned()
    };
    writeln!(
        svg,
        "<text class=\"head\" x=\"{left}\" y=\"{:.1}\">Zones: {right}</text>",
        top - 12.0
    )?;
    if let Some(survey) = &study.survey {
        cells(svg, survey, sheet)?;
    }
    writeln!(
        svg,
        "<rect class=\"floor\" x=\"{left}\" y=\"{top}\" width=\"{width:.1}\" height=\"{depth:.1}\"/>"
    )?;
    let at = |point: Point| (sheet.x(point.x), sheet.y(point.y));
    let mut path = String::new();
    for (from, to) in borders(plan, sheet) {
        line(&mut path, at(from), at(to))?;
    }
    writeln!(svg, "<path class=\"border\" d=\"{path}\"/>")?;
    receivers(svg, study, plan, sheet)?;
    let told = receiver_words(study, plan);
    let mut labels = receiver_labels(plan, sheet, told.iter().map(String::as_str));
    suggestion(svg, study, sheet, &mut labels)?;
    for (zone, name) in study.zones.iter().enumerate() {
        let Some(middle) = middle(plan, sheet, zone).map(at) else { continue };
        let mut lines = vec![name.to_string()];
        if let Some(right) = best.confusion.right(zone) {
            lines.push(format!("right {:.0} %", 100.0 * right));
            if let Some((other, share)) = best.confusion.confused_with(zone).first() {
                lines.push(format!("{} {:.0} %", column(&study.zones, *other), 100.0 * share));
            }
        }
        let shown: Vec<&str> = lines.iter().map(String::as_str).collect();
        let words = Words { lines: &shown, size: 13.0, leading: 14.0 };
        let inside = |at| sheet.zone_at(plan, at) == Some(zone);
        let (x, mut y) = labels.place(words, middle, inside);
        for (n, line) in lines.iter().enumerate() {
            let class = if n == 0 { "zone" } else { "sub" };
            text(svg, (class, "middle"), (x, y), &escape(line))?;
            y += words.leading;
        }
    }
    legend(svg, study, sheet, top + depth + 20.0)?;
    writeln!(svg, "</svg>")
}

/// Where one more receiver would help.
fn suggestion(svg: &mut String, study: &Study, sheet: &Sheet, labels: &mut Labels) -> fmt::Result {
    let found = study.survey.as_ref().and_then(|survey| survey.suggestion.as_ref());
    let Some(suggestion) = found else { return Ok(()) };
    let (x, y) = (sheet.x(suggestion.at.x), sheet.y(suggestion.at.y));
    let words = Words { lines: &["add a receiver here"], size: 12.0, leading: 0.0 };
    let (beside, to_the_left) = sheet.beside(x, words.width() + 5.0);
    let beside = if to_the_left { beside - 5.0 } else { beside + 5.0 };
    labels.mark((x, y), 10.0);
    labels.words(words, (beside, y + 4.0), to_the_left);
    writeln!(
        svg,
        "<circle class=\"new\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\"/><path class=\"new\" d=\"M{:.1} {y:.1}h10M{x:.1} {:.1}v10\"/>",
        x - 5.0,
        y - 5.0
    )?;
    let anchor = if to_the_left { "end" } else { "start" };
    text(svg, ("newtext", anchor), (beside, y + 4.0), "add a receiver here")
}

/// Writes on what is drawn already, with a white rim, so that it is read on lines and hatching. The
/// rim is a text of its own: not everything that draws SVG can paint it first.
fn text(
    svg: &mut String,
    (class, anchor): (&str, &str),
    (x, y): (f32, f32),
    said: &str,
) -> fmt::Result {
    for class in [&format!("{class} halo"), class] {
        let place = format!("text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\"");
        writeln!(svg, "<text class=\"{class}\" {place}>{said}</text>")?;
    }
    Ok(())
}

fn cells(svg: &mut String, survey: &Survey, sheet: &Sheet) -> fmt::Result {
    let (width, depth) = (survey.cell.0 * sheet.scale, survey.cell.1 * sheet.scale);
    for (middle, weakness) in &survey.cells {
        let pattern = match weakness {
            Weakness::Deaf => "deaf",
            Weakness::Vague => "vague",
        };
        let (x, y) = (sheet.x(middle.x) - width / 2.0, sheet.y(middle.y) - depth / 2.0);
        writeln!(
            svg,
            "<rect fill=\"url(#{pattern})\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{depth:.1}\"/>"
        )?;
    }
    Ok(())
}

/// What is said of each receiver.
fn receiver_words(study: &Study, plan: &FloorPlan) -> Vec<String> {
    let pairs = plan.receivers.iter().zip(&study.fit.offsets);
    let words = pairs.map(|(receiver, offset)| match offset.readings {
        0 => format!("{} (not heard from)", receiver.id.as_str()),
        _ => format!("{} {:+.1} dB", receiver.id.as_str(), offset.db),
    });
    words.collect()
}

fn receivers(svg: &mut String, study: &Study, plan: &FloorPlan, sheet: &Sheet) -> fmt::Result {
    for (receiver, said) in plan.receivers.iter().zip(receiver_words(study, plan)) {
        let Some(position) = receiver.position else { continue };
        let (x, y) = (sheet.x(position.x), sheet.y(position.y));
        writeln!(
            svg,
            "<path class=\"receiver\" d=\"M{:.1} {:.1}h12L{x:.1} {:.1}Z\"/>",
            x - 6.0,
            y + 5.0,
            y - 6.0
        )?;
        let words = Words { lines: &[&said], size: 10.0, leading: 0.0 };
        let (x, to_the_left) = sheet.beside(x, words.width());
        let anchor = if to_the_left { "end" } else { "start" };
        text(svg, ("small", anchor), (x, y + 4.0), &escape(&said))?;
    }
    Ok(())
}

fn legend(svg: &mut String, study: &Study, sheet: &Sheet, y: f32) -> fmt::Result {
    // The longest of these that is at most a third of the floor.
    let lengths = [50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5];
    let metres = lengths.into_iter().find(|it| it * 3.0 <= sheet.size.0).unwrap_or(0.2);
    let (bar, left) = (metres * sheet.scale, EDGE);
    writeln!(
        svg,
        "<path class=\"bar\" d=\"M{left} {:.1}v8M{left} {y}h{bar:.1}m0 -4v8\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">{metres} m</text>",
        y - 4.0,
        left + bar + 6.0,
        y + 4.0
    )?;
    let x = left + bar + 60.0;
    writeln!(
        svg,
        "<path class=\"receiver\" d=\"M{x:.1} {:.1}h12l-6 -11Z\"/><text x=\"{:.1}\" y=\"{:.1}\">receiver, \
         and what it hears more than others</text>",
        y + 5.0,
        x + 18.0,
        y + 4.0
    )?;
    if let Some(survey) = &study.survey {
        let mut x = left;
        for (pattern, words) in [
            ("deaf", "fewer than two receivers hear well"),
            ("vague", "the expected error is larger than the zone"),
        ] {
            writeln!(
                svg,
                "<rect fill=\"url(#{pattern})\" stroke=\"#777\" x=\"{x:.1}\" y=\"{:.1}\" width=\"16\" height=\"12\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{words}</text>",
                y + 14.0,
                x + 22.0,
                y + 24.0
            )?;
            x += 240.0;
        }
        let more = survey
            .suggestion
            .as_ref()
            .map_or_else(String::new, |it| format!("; with one more receiver {:.1} m", it.error_m));
        writeln!(
            svg,
            "<text x=\"{left}\" y=\"{:.1}\">expected error of a place, by the law of distance: {:.1} m{more}</text>",
            y + 44.0,
            survey.error_m
        )?;
    }
    Ok(())
}

//! A picture of what was found out: the plan, how often each zone is told right, dead spots, and where
//! one more receiver would help. Grey tones and hatching, so that it can be read when printed.

use std::fmt::{self, Write};

use super::{Study, Survey, Weakness, document::column};
use crate::{
    engine::place::{FloorPlan, Point},
    evaluate::plot::{EDGE, HEAD, Sheet, beside, borders, escape, line, middle},
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
    let known: Vec<_> = plan.receivers.iter().filter_map(|it| it.position.map(at)).collect();
    for (zone, name) in study.zones.iter().enumerate() {
        let Some((x, y)) = middle(plan, sheet, zone).map(at) else { continue };
        let (name, y) = (escape(name.as_str()), beside(&known, x, y));
        text(svg, ("zone", "middle"), (x, y), &name)?;
        let Some(right) = best.confusion.right(zone) else { continue };
        let mut said = format!("right {:.0} %", 100.0 * right);
        if let Some((other, share)) = best.confusion.confused_with(zone).first() {
            let name = escape(column(&study.zones, *other));
            write!(said, ", {name} {:.0} %", 100.0 * share)?;
        }
        text(svg, ("sub", "middle"), (x, y + 14.0), &said)?;
    }
    receivers(svg, study, plan, sheet)?;
    if let Some(suggestion) = study.survey.as_ref().and_then(|survey| survey.suggestion.as_ref()) {
        let (x, y) = at(suggestion.at);
        let (middle, anchor) =
            (left + width / 2.0, if x > left + width / 2.0 { "end" } else { "start" });
        let beside = if x > middle { x - 13.0 } else { x + 13.0 };
        writeln!(
            svg,
            "<circle class=\"new\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\"/><path class=\"new\" d=\"M{:.1} {y:.1}h10M{x:.1} {:.1}v10\"/>",
            x - 5.0,
            y - 5.0
        )?;
        text(svg, ("newtext", anchor), (beside, y + 4.0), "add a receiver here")?;
    }
    legend(svg, study, sheet, top + depth + 20.0)?;
    writeln!(svg, "</svg>")
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

fn receivers(svg: &mut String, study: &Study, plan: &FloorPlan, sheet: &Sheet) -> fmt::Result {
    for (receiver, offset) in plan.receivers.iter().zip(&study.fit.offsets) {
        let Some(position) = receiver.position else { continue };
        let (x, y) = (sheet.x(position.x), sheet.y(position.y));
        writeln!(
            svg,
            "<path class=\"receiver\" d=\"M{:.1} {:.1}h12L{x:.1} {:.1}Z\"/>",
            x - 6.0,
            y + 5.0,
            y - 6.0
        )?;
        let name = escape(receiver.id.as_str());
        let said = match offset.readings {
            0 => format!("{name} (not heard from)"),
            _ => format!("{name} {:+.1} dB", offset.db),
        };
        // Names at the right edge stand to the left of their receiver.
        let near_edge = position.x > sheet.left_of_right_edge(4.0);
        let (x, anchor) = if near_edge { (x - 8.0, "end") } else { (x + 8.0, "start") };
        text(svg, ("small", anchor), (x, y + 4.0), &said)?;
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

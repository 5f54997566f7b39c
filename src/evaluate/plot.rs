//! A picture of walks: the floor plan, the true and the estimated path, and how far apart they were.
//! Black, grey and two dark colours that differ in brightness and in how they are drawn, so that it
//! can be read when printed.

pub(crate) mod labels;

use std::fmt::{self, Write};

use labels::{Labels, Words};

use super::{Evaluation, Walk};
use crate::engine::{
    Uptime,
    place::{Extent, FloorPlan, Point},
};

/// How many units of the picture a metre is, unless the shop is very large.
const SCALE: f32 = 32.0;

/// No plan is drawn wider or higher than this, in units.
const LARGEST: f32 = 1100.0;

/// Room around a plan, in units.
pub(crate) const EDGE: f32 = 40.0;

/// Room for what is written above a plan and below it.
pub(crate) const HEAD: f32 = 34.0;
const FOOT: f32 = 46.0;

/// Borders of zones are looked for this finely, in parts of the plan's longer side.
const FINENESS: f32 = 240.0;

/// The legend needs this much, in units.
const LEGEND_WIDTH: f32 = 760.0;

const STYLE: &str = "\
text{font:12px sans-serif;fill:#222}.head{font-size:15px;font-weight:bold}.small{font-size:10px;fill:#444}\
.zone{font-size:13px;fill:#777;text-anchor:middle}.floor{fill:#fff;stroke:#222;stroke-width:1.5}\
.border{fill:none;stroke:#999;stroke-width:1;stroke-dasharray:5 4}.error{fill:none;stroke:#bbb;stroke-width:0.9}\
.true{fill:none;stroke:#000;stroke-width:2.2;stroke-linejoin:round}\
.found{fill:none;stroke:#b3261e;stroke-width:1.6;stroke-dasharray:7 3;stroke-linejoin:round}\
.dot{fill:#b3261e}.wall{fill:none;stroke:#222;stroke-width:4;stroke-linecap:round}.receiver{fill:#1f4e9c;stroke:#fff;stroke-width:0.8}.bar{fill:none;stroke:#222;stroke-width:1.2}.begin{fill:#fff;stroke:#000;stroke-width:2}";

/// A plan on the picture.
pub(crate) struct Sheet {
    origin: Point,
    pub(crate) size: (f32, f32),
    pub(crate) scale: f32,
    pub(crate) top: f32,
}

impl Sheet {
    /// A sheet for a floor that begins at `top`.
    pub(crate) fn new(extent: Extent, top: f32) -> Self {
        let size = extent.size();
        let scale = SCALE.min(LARGEST / size.0.max(size.1).max(0.1));
        Self { origin: extent.least, size, scale, top }
    }

    /// How wide the picture must be.
    pub(crate) fn width(&self) -> f32 {
        (self.size.0 * self.scale + 2.0 * EDGE).max(LEGEND_WIDTH)
    }

    pub(crate) fn x(&self, x: f32) -> f32 {
        EDGE + (x - self.origin.x) * self.scale
    }

    pub(crate) fn y(&self, y: f32) -> f32 {
        self.top + HEAD + (self.size.1 - (y - self.origin.y)) * self.scale
    }

    /// Where the zone of a point of the picture is on the plan.
    pub(crate) fn zone_at(&self, plan: &FloorPlan, (x, y): (f32, f32)) -> Option<usize> {
        let up = self.size.1 - (y - self.top - HEAD) / self.scale;
        plan.zone_at(Point::new(self.origin.x + (x - EDGE) / self.scale, self.origin.y + up))
    }

    /// Where words beside a mark begin, and whether they go to the left: beside the right wall there is
    /// no room to the right.
    pub(crate) fn beside(&self, x: f32, width: f32) -> (f32, bool) {
        let to_the_left = x + 8.0 + width > EDGE + self.size.0 * self.scale;
        (if to_the_left { x - 8.0 } else { x + 8.0 }, to_the_left)
    }

    fn height(&self) -> f32 {
        self.size.1 * self.scale + HEAD + FOOT
    }
}

/// Draws every walk on the plan, one below the other, as SVG 1.1; none when nothing has a place.
pub fn draw(evaluation: &Evaluation, plan: &FloorPlan, walks: &[Walk]) -> Option<String> {
    let extent = plan.extent()?;
    let mut svg = String::new();
    write(&mut svg, evaluation, (plan, extent), walks).ok()?;
    Some(svg)
}

fn write(
    svg: &mut String,
    evaluation: &Evaluation,
    (plan, extent): (&FloorPlan, Extent),
    walks: &[Walk],
) -> fmt::Result {
    let mut sheet = Sheet::new(extent, EDGE / 2.0);
    let width = sheet.width();
    let pages: f32 = walks.iter().map(|_| sheet.height()).sum();
    let height = pages + EDGE;
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    )?;
    let borders = borders(plan, &sheet);
    for (n, walk) in walks.iter().enumerate() {
        page(svg, &sheet, (evaluation, n), (plan, &borders), walk)?;
        sheet.top += sheet.height();
    }
    writeln!(svg, "</svg>")
}

fn page(
    svg: &mut String,
    sheet: &Sheet,
    (evaluation, index): (&Evaluation, usize),
    (plan, borders): (&FloorPlan, &[(Point, Point)]),
    walk: &Walk,
) -> fmt::Result {
    let (left, top) = (EDGE, sheet.top + HEAD);
    let (width, height) = (sheet.size.0 * sheet.scale, sheet.size.1 * sheet.scale);
    writeln!(
        svg,
        "<text class=\"head\" x=\"{left}\" y=\"{:.1}\">{}</text>",
        top - 12.0,
        escape(&walk.name)
    )?;
    writeln!(
        svg,
        "<rect class=\"floor\" x=\"{left}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
    )?;
    let at = |point: Point| (sheet.x(point.x), sheet.y(point.y));
    let mut path = String::new();
    for (from, to) in borders {
        line(&mut path, at(*from), at(*to))?;
    }
    writeln!(svg, "<path class=\"border\" d=\"{path}\"/>")?;
    let mut walls = String::new();
    for wall in &plan.walls {
        line(&mut walls, at(wall.from), at(wall.to))?;
    }
    writeln!(svg, "<path class=\"wall\" d=\"{walls}\"/>")?;
    let names = plan.receivers.iter().map(|receiver| receiver.id.as_str());
    let mut labels = receiver_labels(plan, sheet, names);
    for (zone, name) in evaluation.zones.iter().enumerate() {
        if let Some(middle) = middle(plan, sheet, zone).map(at) {
            let words = Words { lines: &[name.as_str()], size: 13.0, leading: 0.0 };
            let inside = |at| sheet.zone_at(plan, at) == Some(zone);
            let (x, y) = labels.place(words, middle, inside);
            let name = escape(name.as_str());
            writeln!(svg, "<text class=\"zone\" x=\"{x:.1}\" y=\"{y:.1}\">{name}</text>")?;
        }
    }
    let run = evaluation.runs.get(index);
    let moments = run.map(|run| run.moments.as_slice()).unwrap_or_default();
    let found: Vec<(Uptime, Point)> =
        moments.iter().filter_map(|moment| Some((moment.at, moment.position?))).collect();
    let mut errors = String::new();
    for (when, point) in &found {
        if let Some(truth) = walk.point_at(*when) {
            line(&mut errors, at(*point), at(truth))?;
        }
    }
    writeln!(svg, "<path class=\"error\" d=\"{errors}\"/>")?;
    writeln!(svg, "<polyline class=\"true\" points=\"{}\"/>", points(thinned(walk).map(at))?)?;
    writeln!(
        svg,
        "<polyline class=\"found\" points=\"{}\"/>",
        points(found.iter().map(|(_, it)| at(*it)))?
    )?;
    for (x, y) in found.iter().map(|(_, point)| at(*point)) {
        writeln!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\"/>")?;
    }
    if let Some((x, y)) = walk.truth.first().map(|(_, point)| at(*point)) {
        writeln!(svg, "<circle class=\"begin\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>")?;
    }
    for receiver in &plan.receivers {
        let Some((x, y)) = receiver.position.map(at) else { continue };
        let (foot, head) = (y + 5.0, y - 6.0);
        writeln!(
            svg,
            "<path class=\"receiver\" d=\"M{:.1} {foot:.1}h12L{x:.1} {head:.1}Z\"/>",
            x - 6.0
        )?;
        let name = receiver.id.as_str();
        let words = Words { lines: &[name], size: 10.0, leading: 0.0 };
        let (x, to_the_left) = sheet.beside(x, words.width());
        let (name, anchor) = (escape(name), if to_the_left { "end" } else { "start" });
        writeln!(
            svg,
            "<text class=\"small\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{:.1}\">{name}</text>",
            y + 4.0
        )?;
    }
    legend(svg, sheet, evaluation, index)
}

fn legend(svg: &mut String, sheet: &Sheet, evaluation: &Evaluation, n: usize) -> fmt::Result {
    let (left, y) = (EDGE, sheet.top + HEAD + sheet.size.1 * sheet.scale + 20.0);
    // The longest of these that is at most a third of the floor.
    let lengths = [50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5];
    let metres = lengths.into_iter().find(|it| it * 3.0 <= sheet.size.0).unwrap_or(0.2);
    let bar = metres * sheet.scale;
    writeln!(
        svg,
        "<path class=\"bar\" d=\"M{left} {:.1}v8M{left} {y}h{bar:.1}m0 -4v8\"/>",
        y - 4.0
    )?;
    writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{metres} m</text>", left + bar + 6.0, y + 4.0)?;
    let mut x = left + bar + 60.0;
    let line = [
        ("true", "true path, from the ring"),
        ("found", "estimate, a dot a second"),
        ("error", "error"),
    ];
    for (class, text) in line {
        writeln!(svg, "<path class=\"{class}\" d=\"M{x:.1} {y}h26\"/>")?;
        writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{text}</text>", x + 32.0, y + 4.0)?;
        x += 205.0;
    }
    let own = evaluation.verdicts.first().and_then(|verdict| verdict.walks.get(n));
    if let Some(score) = own {
        let error = score
            .error_mean()
            .map_or_else(String::new, |error| format!(", mean error {error:.2} m"));
        let text = format!(
            "right {:.1} % (dated {:.1} %), {} changes announced, {} true{error}",
            100.0 * score.share_right(),
            100.0 * score.share_right_dated(),
            score.changes,
            score.true_changes,
        );
        writeln!(svg, "<text x=\"{left}\" y=\"{:.1}\">{text}</text>", y + 20.0)?;
    }
    Ok(())
}

/// Where zones border on each other, as short lines.
pub(crate) fn borders(plan: &FloorPlan, sheet: &Sheet) -> Vec<(Point, Point)> {
    let (step, columns, rows) = lattice(sheet);
    let corner = |n: f32, m: f32| Point::new(sheet.origin.x + n * step, sheet.origin.y + m * step);
    let zone = |n: f32, m: f32| plan.zone_at(corner(n + 0.5, m + 0.5));
    let mut lines = Vec::new();
    for m in 0..rows {
        for n in 0..columns {
            let (n, m) = (f32::from(n), f32::from(m));
            let own = zone(n, m);
            if own != zone(n + 1.0, m) && n + 1.0 < f32::from(columns) {
                lines.push((corner(n + 1.0, m), corner(n + 1.0, m + 1.0)));
            }
            if own != zone(n, m + 1.0) && m + 1.0 < f32::from(rows) {
                lines.push((corner(n, m + 1.0), corner(n + 1.0, m + 1.0)));
            }
        }
    }
    lines
}

/// Where receivers and their names stand.
pub(crate) fn receiver_labels<'a>(
    plan: &FloorPlan,
    sheet: &Sheet,
    names: impl Iterator<Item = &'a str>,
) -> Labels {
    let mut labels = Labels::new(
        (EDGE, sheet.top + HEAD),
        (EDGE + sheet.size.0 * sheet.scale, sheet.top + HEAD + sheet.size.1 * sheet.scale),
    );
    for (receiver, name) in plan.receivers.iter().zip(names) {
        let Some(position) = receiver.position else { continue };
        let at = (sheet.x(position.x), sheet.y(position.y));
        labels.mark(at, 7.0);
        let words = Words { lines: &[name], size: 10.0, leading: 0.0 };
        let (x, to_the_left) = sheet.beside(at.0, words.width());
        labels.words(words, (x, at.1 + 4.0), to_the_left);
    }
    labels
}

/// The middle of a zone, as far as it is on the plan.
pub(crate) fn middle(plan: &FloorPlan, sheet: &Sheet, zone: usize) -> Option<Point> {
    let (step, columns, rows) = lattice(sheet);
    let (mut x, mut y, mut count) = (0.0, 0.0, 0.0);
    for m in (0..rows).step_by(4) {
        for n in (0..columns).step_by(4) {
            let point = Point::new(
                sheet.origin.x + (f32::from(n) + 0.5) * step,
                sheet.origin.y + (f32::from(m) + 0.5) * step,
            );
            if plan.zone_at(point) == Some(zone) {
                (x, y, count) = (x + point.x, y + point.y, count + 1.0);
            }
        }
    }
    (count > 0.0).then(|| Point::new(x / count, y / count))
}

fn lattice(sheet: &Sheet) -> (f32, u16, u16) {
    let step = sheet.size.0.max(sheet.size.1).max(0.1) / FINENESS;
    let count = |length: f32| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most as many as the fineness says"
        )]
        let count = (length / step).round() as u16;
        count
    };
    (step, count(sheet.size.0), count(sheet.size.1))
}

/// The true path without the points that lie too near to be seen apart.
fn thinned(walk: &Walk) -> impl Iterator<Item = Point> {
    let mut last: Option<Point> = None;
    walk.truth.iter().map(|(_, point)| *point).filter(move |point| {
        let far = last.is_none_or(|last| last.distance(*point) > 0.05);
        if far {
            last = Some(*point);
        }
        far
    })
}

fn points(points: impl Iterator<Item = (f32, f32)>) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for (x, y) in points {
        write!(text, "{x:.1},{y:.1} ")?;
    }
    Ok(text)
}

pub(crate) fn line(path: &mut String, from: (f32, f32), to: (f32, f32)) -> fmt::Result {
    write!(path, "M{:.1} {:.1}L{:.1} {:.1}", from.0, from.1, to.0, to.1)
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}

//! One line for people of each message: what the subscriber received in, styled text out.
//!
//! Follows the events' published form, but asks for none of it: a field that is missing is left
//! out, a kind that nobody here knows is shown with the fields that it has.

use anstyle::{AnsiColor, Color, Style};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::{
    subscriber::Received,
    words::{clean, decimal, fields, number, path, readings, seconds, sensors, spaced, text},
};

/// Below this many columns, columns are no longer aligned, so that more of the words fit.
const ALIGNED_FROM: usize = 72;

/// Fields of an event's data that say the same in every line.
const EVERYWHERE: [&str; 9] = [
    "clock",
    "local_time",
    "historical",
    "context",
    "consent",
    "visit",
    "subject_kind",
    "fixture",
    "zone",
];

/// Makes lines of messages.
#[derive(Clone, Debug)]
pub struct View {
    time_zone: TimeZone,
    width: Option<usize>,
}

/// The columns of one line.
#[derive(Debug, Default)]
struct Line {
    time: String,
    kind: String,
    style: Style,
    who: String,
    what: String,
    details: Vec<String>,
}

// === impl View ===

impl View {
    /// A view for a terminal of `width` columns; `None` writes lines as long as they get. Times of
    /// events that do not state the shop's local time are shown in `time_zone`.
    pub fn new(time_zone: TimeZone, width: Option<usize>) -> Self {
        Self { time_zone, width }
    }

    /// The line for one message, with ANSI styles and without an end of line; `None` for what
    /// nobody wants to watch.
    pub fn line(&self, received: &Received) -> Option<String> {
        let payload = serde_json::from_slice(&received.payload).unwrap_or(Value::Null);
        let line = match received.part() {
            Some("event") => self.event(received, &payload),
            Some(part @ ("state" | "command-result")) => Line {
                kind: part.to_owned(),
                style: style(AnsiColor::Yellow),
                who: gateway(received),
                details: payload.as_object().and_then(|all| fields(all, &[])).into_iter().collect(),
                ..Line::default()
            },
            _ => return None,
        };
        Some(line.render(self.width))
    }

    fn event(&self, received: &Received, event: &Value) -> Line {
        let data = event.get("data").unwrap_or(&Value::Null);
        let context = data.get("context").unwrap_or(&Value::Null);
        let (family, kind) = kind(received, event);
        let zone = text(data, "zone");
        let zone_or = |missing: &str| zone.clone().unwrap_or_else(|| missing.to_owned());
        let mut line = Line {
            time: self.time(event, data),
            kind: format!("{family}.{kind}"),
            style: family_style(&family, &kind),
            who: text(event, "subject")
                .or_else(|| text(data, "fixture"))
                .unwrap_or_else(|| gateway(received)),
            ..Line::default()
        };
        match (family.as_str(), kind.as_str()) {
            _ if !event.is_object() => {
                line.details.push(format!("{} bytes that are no event", received.payload.len()));
            }
            ("visit", "started") => {
                line.what.push_str("comes in");
                line.add(text(data, "receiver").map(|receiver| format!("heard by {receiver}")));
            }
            ("visit", "ended") => {
                line.what.push_str("has left");
                line.add(seconds(context, "visit_s").map(|time| format!("after {time}")));
                line.add(path(data));
                line.add(text(data, "reason").map(|reason| why(&reason)));
            }
            ("zone", "entered") => {
                line.what = format!("→ {}", zone_or("?"));
                line.add(seconds(context, "dwell_s").map(|time| format!("dwell {time}")));
                line.surroundings(context);
            }
            ("zone", "dwelled") => {
                line.what = format!("• {}", zone_or("?"));
                line.add(seconds(context, "dwell_s").map(|time| format!("dwell {time}")));
                line.surroundings(context);
            }
            ("zone", "exited") => {
                line.what = format!("← {}", zone_or("?"));
                line.add(seconds(context, "dwell_s").map(|time| format!("dwell {time}")));
                line.add(text(data, "reason").map(|reason| why(&reason)));
            }
            ("sensor", _) if data.get("readings").is_some() => {
                line.what = zone.map(|zone| format!("@ {zone}")).unwrap_or_default();
                line.add(readings(data));
            }
            ("occupancy", "counted") => {
                line.what = format!("@ {}", zone_or("?"));
                line.add(figure(data, "addresses").map(|count| format!("{count} addresses")));
                let busiest = figure(data, "busiest_minute");
                line.add(busiest.map(|count| format!("{count} in the busiest minute")));
            }
            ("gateway", "started") => {
                line.what.push_str("starts");
                line.add(text(data, "version").map(|version| format!("version {version}")));
                line.add(text(data, "store").map(|store| format!("store {store}")));
                line.add(number(data, "pending").map(|count| format!("{count} pending")));
            }
            ("gateway", "radio_deaf") => {
                line.what.push_str("hears nothing");
                line.add(text(data, "cause").map(|cause| spaced(&cause)));
            }
            ("gateway", "radio_recovered") => {
                line.what.push_str("hears again");
                line.add(seconds(data, "deaf_s").map(|time| format!("after {time}")));
            }
            ("gateway", "records_dropped") => {
                line.what.push_str("gave up");
                line.add(number(data, "count").map(|count| format!("{count} records")));
                if let (Some(first), Some(last)) = (text(data, "first"), text(data, "last")) {
                    line.details.push(format!("{first} to {last}"));
                }
                line.add(text(data, "why").map(|why| spaced(&why)));
            }
            _ => {
                line.what = zone.map(|zone| format!("@ {zone}")).unwrap_or_default();
                line.add(data.as_object().and_then(|data| fields(data, &EVERYWHERE)));
            }
        }
        if data.get("historical") == Some(&Value::Bool(true)) {
            line.details.push("late".to_owned());
        }
        if data.get("clock").and_then(Value::as_str) == Some("unsynced") {
            line.details.push("clock not set".to_owned());
        }
        line
    }

    /// The time of day in the shop.
    fn time(&self, event: &Value, data: &Value) -> String {
        let local = data.get("local_time").and_then(Value::as_str).and_then(time_of_day);
        let given = || {
            let time: Timestamp = event.get("time")?.as_str()?.parse().ok()?;
            Some(time.to_zoned(self.time_zone.clone()).strftime("%H:%M:%S").to_string())
        };
        local.map(str::to_owned).or_else(given).unwrap_or_else(|| "--:--:--".to_owned())
    }
}

/// `10:15:02` of `2026-11-21T10:15:02+01:00`.
fn time_of_day(local: &str) -> Option<&str> {
    let (_, time) = local.split_once('T')?;
    let time = time.get(..8)?;
    let expected = |(index, octet): (usize, u8)| match index {
        2 | 5 => octet == b':',
        _ => octet.is_ascii_digit(),
    };
    time.bytes().enumerate().all(expected).then_some(time)
}

/// Family and kind, by the type `io.beacon-gateway.zone.entered.v1`, else by the topic.
fn kind(received: &Received, event: &Value) -> (String, String) {
    let by_type = || {
        let name = event.get("type")?.as_str()?.strip_prefix("io.beacon-gateway.")?;
        let (name, version) = name.rsplit_once('.')?;
        let numbered = version.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
        if numbered { name.split_once('.') } else { None }
    };
    let (family, kind) = by_type().or_else(|| received.kind()).unwrap_or(("event", "unknown"));
    (clean(family), clean(kind))
}

/// Why somebody is believed to have gone.
fn why(reason: &str) -> String {
    match reason {
        "moved" => "moved on".to_owned(),
        "faded" => "signal faded".to_owned(),
        "silent" => "no longer heard".to_owned(),
        other => spaced(other),
    }
}

/// The gateway that published it, by its topic.
fn gateway(received: &Received) -> String {
    received.topic.split('/').nth(4).map(clean).unwrap_or_default()
}

const fn style(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(color)))
}

/// The style of a kind written as `zone.entered`.
pub(super) fn kind_style(name: &str) -> Style {
    let (family, kind) = name.split_once('.').unwrap_or((name, ""));
    family_style(family, kind)
}

fn family_style(family: &str, kind: &str) -> Style {
    match (family, kind) {
        ("visit", _) => style(AnsiColor::Green).bold(),
        ("zone", _) => style(AnsiColor::Cyan),
        ("moment", _) => style(AnsiColor::Magenta).bold(),
        ("sensor", "alerted") | ("gateway", "radio_deaf" | "records_dropped") => {
            style(AnsiColor::Red).bold()
        }
        ("sensor", _) => style(AnsiColor::Blue),
        ("occupancy", _) => style(AnsiColor::Magenta),
        ("gateway", _) => style(AnsiColor::Yellow),
        _ => Style::new(),
    }
}

/// A figure of a count; how few it is when it is not told.
fn figure(data: &Value, key: &str) -> Option<String> {
    let told = number(data.get(key)?, "count");
    told.or_else(|| number(data, "k").map(|k| format!("fewer than {k}")))
}

// === impl Line ===

impl Line {
    fn add(&mut self, detail: Option<String>) {
        self.details.extend(detail);
    }

    /// Who else is there, and what the sensors of the zone say.
    fn surroundings(&mut self, context: &Value) {
        let count = |key: &str| context.get(key).and_then(Value::as_f64).filter(|&it| it > 0.0);
        self.add(count("zone_occupancy").map(|people| format!("{} here", decimal(people))));
        self.add(count("staff_in_zone").map(|staff| format!("{} staff", decimal(staff))));
        self.add(sensors(context));
    }

    fn render(&self, width: Option<usize>) -> String {
        let dim = Style::new().dimmed();
        let bold = Style::new().bold();
        let details = self.details.join(", ");
        let aligned = width.is_none_or(|width| width >= ALIGNED_FROM);
        // Where each column begins. One that is too long pushes the next one, and no further.
        let columns: [(Style, &str, usize); 5] = [
            (dim, &self.time, 0),
            (self.style, &self.kind, 10),
            (bold, &self.who, 27),
            (self.style, &self.what, 43),
            (Style::new(), &details, 55),
        ];
        let width = width.unwrap_or(usize::MAX);
        let mut line = String::new();
        let mut at: usize = 0;
        for (style, words, begins) in columns {
            if words.is_empty() {
                continue;
            }
            let after = match (at, aligned) {
                (0, _) => 0,
                (_, true) => at + 2,
                (_, false) => at + 1,
            };
            let begins = if aligned { begins.max(after) } else { after };
            if width <= begins {
                break;
            }
            let shown = cut(words, width - begins);
            let styled = format!("{:gap$}{style}{shown}{style:#}", "", gap = begins - at);
            line.push_str(&styled);
            at = begins + shown.chars().count();
        }
        line
    }
}

/// As much of a text as fits, with an ellipsis for what does not.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_of_day_is_taken_for_one() {
        assert_eq!(time_of_day("2026-11-21T10:15:02+01:00"), Some("10:15:02"));
        for odd in ["", "10:15:02", "2026-11-21T10:15", "2026-11-21T10-15-02Z", "xT1é:15:02Z"] {
            assert_eq!(time_of_day(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_text_is_cut_to_its_width_and_never_within_a_letter() {
        assert_eq!(cut("dairy", 5), "dairy");
        assert_eq!(cut("Käsetheke", 5), "Käse…");
        assert_eq!(cut("dairy", 1), "…");
    }
}

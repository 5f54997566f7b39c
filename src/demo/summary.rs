//! The closing table: the numbers of a run in, aligned text out.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use anstyle::{AnsiColor, Color, Style};

use super::tally::Tally;

/// Columns of the longest bar.
const BAR: usize = 24;

/// What became of everything that was heard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DemoSummary {
    /// How long it ran.
    pub length: Duration,
    /// Advertisements that the engine was given.
    pub advertisements: u64,
    /// Of those, with at least one frame in a known format.
    pub decoded: u64,
    /// Of those heard, recognised as a subject's.
    pub subjects: u64,
    /// Of those heard, recognised as a fixture's.
    pub fixtures: u64,
    /// Of those heard, nobody's that we know.
    pub forgotten: u64,
    /// Situations made and written to the outbox.
    pub situations: u64,
    /// Records that the broker acknowledged.
    pub acknowledged: u64,
    /// Records still in the outbox.
    pub pending: u64,
    /// Records that are neither acknowledged nor pending, or acknowledged and never received.
    pub lost: u64,
    /// Different events that the subscriber received.
    pub received: u64,
    /// Deliveries that repeated an event.
    pub repeated: u64,
    /// Events received, by kind.
    pub kinds: BTreeMap<String, u64>,
}

impl DemoSummary {
    /// Takes over what the subscriber counted.
    #[must_use]
    pub fn with(mut self, tally: &Tally) -> Self {
        self.received = tally.total();
        self.repeated = tally.repeated();
        self.kinds = tally.kinds().clone();
        self
    }

    /// The table, with ANSI styles, several lines, each with its end. `width` is that of the
    /// terminal; bars are left out where there is no room for them.
    pub fn render(&self, width: Option<usize>) -> String {
        let bold = Style::new().bold();
        let good = color(AnsiColor::Green).bold();
        let bad = color(AnsiColor::Red).bold();
        let plain = Style::new();
        let judged = |count: u64| if count == 0 { good } else { bad };
        let seconds = self.length.as_secs();
        let recognised = self.subjects.saturating_add(self.fixtures);
        let rows: [(&str, u64, Style, String); 8] = [
            ("advertisements heard", self.advertisements, plain, self.rate()),
            (
                "strangers forgotten",
                self.forgotten,
                plain,
                share(self.forgotten, self.advertisements),
            ),
            ("decoded", self.decoded, plain, share(self.decoded, self.advertisements)),
            (
                "recognised",
                recognised,
                plain,
                format!(
                    "{} of subjects, {} of fixtures",
                    grouped(self.subjects),
                    grouped(self.fixtures)
                ),
            ),
            ("situations", self.situations, bold, String::new()),
            ("acknowledged", self.acknowledged, bold, String::new()),
            ("pending", self.pending, judged(self.pending), String::new()),
            ("lost", self.lost, judged(self.lost), String::new()),
        ];
        let mut text = format!("\n{bold}In {seconds} s{bold:#}\n");
        let figures = rows.iter().map(|row| grouped(row.1).len()).max().unwrap_or(0);
        for (name, count, style, note) in rows {
            let count = grouped(count);
            let mut row = format!("  {name:<20}  {style}{count:>figures$}{style:#}");
            // The note is a luxury: a narrow terminal gets the figure alone.
            if !note.is_empty() && width.is_none_or(|width| 26 + figures + note.len() <= width) {
                row = format!("{row}  {dim}{note}{dim:#}", dim = Style::new().dimmed());
            }
            line(&mut text, &row);
        }
        let again = match self.repeated {
            0 => String::new(),
            times => format!(", {} delivered again", grouped(times)),
        };
        let received = grouped(self.received);
        line(
            &mut text,
            &format!("\n{bold}The subscriber received {received} events{again}{bold:#}"),
        );
        self.bars(&mut text, width);
        text
    }

    fn bars(&self, text: &mut String, width: Option<usize>) {
        let names = self.kinds.keys().map(|kind| kind.chars().count()).max().unwrap_or(0);
        let figures = self.kinds.values().map(|count| grouped(*count).len()).max().unwrap_or(0);
        let most = self.kinds.values().copied().max().unwrap_or(0).max(1);
        let room = width.map_or(BAR, |width| width.saturating_sub(names + figures + 6)).min(BAR);
        for (kind, &count) in &self.kinds {
            let style = super::view::kind_style(kind);
            let figure = grouped(count);
            let length = usize::try_from(
                u128::from(count).saturating_mul(room as u128).div_ceil(u128::from(most)),
            );
            let bar = "█".repeat(length.unwrap_or(0).min(room));
            let row = format!("  {kind:<names$}  {figure:>figures$}  {style}{bar}{style:#}");
            line(text, row.trim_end());
        }
    }

    /// Advertisements a second.
    fn rate(&self) -> String {
        match u64::try_from(self.length.as_millis()) {
            Ok(millis) if millis > 0 => {
                let rate = self.advertisements.saturating_mul(1000) / millis;
                format!("{} a second", grouped(rate))
            }
            _ => String::new(),
        }
    }
}

fn line(text: &mut String, row: &str) {
    match writeln!(text, "{row}") {
        Ok(()) => {}
        Err(error) => unreachable!("a String takes any text: {error}"),
    }
}

fn share(part: u64, whole: u64) -> String {
    match u128::from(part).saturating_mul(100).checked_div(u128::from(whole)) {
        Some(percent) => format!("{percent} %"),
        None => String::new(),
    }
}

/// `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

const fn color(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(color)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped_by_thousands() {
        for (number, written) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), written);
        }
    }

    #[test]
    fn an_empty_run_has_a_table_too() {
        let text = DemoSummary::default().render(Some(40));
        assert!(text.contains("advertisements heard  ") && text.contains("lost"), "{text}");
    }
}

//! What `check` says of one thing: a verdict and a sentence, as a line or as JSON.

use anstyle::{AnsiColor, Style};
use serde_json::json;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Verdict {
    Good,
    Advice,
    Wrong,
}

/// One thing that was looked at.
pub(in crate::commands) struct Finding {
    what: &'static str,
    pub(super) verdict: Verdict,
    text: String,
}

pub(in crate::commands) fn good(what: &'static str, text: &str) -> Finding {
    Finding { what, verdict: Verdict::Good, text: text.to_owned() }
}

pub(in crate::commands) fn advice(what: &'static str, text: String) -> Finding {
    Finding { what, verdict: Verdict::Advice, text }
}

pub(in crate::commands) fn wrong(what: &'static str, text: String) -> Finding {
    Finding { what, verdict: Verdict::Wrong, text }
}

// === impl Finding ===

impl From<crate::scan::advice::Finding> for Finding {
    fn from(finding: crate::scan::advice::Finding) -> Self {
        use crate::scan::advice::Weight;
        let verdict = match finding.weight {
            Weight::Advice => Verdict::Advice,
            Weight::Wrong => Verdict::Wrong,
        };
        Self { what: finding.what, verdict, text: finding.text }
    }
}

impl Finding {
    pub(super) fn line(&self) -> String {
        let (word, colour) = match self.verdict {
            Verdict::Good => ("ok", AnsiColor::Green),
            Verdict::Advice => ("advice", AnsiColor::Yellow),
            Verdict::Wrong => ("wrong", AnsiColor::Red),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        format!("{style}{word:<6}{style:#}  {:<13}  {}", self.what, self.text)
    }

    pub(super) fn json(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Advice => "advice",
            Verdict::Wrong => "wrong",
        };
        json!({"what": self.what, "verdict": verdict, "text": self.text}).to_string()
    }
}

//! Whole advertisements and what they must be read as: `published.txt`. Most are those of the tests of
//! others, who are named above them; a line with `made` was made by the published format.

use std::fmt::Write as _;

use beacon_gateway::engine::frame::{Context, Frame, decode_in, sensor::BindKey};

use super::Outcome;

const FACTS: &str = include_str!("published.txt");

/// One advertisement, and what became of it.
pub(super) struct Fact {
    pub(super) line: &'static str,
    pub(super) family: &'static str,
    pub(super) source: &'static str,
    pub(super) outcome: Outcome,
}

/// Checks them all.
pub(super) fn facts() -> Vec<Fact> {
    let (mut facts, mut source) = (Vec::new(), "");
    for line in FACTS.lines().filter(|line| !line.is_empty()) {
        if let Some(named) = line.strip_prefix("# ") {
            source = named.trim_end_matches('.');
            continue;
        }
        let (heard, expected) = line.split_once(" = ").expect("a fact is `heard = expected`");
        let made = heard.starts_with("made ");
        let told = told(heard);
        let outcome = if told == expected {
            Outcome::Passed
        } else {
            Outcome::Failed(format!("is {told}, not {expected}"))
        };
        let family = expected.split(' ').next().unwrap_or_default();
        let source = if made { "made by the published format" } else { source };
        facts.push(Fact { line, family, source, outcome });
    }
    facts
}

/// The first sensor of an advertisement in words: family, model, values.
fn told(heard: &str) -> String {
    let mut words = heard.split(' ');
    let data = hex::decode(words.next_back().unwrap_or_default()).expect("data is hex");
    let (mut address, mut key) = (None, None);
    for word in words.filter(|word| *word != "made") {
        let octets = hex::decode(word).expect("address and key are hex");
        match octets.len() {
            6 => address = octets.try_into().ok(),
            _ => key = BindKey::new(&octets),
        }
    }
    let context = Context { address, key: key.as_ref(), ..Context::default() };
    let frames = decode_in(&data, context).unwrap_or_default();
    let tells = |frame: &&Frame<'_>| frame.readings().next().is_some();
    let Some(frame) = frames.iter().find(tells) else { return "nothing".to_owned() };
    let mut told = format!("{} {}", frame.family(), frame.model().unwrap_or("-"));
    for reading in frame.readings() {
        write!(told, ", {}", reading.quantity.name()).expect("text has room");
        if reading.instance > 0 {
            write!(told, "#{}", reading.instance).expect("text has room");
        }
        write!(told, " {}", reading.value).expect("text has room");
    }
    told
}

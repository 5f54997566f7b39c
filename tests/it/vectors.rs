//! Test vectors made by others, through `decode`, and those of identities through the engine: every
//! value they expect is checked.
//!
//! Whether a case is covered is decided by its format (service UUID, frame type, version,
//! encryption), never by what comes out; and what is not covered must come out as unknown.

#![expect(clippy::indexing_slicing, reason = "a JSON value has a null wherever it has nothing")]

mod advlib;
mod bthome;
mod crypto;
mod published;

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
};

use beacon_gateway::decode::decode_line;
use serde_json::{Value, json};

/// What became of one case.
enum Outcome {
    Passed,
    /// Not a format of ours; says which.
    NotCovered(&'static str),
    Failed(String),
}

/// Outcomes by family and source.
#[derive(Default)]
struct Table {
    passed: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
    not_covered: BTreeMap<&'static str, usize>,
    failed: Vec<String>,
}

impl Table {
    fn enter(
        &mut self,
        (family, source): (&'static str, &'static str),
        name: &str,
        outcome: Outcome,
    ) {
        match outcome {
            Outcome::Passed => {
                *self.passed.entry(family).or_default().entry(source).or_default() += 1;
            }
            Outcome::NotCovered(reason) => *self.not_covered.entry(reason).or_default() += 1,
            Outcome::Failed(why) => self.failed.push(format!("{family}, {name}: {why}")),
        }
    }

    fn passed(&self) -> usize {
        self.passed.values().flat_map(BTreeMap::values).sum()
    }

    /// Prints the table, then holds it to the number of cases that were covered when this was
    /// written, so that a case cannot slip away.
    fn close(self, passed_at_least: usize) {
        let passed = self.passed();
        let mut lines = Vec::new();
        for (family, sources) in &self.passed {
            for (source, n) in sources {
                lines.push(format!("  passed       {n:4}  {family:<16} {source}"));
            }
        }
        let not_covered: usize = self.not_covered.values().sum();
        lines
            .extend(self.not_covered.iter().map(|(why, n)| format!("  not covered  {n:4}  {why}")));
        lines.extend(self.failed.iter().map(|why| format!("  FAILED             {why}")));
        lines.push(format!(
            "  {passed} passed, {not_covered} not covered, {} failed",
            self.failed.len()
        ));
        say(&lines.join("\n"));
        assert!(self.failed.is_empty(), "{:#?}", self.failed);
        assert!(passed >= passed_at_least, "only {passed} cases are covered");
    }
}

/// One file of vectors; `None`, and a word about it, when it is not there.
fn vectors(file: &str) -> Option<File> {
    let folder = env::var_os("BEACON_GATEWAY_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let path = folder.join("vectors").join(file);
    let Ok(opened) = File::open(&path) else {
        say(&format!("{} is absent: none of its cases ran.", path.display()));
        return None;
    };
    Some(opened)
}

/// The cases of a file of JSON Lines.
fn cases(file: &str) -> Option<Vec<Value>> {
    let lines =
        BufReader::new(vectors(file)?).lines().map(|line| line.expect("the file is readable"));
    Some(lines.map(|line| serde_json::from_str(&line).expect("each line is JSON")).collect())
}

fn say(text: &str) {
    writeln!(io::stderr(), "{text}").expect("stderr is open");
}

fn answer(line: &Value) -> Value {
    serde_json::from_str(&decode_line(&line.to_string())).expect("an answer is JSON")
}

fn service_data(service: &str, hex: &str) -> Value {
    answer(&json!({ "service_data": { service: hex } }))
}

/// Whether an answer holds no frame.
fn is_frameless(answer: &Value) -> bool {
    answer["family"].is_null() && (answer["unknown"] == true || answer["malformed"].is_string())
}

/// Whether two numbers are the same but for the rounding that the other project left in.
fn same(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0)
}

/// The table of what is covered, by family and source.
#[test]
fn published_vectors_are_read_as_published() {
    let mut table = Table::default();
    let mut at_least = 0;
    for published::Fact { line, family, source, outcome } in published::facts() {
        table.enter((family, source), line, outcome);
        at_least += 1;
    }
    let name = |case: &Value| case["test"].as_str().expect("a case has a name").to_owned();
    if let Some(cases) = cases("bthome_vectors.jsonl") {
        for case in &cases {
            let family = if case["service_uuid"] == "fcd2" { "bthome" } else { "bthome_v1" };
            table.enter((family, "bthome-ble"), &name(case), bthome::check(case));
        }
        at_least += 128;
    }
    if let Some(cases) = cases("advlib_vectors.jsonl") {
        for case in &cases {
            let (family, outcome) = advlib::check(case);
            table.enter((family, "advlib-ble"), &name(case), outcome);
        }
        at_least += 183;
    }
    table.close(at_least);
}

#[test]
fn crypto_vectors_are_recognised() {
    let Some(file) = vectors("crypto_vectors.json") else { return };
    let cases: Vec<Value> = serde_json::from_reader(BufReader::new(file)).expect("a list of cases");
    let mut table = Table::default();
    for case in &cases {
        let (kind, outcome) = crypto::check(case);
        let name = case["source"].as_str().unwrap_or_default();
        table.enter((kind, "crypto_vectors.json"), name, outcome);
    }
    table.close(11);
}

//! `zones` through the binary. Here `zones evaluate`: on real walks, on walks in our own form, and when
//! something is wrong.
#![expect(clippy::print_stderr, reason = "says that the walks are not there")]

mod calibrate;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn evaluate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
    command.args(["zones", "evaluate"]).args(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = evaluate(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The folder of recorded walks; none where it is not there, which is said.
fn walks() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = std::env::var_os("BEACON_GATEWAY_DATA").map_or_else(beside, PathBuf::from);
    let walks = data.join("walks");
    if walks.is_dir() {
        return Some(walks);
    }
    eprintln!("The shared data is absent: there are no walks in {}.", walks.display());
    None
}

/// What is said of all recorded walks.
fn of_walks(zones: &str, more: &[&str]) -> Option<Value> {
    let folder = walks()?;
    let file = |name: &str| folder.join(name).display().to_string();
    let recorded: Vec<String> =
        (1..=3).map(|n| file(&format!("straight_0{n}_all_sensors.mbd"))).collect();
    let receivers = file("tetam.dev");
    let mut arguments =
        [&["--receivers", &receivers, "--zones", zones], more, &["--walk"]].concat();
    arguments.extend(recorded.iter().map(String::as_str));
    Some(json(&arguments))
}

/// The result of each method on all recorded walks.
fn on_walks(zones: &str) -> Option<Vec<(String, Value)>> {
    let document = of_walks(zones, &[])?;
    let methods = document.get("methods")?.as_array()?.iter();
    let named = methods.map(|method| {
        let name = method.get("method").and_then(Value::as_str).unwrap().to_owned();
        (name, method.get("all").unwrap().clone())
    });
    Some(named.collect())
}

fn number(score: &Value, key: &str) -> f64 {
    score.pointer(key).and_then(Value::as_f64).unwrap()
}

/// Right by the announcements' times, changes announced for each true one.
fn hold(zones: &str, right: f64) {
    let Some(methods) = on_walks(zones) else { return };
    let (own, others) = methods.split_first().unwrap();
    assert_eq!(own.0, "beacon-gateway");
    let dated = number(&own.1, "/right_dated");
    let changes = number(&own.1, "/changes") / number(&own.1, "/true_changes");
    let error = number(&own.1, "/error_m/mean");
    assert!(dated >= right, "{dated} of the seconds are right");
    assert!(changes <= 1.3, "{changes} changes are announced for each true one");
    assert!(error <= 1.7, "the mean error is {error} m");
    for (name, score) in others {
        let other = number(score, "/right");
        assert!(number(&own.1, "/right") > other, "{name} is right in {other} of the seconds");
    }
}

#[test]
fn four_quadrants_are_told_apart_on_recorded_walks() {
    hold("quadrants:10.3,8.8", 0.88);
}

#[test]
fn twelve_small_zones_are_told_apart_on_recorded_walks() {
    hold("nearest", 0.70);
}

#[test]
fn on_recorded_walks_no_fault_of_a_receiver_costs_much() {
    let Some(document) = of_walks("quadrants:10.3,8.8", &["--faults"]) else { return };
    let faults = document.get("faults").and_then(Value::as_array).unwrap();
    let (works, others) = faults.split_first().unwrap();
    assert_eq!(works.get("receiver_that"), Some(&Value::from("works")));
    assert_eq!(works.get("all"), document.pointer("/methods/0/all"), "nothing is wrong with it");
    assert_eq!(others.len(), 5);
    for fault in others {
        let right = number(fault, "/all/right");
        assert!(number(works, "/all/right") - right < 0.08, "{fault}");
        assert!(number(fault, "/worst/right") <= right, "{fault}");
    }
}

/// A shop with a plan, and somebody who walks from the left zone to the right one.
fn shop(directory: &Path) -> (String, String) {
    let config = "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"g\"\n\
        [[receiver]]\nid = \"west\"\nposition = [1, 4, 2.5]\n\
        [[receiver]]\nid = \"east\"\nposition = [11, 4, 2.5]\n\
        [[zone]]\nid = \"left\"\npolygon = [[0, 0], [6, 0], [6, 8], [0, 8]]\n\
        [[zone]]\nid = \"right\"\npolygon = [[6, 0], [12, 0], [12, 8], [6, 8]]\n";
    let mut walk = "{\"beacon_gateway_walk\":1}\n".to_owned();
    for second in 0..60_i32 {
        let x = f64::from((second - 20).clamp(0, 20)).mul_add(0.4, 2.0);
        writeln!(walk, "{{\"t\":{second},\"x\":{x},\"y\":4}}").unwrap();
        for (id, at) in [("west", 1.0), ("east", 11.0)] {
            let rssi = -59.0 - 18.0 * (x - at).hypot(1.3).log10();
            for half in [0.2, 0.7] {
                let t = f64::from(second) + half;
                writeln!(walk, "{{\"t\":{t},\"receiver\":\"{id}\",\"rssi\":{rssi:.0}}}").unwrap();
            }
        }
    }
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    (write("gateway.toml", config), write("walk.jsonl", &walk))
}

#[test]
fn a_walk_of_our_own_form_is_followed_on_the_configured_plan_and_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let (config, walk) = shop(directory.path());
    let picture = directory.path().join("walk.svg").display().to_string();
    let document = json(&["--config", &config, "--walk", &walk, "--plot", &picture]);
    let own = document.pointer("/methods/0/all").unwrap();
    for (key, expected) in [("changes", 1), ("visits_missed", 0), ("visits_invented", 0)] {
        assert_eq!(own.get(key), Some(&Value::from(expected)), "{key}: {own}");
    }
    assert!(number(own, "/right_dated") > 0.85, "{own}");
    let svg = fs::read_to_string(picture).unwrap();
    for part in ["<svg", "class=\"true\"", "class=\"found\"", ">west<", ">right<", "</svg>"] {
        assert!(svg.contains(part), "{part}");
    }
}

#[test]
fn the_table_names_every_method_and_says_that_nothing_is_fitted() {
    let directory = tempfile::tempdir().unwrap();
    let (config, walk) = shop(directory.path());
    let output = evaluate(&["--config", &config, "--walk", &walk, "--faults"]);
    let table = String::from_utf8(output.stdout).unwrap();
    let methods =
        ["beacon-gateway", "ESPresense", "Bermuda", "room-assistant", "Nothing is fitted"];
    let faults = ["dies after half the time", "is 3 s late", "hears 8 dB more", " % with "];
    for part in methods.into_iter().chain(faults) {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (config, walk) = shop(directory.path());
    let bare = directory.path().join("bare.toml").display().to_string();
    fs::write(&bare, "scan.receiver = \"west\"\n").unwrap();
    let strange = directory.path().join("strange.jsonl").display().to_string();
    fs::write(&strange, "{\"beacon_gateway_walk\":1}\n{\"t\":0,\"x\":1}\n").unwrap();
    for (arguments, code, expected) in [
        (["--config", &bare, "--walk", &walk].as_slice(), 78, "needs two"),
        (["--config", &config, "--walk", &strange].as_slice(), 1, "strange.jsonl`:2"),
        (["--config", &config, "--walk", "/nowhere"].as_slice(), 1, "/nowhere"),
        (["--config", &config, "--zones", "far", "--walk", &walk].as_slice(), 2, "nearest"),
        (["--config", &config].as_slice(), 2, "--walk"),
    ] {
        let output = evaluate(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

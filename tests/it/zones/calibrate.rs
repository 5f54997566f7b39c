//! `zones calibrate` through the binary: from walks, from a tag that is heard now by remote receivers,
//! and when something is wrong; and what the other commands make of the file.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{number, walks};
use crate::support::{mosquitto::Mosquitto, publisher::Publisher};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn json(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A shop with three receivers, of which one hears far too much, and walks in it: three by place, or
/// with `by_zone` one of stays.
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = "uplink.broker = \"mqtt://127.0.0.1:1\"\n\
            [gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"g\"\n\
            [scan]\nbackend = \"none\"\n[zones]\ncalibration = \"calibration.toml\"\n\
            [[receiver]]\nid = \"west\"\nposition = [0.5, 4, 2.5]\n\
            [[receiver]]\nid = \"north\"\nposition = [9, 7.5, 2.5]\n\
            [[receiver]]\nid = \"east\"\nposition = [17.5, 4, 2.5]\n\
            [[zone]]\nid = \"left\"\npolygon = [[0, 0], [9, 0], [9, 8], [0, 8]]\n\
            [[zone]]\nid = \"right\"\npolygon = [[9, 0], [18, 0], [18, 8], [9, 8]]\n";
        fs::write(dir.path().join("gateway.toml"), format!("{config}{more}")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Somebody who walks to and fro; `east` hears `db` more than it should.
    fn walk(&self, name: &str, phase: f64, db: f64) -> String {
        let mut text = "{\"beacon_gateway_walk\":1}\n".to_owned();
        for half in 0..240_i32 {
            let t = f64::from(half) * 0.5;
            let x = 7.5f64.mul_add((t / 14.0 + phase).sin(), 9.0);
            let y = 2.0f64.mul_add((t / 9.0 + phase).cos(), 4.0);
            writeln!(text, "{{\"t\":{t},\"x\":{x:.2},\"y\":{y:.2}}}").unwrap();
            for (n, (id, at, more)) in
                [("west", (0.5, 4.0), 0.0), ("north", (9.0, 7.5), 0.0), ("east", (17.5, 4.0), db)]
                    .into_iter()
                    .enumerate()
            {
                let distance = f64::hypot(f64::hypot(x - at.0, y - at.1), 1.3);
                // Fading that repeats itself, differently for each receiver.
                let n = i32::try_from(n).unwrap();
                let fading = f64::from((half * 7 + n * 5) % 11 - 5) * 0.8;
                let rssi = -59.0 - 18.0 * distance.log10() + more + fading;
                writeln!(text, "{{\"t\":{t},\"receiver\":\"{id}\",\"rssi\":{rssi:.0}}}").unwrap();
            }
        }
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn walks(&self, db: f64) -> Vec<String> {
        let walk = |n: u8| self.walk(&format!("walk{n}.jsonl"), f64::from(n), db);
        (0..3).map(walk).collect()
    }

    fn calibrate(&self, walks: &[String], more: &[&str]) -> Output {
        let config = self.path("gateway.toml");
        let mut arguments = vec!["zones", "calibrate", "--config", &config];
        arguments.extend(more);
        arguments.push("--walk");
        arguments.extend(walks.iter().map(String::as_str));
        run(&arguments)
    }
}

#[test]
fn a_receiver_that_hears_too_much_is_found_kept_shown_and_reckoned_with() {
    let shop = Shop::new("");
    let walks = shop.walks(14.0);
    let config = shop.path("gateway.toml");
    let evaluate = |walk: &str| {
        let document = json(&["zones", "evaluate", "--config", &config, "--walk", walk]);
        document.pointer("/methods/0/all").unwrap().clone()
    };
    let other = shop.walk("other.jsonl", 4.5, 14.0);
    let before = evaluate(&other);
    let advice = run(&["check", "--config", &config]);
    assert!(said(&advice).contains("there is no file"), "{}", said(&advice));

    let picture = shop.path("zones.svg");
    let output = shop.calibrate(&walks, &["--plot", &picture]);
    assert!(output.status.success(), "{}", said(&output));
    for part in ["Recommended", "east", "taken for", "calibration.toml", "restart"] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    assert!(fs::read_to_string(picture).unwrap().contains(">left<"));

    let kept = fs::read_to_string(shop.path("calibration.toml")).unwrap();
    let east = kept.split("[[receiver]]").find(|part| part.contains("\"east\"")).unwrap();
    let offset = east.lines().find_map(|line| line.strip_prefix("offset_db = ")).unwrap();
    let offset: f64 = offset.parse().unwrap();
    // Relative to the mean of the three.
    assert!((offset - 14.0 * 2.0 / 3.0).abs() < 3.0, "{kept}");

    let after = evaluate(&other);
    let error = |score: &Value| number(score, "/error_m/mean");
    assert!(error(&after) < error(&before) * 0.9, "{after}, {before}");
    assert!(number(&after, "/right") >= number(&before, "/right"), "{after}, {before}");
    let checked = said(&run(&["check", "--config", &config]));
    assert!(checked.contains("calibration") && checked.contains("3 receivers"), "{checked}");
}

#[test]
fn a_calibration_that_does_not_help_is_not_written() {
    // What the configuration says is true already.
    let shop = Shop::new("");
    let walks = shop.walks(0.0);
    let output = shop.calibrate(&walks, &[]);
    let said = said(&output);
    if output.status.success() {
        // A little may help here as well; then it is because parts that were left out say so.
        assert!(said.contains("Recommended"), "{said}");
    } else {
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("nothing is written: no calibration helps"), "{said}");
        assert!(!Path::new(&shop.path("calibration.toml")).exists());
    }
    // Of a few seconds nothing can be left out.
    let text = fs::read_to_string(&walks[0]).unwrap();
    let short = shop.path("short.jsonl");
    fs::write(&short, text.lines().take(40).collect::<Vec<_>>().join("\n")).unwrap();
    let output = shop.calibrate(&[short], &["--output", &shop.path("new.toml")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        super::calibrate::said(&output).contains("too little"),
        "{}",
        super::calibrate::said(&output)
    );
    assert!(!Path::new(&shop.path("new.toml")).exists());
}

#[test]
fn a_bad_calibration_stops_the_start_with_file_and_key_and_a_strange_receiver_is_advice() {
    let shop = Shop::new(&remotes(1));
    let config = shop.path("gateway.toml");
    let head = "version = 1\nmade = \"2026-01-01T00:00:00Z\"\nwalks = 1\nreadings = 1\nseconds = 1\n\
                right_without = 0.5\nright_with = 0.6\n";
    let receiver = |id: &str, db: &str| {
        format!("{head}[[receiver]]\nid = \"{id}\"\noffset_db = {db}\nerror_db = 1\nreadings = 1\n")
    };
    for (text, code, parts) in [
        (receiver("west", "99"), 78, ["gateway.toml", "calibration.toml", "receiver[0].offset_db"]),
        ("version = ".to_owned(), 78, ["zones.calibration", "calibration.toml", "TOML"]),
        (receiver("attic", "1"), 0, ["advice", "attic", "calibrate anew"]),
        (receiver("west", "1"), 0, ["ok", "1 receivers", "60 %"]),
    ] {
        fs::write(shop.path("calibration.toml"), text).unwrap();
        let output = run(&["check", "--config", &config]);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        for part in parts {
            assert!(said(&output).contains(part), "{part}: {}", said(&output));
        }
    }
}

#[test]
fn what_makes_no_sense_on_the_command_line_is_refused() {
    let shop = Shop::new("");
    let walk = shop.walk("walk.jsonl", 0.0, 0.0);
    let config = shop.path("gateway.toml");
    let base = ["zones", "calibrate", "--config", &config];
    for (more, code, expected) in [
        (vec![], 2, "--walk"),
        (vec!["--zone", "left", "--walk", &walk], 2, "--tag"),
        (vec!["--tag", "C1:5A:6B:7C:8D"], 78, "neither the id of a fixture"),
        (vec!["--tag", "C1:5A:6B:7C:8D:9E", "--zone", "attic"], 78, "left, right"),
        (vec!["--tag", "C1:5A:6B:7C:8D:9E", "--zone", "left"], 78, "no receiver to listen with"),
        (vec!["--tag", "C1:5A:6B:7C:8D:9E", "--save", &walk], 1, "choose a name that is not taken"),
        (vec!["--walk", "/nowhere"], 1, "/nowhere"),
    ] {
        let output = run(&[base.as_slice(), &more].concat());
        assert_eq!(output.status.code(), Some(code), "{more:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
        assert!(!said(&output).contains("C1:5A"), "{}", said(&output));
    }
}

/// What docs/zones.md tells of the recorded walks, each left out in turn: the receivers differ, and
/// reckoning with it does not help there. So nothing may be recommended that is worse than nothing.
#[test]
fn on_recorded_walks_receivers_differ_and_what_would_make_it_worse_is_refused() {
    let Some(folder) = walks() else { return };
    let file = |name: &str| folder.join(name).display().to_string();
    let recorded: Vec<String> =
        (1..=3).map(|n| file(&format!("straight_0{n}_all_sensors.mbd"))).collect();
    let receivers = file("tetam.dev");
    let output = tempfile::tempdir().unwrap();
    let output = output.path().join("calibration.toml");
    for zones in ["quadrants:10.3,8.8", "nearest"] {
        let mut arguments = vec!["zones", "calibrate", "--receivers", &receivers, "--zones", zones];
        arguments.push("--walk");
        arguments.extend(recorded.iter().map(String::as_str));
        let document = json(&arguments);
        let right = |trial: &str| number(&document, &format!("/held_out/{trial}/right"));
        assert_eq!(document.pointer("/held_out/folds"), Some(&Value::from(3)));
        assert_eq!(document.pointer("/readings"), Some(&Value::from(3666)));
        assert!(right("without") > 0.6, "{document:#}");
        // One receiver hears far more than the others on every walk, and one far less.
        let offset = |id: &str| {
            let known = document.pointer("/receivers").and_then(Value::as_array).unwrap();
            let found = known.iter().find(|it| it.get("id").and_then(Value::as_str) == Some(id));
            number(found.unwrap(), "/offset_db")
        };
        assert!((4.0..8.0).contains(&offset("000000000401")), "{document:#}");
        assert!((-10.0..-5.0).contains(&offset("b827ebf7d096")), "{document:#}");
        let recommended = document.get("recommended").and_then(Value::as_str);
        if let Some(recommended) = recommended {
            assert!(right(recommended) >= right("without"), "{zones}: {document:#}");
        }
        let path = output.display().to_string();
        arguments.extend(["--output", &path]);
        let kept = run(&arguments);
        assert_eq!(kept.status.success(), recommended.is_some(), "{}", said(&kept));
        assert_eq!(output.exists(), recommended.is_some());
    }
}

const TAG: &str = "C0:5A:6B:7C:8D:9E";
const STRANGER: &str = "D4:3A:2C:9E:51:7B";

/// Publishes what two foreign gateways hear, for as long as a process runs: the tag at one of them,
/// strangers at both.
async fn until_it_ends(process: &mut std::process::Child, port: u16) {
    let mut publisher = Publisher::new(port);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while process.try_wait().unwrap().is_none() {
        pace.tick().await;
        for (receiver, address, rssi) in
            [("west", TAG, -61), ("west", STRANGER, -40), ("east", STRANGER, -50)]
        {
            let topic = format!("home/{receiver}/BTtoMQTT/{}", address.replace(':', ""));
            let data = "ffffc0ffee00112233";
            let payload =
                format!(r#"{{"manufacturerdata":"{data}","id":"{address}","rssi":{rssi}}}"#);
            publisher.publish(&topic, payload.as_bytes()).await;
        }
    }
}

fn remotes(port: u16) -> String {
    let mut config = String::new();
    for id in ["west", "east"] {
        write!(
            config,
            "[[remote]]\nid = \"{id}\"\nformat = \"theengs\"\ntopics = [\"home/{id}/BTtoMQTT/+\"]\n\
             broker = \"mqtt://127.0.0.1:{port}\"\n"
        )
        .unwrap();
    }
    config
}

#[tokio::test]
async fn a_tag_that_remote_receivers_hear_is_recorded_and_strangers_leave_no_trace() {
    let broker = Mosquitto::start("");
    let fixture = format!("[[fixture]]\nid = \"badge\"\naddress = \"{TAG}\"\n");
    let shop = Shop::new(&(remotes(broker.port()) + &fixture));
    let (config, saved) = (shop.path("gateway.toml"), shop.path("left.jsonl"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
    command.args(["zones", "calibrate", "--config", &config, "--tag", "badge", "--for", "6s"]);
    command.args(["--zone", "left", "--save", &saved]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    until_it_ends(&mut process, broker.port()).await;
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("left: west"), "{}", said(&output));
    assert!(said(&output).contains("too little"), "{}", said(&output));
    let walk = fs::read_to_string(&saved).unwrap();
    assert!(walk.contains("\"zone\":\"left\"") && walk.contains("\"zone\":null"), "{walk}");
    assert!(walk.contains("\"receiver\":\"west\",\"rssi\":-61"), "{walk}");
    assert!(!walk.contains("-40") && !walk.contains("-50"), "a stranger's reading was kept");
    assert!(walk.contains("\"receiver\":\"east\"}"), "that the other receiver works is known");
    for needle in ["5A:6B", "5a6b", "D4:3A", "d43a", "D43A", "c0ffee"] {
        assert!(!walk.contains(needle) && !said(&output).contains(needle), "{needle}");
    }
    // What was heard live can be repeated from the file.
    let again = shop.calibrate(&[saved], &["--output", &shop.path("other.toml")]);
    assert!(said(&again).contains("too little"), "{}", said(&again));
}

#[tokio::test]
async fn a_technician_is_led_through_the_zones_and_may_skip_one() {
    let broker = Mosquitto::start("");
    let shop = Shop::new(&remotes(broker.port()));
    let (config, saved) = (shop.path("gateway.toml"), shop.path("walk.jsonl"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
    command.args(["zones", "calibrate", "--config", &config, "--tag", TAG, "--for", "6s"]);
    command.args(["--save", &saved]);
    let answers = shop.path("answers");
    fs::write(&answers, "skip\nwhat\n\n").unwrap();
    command.stdin(fs::File::open(answers).unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    until_it_ends(&mut process, broker.port()).await;
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    for part in ["Stand in `left`", "Stand in `right`", "Press Enter, or write", "right: west"] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    let walk = fs::read_to_string(&saved).unwrap();
    assert!(walk.contains("\"zone\":\"right\"") && !walk.contains("\"zone\":\"left\""), "{walk}");
}

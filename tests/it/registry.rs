//! `beacon-gateway registry`, by the real binary.

mod crash;
mod daemon;
mod size;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use beacon_gateway::{
    clock::Clock,
    engine::{Pseudonym, Subject},
    registry::store::RegistryStore,
    seal::KeySource,
};
use serde_json::Value;
use tempfile::TempDir;

/// A gateway's state directory and configuration.
struct Shop(TempDir);

const CONSENT: &str = r#""consent":{"purposes":["presence","journey"],"from":"2026-01-01T00:00:00Z","proof":"form-1"}"#;
const IRK: &str = "ec0234a357c8ad05341010a60a397d9b";

impl Shop {
    fn new() -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        let config = format!(
            "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"gw1\"\nstate_dir = {:?}\n\
             [uplink]\nbroker = \"mqtt://localhost:1\"\n\
             [[fixture]]\nid = \"fridge\"\naddress = \"C0:00:00:00:00:01\"\n",
            shop.state().display().to_string(),
        );
        shop.write("gateway.toml", &config);
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
        command.env_remove("STATE_DIRECTORY").env_remove("CREDENTIALS_DIRECTORY");
        command.args(words).arg("--config").arg(self.path("gateway.toml"));
        command
    }

    /// What a command that must succeed prints.
    fn registry(&self, words: &[&str]) -> String {
        let output = self.command(&[&["registry"], words].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that must fail says in all.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.command(&[&["registry"], words].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", said(&output));
        said(&output)
    }

    fn import(&self, name: &str, text: &str, words: &[&str]) -> Value {
        let file = self.write(name, text).display().to_string();
        let printed = self.registry(&[&["import", "--json", &file], words].concat());
        serde_json::from_str(&printed).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let listed = self.registry(&["list", "--json"]);
        let names = listed.lines().map(|line| {
            let subject: Value = serde_json::from_str(line).unwrap();
            subject.get("subject").and_then(Value::as_str).unwrap().to_owned()
        });
        names.collect()
    }

    fn open(&self) -> RegistryStore {
        let keys = KeySource::new(&self.state(), None);
        RegistryStore::open(&self.state(), &keys, Clock::start()).unwrap()
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

fn person(name: &str, identifier: &str) -> String {
    format!(r#"{{"subject":"{name}","kind":"customer","identifiers":[{identifier}],{CONSENT}}}"#)
        + "\n"
}

fn address(last: u8) -> String {
    format!(r#"{{"address":"C0:11:22:33:44:{last:02X}"}}"#)
}

fn people(range: std::ops::Range<u8>) -> String {
    range.map(|n| person(&format!("p{n:03}"), &address(n))).collect()
}

#[test]
fn a_file_is_imported_listed_and_shown_without_its_identifiers() {
    let shop = Shop::new();
    let file = people(0..2) + &person("phone", &format!(r#"{{"irk":"{IRK}"}}"#));
    let dry = shop.import("people.jsonl", &file, &["--dry-run"]);
    assert_eq!((&dry["added"], &dry["dry_run"]), (&3.into(), &true.into()));
    assert!(!shop.state().exists(), "a dry run makes nothing");
    let done = shop.import("people.jsonl", &file, &[]);
    assert_eq!(
        (&done["read"], &done["added"], &done["updated"]),
        (&3.into(), &3.into(), &0.into())
    );
    assert_eq!(shop.names(), ["p000", "p001", "phone"]);
    let (all, one) = (shop.registry(&["list"]), shop.registry(&["show", "phone"]));
    assert!(all.contains("3 subjects, 0 withdrawals") && all.contains("presence,journey"));
    assert!(one.contains("irk") && one.contains("form-1"), "{one}");
    let json = shop.registry(&["show", "phone", "--json"]);
    for shown in [&all, &one, &json] {
        assert!(!shown.contains(&IRK[..8]) && !shown.contains("C0:11"), "{shown}");
    }
    assert!(shop.refused(&["show", "nobody"]).contains("`nobody` is not enrolled here"));
    assert!(shop.registry(&["verify"]).contains("3 subjects and 0 withdrawals can be read"));
}

#[test]
fn merging_leaves_others_and_replacing_removes_them() {
    let shop = Shop::new();
    shop.import("a.jsonl", &people(0..3), &[]);
    let merged = shop.import("b.jsonl", &people(2..5), &["--merge"]);
    assert_eq!((&merged["added"], &merged["updated"]), (&2.into(), &1.into()));
    assert_eq!(shop.names().len(), 5);
    let replaced = shop.import("b.jsonl", &people(4..6), &["--replace"]);
    assert_eq!(
        (&replaced["added"], &replaced["updated"], &replaced["removed"]),
        (&1.into(), &1.into(), &4.into())
    );
    assert_eq!(shop.names(), ["p004", "p005"]);
    // To exchange two devices is no conflict, as both are in the file.
    let swapped = person("p004", &address(5)) + &person("p005", &address(4));
    assert_eq!(shop.import("c.jsonl", &swapped, &[])["updated"], 2);
}

#[test]
fn csv_is_imported_by_its_name_or_when_it_is_said() {
    let shop = Shop::new();
    let csv = "subject,purposes,from,proof,address,irk\n\
        a,presence,2026-01-01T00:00:00Z,f1,C0:11:22:33:44:55,\n\
        b,presence journey,2026-01-01T00:00:00Z,f2,,ec0234a357c8ad05341010a60a397d9b\n";
    assert_eq!(shop.import("people.csv", csv, &[])["added"], 2);
    assert_eq!(shop.import("people.txt", csv, &["--format", "csv"])["updated"], 2);
    let file = shop.path("people.txt").display().to_string();
    assert!(shop.refused(&["import", &file]).contains("people.txt:1: the line is not JSON"));
    assert_eq!(shop.names(), ["a", "b"]);
}

#[test]
fn a_file_with_problems_changes_nothing_and_all_of_them_are_told() {
    let shop = Shop::new();
    shop.import("a.jsonl", &people(0..3), &[]);
    let bad = people(3..6)
        + &person("x", r#"{"address":"nonsense"}"#)
        + &person("y", &address(1))
        + &person("z", r#"{"address":"C0:00:00:00:00:01"}"#)
        + "{}\n";
    let file = shop.write("bad.jsonl", &bad).display().to_string();
    let said = shop.refused(&["import", &file]);
    for words in ["bad.jsonl:4: `address`", "bad.jsonl:7: missing field", "2 problems were found"] {
        assert!(said.contains(words), "{said}");
    }
    // What only the store and the configuration know is told once the file itself makes sense.
    let conflict = people(3..5) + &person("y", &address(1)) + bad.lines().nth(5).unwrap();
    let file = shop.write("bad.jsonl", &conflict).display().to_string();
    let said = shop.refused(&["import", &file]);
    for words in [
        "bad.jsonl:3: its address belongs to `p001`",
        "bad.jsonl:4: its address belongs to `fixture fridge`",
        "nothing was changed",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(said.matches("44:01").count() == 0, "{said}");
    let printed = shop.refused(&["import", "--json", &file]);
    assert!(printed.contains(r#""problems":2"#), "{printed}");
    let many = shop.write("many.jsonl", &"{}\n".repeat(30)).display().to_string();
    let said = shop.refused(&["import", &many]);
    assert!(said.contains("many.jsonl:20:") && said.contains("… and 10 more"), "{said}");
    assert!(!said.contains("many.jsonl:21:"), "{said}");
    let empty = shop.write("empty.jsonl", "# nobody\n").display().to_string();
    assert!(shop.refused(&["import", "--replace", &empty]).contains("there is no subject"));
    assert_eq!(shop.names().len(), 3);
}

#[test]
fn who_withdrew_is_remembered_and_enrolled_again_only_on_purpose() {
    let shop = Shop::new();
    shop.import("a.jsonl", &people(0..4), &[]);
    let said = shop.registry(&["withdraw", "p001", "p002", "p999"]);
    assert!(said.contains("2 withdrawn") && said.contains("`p999` was not enrolled"), "{said}");
    assert_eq!(shop.names(), ["p000", "p003"]);
    assert!(shop.refused(&["show", "p001"]).contains("they withdrew at"));
    for words in [&[][..], &["--replace"]] {
        let done = shop.import("a.jsonl", &people(0..4), words);
        assert_eq!(done["withdrew"], serde_json::json!(["p001", "p002"]));
        assert_eq!(shop.names(), ["p000", "p003"]);
    }
    shop.import("b.jsonl", &people(1..2), &["--again"]);
    assert_eq!(shop.names(), ["p000", "p001", "p003"]);
    shop.import("a.jsonl", &people(0..4), &["--again", "--replace"]);
    assert_eq!(shop.names().len(), 4);
    // Also one who was never here cannot be enrolled by a file that is older.
    let later = shop.import("c.jsonl", &person("p999", &address(99)), &[]);
    assert_eq!((&later["added"], later["withdrew"][0].as_str()), (&0.into(), Some("p999")));
}

#[test]
fn an_export_has_all_that_is_held_and_keys_only_when_asked_for() {
    let shop = Shop::new();
    let phone = format!(r#"{{"irk":"{IRK}"}},{}"#, address(9));
    shop.import("a.jsonl", &person("phone", &phone), &[]);
    let export = |words: &[&str]| -> Value {
        serde_json::from_str(&shop.registry(&[&["export"], words].concat())).unwrap()
    };
    let document = export(&["phone"]);
    let entry = &document["registry"];
    assert_eq!(entry["identifiers"][1]["address"], "C0:11:22:33:44:09");
    assert_eq!(entry["consent"]["proof"], "form-1");
    assert_eq!(entry["enrolled_by"], "file");
    assert!(!document.to_string().contains(IRK));
    assert_eq!((&document["open_visit"], &document["withdrawal"]), (&Value::Null, &Value::Null));
    assert_eq!(document["waiting_events"], serde_json::json!([]));
    assert_eq!(export(&["phone", "--with-keys"])["registry"]["identifiers"][0]["irk"], IRK);
    shop.registry(&["withdraw", "phone"]);
    let document = export(&["phone"]);
    assert_eq!(document["registry"], Value::Null);
    assert!(document["withdrawal"]["when"].is_string());
    assert_eq!(export(&["nobody"])["withdrawal"], Value::Null);
}

#[test]
fn an_export_names_what_a_running_gateway_keeps_it_from() {
    use beacon_gateway::outbox::{Durability, SledJournal, StoreOptions};
    let shop = Shop::new();
    shop.import("a.jsonl", &people(1..2), &[]);
    // The registry was there first, and the outbox takes its place beside it.
    let options =
        StoreOptions { durability: Durability::AfterFlush, ..StoreOptions::with_cache(1 << 20) };
    let journal = SledJournal::open(&shop.state(), options, Clock::start()).unwrap();
    let output = shop.command(&["registry", "export", "p001"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["registry"]["subject"], "p001", "the rest is there");
    assert_eq!(document["waiting_events"], Value::Null);
    let why = document["not_included"][0].as_str().unwrap();
    assert!(why.contains("systemctl stop beacon-gateway"), "{why}");
    drop(journal);
}

#[test]
fn an_export_has_the_open_visit_and_the_events_that_wait() {
    use beacon_gateway::{
        checkpoint,
        engine::{
            Checkpoint, Quality, ReceiverId, Stay, UnixTime, Uptime, VisitId, VisitRecord, ZoneId,
        },
        outbox::{
            Class, Durability, Entry, Journal, SledJournal, StoreOptions, Tag, Write,
            record::{Body, Change, Context, Presence, Record, RunId},
        },
    };
    let shop = Shop::new();
    shop.import("a.jsonl", &people(1..3), &[]);
    let clock = Clock::start();
    let options =
        StoreOptions { durability: Durability::AfterFlush, ..StoreOptions::with_cache(1 << 20) };
    let mut journal = SledJournal::open(&shop.state(), options, clock).unwrap().journal;
    for name in ["p001", "p002", "p001"] {
        let presence = Presence {
            subject: name.to_owned(),
            kind: "customer".to_owned(),
            purpose: "presence".to_owned(),
            proof: "form-1".to_owned(),
            purposes: vec!["presence".to_owned()],
            wide_window: false,
            visit: (1, 2, 3),
            begun_at: None,
            change: Change::VisitStarted { receiver: "local".to_owned() },
            context: Context::default(),
        };
        let body = Body::Presence(Box::new(presence));
        let record =
            Record { run: RunId(1), uptime_us: 0, unix_ms: 1_790_000_000_000, synced: true, body };
        let about = Some(Tag::of(name));
        let entry = Entry {
            bytes: record.encode(),
            made: Some(UnixTime::default()),
            about,
            class: Class::Presence,
        };
        journal.append(entry, None).unwrap();
    }
    let visit = VisitRecord {
        id: VisitId { epoch: 1, run: 2, number: 3 },
        begun_at: None,
        started: Uptime::ZERO,
        last_seen: clock.now(),
        first_receiver: ReceiverId::new("local"),
        last_receiver: ReceiverId::new("local"),
        stays: vec![Stay { zone: ZoneId::new("wine"), entered: Uptime::ZERO, left: clock.now() }],
        stays_cut: false,
        in_zone: true,
        dwelled: 0,
        dwell: std::collections::BTreeMap::new(),
        quality: Quality { sightings: 7, ..Quality::default() },
        left: None,
    };
    let checkpoint = Checkpoint { subject: Pseudonym::new("p001"), visit: Some(visit) };
    let Write::Keep { slot, value } = checkpoint::write(&checkpoint, &clock.wall(), RunId(1))
    else {
        panic!("a checkpoint is kept");
    };
    journal.keep(slot, value).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let document: Value = serde_json::from_str(&shop.registry(&["export", "p001"])).unwrap();
    assert_eq!(document["waiting_events"].as_array().unwrap().len(), 2);
    assert_eq!(document["waiting_events"][0]["type"], "io.beacon-gateway.visit.started.v1");
    assert_eq!(document["open_visit"]["path"][0]["zone"], "wine");
    assert_eq!(document["open_visit"]["sightings"], 7);
    let other: Value = serde_json::from_str(&shop.registry(&["export", "p002"])).unwrap();
    assert_eq!(other["waiting_events"].as_array().unwrap().len(), 1);
    assert_eq!(other["open_visit"], Value::Null);
}

#[test]
fn keys_are_rotated_and_check_says_where_they_are() {
    let shop = Shop::new();
    shop.import("a.jsonl", &people(0..3), &[]);
    let key = shop.state().join("registry.key");
    let before = fs::read_to_string(&key).unwrap();
    let said_by_check = |shop: &Shop| said(&shop.command(&["check"]).output().unwrap());
    let check = said_by_check(&shop);
    assert!(check.contains("systemd-creds encrypt --name=registry-key"), "{check}");
    assert!(check.contains("3 subjects are enrolled"), "{check}");
    let rotated: Value = serde_json::from_str(&shop.registry(&["rotate-key", "--json"])).unwrap();
    assert_eq!((&rotated["key"], &rotated["resealed"]), (&2.into(), &3.into()));
    let after = fs::read_to_string(&key).unwrap();
    assert!(after.starts_with("2:") && !after.contains(&before[2..66]));
    assert_eq!(shop.names().len(), 3);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(shop.refused(&["list"]).contains("chmod 600"));
    let output = shop.command(&["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    fs::write(&key, &before).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = shop.refused(&["list"]);
    assert!(refused.contains("it was sealed with key number 2"), "{refused}");
    assert!(!refused.contains(&before[2..20]));
}

#[test]
fn a_credential_is_used_and_only_its_maker_can_change_it() {
    let shop = Shop::new();
    let credentials = shop.path("credentials");
    fs::create_dir(&credentials).unwrap();
    let key = credentials.join("registry-key");
    fs::write(&key, format!("1:{}\n", "ab".repeat(32))).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    let run = |words: &[&str]| {
        let mut command = shop.command(&[&["registry"], words].concat());
        command.env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap()
    };
    let file = shop.write("a.jsonl", &people(0..2)).display().to_string();
    let output = run(&["import", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!shop.state().join("registry.key").exists());
    let output = run(&["rotate-key"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("echo \"2:") && told.contains("systemd-creds encrypt"), "{told}");
    // Whoever asks without the credential is told how to have it, and makes no key.
    let refused = shop.refused(&["list"]);
    assert!(refused.contains("CREDENTIALS_DIRECTORY=/run/credentials"), "{refused}");
    assert!(!shop.state().join("registry.key").exists());
}

#[test]
fn after_a_loss_only_an_import_that_says_so_brings_the_registry_back() {
    let shop = Shop::new();
    shop.import("a.jsonl", &people(0..3), &[]);
    let live = fs::read_dir(shop.state().join("registry")).unwrap().map(|it| it.unwrap().path());
    for store in live.filter(|it| it.display().to_string().contains("store-")) {
        fs::write(store.join("sled/db"), vec![0x5a; 600_000]).unwrap();
    }
    assert!(shop.refused(&["list"]).contains("it is damaged"));
    let file = shop.path("a.jsonl").display().to_string();
    assert!(shop.refused(&["import", &file]).contains("was set aside as"));
    assert!(shop.refused(&["import", "--replace", &file]).contains("--after-loss"));
    let check = said(&shop.command(&["check"]).output().unwrap());
    assert!(check.contains("Nobody is recognised until"), "{check}");
    assert_eq!(shop.import("a.jsonl", &people(1..3), &["--replace", "--after-loss"])["added"], 2);
    assert_eq!(shop.names(), ["p001", "p002"]);
}

/// Files below a directory that others than their owner may read.
fn readable_by_others(path: &Path) -> Vec<PathBuf> {
    let metadata = fs::symlink_metadata(path).unwrap();
    let closed = metadata.permissions().mode().trailing_zeros() >= 6;
    if closed {
        Vec::new()
    } else if metadata.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        entries.flat_map(|entry| readable_by_others(&entry.unwrap().path())).collect()
    } else {
        vec![path.to_owned()]
    }
}

#[test]
fn nothing_of_it_can_be_read_by_other_users() {
    let shop = Shop::new();
    shop.import("a.jsonl", &people(0..3), &[]);
    assert_eq!(readable_by_others(&shop.state()), Vec::<PathBuf>::new());
}

fn load(store: &RegistryStore) -> Vec<Subject> {
    let loaded = store.load(&mut |_| ()).unwrap();
    assert_eq!(loaded.unreadable, 0);
    loaded.subjects
}

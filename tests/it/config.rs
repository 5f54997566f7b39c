//! The shipped configuration, and what a technician is told about a broken one, by the real binary.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use beacon_gateway::settings::{Loader, Settings};

#[test]
fn the_shipped_file_lists_every_key_with_its_default() {
    let shipped = Loader::files([shipped("gateway.toml")]).load().unwrap();
    assert_eq!(keys(&shipped), keys(&Settings::default()));

    // And it leaves no key out: each stands in the text itself.
    let text = fs::read_to_string(self::shipped("gateway.toml")).unwrap();
    let mut section = String::new();
    let mut written: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            written.push(format!("{section}.{key}"));
        }
    }
    let known: Vec<String> = keys(&shipped).into_keys().collect();
    written.sort();
    assert_eq!(written, known);
}

#[test]
fn the_examples_in_the_comments_of_the_shipped_file_are_valid() {
    let text = fs::read_to_string(shipped("gateway.toml")).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(code) if code.starts_with('[') || code.contains(" = ") => code,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    fs::write(&path, uncommented).unwrap();
    let settings = Loader::files([path]).load().unwrap();
    assert_eq!((settings.zone.len(), settings.fixture.len()), (2, 1));
    assert_eq!((settings.scan.adapters.len(), settings.remote.len()), (1, 1));
    assert_eq!(settings.receiver.len(), 1);
}

#[test]
fn the_example_registry_is_valid() {
    let subjects = beacon_gateway::registry::read(&shipped("registry.example.jsonl")).unwrap();
    let mut kinds: Vec<&str> = subjects
        .iter()
        .flat_map(|it| it.identifiers.iter().map(beacon_gateway::engine::Identifier::kind))
        .collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "address",
            "altbeacon",
            "eddystone_eid",
            "eddystone_uid",
            "ibeacon",
            "irk",
            "rolling_uuid",
            "service_token"
        ],
        "it shows every way to be recognised"
    );
}

#[test]
fn later_layers_win_and_the_environment_wins_over_files() {
    let shop = Shop::new();
    let more = shop.write("more.toml", "[presence]\nexit_timeout = \"45s\"\nenter_rssi = -70\n");
    let output = shop
        .command("check")
        .arg("--config")
        .arg(more)
        .env("BEACON_GATEWAY__PRESENCE__ENTER_RSSI", "-300")
        .output()
        .unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("environment variable `BEACON_GATEWAY__PRESENCE__ENTER_RSSI`"), "{said}");
    assert!(said.contains("-300") && said.contains("-127 to 20 dBm"), "{said}");
}

#[test]
fn a_sound_configuration_passes_the_check() {
    let output = Shop::new().command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

const BEACON: &str = "[[fixture]]\nid = \"f\"\neddystone_eid = { rotation_exponent = ";
const FIXTURE: &str = "[[fixture]]\nid = \"f\"\naddress = \"C0:11:22:33:44:99\"\n";

#[test]
fn the_check_says_which_fixtures_have_a_key_and_nothing_of_it() {
    let shop = Shop::new();
    let path = shop.write("key", &format!("{}\n", "5e".repeat(16)));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    shop.append(&format!("{FIXTURE}bind_key_file = {:?}\n", path.display().to_string()));
    let output = shop.command("check").output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("of 1 fixtures these have a key") && said.contains(": f"), "{said}");
    assert!(!said.contains("5e5e5e"), "{said}");
}

#[test]
fn a_beacon_is_known_by_the_key_in_its_file() {
    let shop = Shop::new();
    let path = shop.write("key", &"5e".repeat(16));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = path.display().to_string();
    shop.append(&format!("{BEACON}10 }}\nbind_key_file = {file:?}\n"));
    let output = shop.command("check").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    fs::write(&path, "5e".repeat(12)).unwrap();
    let output = shop.command("check").output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("12 octets") && !said.contains("5e5e5e"), "{said}");
}

#[test]
fn the_check_says_how_many_decoders_of_ones_own_there_are() {
    let shop = Shop::new();
    let decoder = "[[decoder]]\nfamily = \"shop_fridge\"\ncompany = 0xfff0\nlength = 2\n\
                   [[decoder.field]]\nquantity = \"temperature_c\"\nat = 0\n";
    let path = shop.write("fridge.toml", decoder);
    let folder = path.parent().unwrap().join("decoders.d");
    fs::create_dir(&folder).unwrap();
    fs::rename(&path, folder.join("fridge.toml")).unwrap();
    let output = shop
        .command("check")
        .arg("--set")
        .arg(format!("identity.decoders={}", folder.display()))
        .output()
        .unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("1 of your own are asked before the built-in ones"), "{said}");
}

/// What is broken, and words that the message must have: where, what was found, what is allowed.
type Broken = (&'static str, fn(&Shop), &'static [&'static str]);

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn each_broken_configuration_is_told_in_words_to_act_on_and_nothing_is_started() {
    let broken: [Broken; 45] = [
        (
            "a typo in a key",
            |shop| shop.append("[presence]\nenter_rsi = -70\n"),
            &["gateway.toml", "presence.enter_rsi", "there is no key", "`enter_rssi`"],
        ),
        (
            "a section that does not exist",
            |shop| shop.append("[bluetooth]\nadapter = \"hci0\"\n"),
            &["gateway.toml", "bluetooth", "there is no key", "`scan`"],
        ),
        (
            "a wrong unit",
            |shop| shop.append("[outbox]\ncommit_interval = \"100 msec\"\n"),
            &["gateway.toml", "outbox.commit_interval", "100 msec", "`250ms`"],
        ),
        (
            "a number without a unit",
            |shop| shop.append("[presence]\nexit_timeout = 30\n"),
            &["gateway.toml", "presence.exit_timeout", "30", "`30s`"],
        ),
        (
            "a value out of range",
            |shop| shop.append("[presence]\nexit_rssi = -60\n"),
            &["gateway.toml", "presence.exit_rssi", "-60", "lower than `enter_rssi`"],
        ),
        (
            "an adapter that is neither a name nor an address",
            |shop| shop.append("[scan]\nadapter = \"usb\"\n"),
            &["gateway.toml", "scan.adapter", "something else", "\"hci0\""],
        ),
        (
            "one adapter twice",
            |shop| {
                shop.append(
                    "[[scan.adapters]]\naddress = \"00:1A:7D:00:00:01\"\nreceiver = \"a\"\n\
                     [[scan.adapters]]\naddress = \"00:1a:7d:00:00:01\"\nreceiver = \"b\"\n",
                );
            },
            &["gateway.toml", "scan.adapters[1].address", "stands above", "once"],
        ),
        (
            "nothing to hear with",
            |shop| shop.append("[scan]\nbackend = \"none\"\n"),
            &["gateway.toml", "scan.backend", "`none` without a [[remote]]", "bluez"],
        ),
        (
            "a remote receiver without a format",
            |shop| shop.append("[[remote]]\nid = \"shelf\"\ntopics = [\"a/#\"]\n"),
            &["gateway.toml", "remote[0].format", "missing", "`espresense`"],
        ),
        (
            "a remote receiver of an unknown format",
            |shop| shop.append("[[remote]]\nid = \"shelf\"\nformat = \"tasmota\"\n"),
            &["gateway.toml", "remote[0].format", "tasmota", "minew"],
        ),
        (
            "a remote receiver at a broker of another kind",
            |shop| {
                shop.append(
                    "[[remote]]\nid = \"shelf\"\nformat = \"ruuvi\"\ntopics = [\"a/#\"]\n\
                     broker = \"http://b\"\n",
                );
            },
            &["gateway.toml", "remote[0].broker", "http://b", "mqtts://HOST"],
        ),
        (
            "another gateway of another shop",
            |shop| {
                shop.append(
                    "[[remote]]\nid = \"shelf\"\nformat = \"beacon-gateway\"\n\
                     topics = [\"beacon/v1/t/elsewhere/gw2/sighting/local\"]\n",
                );
            },
            &["gateway.toml", "remote[0].topics", "elsewhere", "/GATEWAY/sighting/RECEIVER"],
        ),
        (
            "a role that there is not",
            |shop| shop.replace("name = \"gw1\"", "name = \"gw1\"\nrole = \"boss\""),
            &["gateway.toml", "gateway.role", "boss", "receiver"],
        ),
        (
            "a receiver without a key",
            |shop| shop.replace("name = \"gw1\"", "name = \"gw1\"\nrole = \"receiver\""),
            &["relay", "seal_key_file", "several-gateways"],
        ),
        (
            "a way to the lead in what is no receiver",
            |shop| shop.append("[relay]\nseal_key_file = \"/k\"\n"),
            &["gateway.toml", "relay", "gateway.role = \"receiver\""],
        ),
        (
            "a standby for nobody",
            |shop| shop.replace("name = \"gw1\"", "name = \"gw1\"\nrole = \"standby\""),
            &["gateway.toml", "standby.peer", "several-gateways"],
        ),
        (
            "a standby for itself",
            |shop| shop.append("[standby]\npeer = \"gw1\"\n"),
            &["gateway.toml", "standby.peer", "gw1", "other gateway"],
        ),
        (
            "another gateway whose name is no level of a topic",
            |shop| shop.append("[standby]\npeer = \"gw/2\"\n"),
            &["gateway.toml", "standby.peer", "gw/2"],
        ),
        (
            "another gateway without a key",
            |shop| shop.append("[standby]\npeer = \"gw2\"\n"),
            &["standby.seal_key_file", "several-gateways"],
        ),
        (
            "a takeover that is too hasty",
            |shop| shop.append("[standby]\npeer = \"gw2\"\ntakeover_after = \"1s\"\n"),
            &["gateway.toml", "standby.takeover_after", "1s", "3s to"],
        ),
        (
            "a way to hear that does not exist",
            |shop| shop.append("[scan]\ndata = \"radio\"\n"),
            &["gateway.toml", "scan.data", "radio", "monitor"],
        ),
        (
            "a zone at a receiver that does not exist",
            |shop| shop.append("[[zone]]\nid = \"a\"\nreceivers = [\"cellar\"]\n"),
            &["gateway.toml", "zone[0].receivers", "cellar", "the receivers are: local"],
        ),
        ("no TOML", |shop| shop.append("[presence\n"), &["gateway.toml", "not TOML", "line"]),
        (
            "a registry that cannot be read",
            |shop| fs::remove_file(shop.path("registry.jsonl")).unwrap(),
            &["registry.jsonl", "identity.registry", "permissions"],
        ),
        (
            "a bad UUID",
            |shop| {
                shop.enrol(r#"{"subject":"b","kind":"customer","identifiers":[{"ibeacon":{"uuid":"11112222-3333","major":1,"minor":2}}],CONSENT}"#);
            },
            &["registry.jsonl:2", "must be a UUID", "like"],
        ),
        (
            "a duplicate identifier",
            |shop| {
                shop.enrol(r#"{"subject":"b","kind":"customer","identifiers":[{"address":"C0:11:22:33:44:55"}],CONSENT}"#);
            },
            &["`a`", "`b`", "same address identifier"],
        ),
        (
            "a consent without purpose",
            |shop| {
                shop.enrol(r#"{"subject":"b","kind":"customer","identifiers":[{"address":"C0:11:22:33:44:56"}],"consent":{"purposes":[],"from":"2026-01-01T00:00:00Z","proof":"p"}}"#);
            },
            &["registry.jsonl:2", "consent.purposes", "`presence`, `journey`, `engagement`"],
        ),
        (
            "a person without consent",
            |shop| {
                shop.enrol(r#"{"subject":"b","kind":"staff","identifiers":[{"address":"C0:11:22:33:44:56"}]}"#);
            },
            &["registry.jsonl:2", "`consent` is missing", "asset"],
        ),
        (
            "no broker",
            |shop| shop.replace("mqtt://localhost:1", ""),
            &["gateway.toml", "uplink.broker", "empty", "mqtt"],
        ),
        (
            "a gateway without a name",
            |shop| shop.replace("name = \"gw1\"", "name = \"gw/1\""),
            &["gateway.toml", "gateway.name", "gw/1", "without spaces"],
        ),
        (
            "a fixture in a zone that does not exist",
            |shop| {
                shop.append(
                    "[[fixture]]\nid = \"f\"\naddress = \"C0:11:22:33:44:99\"\nzone = \"diary\"\n",
                );
            },
            &["gateway.toml", "fixture[0].zone", "`diary`", "shop"],
        ),
        (
            "a fixture's key in the configuration itself",
            |shop| shop.append(&format!("{FIXTURE}bind_key = \"{}\"\n", "5e".repeat(16))),
            &["gateway.toml", "fixture[0].bind_key", "`bind_key_file`", "`fixture-key-ID`"],
        ),
        (
            "a fixture's key that others may read",
            |shop| {
                let path = shop.write("key", &"5e".repeat(16));
                shop.append(&format!(
                    "{FIXTURE}bind_key_file = {:?}\n",
                    path.display().to_string()
                ));
            },
            &["fixture[0].bind_key_file", "other users may read", "chmod 600"],
        ),
        (
            "a beacon that is known by a key that is not there",
            |shop| shop.append(&format!("{BEACON}10 }}\n")),
            &["fixture[0].bind_key_file", "identity key", "32 hexadecimal digits"],
        ),
        (
            "a beacon's key in the configuration itself",
            |shop| {
                shop.append(&format!("{BEACON}10, identity_key = \"{}\" }}\n", "5e".repeat(16)));
            },
            &["fixture[0].eddystone_eid.identity_key", "`bind_key_file`", "`fixture-key-ID`"],
        ),
        (
            "a beacon whose identifier changes more seldom than can be",
            |shop| shop.append(&format!("{BEACON}16 }}\n")),
            &["fixture[0].eddystone_eid.rotation_exponent", "16", "0 to 15"],
        ),
        (
            "a beacon whose clock began at no time",
            |shop| shop.append(&format!("{BEACON}10, clock_zero = \"once\" }}\n")),
            &["fixture[0].eddystone_eid.clock_zero", "`once`", "2026-01-01T00:00:00Z"],
        ),
        (
            "a fixture's number in a family that has none",
            |shop| {
                let sensor = "sensor = { family = \"teltonika\", serial = \"01\" }";
                shop.append(&format!("[[fixture]]\nid = \"f\"\n{sensor}\n"));
            },
            &["gateway.toml", "fixture[0].sensor.family", "`teltonika`", "atc, efento"],
        ),
        (
            "a fixture with two identifiers",
            |shop| shop.append(&format!("{FIXTURE}name = \"ATC_1\"\n")),
            &["gateway.toml", "fixture[0]", "given 2", "`name`", "`sensor`"],
        ),
        (
            "a fixture that is expected too seldom",
            |shop| shop.append(&format!("{FIXTURE}expected_interval = \"13h\"\n")),
            &["gateway.toml", "fixture[0].expected_interval", "13h", "12h"],
        ),
        (
            "a service UUID for tokens that means something else",
            |shop| shop.append("[identity]\nservice_token_uuid = \"fcd2\"\n"),
            &["gateway.toml", "identity.service_token_uuid", "`fcd2`", "like `fc12`"],
        ),
        (
            "a service UUID for tokens of 128 bits",
            |shop| {
                let uuid = "4c7148cd-69b9-4363-ba4c-b74990a1b2dc";
                shop.append(&format!("[identity]\nservice_token_uuid = \"{uuid}\"\n"));
            },
            &["gateway.toml", "identity.service_token_uuid", "four hexadecimal digits"],
        ),
        (
            "a wider window than is of use",
            |shop| shop.append("[identity]\nwide_window = \"8d\"\n"),
            &["gateway.toml", "identity.wide_window", "8d", "7d"],
        ),
        (
            "a fixture that nothing identifies",
            |shop| shop.append("[[fixture]]\nid = \"f\"\n"),
            &["gateway.toml", "fixture[0]", "exactly one of", "`address`"],
        ),
        (
            "a certificate authority that is no certificate",
            |shop| {
                let path = shop.write("ca.pem", "not a certificate");
                shop.replace("mqtt://localhost:1", "mqtts://localhost:1");
                shop.append(&format!("[uplink]\nca_file = {:?}\n", path.display().to_string()));
            },
            &["ca.pem", "uplink.ca_file", "BEGIN CERTIFICATE"],
        ),
    ];
    for (what, break_it, words) in broken {
        for command in ["check", "run"] {
            let shop = Shop::new();
            break_it(&shop);
            let output = shop.command(command).output().unwrap();
            let said = said(&output);
            assert_eq!(output.status.code(), Some(78), "{command} with {what}: {said}");
            for word in words {
                assert!(said.contains(word), "{command} with {what} does not say `{word}`: {said}");
            }
            for secret in ["33:44:55", "33:44:56", "11112222", "5e5e5e", "panicked"] {
                assert!(!said.contains(secret), "{command} with {what} says `{secret}`: {said}");
            }
            assert!(!shop.path("state").exists(), "{command} with {what} started something");
        }
    }
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_named() {
    let output = binary().args(["check", "--config", "/nowhere/gateway.toml"]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("/nowhere/gateway.toml") && said.contains("permissions"), "{said}");
}

/// A directory with a sound configuration that can be broken.
struct Shop(tempfile::TempDir);

const CONSENT: &str =
    r#""consent":{"purposes":["presence"],"from":"2026-01-01T00:00:00Z","proof":"form-1"}"#;

impl Shop {
    fn new() -> Self {
        let shop = Self(tempfile::tempdir().unwrap());
        let registry = shop.path("registry.jsonl");
        let subject = r#"{"subject":"a","kind":"customer","identifiers":[{"address":"C0:11:22:33:44:55"}],CONSENT}"#;
        fs::write(&registry, subject.replace("CONSENT", CONSENT) + "\n").unwrap();
        let config = format!(
            "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"gw1\"\nstate_dir = {:?}\n\
             [identity]\nregistry = {:?}\n[uplink]\nbroker = \"mqtt://localhost:1\"\n",
            shop.path("state").display().to_string(),
            registry.display().to_string(),
        );
        shop.write("gateway.toml", &config);
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Appends to the configuration; a section that is there already is continued.
    fn append(&self, text: &str) {
        let before = fs::read_to_string(self.path("gateway.toml")).unwrap();
        let (head, rest) = text.split_once('\n').unwrap();
        let joined = match before.split_once(&format!("{head}\n")) {
            Some((above, below)) => format!("{above}{head}\n{rest}{below}"),
            None => before + text,
        };
        self.write("gateway.toml", &joined);
    }

    fn replace(&self, from: &str, to: &str) {
        let before = fs::read_to_string(self.path("gateway.toml")).unwrap();
        assert!(before.contains(from));
        self.write("gateway.toml", &before.replace(from, to));
    }

    fn enrol(&self, line: &str) {
        let before = fs::read_to_string(self.path("registry.jsonl")).unwrap();
        self.write("registry.jsonl", &(before + &line.replace("CONSENT", CONSENT) + "\n"));
    }

    fn command(&self, name: &str) -> Command {
        let mut command = binary();
        command.arg(name).arg("--config").arg(self.path("gateway.toml"));
        command
    }
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beacon-gateway"));
    command.env_remove("STATE_DIRECTORY").env_remove("CREDENTIALS_DIRECTORY");
    command
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// Every key of the settings and its value, as text.
/// Each value by its whole name, sections within sections included.
fn flatten(name: &str, value: &serde_json::Value, keys: &mut BTreeMap<String, String>) {
    match value.as_object() {
        Some(section) => {
            for (key, value) in section {
                flatten(&format!("{name}.{key}"), value, keys);
            }
        }
        None => drop(keys.insert(name.to_owned(), value.to_string())),
    }
}

fn keys(settings: &Settings) -> BTreeMap<String, String> {
    let sections = [
        ("gateway", serde_json::to_value(&settings.gateway)),
        ("scan", serde_json::to_value(&settings.scan)),
        ("relay", serde_json::to_value(&settings.relay)),
        ("standby", serde_json::to_value(&settings.standby)),
        ("identity", serde_json::to_value(&settings.identity)),
        ("presence", serde_json::to_value(&settings.presence)),
        ("zones", serde_json::to_value(&settings.zones)),
        ("footfall", serde_json::to_value(&settings.footfall)),
        ("outbox", serde_json::to_value(&settings.outbox)),
        ("uplink", serde_json::to_value(&settings.uplink)),
        ("discovery", serde_json::to_value(&settings.discovery)),
        ("command", serde_json::to_value(&settings.command)),
        ("health", serde_json::to_value(&settings.health)),
        ("log", serde_json::to_value(&settings.log)),
    ];
    let mut keys = BTreeMap::new();
    for (section, value) in sections {
        flatten(section, &value.unwrap(), &mut keys);
    }
    keys
}

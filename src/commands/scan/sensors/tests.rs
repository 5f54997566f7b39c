//! What a technician sees, from advertisements on.

use super::{super::listed, *};
use crate::{
    engine::{AddressKind, Engine, VisitId},
    gateway::{identity, load_registry},
    settings::Loader,
};

const FIXTURE: [u8; 6] = [0xa4, 0xc1, 0x38, 0, 0, 1];
const NEW: [u8; 6] = [0xa4, 0xc1, 0x38, 0, 0, 2];
const HIDDEN: [u8; 6] = [0x5f, 0, 0, 0, 0, 3];

const CONFIGURATION: &str = "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"g\"\n\
    [uplink]\nbroker = \"mqtt://127.0.0.1\"\n[[zone]]\nid = \"wine\"\n\
    [[fixture]]\nid = \"govee-h5075-1\"\naddress = \"A4:C1:38:00:00:01\"\n";

/// Somebody who scans, with the engine and the configuration of a shop.
struct Scan {
    engine: Engine,
    finder: Finder,
    folder: tempfile::TempDir,
}

impl Scan {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = load(folder.path(), CONFIGURATION).unwrap();
        let registry = load_registry(&settings, crate::clock::Clock::start()).unwrap();
        let first = VisitId { epoch: 0, run: 0, number: 1 };
        let engine = Engine::new(identity(&settings, registry), settings.presence(), first);
        Self { engine, finder: Finder::new(&settings), folder }
    }

    fn hear(&mut self, second: i64, from: ([u8; 6], AddressKind), dbm: i8, parts: &[&[u8]]) {
        let (address, receiver) = (DeviceAddress::new(from.0, from.1), ReceiverId::default());
        let heard = Uptime::from_micros(second * 1_000_000);
        let data = parts.concat();
        let one = Advertisement::new(heard, receiver, address, Some(Rssi(dbm)), &data);
        let (_, sensor) = self.engine.find_sensor(&one);
        self.finder.hear(&one, sensor.map(|sensor| listed(&self.engine, sensor)));
    }

    fn table(&self) -> String {
        let mut out = Vec::new();
        self.finder.table(&mut out, usize::MAX).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn blocks(&self) -> String {
        let mut out = Vec::new();
        self.finder.blocks(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
}

fn load(folder: &std::path::Path, text: &str) -> Result<Settings, String> {
    let path = folder.join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    let state = folder.join("state").display().to_string();
    Loader::files([path])
        .set("gateway.state_dir", &state)
        .load()
        .map_err(|error| format!("{error:?}"))
}

/// A Govee H5075 (the frame of docs/sensors.md).
fn govee() -> [Vec<u8>; 2] {
    let name = [&[13, 0x09][..], b"GVH5075_2762"].concat();
    (name, vec![9, 0xff, 0x88, 0xec, 0x00, 0x03, 0x21, 0x5d, 0x64, 0x00]).into()
}

const ENCRYPTED: &[u8] = &[
    17, 0x16, 0xd2, 0xfc, 0x41, 0xa4, 0x72, 0x66, 0xc9, 0x5f, 0x73, 0, 0x11, 0x22, 0x33, 0x78,
    0x23, 0x72,
];

use AddressKind::{Public, Random};

#[test]
fn the_loudest_comes_first_with_what_it_tells_and_who_it_is() {
    let (mut scan, govee) = (Scan::new(), govee());
    let govee: Vec<&[u8]> = govee.iter().map(Vec::as_slice).collect();
    for second in 0..10 {
        scan.hear(second * 2, (FIXTURE, Public), -70, &govee);
        scan.hear(second * 2, (NEW, Public), if second == 4 { -35 } else { -80 }, &govee);
        // A phone.
        scan.hear(second, ([0x40, 0, 0, 0, 0, 9], Random), -30, &[&[5, 0xff, 0x4c, 0, 0x10, 5]]);
    }
    let table = scan.table();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..7], ["-35", "-80", "2.0", "s", "new", "govee", "H5075"], "{table}");
    assert_eq!(rows[2][..5], ["-70", "-70", "2.0", "s", "govee-h5075-1"], "{table}");
    assert!(rows[1].contains(&"GVH5075_2762"), "{table}");
    assert!(table.contains("temperature_c 20.5 °C") && table.contains("battery_percent 100 %"));
    assert!(table.contains("30 advertisements heard, 10 of anything else"), "{table}");
    assert_eq!(rows.len(), 4, "{table}");
    assert!(!table.contains("A4:C1"), "addresses are in what is pasted alone: {table}");
}

#[test]
fn what_is_printed_for_a_new_sensor_is_read_as_configuration_and_makes_it_known() {
    let (mut scan, govee) = (Scan::new(), govee());
    let govee: Vec<&[u8]> = govee.iter().map(Vec::as_slice).collect();
    scan.hear(0, (FIXTURE, Public), -70, &govee);
    scan.hear(0, (NEW, Public), -41, &govee);
    let blocks = scan.blocks();
    assert!(blocks.contains("id = \"govee-h5075-2\"\nzone = \"wine\"\n"), "{blocks}");
    assert!(!blocks.contains("A4:C1:38:00:00:01"), "only the new one: {blocks}");
    let pasted = blocks.split_once("it is:\n").unwrap().1;
    let settings = load(scan.folder.path(), &format!("{CONFIGURATION}{pasted}")).unwrap();
    let fixtures = settings.fixtures().unwrap();
    assert_eq!(fixtures[1].id, "govee-h5075-2");
    assert!(fixtures[1].identifier == crate::engine::Identifier::Address(NEW).into());
}

#[test]
fn a_beacon_that_encrypts_its_telemetry_is_listed_as_what_it_is() {
    let mut scan = Scan::new();
    let sealed: Vec<u8> = [&[21, 0x16, 0xaa, 0xfe, 0x20, 1][..], &[7; 16]].concat();
    scan.hear(0, ([0x40, 0, 0, 0, 0, 9], Random), -40, &[&sealed]);
    let blocks = scan.blocks();
    let pasted = blocks.split_once("it is:\n").unwrap().1;
    assert!(pasted.contains("bind_key_file") && !pasted.contains("address"), "{pasted}");
    let settings = load(scan.folder.path(), &format!("{CONFIGURATION}{pasted}")).unwrap();
    assert_eq!(settings.fixtures().unwrap()[1].identifier.kind(), "eddystone_eid");
}

#[test]
fn an_address_that_changes_is_not_pasted_where_there_is_a_name() {
    let (mut scan, govee) = (Scan::new(), govee());
    let govee: Vec<&[u8]> = govee.iter().map(Vec::as_slice).collect();
    for n in 0..5 {
        let changing = [0x5f, 0, 0, 0, 0, n];
        scan.hear(i64::from(n), (changing, Random), -50, &govee);
    }
    let blocks = scan.blocks();
    assert!(blocks.contains("name = \"GVH5075_2762\"\n"), "{blocks}");
    assert!(!blocks.contains("address"), "{blocks}");
    assert_eq!(blocks.matches("[[fixture]]").count(), 1, "it is one sensor: {blocks}");
}

#[test]
fn an_address_that_changes_is_not_pasted_where_frames_tell_a_number() {
    let mut scan = Scan::new();
    let pvvx = hex::decode("12161a18452301 38c1a4f0002003b80b640700".replace(' ', "")).unwrap();
    for n in 0..5 {
        scan.hear(i64::from(n), ([0x5f, 0, 0, 0, 0, n], Random), -50, &[&pvvx]);
    }
    let blocks = scan.blocks();
    let line = "sensor = { family = \"atc\", serial = \"a4c138012345\" }\n";
    assert!(blocks.contains(line) && !blocks.contains("address"), "{blocks}");
    assert_eq!(blocks.matches("[[fixture]]").count(), 1, "it is one sensor: {blocks}");
    let pasted = blocks.split_once("it is:\n").unwrap().1;
    assert!(load(scan.folder.path(), &format!("{CONFIGURATION}{pasted}")).is_ok());
}

#[test]
fn a_name_that_was_cut_short_is_shown_and_does_not_make_a_sensor_known() {
    let mut scan = Scan::new();
    let (short, bthome): (&[u8], &[u8]) =
        (&[4, 0x08, b'A', b'B', b'C'], &[6, 0x16, 0xd2, 0xfc, 0x40, 0x01, 0x5d]);
    scan.hear(0, (HIDDEN, Random), -50, &[short, bthome]);
    let blocks = scan.blocks();
    assert!(scan.table().contains("ABC") && !blocks.contains("name ="), "{blocks}");
    assert!(blocks.contains("may change") && blocks.contains("address = \"5F:"), "{blocks}");
}

#[test]
fn an_encrypted_sensor_says_what_it_needs_and_where_the_key_goes() {
    let mut scan = Scan::new();
    scan.hear(0, (NEW, Public), -50, &[ENCRYPTED]);
    assert!(scan.table().contains("encrypted: needs its key"), "{}", scan.table());
    let blocks = scan.blocks();
    for part in ["fixture-key-bthome-1", "# bind_key_file = \"/etc/beacon-gateway/bthome-1.key\""] {
        assert!(blocks.contains(part), "{blocks}");
    }
    let json = scan.finder.json(Uptime::from_micros(2_000_000));
    let sensor = &json["sensors"][0];
    assert_eq!(sensor["encrypted"], true);
    assert_eq!(sensor["address"], "A4:C1:38:00:00:02");
    assert_eq!((&sensor["rssi_loudest"], &sensor["ago_s"]), (&(-50).into(), &2.into()));
    assert!(sensor["toml"].as_str().unwrap().contains("[[fixture]]"));
}

#[test]
fn of_many_only_those_near_the_antenna_are_pasted() {
    let mut scan = Scan::new();
    let bthome: &[u8] = &[6, 0x16, 0xd2, 0xfc, 0x40, 0x01, 0x5d];
    for n in 0..10 {
        let dbm = if n == 7 { -45 } else { -85 };
        scan.hear(0, ([0xa4, 0xc1, 0x38, 0, 1, n], Public), dbm, &[bthome]);
    }
    let blocks = scan.blocks();
    assert_eq!(blocks.matches("[[fixture]]").count(), 1, "{blocks}");
    assert!(blocks.contains("A4:C1:38:00:01:07") && blocks.contains("9 more are new"), "{blocks}");
}

#[test]
fn more_sensors_than_are_kept_are_counted() {
    let mut scan = Scan::new();
    let bthome: &[u8] = &[6, 0x16, 0xd2, 0xfc, 0x40, 0x01, 0x5d];
    for n in 0..=u8::MAX {
        for m in 0..4 {
            scan.hear(0, ([0xa4, 0xc1, 0x38, 1, m, n], Public), -50, &[bthome]);
        }
    }
    assert_eq!(scan.finder.sensors.len(), MOST_SENSORS);
    assert!(scan.table().contains("512 of more sensors than are kept"), "{}", scan.table());
}

#[test]
fn a_name_that_would_write_on_the_terminal_is_not_shown() {
    for (name, expected) in [
        (&b"Fridge 1"[..], Some("Fridge 1")),
        (b"ATC_1234\0\0", Some("ATC_1234")),
        (b"\x1b[2J", None),
        (b"a\nid = 1", None),
        ("a\u{202e}b".as_bytes(), None),
        (b"\xff", None),
        (b"", None),
    ] {
        assert_eq!(shown(name).as_deref(), expected, "{name:?}");
    }
    let mut scan = Scan::new();
    let quote: &[u8] = &[5, 0x09, b'a', b'"', b'\\', b'b'];
    scan.hear(0, (HIDDEN, Random), -50, &[quote, &[6, 0x16, 0xd2, 0xfc, 0x40, 0x01, 0x5d]]);
    assert!(scan.blocks().contains(r#"name = "a\"\\b""#), "{}", scan.blocks());
}

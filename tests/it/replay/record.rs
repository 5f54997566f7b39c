//! What is recorded can be replayed, and tells nothing of strangers.

use std::{fs, os::unix::fs::PermissionsExt};

use beacon_gateway::{
    engine::{
        AddressKind, Advertisement, ClockQuality, DeviceAddress, ReceiverId, Rssi, UnixTime,
        Uptime, WallClock,
    },
    scan::{
        record::{RecordError, Recorder, Whose, Written},
        replay,
    },
};

const WALL: WallClock = WallClock {
    at: Uptime::from_micros(3_000_000),
    unix: UnixTime::from_millis(1_763_722_502_417),
    quality: ClockQuality::Synced,
};

fn advertisement(micros: i64, first: u8, rssi: Option<i8>, data: &[u8]) -> Advertisement {
    let address = DeviceAddress::new([first, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5], AddressKind::Random);
    let receiver = ReceiverId::new("a \"quoted\" door");
    Advertisement::new(Uptime::from_micros(micros), receiver, address, rssi.map(Rssi), data)
}

#[test]
fn what_is_known_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known.jsonl");
    let heard = [
        advertisement(3_000_000, 0xc1, Some(-60), &[2, 1, 6]),
        advertisement(3_000_001, 0xc2, None, &[]),
        advertisement(7_250_000, 0x41, Some(-127), &[9; 1650]),
    ];
    let mut recorder = Recorder::create(&path, WALL).unwrap();
    for heard in &heard {
        recorder.write(heard, Whose::Known).unwrap();
    }
    assert_eq!(recorder.finish().unwrap(), Written { known: 3, ..Written::default() });

    let recording = replay::open(&path).unwrap();
    assert_eq!(recording.started_unix(), Some(WALL.unix));
    let replayed: Vec<_> = recording.starting_at(WALL.at).map(Result::unwrap).collect();
    assert_eq!(replayed, heard);
}

#[test]
fn of_a_stranger_nothing_is_written_but_the_shape() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strangers.jsonl");
    let address = [0xc1, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5];
    let reversed: Vec<_> = address.iter().rev().copied().collect();
    let data = [&[2, 1, 6, 23, 0xff, 0x99, 0x04, 5][..], &reversed, b"Alicia's", &address].concat();
    let heard = advertisement(3_000_000, 0xc1, Some(-60), &data);
    let other = advertisement(4_000_000, 0xc2, Some(-70), &data);
    let health = advertisement(4_000_000, 0xc3, Some(-70), &[3, 3, 0x08, 0x18]);

    let mut recorder = Recorder::create(&path, WALL).unwrap();
    for heard in [&heard, &other, &health, &heard] {
        recorder.write(heard, Whose::Stranger).unwrap();
    }
    let expected = Written { strangers: 3, left_out: 1, ..Written::default() };
    assert_eq!(recorder.finish().unwrap(), expected);

    let text = fs::read_to_string(&path).unwrap().to_lowercase();
    let secrets = [&address[..], &reversed, &address[1..], b"Alicia", b"cia's"].map(hex::encode);
    let colons = secrets[0].as_bytes().chunks(2).map(|octet| str::from_utf8(octet).unwrap());
    for secret in secrets.iter().chain([&colons.collect::<Vec<_>>().join(":")]) {
        assert!(!text.contains(secret), "{secret} in {text}");
    }

    let replayed: Vec<_> = replay::open(&path).unwrap().map(Result::unwrap).collect();
    let [first, second, again] = &replayed[..] else { panic!("{}", replayed.len()) };
    assert_eq!((first.address(), first.data()), (again.address(), again.data()), "stable");
    assert_ne!(first.address(), second.address(), "distinct");
    assert_eq!(first.address().octets()[0] >> 6, 0b11, "still static");
    assert_eq!((first.rssi, first.data().len()), (heard.rssi, heard.data().len()));
    assert_eq!(first.data()[..7], data[..7], "flags and company");
    let fake: Vec<_> = first.address().octets().iter().rev().copied().collect();
    assert_eq!(
        first.data()[8..14],
        fake,
        "the data repeats the fake where it repeated the address"
    );
}

#[test]
fn fakes_of_two_recordings_have_nothing_in_common() {
    let folder = tempfile::tempdir().unwrap();
    let fakes = ["one", "two"].map(|name| {
        let path = folder.path().join(name);
        let mut recorder = Recorder::create(&path, WALL).unwrap();
        let heard = advertisement(3_000_000, 0xc1, None, b"\x09\x09a name of");
        recorder.write(&heard, Whose::Stranger).unwrap();
        recorder.finish().unwrap();
        let fake = replay::open(&path).unwrap().next().unwrap().unwrap();
        (fake.address().octets()[1..].to_vec(), fake.data()[2..].to_vec())
    });
    assert_ne!(fakes[0].0, fakes[1].0);
    assert_ne!(fakes[0].1, fakes[1].1);
}

#[test]
fn the_file_is_for_its_owner_alone_and_never_replaces_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.jsonl");
    Recorder::create(&path, WALL).unwrap().finish().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(replay::open(&path).unwrap().count(), 0);

    let error = Recorder::create(&path, WALL).unwrap_err();
    assert!(matches!(error, RecordError::Create { .. }));
    assert!(error.to_string().contains("a name that is not taken"), "{error}");
}

#[test]
fn a_clock_that_nobody_vouches_for_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unsynced.jsonl");
    let wall = WallClock { quality: ClockQuality::Unsynced, ..WALL };
    Recorder::create(&path, wall).unwrap().finish().unwrap();
    assert_eq!(replay::open(&path).unwrap().started_unix(), None);
}

#[test]
fn a_folder_that_does_not_exist_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let error = Recorder::create(&folder.path().join("none").join("file"), WALL).unwrap_err();
    assert!(matches!(error, RecordError::Create { .. }));
    assert!(error.to_string().contains("none/file"), "{error}");
}

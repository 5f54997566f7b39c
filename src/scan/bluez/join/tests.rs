//! Pieces as bluetoothd tells them, and the advertisements that they were.

use super::*;

const TAG: Octets = [0xc0, 1, 2, 3, 4, 5];
const PHONE: Octets = [0x5a, 9, 9, 9, 9, 9];
const IBEACON: &str = "06ff4c00021501";
const UID: &str = "0516aafe00ee";

fn at(millis: u64) -> Uptime {
    Uptime::ZERO + Duration::from_millis(millis)
}

fn manufacturer(company: u16, data: &[u8]) -> Piece {
    Piece::Manufacturer(BTreeMap::from([(company, data.to_vec())]))
}

fn ibeacon() -> Piece {
    manufacturer(0x004c, &[0x02, 0x15, 0x01])
}

fn eddystone() -> Uuid {
    Uuid::from_u128(0x0000_feaa_0000_1000_8000_0080_5f9b_34fb)
}

fn uid() -> Piece {
    Piece::ServiceData(BTreeMap::from([(eddystone(), vec![0x00, 0xee])]))
}

/// What came out, as `milliseconds first-octet dBm data`.
fn out(join: &mut Join) -> Vec<String> {
    std::iter::from_fn(|| join.poll())
        .map(|whole| {
            let [first, ..] = whole.address.octets();
            let rssi = whole.rssi.map_or("?".to_owned(), |rssi| rssi.0.to_string());
            let millis = whole.heard.as_micros() / 1000;
            format!("{millis} {first:02x} {rssi} {}", hex::encode(&whole.data))
        })
        .collect()
}

/// Lets the timers run dry and says what came out.
fn rest(join: &mut Join) -> Vec<String> {
    let mut lines = out(join);
    while let Some(due) = join.poll_timeout() {
        join.handle_timeout(due);
        lines.extend(out(join));
    }
    lines
}

fn fed<const N: usize>(pieces: [(u64, Octets, Piece); N]) -> Join {
    let mut join = Join::new(at(0));
    for (millis, octets, piece) in pieces {
        join.handle_timeout(at(millis));
        join.piece(at(millis), octets, piece);
    }
    join
}

#[test]
fn the_pieces_of_one_signal_are_one_advertisement() {
    let mut join = fed([
        (10, TAG, Piece::Rssi(-60)),
        (12, TAG, ibeacon()),
        (14, TAG, uid()),
        (16, TAG, Piece::Services(vec![eddystone()])),
    ]);
    assert_eq!(rest(&mut join), [format!("10 c0 -60 0302aafe{IBEACON}{UID}")]);
}

#[test]
fn loudness_alone_is_an_advertisement_without_data() {
    let mut join = fed([(10, TAG, Piece::Rssi(-60)), (20, TAG, Piece::Rssi(-61))]);
    assert_eq!(rest(&mut join), ["10 c0 -60 ", "20 c0 -61 "]);
}

#[test]
fn a_loudness_that_the_controller_could_not_tell_is_none() {
    let mut join = fed([(10, TAG, Piece::Rssi(127)), (12, TAG, ibeacon())]);
    assert_eq!(rest(&mut join), [format!("10 c0 ? {IBEACON}")]);
    let mut join = fed([(10, TAG, Piece::Rssi(-3000)), (12, TAG, ibeacon())]);
    assert_eq!(rest(&mut join), [format!("10 c0 ? {IBEACON}")]);
}

#[test]
fn data_alone_is_as_loud_as_the_device_was_last() {
    let mut join = fed([(10, TAG, ibeacon())]);
    assert_eq!(rest(&mut join), [format!("10 c0 ? {IBEACON}")]);
    let mut join = fed([(10, TAG, Piece::Rssi(-60)), (1000, TAG, ibeacon()), (2000, TAG, uid())]);
    assert_eq!(
        rest(&mut join),
        ["10 c0 -60 ".to_owned(), format!("1000 c0 -60 {IBEACON}"), format!("2000 c0 -60 {UID}")]
    );
}

#[test]
fn devices_that_alternate_are_kept_apart() {
    let mut join = fed([
        (10, TAG, Piece::Rssi(-60)),
        (11, TAG, ibeacon()),
        (12, PHONE, Piece::Rssi(-80)),
        (13, PHONE, manufacturer(0x0075, &[1])),
        (14, TAG, uid()),
    ]);
    assert_eq!(
        rest(&mut join),
        [
            format!("10 c0 -60 {IBEACON}"),
            "12 5a -80 04ff750001".to_owned(),
            format!("14 c0 -60 {UID}")
        ]
    );
}

#[test]
fn data_of_an_earlier_advertisement_is_never_heard_again() {
    let mut join = fed([
        (10, TAG, Piece::Rssi(-60)),
        (11, TAG, ibeacon()),
        (20, TAG, Piece::Rssi(-61)),
        (21, TAG, uid()),
        (30, TAG, Piece::Rssi(-62)),
        (40, TAG, Piece::Rssi(-63)),
        (41, TAG, manufacturer(0x0499, &[5])),
    ]);
    assert_eq!(
        rest(&mut join),
        [
            format!("10 c0 -60 {IBEACON}"),
            format!("20 c0 -61 {UID}"),
            "30 c0 -62 ".to_owned(),
            "40 c0 -63 04ff990405".to_owned()
        ]
    );
}

#[test]
fn no_piece_is_held_longer_than_the_bound() {
    let mut join = fed([(10, TAG, Piece::Rssi(-60))]);
    assert_eq!(join.poll_timeout(), Some(at(10) + HOLD));
    join.handle_timeout(at(109));
    assert_eq!(out(&mut join), Vec::<String>::new());
    join.handle_timeout(at(110));
    assert_eq!(out(&mut join), ["10 c0 -60 "]);
    // What belonged to it and comes late stands alone.
    join.piece(at(111), TAG, ibeacon());
    assert_eq!(rest(&mut join), [format!("111 c0 -60 {IBEACON}")]);
}

#[test]
fn a_late_timer_does_not_join_what_is_far_apart() {
    let mut join = Join::new(at(0));
    join.piece(at(10), TAG, Piece::Rssi(-60));
    join.piece(at(500), TAG, ibeacon());
    assert_eq!(rest(&mut join), ["10 c0 -60 ".to_owned(), format!("500 c0 -60 {IBEACON}")]);
}

fn properties() -> Properties {
    Properties {
        kind: Some(AddressKind::Random),
        rssi: Some(-70),
        manufacturer: BTreeMap::from([(0x004c, vec![0x02, 0x15, 0x01])]),
        name: Some("Tag".to_owned()),
        tx_power: Some(-12),
        ..Properties::default()
    }
}

#[test]
fn the_first_advertisement_counts_from_the_moment_of_discovery() {
    let mut join = Join::new(at(0));
    let ask = join.discovered(at(10), TAG);
    assert!(ask.is_discovery());
    // btleplug names the services of a discovered device at once; that is no advertisement.
    assert!(join.piece(at(11), TAG, Piece::Services(vec![eddystone()])).is_none());
    assert_eq!(out(&mut join), Vec::<String>::new());
    let known = Properties { services: vec![eddystone()], ..properties() };
    join.properties(at(15), &ask, known);
    assert_eq!(rest(&mut join), [format!("10 c0 -70 0302aafe{IBEACON}0409546167020af4")]);
}

#[test]
fn properties_that_are_older_than_what_was_heard_since_are_not_told() {
    let mut join = Join::new(at(0));
    let ask = join.discovered(at(10), TAG);
    join.piece(at(20), TAG, Piece::Rssi(-60));
    join.piece(at(21), TAG, uid());
    join.handle_timeout(at(130));
    join.properties(at(140), &ask, properties());
    assert_eq!(rest(&mut join), [format!("20 c0 -60 {UID}")]);
}

#[test]
fn a_late_answer_does_not_turn_time_back() {
    let mut join = Join::new(at(0));
    let ask = join.discovered(at(10), TAG);
    join.piece(at(50), PHONE, Piece::Rssi(-80));
    join.handle_timeout(at(160));
    join.properties(at(170), &ask, properties());
    let told = rest(&mut join);
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("50 5a") && told[1].starts_with("50 c0"), "{told:?}");
}

#[test]
fn properties_without_loudness_are_left_over_from_an_earlier_scan() {
    let mut join = Join::new(at(0));
    let ask = join.discovered(at(10), TAG);
    join.properties(at(15), &ask, Properties { rssi: None, ..properties() });
    assert_eq!(rest(&mut join), Vec::<String>::new());
}

#[test]
fn an_unknown_device_is_asked_about_once_and_its_properties_are_no_advertisement() {
    let mut join = Join::new(at(0));
    let ask = join.piece(at(10), TAG, Piece::Rssi(-60)).unwrap();
    assert!(!ask.is_discovery());
    assert!(join.piece(at(11), TAG, ibeacon()).is_none());
    join.properties(at(15), &ask, properties());
    assert_eq!(rest(&mut join), [format!("10 c0 -60 {IBEACON}")]);
}

#[test]
fn the_kind_of_an_address_is_guessed_until_it_is_known() {
    // A public address with the top bits of a static random one.
    let mut join = Join::new(at(0));
    let ask = join.piece(at(10), TAG, Piece::Rssi(-60)).unwrap();
    join.piece(at(20), TAG, Piece::Rssi(-61));
    join.properties(
        at(21),
        &ask,
        Properties { kind: Some(AddressKind::Public), ..Properties::default() },
    );
    join.piece(at(30), TAG, Piece::Rssi(-62));
    join.handle_timeout(at(200));
    let kinds: Vec<_> =
        std::iter::from_fn(|| join.poll()).map(|whole| whole.address.kind()).collect();
    assert_eq!(kinds, [AddressKind::Random, AddressKind::Public, AddressKind::Public]);
    assert_eq!(likely_kind([0x00, 0x1b, 0xdc, 0, 0, 5]), AddressKind::Public);
}

#[test]
fn a_rediscovered_device_starts_anew() {
    let mut join = Join::new(at(0));
    for millis in [10, 40_010] {
        join.handle_timeout(at(millis));
        let ask = join.discovered(at(millis), TAG);
        join.properties(at(millis + 5), &ask, properties());
    }
    let told = rest(&mut join);
    assert_eq!(told.len(), 2);
    assert!(told[1].starts_with("40010 c0 -70"), "{told:?}");
}

#[test]
fn a_device_counts_as_traffic_once_in_ten_seconds() {
    let mut join = Join::new(at(0));
    let mut fresh = 0;
    for second in 0..60 {
        for repeat in 0..10 {
            let now = at(second * 1000 + repeat * 100);
            join.handle_timeout(now);
            join.piece(now, TAG, Piece::Rssi(-60));
            fresh += std::iter::from_fn(|| join.poll()).filter(|whole| whole.fresh).count();
        }
    }
    assert_eq!(fresh, 6);
}

#[test]
fn whatever_is_interleaved_every_piece_of_data_is_told_once_and_of_its_own_device() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut join = Join::new(at(0));
        let mut sent = Vec::new();
        let mut told = Vec::new();
        let mut latest = at(0);
        let mut millis = 0;
        for number in 0..500_u16 {
            millis += random.u64(0..150);
            let device = random.u8(0..4);
            let octets = [0xc0, 0, 0, 0, 0, device];
            join.handle_timeout(at(millis));
            let [high, low] = number.to_be_bytes();
            if random.bool() {
                join.piece(at(millis), octets, Piece::Rssi(-60));
            }
            if random.bool() {
                join.piece(at(millis), octets, manufacturer(0x0059, &[device, high, low]));
                sent.push(format!("{device}: 06ff5900{device:02x}{number:04x}"));
            }
            while let Some(whole) = join.poll() {
                assert!(whole.heard >= latest, "seed {seed}: time ran backwards");
                latest = whole.heard;
                let [.., device] = whole.address.octets();
                if !whole.data.is_empty() {
                    told.push(format!("{device}: {}", hex::encode(&whole.data)));
                }
            }
        }
        join.handle_timeout(at(millis) + HOLD);
        while let Some(whole) = join.poll() {
            let [.., device] = whole.address.octets();
            if !whole.data.is_empty() {
                told.push(format!("{device}: {}", hex::encode(&whole.data)));
            }
        }
        assert_eq!(told, sent, "seed {seed}");
    }
}

use super::{super::rotating::tests::subjects, *};

/// What a beacon sends in its n-th period.
pub(in crate::engine::identity) fn sent(identifier: &Identifier, period: u32) -> [u8; 8] {
    beacon(identifier).eid(period)
}

fn beacon(identifier: &Identifier) -> Beacon {
    let Identifier::EddystoneEid { identity_key, rotation_exponent, clock_zero } = *identifier
    else {
        panic!("not a beacon")
    };
    let drift = Drift::default();
    Beacon { key: identity_key, rotation_exponent, clock_zero, drift }
}

fn key(text: &str) -> Key {
    let mut octets = [0; 16];
    hex::decode_to_slice(text, &mut octets).unwrap();
    Key::new(octets)
}

fn eid(text: &str) -> [u8; 8] {
    let mut octets = [0; 8];
    hex::decode_to_slice(text, &mut octets).unwrap();
    octets
}

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Published test vectors: identity key, exponent, beacon time in seconds, identifier.
const VECTORS: [(&str, u8, i64, &str); 3] = [
    ("7c91330e61dfea4606b5b3ecb4457d76", 0, 0, "436bfe57d5a09505"),
    ("0102030405060708090a111213141516", 10, 0, "a9b76a71c5f89290"),
    ("0102030405060708090a111213141516", 10, 2000, "4144413e45fefa58"),
];

/// A room with one beacon in it, and the clocks of the shop and of the beacon.
struct Shop {
    tables: EidTables,
    beacon: Beacon,
    /// By how much the beacon's clock is ahead, in milliseconds.
    ahead: i64,
    synced: bool,
    /// The wall clock at uptime zero.
    origin: i64,
}

impl Shop {
    fn new(exponent: u8, window: i64) -> Self {
        Self::of(key(VECTORS[1].0), exponent, UnixTime::default(), window)
    }

    fn of(key: Key, exponent: u8, clock_zero: UnixTime, window: i64) -> Self {
        let window = Duration::from_millis(window.unsigned_abs());
        let mut tables = EidTables::new(window, Duration::from_hours(24));
        let [subject, ..] = subjects();
        tables.insert(subject, key, exponent, clock_zero);
        let drift = Drift::default();
        let beacon = Beacon { key, rotation_exponent: exponent, clock_zero, drift };
        Self { tables, beacon, ahead: 0, synced: true, origin: 0 }
    }

    /// Lets the clock come to a time, with all work done.
    fn turn(&mut self, unix: i64) {
        let now = Uptime::from_micros((unix - self.origin) * 1000);
        self.tables.turn(now, UnixTime::from_millis(unix), self.synced);
        (0..100_000).find(|_| self.tables.build(1000) == Pending::Nothing).unwrap();
    }

    /// The period in which the beacon is at a time, by its own clock.
    fn period(&self, unix: i64) -> u32 {
        let reading = self.beacon.elapsed(unix) + self.ahead;
        u32::try_from(reading.div_euclid(1000)).unwrap() >> self.beacon.rotation_exponent
    }

    /// Hears what the beacon sends at a time; whether it was recognised, and by the wide window.
    fn hear(&mut self, unix: i64) -> Option<bool> {
        let period = self.period(unix);
        self.replay(unix, period)
    }

    /// Hears, at a time, what the beacon sends in a period.
    fn replay(&mut self, unix: i64, period: u32) -> Option<bool> {
        self.turn(unix);
        self.tables.resolve(self.beacon.eid(period)).map(|found| found.wide_window)
    }

    fn entries(&self) -> usize {
        self.tables.slots.iter().map(|slot| slot.table.len()).sum()
    }
}

const FOUND: Option<bool> = Some(false);
const FOUND_WIDE: Option<bool> = Some(true);

/// A time at which a period of every exponent begins: 32,768 s times as much.
const EDGE: i64 = 32_768 * 54_000 * SECOND;

#[test]
fn published_identifiers_are_recognised_at_their_time() {
    for (text, exponent, time, identifier) in VECTORS {
        let zero = UnixTime::from_millis(1_700_000_000 * SECOND);
        let mut shop = Shop::of(key(text), exponent, zero, 0);
        shop.turn(zero.as_millis() + time * SECOND);
        assert!(shop.tables.resolve(eid(identifier)).is_some(), "{identifier}");
    }
}

#[test]
fn the_published_temporary_key_is_derived() {
    let beacon = Shop::of(key(VECTORS[0].0), 0, UnixTime::default(), 0).beacon;
    assert_eq!(hex::encode(temporary_key(&beacon.key, 0)), "4d7ad123b3f67bb3c7ac3ffd02599f6a");
}

#[test]
fn an_identifier_counts_for_its_period_and_the_window_around_it_and_no_longer() {
    for exponent in [0, 1, 5, 10, 15] {
        let period = 1 << exponent;
        let number = u32::try_from(EDGE / SECOND / period).unwrap();
        for (offset, counts) in [
            (-61, false),
            (-60, true),
            (-1, true),
            (0, true),
            (period - 1, true),
            (period + 59, true),
            (period + 60, false),
        ] {
            // A shop of its own each: one that has heard it narrows the window.
            let mut shop = Shop::new(exponent, MINUTE);
            let found = shop.replay(EDGE + offset * SECOND, number);
            assert_eq!(found.is_some(), counts, "exponent {exponent}, {offset} s");
        }
    }
}

#[test]
fn the_epochs_edges_are_exact_to_the_millisecond() {
    let number = u32::try_from(EDGE / SECOND / 1024).unwrap();
    for (offset, counts) in [(-1, false), (0, true), (1_023_999, true), (1_024_000, false)] {
        let found = Shop::new(10, 0).replay(EDGE + offset, number);
        assert_eq!(found.is_some(), counts, "{offset} ms");
    }
}

#[test]
fn a_beacon_that_drifts_is_followed_for_months() {
    for (exponent, ppm) in [(10, 150), (10, -150), (4, 150), (4, -150), (15, 150), (0, -149)] {
        // Half a year at 150 ppm is forty minutes: four times the window.
        let mut shop = Shop::new(exponent, 10 * MINUTE);
        let (mut heard, mut missed) = (0, Vec::new());
        // Each day for half an hour, every 97 seconds.
        for day in 0..180 {
            for n in 0..20 {
                let unix = EDGE + day * DAY + n * 97 * SECOND;
                shop.ahead = (unix - EDGE) * ppm / 1_000_000;
                match shop.hear(unix) {
                    Some(_) => heard += 1,
                    None => missed.push((day, n)),
                }
            }
        }
        assert!(missed.is_empty(), "exponent {exponent}, {ppm} ppm: {missed:?}");
        assert_eq!(heard, 180 * 20);
    }
}

#[test]
fn a_beacon_that_is_not_heard_for_weeks_is_found_again() {
    for ppm in [150, -150] {
        for exponent in [0, 4, 10] {
            let mut shop = Shop::new(exponent, 10 * MINUTE);
            // 600 s at 150 ppm are 46 days.
            for day in [0, 1, 7, 28, 50, 92, 93, 135, 180] {
                let unix = EDGE + day * DAY;
                shop.ahead = (unix - EDGE) * ppm / 1_000_000;
                assert_eq!(shop.hear(unix), FOUND, "exponent {exponent}, {ppm} ppm, day {day}");
            }
        }
    }
}

#[test]
fn a_beacon_that_is_heard_needs_a_narrow_window() {
    let mut shop = Shop::new(0, 10 * MINUTE);
    shop.turn(EDGE);
    let before = shop.entries();
    shop.ahead = 300 * SECOND;
    for n in 0..600 {
        assert_eq!(shop.hear(EDGE + n * SECOND), FOUND);
    }
    assert_eq!(before, 2 * 1321);
    // Two minutes, a second for the period and four seconds of slack.
    assert!(shop.entries() <= 2 * 130, "{}", shop.entries());
}

#[test]
fn a_recording_counts_for_no_longer_than_the_clock_is_known_to_be_behind() {
    let mut shop = Shop::new(10, 10 * MINUTE);
    let number = u32::try_from(EDGE / SECOND / 1024).unwrap();
    // The beacon was heard on both sides of an edge: its clock is right to a second.
    assert_eq!(shop.hear(EDGE - SECOND), FOUND);
    assert_eq!(shop.hear(EDGE), FOUND);
    for (seconds, counts) in [(1, true), (3, false), (60, false), (599, false), (86_400, false)] {
        let found = shop.replay(EDGE + seconds * SECOND, number - 1);
        assert_eq!(found.is_some(), counts, "{seconds} s later");
        assert_eq!(shop.hear(EDGE + seconds * SECOND), FOUND, "the beacon itself is found");
    }
}

#[test]
fn a_recording_cannot_hide_the_beacon_for_long() {
    // A stranger is the first to be heard, with a recording ten minutes old, and goes on.
    let mut shop = Shop::new(0, 10 * MINUTE);
    for n in 0..60 {
        let recorded = shop.period(EDGE + n * SECOND - 590 * SECOND);
        assert_eq!(shop.replay(EDGE + n * SECOND, recorded), FOUND);
    }
    assert_eq!(shop.hear(EDGE + MINUTE), None, "as long as that is believed");
    let later = EDGE + 2 * HOUR;
    assert_eq!(shop.hear(later), FOUND);
    // From then on it is known that the clock has come farther than the recording says.
    let recorded = shop.period(later - 590 * SECOND);
    assert_eq!(shop.replay(later + SECOND, recorded), None);
    assert_eq!(shop.hear(later + SECOND), FOUND);
}

#[test]
fn a_recording_played_on_and_on_does_not_drag_the_clock_along() {
    let mut shop = Shop::new(10, 10 * MINUTE);
    shop.hear(EDGE - SECOND);
    shop.hear(EDGE);
    let before = shop.period(EDGE - SECOND);
    let last = (0..2000).filter(|n| shop.replay(EDGE + n * 500, before).is_some()).max().unwrap();
    assert!(last <= 4, "{last} half seconds");
    assert_eq!(shop.hear(EDGE + 2000 * 500), FOUND);
}

#[test]
fn the_age_of_a_beacon_allows_for_its_drift_where_it_is_known() {
    // Half a year old and never heard: off by forty minutes, which is more than the window.
    let (zero, now) = (UnixTime::from_millis(EDGE), EDGE + 180 * DAY);
    for ppm in [149, -149] {
        let mut shop = Shop::of(key(VECTORS[1].0), 4, zero, 10 * MINUTE);
        shop.ahead = 180 * DAY * ppm / 1_000_000;
        assert_eq!(shop.hear(now), FOUND, "{ppm} ppm");
    }
    let mut shop = Shop::new(4, 10 * MINUTE);
    shop.ahead = 180 * DAY * 149 / 1_000_000;
    assert_eq!(shop.hear(now), None, "nobody said how old it is");
}

#[test]
fn while_the_clock_is_not_synced_a_wider_window_is_searched_and_nothing_is_learned() {
    let mut shop = Shop::new(10, 10 * MINUTE);
    shop.synced = false;
    assert_eq!(shop.hear(EDGE), FOUND);
    for hours in [-24, -5, 1, 23] {
        // It is our clock that is wrong.
        shop.ahead = hours * HOUR;
        assert_eq!(shop.hear(EDGE), FOUND_WIDE, "{hours} h");
    }
    shop.ahead = 26 * HOUR;
    assert_eq!(shop.hear(EDGE), None);
    shop.ahead = 5 * HOUR;
    shop.synced = true;
    assert_eq!(shop.hear(EDGE), None, "the clock is right, and the beacon's is not");
    shop.ahead = 0;
    assert_eq!(shop.hear(EDGE), FOUND, "what was heard before has spoilt nothing");
}

#[test]
fn a_clock_that_is_stepped_spoils_nothing() {
    let mut shop = Shop::new(4, 10 * MINUTE);
    for n in 0..100 {
        assert_eq!(shop.hear(EDGE + n * SECOND), FOUND);
    }
    // The clock was nine minutes slow and is put right; then it is set back by a day, and right
    // again.
    for (step, found) in [(9 * MINUTE, FOUND), (-DAY, None), (DAY, FOUND)] {
        shop.origin += step;
        shop.ahead -= step;
        assert_eq!(shop.hear(EDGE + 100 * SECOND + shop.origin), found, "{step}");
    }
}

#[test]
fn fast_rotation_is_bounded_and_what_is_nearest_is_searched_first() {
    let mut tables = EidTables::new(Duration::from_mins(10), Duration::from_hours(24));
    let [subject, ..] = subjects();
    for n in 0..4000_u32 {
        let mut octets = [9; 16];
        octets[..4].copy_from_slice(&n.to_be_bytes());
        tables.insert(subject, Key::new(octets), 0, UnixTime::default());
    }
    let turn = |tables: &mut EidTables, unix| {
        let now = Uptime::from_micros(unix * 1000);
        tables.turn(now, UnixTime::from_millis(unix), true);
        let slices = (1..1000).find(|_| tables.build(10_000) == Pending::Nothing).unwrap();
        let entries: usize = tables.slots.iter().map(|slot| slot.table.len()).sum();
        assert!(entries <= 2 * ENTRIES, "{entries}");
        slices
    };
    let slices = turn(&mut tables, EDGE);
    assert!(slices <= 2 * ENTRIES / 10_000 + 2, "{slices} slices of bounded size");
    let octets = tables.octets();
    assert!(octets < 36_000_000, "{octets}");
    // 262 seconds are searched, of which the table serves 120: 71 to either side are left.
    let found = |tables: &mut EidTables, place, ahead: i64| {
        let (_, beacon) = tables.beacons.get(place).unwrap();
        let period = u32::try_from(EDGE / SECOND + 60 + ahead).unwrap();
        let eid = beacon.eid(period);
        tables.resolve(eid).is_some()
    };
    turn(&mut tables, EDGE + MINUTE);
    for place in [0, 1999, 3999] {
        assert!(found(&mut tables, place, 0));
    }
    assert!(found(&mut tables, 7, 130) && found(&mut tables, 8, -130));
    assert!(!found(&mut tables, 9, 140) && !found(&mut tables, 10, -140));
}

#[test]
fn the_usual_rotation_takes_little_memory() {
    let mut tables = EidTables::new(Duration::from_mins(10), Duration::from_hours(24));
    let [subject, ..] = subjects();
    for n in 0..35_000_u32 {
        let mut octets = [9; 16];
        octets[..4].copy_from_slice(&n.to_be_bytes());
        tables.insert(subject, Key::new(octets), 10, UnixTime::default());
    }
    tables.turn(Uptime::ZERO, UnixTime::from_millis(EDGE), true);
    while tables.build(10_000) != Pending::Nothing {}
    let octets = tables.octets();
    assert!(octets < 9_000_000, "{octets}");
}

#[test]
fn a_beacon_before_its_time_and_one_whose_clock_has_run_out_are_no_panic() {
    for now in [i64::MIN, -DAY, 0, 1 << 42, i64::MAX] {
        let zero = UnixTime::from_millis(1_700_000_000 * SECOND);
        for exponent in 0..=15 {
            let mut shop = Shop::of(key(VECTORS[1].0), exponent, zero, DAY);
            let clock = UnixTime::from_millis(now);
            shop.tables.turn(Uptime::ZERO, clock, true);
            shop.tables.build(1000);
            shop.tables.resolve([0; 8]);
            shop.tables.turn(Uptime::from_micros(i64::MAX), clock, false);
            shop.tables.build(1000);
        }
    }
}

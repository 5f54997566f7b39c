//! Counting everybody: crowds that are known beforehand through the whole engine.

mod crowd;
mod rotation;

use std::time::Duration;

use beacon_gateway::engine::{
    ClockQuality, Count, DeafCause, Engine, FootfallSeed, FootfallSettings, RadioState, ReceiverId,
    UnixTime, Uptime, WallClock,
};

use crowd::{Heard, Shop, device, shop};

const BIN: Duration = Duration::from_mins(15);

/// 2026-11-21T10:00:00Z.
const TEN: i64 = 1_795_255_200_000;

#[test]
fn a_crowd_is_counted_within_the_error_of_the_sketch_and_the_rounding() {
    for size in [12_u32, 40, 150, 600, 3000] {
        let mut shop = shop(15);
        for n in 0..size {
            let at = s(i64::from(n % 890));
            shop.hear(at, device(n), "local", -60);
            // Whoever is heard again is not counted again.
            shop.hear(at, device(n), "local", -61);
        }
        let counts = shop.until(s(900));
        let counted = of(&counts, "shop").addresses.unwrap();
        // Three standard errors of 1.6 %, and half a step of rounding.
        let allowed = f64::from(size) * 0.048 + 2.5;
        let off = (f64::from(counted) - f64::from(size)).abs();
        assert!(off <= allowed, "{counted} of {size}");
        assert_eq!(counted % 5, 0, "rounded");
    }
}

#[test]
fn fewer_than_ten_are_not_told_and_neither_is_nobody() {
    for size in 0..10 {
        let mut shop = shop(15);
        (0..size).for_each(|n| shop.hear(s(5), device(n), "local", -60));
        let counts = shop.until(s(900));
        assert_eq!(counts.len(), 2, "every zone has its count, heard or not");
        for count in counts {
            assert_eq!((count.addresses, count.busiest_minute), (None, None), "{size}");
        }
    }
    // The busiest minute is suppressed by itself.
    let mut shop = shop(15);
    (0..40).for_each(|n| shop.hear(s(i64::from(n) * 20), device(n), "local", -60));
    let count = of(&shop.until(s(900)), "shop");
    assert_eq!((count.addresses, count.busiest_minute), (Some(40), None));
}

#[test]
fn a_higher_k_suppresses_more() {
    let settings = FootfallSettings { k: 25, ..settings() };
    let mut shop = Shop::new(settings, wall(TEN));
    (0..20).for_each(|n| shop.hear(s(5), device(n), "local", -60));
    let count = of(&shop.until(s(900)), "shop");
    assert_eq!((count.addresses, count.k), (None, 25));
}

#[test]
fn bins_begin_with_the_hour_whenever_the_gateway_does() {
    let mut shop = Shop::new(settings(), wall(TEN + 7 * 60_000));
    let counts: Vec<_> = shop.until_with_times(s(3600));
    let ends: Vec<(i64, u64)> = counts
        .iter()
        .filter(|(_, count)| count.zone.as_str() == "shop")
        .map(|(at, count)| (at.as_micros() / 1_000_000, count.length.as_secs()))
        .collect();
    assert_eq!(ends, [(480, 480), (1380, 900), (2280, 900), (3180, 900)]);
}

#[test]
fn when_the_clock_is_set_the_bin_ends_at_the_nearest_edge_of_the_right_time() {
    let unset =
        WallClock { at: s(0), unix: UnixTime::from_millis(0), quality: ClockQuality::Unsynced };
    let mut shop = Shop::new(settings(), unset);
    // At 200 s it turns out to be 10:04: 11 minutes to the edge at 10:15.
    shop.clock(WallClock { at: s(200), ..wall(TEN + 4 * 60_000) });
    let counts = shop.until_with_times(s(2000));
    let ends: Vec<(i64, u64)> = counts
        .iter()
        .step_by(2)
        .map(|(at, count)| (at.as_micros() / 1_000_000, count.length.as_secs()))
        .collect();
    assert_eq!(ends, [(860, 860), (1760, 900)]);

    // A bin that is over is told before the clock moves its end.
    let mut shop = Shop::new(settings(), wall(TEN));
    shop.clock(WallClock { at: s(901), ..wall(TEN + 901_000) });
    let (at, count) = shop.told().remove(0);
    assert_eq!((at, count.length), (s(900), BIN));
}

#[test]
fn a_late_timer_does_not_move_a_bin_and_what_is_heard_late_belongs_to_the_next() {
    let mut shop = shop(15);
    (0..30).for_each(|n| shop.hear(s(5), device(n), "local", -60));
    // No timer woke the engine at 900 s; the next advertisement does.
    (100..120).for_each(|n| shop.hear(s(903), device(n), "local", -60));
    let told = shop.told();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].0, of_timed(&told, "shop").addresses), (s(900), Some(30)));
    let counts = shop.until(s(1800));
    assert_eq!(of(&counts, "shop").addresses, Some(20));
}

#[test]
fn a_zone_counts_who_is_loud_enough_for_it_and_at_its_receivers() {
    let mut shop = shop(15);
    for n in 0..20 {
        shop.hear(s(5), device(n), "local", -60); // the shop
        shop.hear(s(6), device(100 + n), "local", -50); // the counter: closer
        shop.hear(s(7), device(200 + n), "other", -50); // the counter hears nothing there
        shop.hear(s(8), device(300 + n), "local", -81); // out in the street
    }
    shop.hear_without_rssi(s(9), device(999), "local");
    let counts = shop.until(s(900));
    assert_eq!(of(&counts, "shop").addresses, Some(40));
    assert_eq!(of(&counts, "counter").addresses, Some(20));
}

#[test]
fn fainter_than_allowed_is_not_counted_however_far_its_zone_reaches() {
    let settings = FootfallSettings { min_rssi: -65.0, ..settings() };
    let mut shop = Shop::new(settings, wall(TEN));
    for n in 0..20 {
        shop.hear(s(5), device(n), "local", -66);
        shop.hear(s(5), device(100 + n), "local", -65);
    }
    assert_eq!(of(&shop.until(s(900)), "shop").addresses, Some(20));
}

#[test]
fn customers_are_among_everybody_and_what_is_the_shops_own_is_not() {
    let mut shop = shop(15);
    for n in 0..15 {
        shop.hear_as(s(5), Heard::Customer(n), -60);
        shop.hear_as(s(6), Heard::Staff(n), -60);
        shop.hear_as(s(7), Heard::Asset(n), -60);
        shop.hear_as(s(8), Heard::Fixture(n), -60);
        shop.hear_as(s(9), Heard::FindMy(n), -60);
        shop.hear_as(s(9), Heard::Exposure(n), -60);
    }
    let counts = shop.until(s(900));
    assert_eq!(of(&counts, "shop").addresses, Some(15), "the customers alone");
    let seen = shop.engine.counts();
    assert_eq!((seen.refused, seen.unknown), (30, 30));
    assert_eq!((seen.subject, seen.fixture, seen.anonymous), (45, 15, 0));
    assert_eq!(seen.received, seen.malformed + seen.unknown + seen.decoded);
    assert_eq!(seen.decoded, seen.subject + seen.fixture + seen.anonymous);
}

#[test]
fn what_is_never_processed_is_not_looked_at_even_beside_a_subjects_own_frame() {
    let mut shop = shop(15);
    shop.hear_as(s(5), Heard::CustomerWithExposure(3), -60);
    let seen = shop.engine.counts();
    assert_eq!((seen.received, seen.unknown, seen.refused, seen.subject), (1, 1, 1, 0));
    assert_eq!(shop.engine.visits_open(), 0);
}

#[test]
fn a_stop_tells_what_the_unfinished_bin_has_so_far() {
    let mut shop = shop(15);
    (0..30).for_each(|n| shop.hear(s(60), device(n), "local", -60));
    shop.engine.handle_stop(s(300));
    let told = shop.told();
    let count = of_timed(&told, "shop");
    assert_eq!((told[0].0, count.length), (s(300), Duration::from_mins(5)));
    assert_eq!(count.addresses, Some(30));
    // Nothing of it is counted twice.
    assert_eq!(of(&shop.until(s(900)), "shop").addresses, None);
}

#[test]
fn the_time_in_which_a_zones_receiver_was_deaf_is_told() {
    let mut shop = shop(15);
    let deaf = RadioState::Deaf { since: s(100), cause: DeafCause::NoAdapter };
    let local = ReceiverId::new("local");
    shop.engine.handle_radio(s(130), &local, deaf);
    shop.engine.handle_radio(s(400), &local, RadioState::Hearing);
    let other = ReceiverId::new("other");
    let deaf = RadioState::Deaf { since: s(850), cause: DeafCause::Daemon };
    shop.engine.handle_radio(s(860), &other, deaf);
    let counts = shop.until(s(900));
    let covered = |zone| of(&counts, zone).covered.as_secs();
    assert_eq!(covered("shop"), 900 - 300 - 50, "every receiver's surroundings");
    assert_eq!(covered("counter"), 900 - 300, "one receiver's");
    let counts = shop.until(s(1800));
    assert_eq!((of(&counts, "shop").covered.as_secs(), of(&counts, "counter").covered), (0, BIN));
}

#[test]
fn a_device_that_stays_is_counted_anew_in_every_bin_and_cannot_be_followed() {
    // Two shops, alike but for the seed: the counts agree, and so tell nothing of the salt.
    let counts = |seed| {
        let mut shop = Shop::with_seed(settings(), wall(TEN), FootfallSeed::new([seed; 16]));
        let mut all = Vec::new();
        for bin in 0..4 {
            (0..50).for_each(|n| shop.hear(s(bin * 900 + 5), device(n), "local", -60));
            all.push(of(&shop.until(s((bin + 1) * 900)), "shop").addresses);
        }
        all
    };
    assert_eq!(counts(1), [Some(50); 4]);
    assert_eq!(counts(2), [Some(50); 4]);
}

#[test]
fn time_that_nobody_came_to_see_is_told_as_far_back_as_makes_sense() {
    let mut shop = shop(15);
    shop.engine.handle_timeout(s(4 * 900 + 1));
    assert_eq!(shop.told().len(), 2 * 4, "four bins of two zones");
    // A recording of another year.
    shop.engine.handle_timeout(s(365 * 86_400));
    assert!(shop.told().len() <= 2 * 144);
    let next = shop.engine.poll_timeout().unwrap();
    assert!(next > s(365 * 86_400) && next <= s(365 * 86_400 + 900));
}

#[test]
fn while_it_is_off_nobody_is_counted_and_nothing_is_awaited() {
    let mut engine: Engine = crowd::engine();
    (0..50).for_each(|n| {
        engine.handle_advertisement(s(5), &crowd::advertisement(device(n), "local", Some(-60)));
    });
    engine.handle_timeout(s(4000));
    engine.handle_stop(s(4001));
    assert!(engine.poll_event().is_none());
    assert_eq!(engine.poll_timeout(), None);
}

#[test]
fn neither_a_count_nor_the_engine_shows_an_address() {
    let mut shop = shop(15);
    let address = device(0x00c0_ffee);
    shop.hear(s(5), address, "local", -60);
    let shown = format!("{:?}", shop.engine).to_lowercase();
    assert!(!shown.contains("ffee") && !shown.contains("255, 238"), "{shown}");
    assert!(shown.contains("salt(redacted)"));
}

fn settings() -> FootfallSettings {
    FootfallSettings { bin: BIN, min_rssi: -80.0, k: 10 }
}

fn wall(unix_ms: i64) -> WallClock {
    WallClock { at: s(0), unix: UnixTime::from_millis(unix_ms), quality: ClockQuality::Synced }
}

fn of(counts: &[Count], zone: &str) -> Count {
    counts.iter().find(|count| count.zone.as_str() == zone).unwrap().clone()
}

fn of_timed(counts: &[(Uptime, Count)], zone: &str) -> Count {
    counts.iter().find(|(_, count)| count.zone.as_str() == zone).unwrap().1.clone()
}

fn s(seconds: i64) -> Uptime {
    Uptime::from_micros(seconds * 1_000_000)
}

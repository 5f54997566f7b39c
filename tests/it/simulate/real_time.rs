//! The shop played in real time, on a paused clock.

use std::{sync::atomic::Ordering, time::Duration};

use beacon_gateway::{
    clock::Clock,
    engine::Uptime,
    scan::{
        Heard, ScanCounters,
        simulate::{self, Settings, Shop},
    },
};
use tokio::sync::mpsc;

use super::settings;

#[tokio::test(start_paused = true)]
async fn in_real_time_each_advertisement_comes_when_it_was_in_the_air() {
    let clock = Clock::start();
    tokio::time::advance(Duration::from_secs(5)).await;
    let expected: Vec<_> = Shop::new(13, &settings(20)).collect();
    let counters = ScanCounters::default();
    let (sender, mut receiver) = mpsc::channel(16);
    let shop = Shop::new(13, &settings(20));
    let player = simulate::run(shop, clock, sender, &counters, std::future::pending());
    let listener = async {
        let mut heard = Vec::new();
        let mut closed = false;
        while let Some(one) = receiver.recv().await {
            match one {
                Heard::Advertisement(one) => {
                    assert!(!closed);
                    let late = clock.now().since(one.heard);
                    assert!(
                        one.heard <= clock.now() && late <= Duration::from_millis(2),
                        "{late:?}"
                    );
                    heard.push(one);
                }
                Heard::Radio(..) | Heard::Relayed(_) => panic!("a recording has no radio"),
                Heard::Recording => closed = true,
            }
        }
        assert!(closed, "a shop that has closed says that silence means absence");
        heard
    };
    let ((), heard) = tokio::join!(player, listener);
    assert_eq!(heard.len(), expected.len());
    let shift = Duration::from_secs(5);
    for (one, expected) in heard.iter().zip(&expected) {
        assert_eq!(one.heard, expected.heard + shift);
        assert_eq!((one.address(), one.data()), (expected.address(), expected.data()));
    }
    assert_eq!(counters.heard.load(Ordering::Relaxed), u64::try_from(expected.len()).unwrap());
    assert_eq!(counters.dropped.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn in_real_time_the_newest_is_dropped_and_counted_when_nobody_keeps_up() {
    let all = u64::try_from(Shop::new(14, &settings(10)).count()).unwrap();
    let counters = ScanCounters::default();
    let (sender, receiver) = mpsc::channel(3);
    let shop = Shop::new(14, &settings(10));
    // Nobody takes anything out; the last word then waits for room until the stop.
    let until = after(Duration::from_secs(11));
    simulate::run(shop, Clock::start(), sender, &counters, until).await;
    assert_eq!(receiver.len(), 3);
    assert_eq!(counters.heard.load(Ordering::Relaxed), 3);
    assert_eq!(counters.dropped.load(Ordering::Relaxed), all - 3);
}

#[tokio::test(start_paused = true)]
async fn in_real_time_a_shop_without_end_stops_when_it_is_told_to() {
    let settings = Settings { length: None, ..settings(0) };
    let clock = Clock::start();
    let (sender, mut receiver) = mpsc::channel(10_000);
    let until = after(Duration::from_secs(3));
    let shop = Shop::new(15, &settings);
    simulate::run(shop, clock, sender, &ScanCounters::default(), until).await;
    assert_eq!(clock.now(), Uptime::ZERO + Duration::from_secs(3));
    let mut heard = 0;
    while let Some(one) = receiver.recv().await {
        assert!(matches!(one, Heard::Advertisement(_)), "a stop is no closing time");
        heard += 1;
    }
    assert!(50 < heard, "{heard} advertisements in 3 s");
}

/// Completes when so much (paused) time has passed.
async fn after(time: Duration) {
    let never = tokio::time::timeout(time, std::future::pending::<()>()).await;
    assert!(never.is_err(), "only the deadline ends this");
}

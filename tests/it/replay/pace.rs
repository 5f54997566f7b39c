//! Recordings played into the pipeline, on a paused clock.

use std::{
    future,
    io::{self, Read},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::Uptime,
    scan::{
        Heard, ScanCounters,
        replay::{self, Pace, Played, ReplayError, Speed},
    },
};
use tokio::sync::mpsc;

use super::{
    open,
    write::{Order, Sent, btsnoop, pcap, sample},
};

/// Advertisements at these seconds.
fn at_seconds(seconds: &[i64]) -> Vec<Sent> {
    let sent = sample();
    seconds.iter().map(|at| Sent { micros: at * 1_000_000, ..sent[0].clone() }).collect()
}

/// Plays recordings and says, for each advertisement, for when it was and when it came, in seconds.
async fn play(
    files: &[Vec<u8>],
    speed: Speed,
) -> (Vec<(f64, f64)>, Vec<Played>, Arc<ScanCounters>) {
    let clock = Clock::start();
    tokio::time::advance(Duration::from_secs(5)).await;
    let pace = Pace::new(clock.now(), speed);
    let counters = Arc::new(ScanCounters::default());
    // An edge with room for one: a recording waits, and nothing is dropped.
    let (sender, mut receiver) = mpsc::channel(1);
    let recordings = files.iter().map(|bytes| open(bytes).unwrap()).collect();
    let run =
        replay::run(recordings, pace, clock, sender, Arc::clone(&counters), future::pending());
    let listen = async {
        assert_eq!(receiver.recv().await, Some(Heard::Recording));
        let mut came = Vec::new();
        while let Some(heard) = receiver.recv().await {
            let Heard::Advertisement(heard) = heard else { panic!("the radio changed") };
            let seconds = |at: Uptime| at.since(Uptime::ZERO).as_secs_f64();
            came.push((seconds(heard.heard), seconds(clock.now())));
        }
        came
    };
    let (played, came) = tokio::join!(run, listen);
    (came, played.unwrap(), counters)
}

#[tokio::test(start_paused = true)]
async fn recorded_time_passes_as_it_did_or_a_multiple_of_it() {
    let file = btsnoop(1002, &at_seconds(&[0, 1, 1, 10])).bytes;
    for (factor, came_at) in [(1.0, [5, 6, 6, 15]), (2.0, [5, 5, 5, 10]), (0.5, [5, 7, 7, 25])] {
        let (came, _, _) = play(std::slice::from_ref(&file), Speed::Factor(factor)).await;
        assert_eq!(came.iter().map(|(heard, _)| *heard).collect::<Vec<_>>(), [5.0, 6.0, 6.0, 15.0]);
        for ((_, came), expected) in came.iter().zip(came_at) {
            let late = came - f64::from(expected);
            assert!((-0.51..0.51).contains(&late), "at {factor}: {came} instead of {expected}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn at_full_speed_nothing_waits_for_the_clock() {
    let file = btsnoop(1002, &at_seconds(&[0, 1, 3600])).bytes;
    let (came, played, counters) = play(&[file], Speed::Max).await;
    assert_eq!(came, [(5.0, 5.0), (6.0, 5.0), (3605.0, 5.0)]);
    assert_eq!(played.len(), 1);
    assert_eq!(counters.heard.load(Ordering::Relaxed), 3);
    assert_eq!(counters.dropped.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn recordings_follow_one_another_and_a_damaged_one_does_not_stop_the_next() {
    let mut damaged = btsnoop(1002, &at_seconds(&[0, 10])).bytes;
    damaged.truncate(damaged.len() - 1);
    damaged.splice(16..16, super::write::btsnoop_record(3, 0, &[4, 0x3e, 9, 2]));
    let whole = pcap(187, Order::Little, false, &at_seconds(&[0, 20])).bytes;
    let (came, played, counters) = play(&[damaged, whole.clone(), whole], Speed::Factor(1.0)).await;
    let heard: Vec<_> = came.iter().map(|(heard, _)| *heard).collect();
    assert_eq!(heard, [5.0, 5.0, 25.0, 25.0, 45.0]);
    let [first, second, third] = &played[..] else { panic!("{played:?}") };
    assert!(matches!(first.outcome, Err(ReplayError::Truncated { .. })), "{first:?}");
    assert!(second.outcome.is_ok() && third.outcome.is_ok());
    assert_eq!((first.counts.advertisements, second.counts.advertisements), (1, 2));
    assert_eq!(counters.heard.load(Ordering::Relaxed), 5);
    assert_eq!(counters.unusable.load(Ordering::Relaxed), 1);
}

/// A pipe on which nothing more ever comes.
struct Silent(mpsc::Receiver<()>);

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.blocking_recv();
        Ok(0)
    }
}

#[tokio::test]
async fn a_replay_stops_when_told_even_if_its_pipe_is_silent() {
    let clock = Clock::start();
    let bytes = btsnoop(1002, &at_seconds(&[0])).bytes;
    let (_keeps_the_pipe_open, never) = mpsc::channel(1);
    let reader = io::Cursor::new(bytes).chain(Silent(never));
    let recording = replay::read("pipe", reader, None).unwrap();
    let (sender, mut receiver) = mpsc::channel(8);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = replay::run(
        vec![recording],
        Pace::new(Uptime::ZERO, Speed::Max),
        clock,
        sender,
        Arc::default(),
        async { drop(stopped.await) },
    );
    let listen = async {
        assert_eq!(receiver.recv().await, Some(Heard::Recording));
        assert!(matches!(receiver.recv().await, Some(Heard::Advertisement(_))));
        stop.send(()).unwrap();
        assert_eq!(receiver.recv().await, None);
    };
    let (played, ()) = tokio::join!(run, listen);
    assert!(played.unwrap().is_empty(), "it was not played to its end");
}

#[tokio::test]
async fn a_replay_ends_when_nobody_listens() {
    let recording = open(&btsnoop(1002, &sample()).bytes).unwrap();
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let pace = Pace::new(Uptime::ZERO, Speed::Factor(1.0));
    let clock = Clock::start();
    let played =
        replay::run(vec![recording], pace, clock, sender, Arc::default(), future::pending()).await;
    assert!(played.unwrap().is_empty());
}

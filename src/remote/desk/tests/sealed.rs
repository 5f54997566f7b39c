//! Messages that another gateway seals: what was resolved there, and how it is dated here.

use super::*;
use crate::{
    engine::{Pseudonym, Whose},
    relay::{Batch, Run, Seen},
    remote::sealed::tests::{TOPIC, batch, bond, sealer},
};

fn relaying() -> (Desk, Arc<RemoteCounters>) {
    let (receiver, counters) = receiver("shelf", Format::BeaconGateway, TOPIC);
    let opener = Opener::new(sealer(), bond(), receiver.max_age);
    let id = receiver.id.clone();
    let desk = Desk::new(vec![(receiver, Arc::clone(&counters))], ms(0));
    let mut desk = desk.opening(&id, opener);
    desk.handle_subscribed(ms(0), &[true]);
    drain(&mut desk);
    (desk, counters)
}

/// A message made so many milliseconds after the first.
fn message(counter: u64, millis: i64, ages: &[u64]) -> Batch {
    let seen = |age: &u64| Seen {
        whose: Whose::Subject(Pseudonym::new("m")),
        tag: 0,
        rssi: Some(Rssi(-70)),
        age: Duration::from_millis(*age),
        wide_window: false,
    };
    let batch = batch(Run { epoch: 1, sequence: 1, mark: 1 }, counter);
    let sent_us = batch.sent_us + millis * 1000;
    Batch { sent_us, sightings: ages.iter().map(seen).collect(), ..batch }
}

fn put(desk: &mut Desk, now: Uptime, batch: &Batch) -> Vec<Heard> {
    let sealed = batch.seal(&sealer(), &bond()).unwrap();
    desk.handle_message(now, TOPIC, &sealed, false);
    drain(desk)
}

fn relayed(heard: &[Heard]) -> Vec<&Relayed> {
    fn one(heard: &Heard) -> Option<&Relayed> {
        if let Heard::Relayed(relayed) = heard { Some(relayed) } else { None }
    }
    heard.iter().filter_map(one).collect()
}

#[test]
fn sightings_come_dated_in_order_with_the_offset_and_the_word_that_it_hears() {
    let (mut desk, counters) = relaying();
    put(&mut desk, ms(1000), &message(1, 0, &[]));
    let heard = put(&mut desk, ms(1400), &message(2, 250, &[40, 200]));
    let [it] = relayed(&heard)[..] else { panic!("{heard:?}") };
    let told: Vec<_> = it.sightings.iter().map(|one| (one.heard, one.rssi)).collect();
    let rssi = Some(Rssi(-66));
    assert_eq!(told, [(ms(1050), rssi), (ms(1210), rssi)], "150 ms on the way");
    assert_eq!((it.receiver.as_str(), it.heard_until), ("shelf", Some(ms(1250))));
    put(&mut desk, ms(2000), &message(5, 1000, &[]));
    assert_eq!(counters.missed.load(Relaxed), 2);
}

#[test]
fn a_receiver_that_does_not_vouch_is_doubted_and_one_that_says_goodbye_is_gone() {
    let (mut desk, _) = relaying();
    put(&mut desk, ms(0), &message(1, 0, &[]));
    for second in 1..=20 {
        let deaf = Batch {
            vouches: false,
            ..message(1 + u64::try_from(second).unwrap(), second * 1000, &[])
        };
        assert_eq!(relayed(&put(&mut desk, ms(second * 1000), &deaf)).len(), 0);
    }
    desk.handle_timeout(ms(20_000));
    let id = ReceiverId::new("shelf");
    let suspect = Heard::Radio(id.clone(), RadioState::Suspect { since: ms(0) });
    assert_eq!(drain(&mut desk), [suspect]);
    let heard = put(&mut desk, ms(21_000), &message(50, 21_000, &[]));
    assert_eq!(heard[0], Heard::Radio(id.clone(), RadioState::Hearing));
    let bye = Batch { leaving: true, ..message(51, 21_500, &[]) };
    let gone = RadioState::Deaf { since: ms(21_500), cause: DeafCause::Unreachable };
    assert!(put(&mut desk, ms(21_500), &bye).contains(&Heard::Radio(id, gone)));
}

#[test]
fn what_was_held_up_is_refused_and_proves_nothing() {
    let (mut desk, counters) = relaying();
    put(&mut desk, ms(0), &message(1, 0, &[]));
    let heard = put(&mut desk, ms(15_000), &message(2, 1000, &[0, 100]));
    assert_eq!(relayed(&heard).len(), 0);
    assert_eq!(counters.refused(Refusal::TooOld), 2);
    put(&mut desk, ms(15_100), &message(3, 1500, &[]));
    assert_eq!(counters.refused(Refusal::TooOld), 3);
    // Of a fresh message only what is too old in it is left out.
    let heard = put(&mut desk, ms(16_000), &message(4, 16_000, &[11_000, 5]));
    let [it] = relayed(&heard)[..] else { panic!("{heard:?}") };
    assert_eq!(it.sightings.len(), 1);
}

#[test]
fn what_is_altered_replayed_retained_or_not_sealed_is_refused_and_counted() {
    let (mut desk, counters) = relaying();
    let sealed = message(1, 0, &[0]).seal(&sealer(), &bond()).unwrap();
    let mut altered = sealed.clone();
    *altered.last_mut().unwrap() ^= 1;
    let mut other_key = sealed.clone();
    other_key[4] = 9;
    for (payload, retained) in [
        (&altered, false),
        (&other_key, false),
        (&sealed, true),
        (&b"online".to_vec(), false),
        (&sealed, false),
        (&sealed, false),
    ] {
        desk.handle_message(ms(1), TOPIC, payload, retained);
    }
    let heard = drain(&mut desk);
    assert_eq!(relayed(&heard).len(), 1, "one of them was taken");
    for refusal in
        [Refusal::Sealed, Refusal::NoKey, Refusal::Retained, Refusal::NotSealed, Refusal::Replayed]
    {
        assert_eq!(counters.refused(refusal), 1, "{refusal}");
    }
    assert_eq!(counters.messages.load(Relaxed), 6);
}

//! Messages in, advertisements and receivers' states out.

mod sealed;

use super::*;
use crate::engine::DeafCause;

const PATIENCE: Patience =
    Patience { suspect_after: Duration::from_secs(20), silent_after: Duration::from_mins(5) };

fn ms(millis: i64) -> Uptime {
    Uptime::from_micros(millis * 1000)
}

fn receiver(id: &str, format: Format, topic: &str) -> (Receiver, Arc<RemoteCounters>) {
    let id = ReceiverId::new(id);
    let counters = Arc::new(RemoteCounters::new(id.clone(), format));
    let receiver = Receiver {
        id,
        format,
        topics: vec![Filter::new(topic).unwrap()],
        rssi_offset: 4.0,
        max_age: Duration::from_secs(10),
        patience: PATIENCE,
    };
    (receiver, counters)
}

fn ruuvi(ts: i64, rssi: i64) -> String {
    format!(r#"{{"rssi":{rssi},"ts":{ts},"gwts":{ts},"data":"020106"}}"#)
}

const TAG: &str = "ruuvi/gw/F4:1F:0C:28:CB:D6";

fn desk() -> (Desk, Arc<RemoteCounters>) {
    let (receiver, counters) = receiver("shelf", Format::Ruuvi, "ruuvi/gw/+");
    let mut desk = Desk::new(vec![(receiver, Arc::clone(&counters))], ms(0));
    desk.handle_subscribed(ms(0), &[true]);
    drain(&mut desk);
    (desk, counters)
}

fn drain(desk: &mut Desk) -> Vec<Heard> {
    while desk.poll_note().is_some() {}
    std::iter::from_fn(|| desk.poll_heard()).collect()
}

fn advertisements(heard: &[Heard]) -> Vec<&Advertisement> {
    fn one(heard: &Heard) -> Option<&Advertisement> {
        match heard {
            Heard::Advertisement(advertisement) => Some(advertisement),
            Heard::Radio(..) | Heard::Relayed(_) | Heard::Recording => None,
        }
    }
    heard.iter().filter_map(one).collect()
}

#[test]
fn an_advertisement_comes_with_its_receiver_and_offset_behind_the_state_that_it_proves() {
    let (mut desk, counters) = desk();
    desk.handle_message(ms(1000), TAG, ruuvi(1_700_000_000, -70).as_bytes(), false);
    let heard = drain(&mut desk);
    assert_eq!(heard[0], Heard::Radio(ReceiverId::new("shelf"), RadioState::Hearing));
    let [it] = advertisements(&heard)[..] else { panic!("{heard:?}") };
    assert_eq!((it.receiver.as_str(), it.rssi), ("shelf", Some(Rssi(-66))));
    assert_eq!((it.heard, it.data()), (ms(1000), &[2, 1, 6][..]));
    assert_eq!((counters.messages.load(Relaxed), counters.last_heard()), (1, Some(ms(1000))));
}

#[test]
fn a_loudness_stays_within_what_there_is() {
    assert_eq!(louder(-120.0, -40.0), Rssi(-127));
    assert_eq!(louder(10.0, 40.0), Rssi(20));
    assert_eq!(louder(-72.35, 0.0), Rssi(-72));
}

#[test]
fn what_is_late_is_dated_right_and_what_is_too_late_is_not_taken() {
    let (mut desk, counters) = desk();
    for second in 0..5 {
        let payload = ruuvi(1_700_000_000 + second, -70);
        desk.handle_message(ms(second * 1000 + 3), TAG, payload.as_bytes(), false);
    }
    drain(&mut desk);
    desk.handle_message(ms(12_000), TAG, ruuvi(1_700_000_005, -70).as_bytes(), false);
    let heard = drain(&mut desk);
    assert_eq!(advertisements(&heard)[0].heard, ms(5003));
    desk.handle_message(ms(20_000), TAG, ruuvi(1_700_000_006, -70).as_bytes(), false);
    assert_eq!(desk.poll_note(), Some(Note::Refused(ReceiverId::new("shelf"), Refusal::TooOld)));
    assert_eq!(drain(&mut desk), []);
    assert_eq!(counters.refused(Refusal::TooOld), 1);
    assert_eq!(counters.last_heard(), Some(ms(12_000)), "what is too old proves nothing");
}

#[test]
fn a_list_is_handed_on_in_the_order_in_which_it_was_heard() {
    let (receiver, counters) = receiver("till", Format::Minew, "/gw/#");
    let mut desk = Desk::new(vec![(receiver, counters)], ms(0));
    desk.handle_subscribed(ms(0), &[true]);
    let entry = |second: i64| {
        let time = 1_700_000_000 + second;
        format!(r#"{{"timestamp":{time},"mac":"AC233FA018E7","rssi":-50,"rawData":"020106"}}"#)
    };
    let list = format!("[{},{},{}]", entry(3), entry(1), entry(2));
    desk.handle_message(ms(3000), "/gw/x/status", list.as_bytes(), false);
    let heard = drain(&mut desk);
    let times: Vec<Uptime> = advertisements(&heard).iter().map(|it| it.heard).collect();
    assert_eq!(times, [ms(1000), ms(2000), ms(3000)]);
}

#[test]
fn what_the_broker_had_kept_is_not_taken_but_a_goodbye() {
    let (mut desk, counters) = desk();
    desk.handle_message(ms(5), TAG, ruuvi(1_700_000_000, -70).as_bytes(), true);
    assert_eq!(advertisements(&drain(&mut desk)).len(), 0);
    assert_eq!(counters.refused(Refusal::Retained), 1);
    desk.handle_message(ms(6), "ruuvi/gw/gw_status", br#"{"state":"offline"}"#, true);
    let deaf = RadioState::Deaf { since: ms(0), cause: DeafCause::Unreachable };
    assert_eq!(drain(&mut desk), [Heard::Radio(ReceiverId::new("shelf"), deaf)]);
}

#[test]
fn what_is_refused_is_counted_each_time_and_told_once_without_what_it_was() {
    let (mut desk, counters) = desk();
    for _ in 0..3 {
        desk.handle_message(ms(5), TAG, b"F4:1F:0C:28:CB:D6", false);
    }
    let shelf = ReceiverId::new("shelf");
    assert_eq!(desk.poll_note(), Some(Note::Refused(shelf, Refusal::NotJson)));
    assert_eq!(desk.poll_note(), None);
    assert_eq!(counters.refused(Refusal::NotJson), 3);
    for refusal in Refusal::ALL {
        assert!(!refusal.to_string().contains(':'), "{refusal}");
    }
}

#[test]
fn a_message_belongs_to_the_first_whose_topics_it_fits_and_to_nobody_else() {
    let first = receiver("first", Format::Ruuvi, "ruuvi/gw/#");
    let second = receiver("second", Format::Ruuvi, "ruuvi/#");
    let counts = [Arc::clone(&first.1), Arc::clone(&second.1)];
    let mut desk = Desk::new(vec![first, second], ms(0));
    assert_eq!(desk.topics().count(), 2);
    desk.handle_subscribed(ms(0), &[true, true]);
    for topic in [TAG, "ruuvi/other/F4:1F:0C:28:CB:D6", "elsewhere"] {
        desk.handle_message(ms(1), topic, ruuvi(1_700_000_000, -70).as_bytes(), false);
    }
    assert_eq!(counts.map(|it| it.messages.load(Relaxed)), [1, 1]);
}

#[test]
fn a_receiver_whose_topics_are_denied_is_not_linked_and_the_others_are() {
    let receivers = ["first", "second"].map(|id| receiver(id, Format::Minew, id));
    let counters = receivers.each_ref().map(|(_, counters)| Arc::clone(counters));
    let mut desk = Desk::new(receivers.into(), ms(0));
    desk.handle_subscribed(ms(0), &[false, true]);
    assert_eq!(counters.each_ref().map(|it| it.is_linked()), [false, true]);
    desk.handle_break(ms(1));
    assert_eq!(counters.map(|it| it.is_linked()), [false, false]);
    // An answer that is too short, or too long, is no reason to panic.
    desk.handle_subscribed(ms(2), &[]);
    desk.handle_subscribed(ms(2), &[true; 9]);
}

#[test]
fn a_silent_receiver_is_told_once() {
    let (mut desk, _) = desk();
    desk.handle_message(ms(0), TAG, ruuvi(1_700_000_000, -70).as_bytes(), false);
    drain(&mut desk);
    let mut states = Vec::new();
    let mut now = ms(0);
    while let Some(due) = desk.poll_timeout(now).filter(|due| *due < ms(10_000_000)) {
        now = due;
        desk.handle_timeout(now);
        states.extend(std::iter::from_fn(|| desk.poll_note()));
    }
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(matches!(states[1], Note::State(_, RadioState::Deaf { .. })));
}

//! Which broker is tried next, and when: how connections ended in, places and delays out. Pure:
//! chance is handed in.
//!
//! - Brokers are tried in the order of the list. A connection that had proved itself is tried again
//!   at the same place first; every other failure takes the next place.
//! - A round is one attempt at each place. Within a round the waits are short; behind it the wait
//!   is that of the [`Backoff`], which counts rounds.
//! - After a connection that stood long was ended from the other side, the first attempt comes at
//!   some moment of the spread, because perhaps everybody's was ended; and the waits after it begin
//!   at the spread's length, because shorter ones would gather again whom it has scattered. What
//!   broke on our own side comes back at once, because nobody else does.

use std::time::Duration;

use super::{
    backoff::{Backoff, between},
    broker::Broker,
    line::Lesson,
    settings::Settings,
};

/// A connection that stood so long counts as one of many that stood: right after an outage they
/// come and go, and backing off is enough.
const LONG: Duration = Duration::from_mins(1);

/// Where we are in the list, and how often it failed.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    brokers: Vec<Broker>,
    place: usize,
    /// Attempts of this round that failed.
    tried: usize,
    backoff: Backoff,
    spread: Duration,
}

/// How a connection ended, as far as that matters here.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// What the fault says about it.
    pub(crate) lesson: Lesson,
    /// It had shown that the next one may be tried soon.
    pub(crate) proved: bool,
    /// How long it was worked on, from the first attempt to make it.
    pub(crate) stood: Duration,
}

impl Route {
    /// Begins at the first of these brokers.
    pub(crate) fn new<'a>(brokers: impl Iterator<Item = &'a Broker>, settings: &Settings) -> Self {
        let backoff = Backoff::new(settings.backoff_min.0, settings.backoff_max.0);
        let brokers = brokers.cloned().collect();
        Self { brokers, place: 0, tried: 0, backoff, spread: settings.spread.0 }
    }

    /// The place in the list that is to be tried, or was tried last.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// Goes back to the first place: it was found to be reachable.
    pub(crate) fn return_to_first(&mut self) {
        self.place = 0;
        self.tried = 0;
    }

    /// A connection was not made, or ended. Says how long to wait before the next attempt, which
    /// is to be made at [`place`](Self::place).
    pub(crate) fn ended(&mut self, ending: &Ending, chance: f64) -> Duration {
        let Ending { lesson, proved, stood } = ending;
        if *proved {
            self.backoff.proved();
            self.tried = 0;
        }
        let shared = matches!(lesson, Lesson::Ended | Lesson::Elsewhere(_));
        let spread = *proved && shared && *stood >= LONG;
        match lesson {
            // Two gateways share a name. Every attempt throws the other one out, who comes back:
            // it must be seldom, however well the connection did before.
            Lesson::TakenOver => {
                self.tried = 0;
                return self.backoff.longest(chance);
            }
            Lesson::Elsewhere(reference) if self.brokers.len() > 1 => {
                self.move_on(reference.as_deref());
            }
            // It wants us nowhere that we may go.
            Lesson::Elsewhere(Some(_)) => return self.backoff.longest(chance),
            _ if *proved => {}
            _ => self.move_on(None),
        }
        if spread {
            self.backoff.at_least(self.spread);
            return between(Duration::ZERO, self.spread, chance).max(self.backoff.shortest(chance));
        }
        self.tried += 1;
        if self.tried < self.brokers.len() {
            return self.backoff.shortest(chance);
        }
        self.tried = 0;
        self.backoff.failed(chance)
    }

    /// To the broker that is called so, or to the next one. Nobody sends us to where the operator
    /// has not been: whoever speaks for the broker would have the events.
    fn move_on(&mut self, reference: Option<&str>) {
        // One or more, separated by spaces (MQTT 5.0, 4.11).
        let named = reference.into_iter().flat_map(|text| text.split(' '));
        let known = named.filter(|name| !name.is_empty()).find_map(|name| {
            let place = self.brokers.iter().position(|broker| broker.is_called(name))?;
            (place != self.place).then_some(place)
        });
        self.place = known.unwrap_or((self.place + 1) % self.brokers.len().max(1));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cmp::Reverse,
        collections::{BTreeMap, BinaryHeap},
        ops::Bound,
    };

    use super::*;
    use crate::uplink::BrokerUrl;

    fn route(count: u16) -> Route {
        let url = |n: u16| BrokerUrl::new(format!("mqtts://b{n}.example.org")).parse().unwrap();
        let brokers: Vec<Broker> = (1..=count).map(url).collect();
        Route::new(brokers.iter(), &Settings::default())
    }

    fn failed() -> Ending {
        Ending { lesson: Lesson::Failed, proved: false, stood: Duration::ZERO }
    }

    fn broke(lesson: Lesson, stood: u64) -> Ending {
        Ending { lesson, proved: true, stood: Duration::from_secs(stood) }
    }

    /// Places and seconds to wait, with the most unlucky chance.
    fn go(route: &mut Route, endings: &[Ending]) -> Vec<(usize, u64)> {
        let go = |ending| {
            let delay = route.ended(ending, 1.0);
            (route.place(), delay.as_secs())
        };
        endings.iter().map(go).collect()
    }

    #[test]
    fn every_failure_takes_the_next_broker_and_only_rounds_are_backed_off_from() {
        let mut route = route(3);
        assert_eq!(route.place(), 0);
        let all = vec![failed(); 9];
        let expected = [(1, 1), (2, 1), (0, 1), (1, 1), (2, 1), (0, 2), (1, 1), (2, 1), (0, 4)];
        assert_eq!(go(&mut route, &all), expected);
    }

    #[test]
    fn with_one_broker_every_attempt_is_a_round() {
        let expected = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (0, 32), (0, 64), (0, 120)];
        assert_eq!(go(&mut route(1), &vec![failed(); 8]), expected);
    }

    #[test]
    fn a_connection_that_was_good_is_tried_again_at_the_same_place_first() {
        let mut route = route(2);
        let endings = [failed(), broke(Lesson::Failed, 500), failed(), failed()];
        assert_eq!(go(&mut route, &endings), [(1, 1), (1, 1), (0, 1), (1, 1)]);
        route.return_to_first();
        assert_eq!(route.place(), 0);
    }

    #[test]
    fn only_what_the_other_side_ended_after_long_is_spread() {
        for (ending, most) in [
            (broke(Lesson::Ended, 60), 10),
            (broke(Lesson::Elsewhere(None), 3600), 10),
            (broke(Lesson::Ended, 59), 1),
            (broke(Lesson::Failed, 3600), 1),
            (Ending { proved: false, ..broke(Lesson::Ended, 3600) }, 1),
        ] {
            assert_eq!(go(&mut route(1), std::slice::from_ref(&ending)), [(0, most)], "{ending:?}");
        }
        let ending = broke(Lesson::Ended, 3600);
        assert_eq!(route(1).ended(&ending, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn a_broker_sends_us_only_where_the_operator_has_been() {
        let sent = |to: &str| broke(Lesson::Elsewhere(Some(to.to_owned())), 1);
        for (to, place) in [
            ("b3.example.org", 2),
            ("evil.example.net b3.example.org:8883 b2.example.org", 2),
            ("evil.example.net", 1),
            ("b1.example.org", 1),
            ("", 1),
        ] {
            assert_eq!(go(&mut route(3), &[sent(to)]), [(place, 1)], "{to}");
        }
        assert_eq!(go(&mut route(1), &[sent("b3.example.org")]), [(0, 120)], "nowhere to go");
    }

    #[test]
    fn a_session_that_was_taken_over_is_not_fought_for() {
        let mut route = route(2);
        let taken = broke(Lesson::TakenOver, 3600);
        assert_eq!(go(&mut route, &[taken.clone(), taken.clone()]), [(0, 120), (0, 120)]);
        assert_eq!(route.ended(&taken, 0.0), Duration::from_mins(1));
    }

    /// What a fleet does to a broker that is gone for a while.
    #[derive(Debug)]
    struct Storm {
        /// The most connects the broker saw in any one second once it was back.
        peak: u64,
        /// The same for attempts while it was gone.
        before: u64,
        /// When the last gateway was back, in seconds after the broker.
        settled: f64,
    }

    /// So many gateways lose a broker at the same moment and come back as they are told. The broker
    /// accepts `capacity` connects a second; whoever does not come in within `connect_timeout` has
    /// failed, and comes again.
    fn storm(
        (gateways, outage, capacity): (usize, u64, f64),
        spread: u64,
        mut next: impl FnMut(&mut Route, &Ending, f64) -> Duration,
    ) -> Storm {
        let timeout = Settings::default().connect_timeout.0;
        let mut random = fastrand::Rng::with_seed(1);
        let route = Route { spread: Duration::from_secs(spread), ..route(1) };
        let mut routes = vec![route; gateways];
        let mut due = BinaryHeap::new();
        for (gateway, route) in routes.iter_mut().enumerate() {
            let delay = next(route, &broke(Lesson::Ended, 86_400), random.f64());
            due.push(Reverse((delay, gateway)));
        }
        let mut seconds = BTreeMap::<u64, u64>::new();
        let gone = Duration::from_secs(outage);
        // When the broker is done with what it has taken in.
        let (mut busy, mut settled) = (gone, gone);
        while let Some(Reverse((at, gateway))) = due.pop() {
            *seconds.entry(at.as_secs()).or_default() += 1;
            busy = busy.max(at);
            let taken = busy + Duration::from_secs_f64(1.0 / capacity);
            if at >= gone && taken.saturating_sub(at) <= timeout {
                busy = taken;
                settled = settled.max(taken);
                continue;
            }
            // Refused at once while it is gone; left waiting while it is overrun.
            let failed_at = if at < gone { at } else { at + timeout };
            let delay = next(&mut routes[gateway], &failed(), random.f64());
            due.push(Reverse((failed_at + delay, gateway)));
        }
        let most = |range| seconds.range(range).map(|(_, count)| *count).max().unwrap_or(0);
        Storm {
            peak: most((Bound::Included(outage), Bound::Unbounded)),
            before: most((Bound::Unbounded, Bound::Excluded(outage))),
            settled: settled.saturating_sub(gone).as_secs_f64(),
        }
    }

    fn ours(route: &mut Route, ending: &Ending, chance: f64) -> Duration {
        route.ended(ending, chance)
    }

    /// The backoff alone.
    fn without_spread(route: &mut Route, ending: &Ending, chance: f64) -> Duration {
        if ending.proved {
            route.backoff.proved();
        }
        route.backoff.failed(chance)
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "the table of docs/uplink.md")]
    fn a_fleet_comes_back_without_overrunning_the_broker() {
        for (gateways, outage, spread, most, within) in [
            // A restart: nobody needs a second attempt, and all are back within the spread.
            (1_000, 0, 10, 140, 10.1),
            (1_000, 5, 10, 160, 20.0),
            (1_000, 60, 10, 60, 65.0),
            (1_000, 600, 10, 40, 121.0),
            (50_000, 0, 60, 1_000, 60.1),
            (50_000, 5, 60, 1_100, 70.0),
            (50_000, 60, 60, 1_200, 121.0),
        ] {
            let storm = storm((gateways, outage, 2_000.0), spread, ours);
            println!(
                "| {gateways} | {outage} s | {spread} s | {} | {} | {:.0} s |",
                storm.peak, storm.before, storm.settled
            );
            assert!(storm.peak <= most, "{gateways} after {outage} s: {storm:?}");
            assert!(storm.settled <= within, "{gateways} after {outage} s: {storm:?}");
        }
    }

    #[test]
    fn without_the_spread_all_come_at_once() {
        for (outage, of_one_second) in [(0, 1_000), (5, 400)] {
            let storm = storm((1_000, outage, 2_000.0), 10, without_spread);
            assert!(storm.peak >= of_one_second, "after {outage} s: {storm:?}");
        }
    }

    #[test]
    fn a_broker_with_little_room_is_reached_by_all_in_the_end() {
        // 100 seconds would be the least for 20,000 at 200 a second.
        let storm = storm((20_000, 30, 200.0), 10, ours);
        assert!(storm.settled < 900.0, "{storm:?}");
    }

    #[test]
    fn a_link_of_our_own_that_broke_is_back_within_a_second() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..1_000 {
            let delay = route(1).ended(&broke(Lesson::Failed, 86_400), random.f64());
            assert!(delay <= Duration::from_secs(1), "{delay:?}");
        }
    }
}

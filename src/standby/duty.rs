//! Decides which of two gateways makes events: what one hears of the other and time in, orders to act or to
//! stand down out. Pure; `partner.rs` carries them out.
//!
//! Each of the two has one of these. The *lead* acts whenever it can. The *standby* acts while the lead is
//! dead, and hands back.
//!
//! Promises:
//! - while both hear each other, exactly one acts, but for the moment of a change, in which none does;
//! - a lead that starts does not act before it has listened for a standby that acts, or knows that it does
//!   not although it has heard of the start;
//! - a standby that followed a lead which starts anew acts at once: what was heard meanwhile only it has;
//! - a standby acts only while the broker does not say that the lead is online, and when it had a line to
//!   the broker and heard nothing of the lead for [`Terms::takeover_after`];
//! - it hands back once the lead was heard of without a break for [`Terms::return_after`] and follows, or acts.

use std::{collections::VecDeque, time::Duration};

use crate::engine::Uptime;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// Acts whenever it can.
    Lead,
    /// Acts while the lead cannot.
    Standby,
}

/// What the broker holds as the state of the other one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PeerState {
    /// Nothing, or nothing was heard of it yet.
    #[default]
    Unknown,
    /// It has a line.
    Online,
    /// It has said goodbye, or the broker has told its last will.
    Offline,
}

/// The times that [`Duty`] goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Not heard of for so long, the other one is given up.
    pub takeover_after: Duration,
    /// Heard of for so long without a break, the lead is back.
    pub return_after: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Make events from now on.
    Act(Why),
    /// Make none from now on.
    StandDown(Why),
}

/// Why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// Nobody else acts.
    Alone,
    /// The other one is dead, or as good as dead.
    Gone,
    /// The other one has handed over.
    HandedOver,
    /// The lead is back, and ready.
    Returned,
    /// The lead acts, too: the line between the two was cut.
    Both,
}

/// Of one of the two.
#[derive(Clone, Debug)]
pub struct Duty {
    part: Part,
    terms: Terms,
    acting: bool,
    began: Uptime,
    /// Since when there is a line to the broker.
    linked: Option<Uptime>,
    state: PeerState,
    /// When the other one was last heard of, and since when without a break.
    heard: Option<(Uptime, Uptime)>,
    /// It acted when it was last heard of.
    peer_acted: bool,
    orders: VecDeque<Order>,
}

/// The other one is heard of once a second; three missing are a break.
pub(super) const BREAK: Duration = Duration::from_millis(3500);

/// How long a lead that starts listens once it has a line: a standby speaks once a second.
const LISTEN: Duration = Duration::from_secs(3);

/// How long it waits for the line: as long as a connection may take by default.
const WITHOUT_LINE: Duration = Duration::from_secs(10);

/// Where the broker holds no state of the lead, so many times the usual silence is needed: a broker that was
/// begun anew has forgotten everybody, and not everybody is back at once.
const UNKNOWN_TIMES: u32 = 6;

impl Why {
    /// The word used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Gone => "gone",
            Self::HandedOver => "handed_over",
            Self::Returned => "returned",
            Self::Both => "both",
        }
    }
}

impl Duty {
    /// Starts at `now`, without a line, not acting.
    pub fn new(part: Part, terms: Terms, now: Uptime) -> Self {
        Self {
            part,
            terms,
            acting: false,
            began: now,
            linked: None,
            state: PeerState::Unknown,
            heard: None,
            peer_acted: false,
            orders: VecDeque::new(),
        }
    }

    /// Whether it acts, as ordered.
    pub fn is_acting(&self) -> bool {
        self.acting
    }

    /// Whether the other one was heard of just now.
    pub fn hears(&self, now: Uptime) -> bool {
        self.heard.is_some_and(|(last, _)| now.since(last) < BREAK)
    }

    /// The line to the broker stands, or no longer does.
    pub fn handle_link(&mut self, now: Uptime, linked: bool) {
        self.handle_timeout(now);
        match (linked, self.linked) {
            (true, None) => self.linked = Some(now),
            (false, _) => {
                self.linked = None;
                // The broker tells it anew.
                self.state = PeerState::Unknown;
            }
            (true, Some(_)) => {}
        }
    }

    /// What the broker holds of the other one.
    pub fn handle_state(&mut self, now: Uptime, state: PeerState) {
        self.handle_timeout(now);
        self.state = state;
        self.handle_timeout(now);
    }

    /// The other one, whose earlier start this one has followed, has started anew.
    pub fn handle_restart(&mut self) {
        if self.part == Part::Standby && !self.acting {
            self.act(Why::Gone);
        }
    }

    /// The other one was heard of, acting or not; `ready` if it has heard of this one's start, and has the whole
    /// picture of what this one does, if it does anything.
    pub fn handle_peer(&mut self, now: Uptime, acting: bool, ready: bool) {
        let since = match self.heard {
            Some((last, since)) if now.since(last) < BREAK => since,
            _ => now,
        };
        self.heard = Some((now, since));
        let acted = std::mem::replace(&mut self.peer_acted, acting);
        // One that does not hear this one will never answer.
        let answered = ready || now.since(self.began) >= WITHOUT_LINE;
        match (self.part, self.acting) {
            (Part::Lead, false) if !acting && (answered || acted) => {
                self.act(if acted { Why::HandedOver } else { Why::Alone });
            }
            (Part::Standby, true) if acting => self.stand_down(Why::Both),
            (Part::Standby, true) if ready && now.since(since) >= self.terms.return_after => {
                self.stand_down(Why::Returned);
            }
            _ => {}
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Uptime) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            let alone = self.heard.is_none() && self.part == Part::Lead;
            self.act(if alone { Why::Alone } else { Why::Gone });
        }
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        if self.acting {
            return None;
        }
        let after = self.terms.takeover_after;
        match (self.part, self.heard) {
            // A lead that nobody answers acts, with a line or without: nobody else would.
            (Part::Lead, None) => {
                let without = self.began + WITHOUT_LINE;
                Some(self.linked.map_or(without, |linked| without.min(linked + LISTEN)))
            }
            (Part::Lead, Some((last, _))) => Some(last + after),
            (Part::Standby, heard) => {
                // Its own deafness is not the lead's end.
                let since = heard.map_or(self.began, |(last, _)| last).max(self.linked?);
                match self.state {
                    PeerState::Online => None,
                    PeerState::Offline => Some(since + after),
                    PeerState::Unknown => Some(since + after * UNKNOWN_TIMES),
                }
            }
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    fn act(&mut self, why: Why) {
        self.acting = true;
        self.orders.push_back(Order::Act(why));
    }

    fn stand_down(&mut self, why: Why) {
        self.acting = false;
        self.orders.push_back(Order::StandDown(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms =
        Terms { takeover_after: Duration::from_secs(10), return_after: Duration::from_secs(30) };

    fn ms(millis: i64) -> Uptime {
        Uptime::from_micros(millis * 1000)
    }

    fn duty(part: Part) -> Duty {
        let mut duty = Duty::new(part, TERMS, ms(0));
        duty.handle_link(ms(0), true);
        duty
    }

    /// Lets time pass as a shell does, and tells what was ordered when.
    fn pass(duty: &mut Duty, until: i64) -> Vec<(Uptime, Order)> {
        let mut told: Vec<_> = std::iter::from_fn(|| duty.poll()).map(|it| (ms(-1), it)).collect();
        while let Some(due) = duty.poll_timeout().filter(|due| *due <= ms(until)) {
            duty.handle_timeout(due);
            told.extend(std::iter::from_fn(|| duty.poll()).map(|it| (due, it)));
        }
        told
    }

    #[test]
    fn a_lead_that_nobody_answers_acts_after_it_has_listened_with_a_line_or_without() {
        let mut lead = duty(Part::Lead);
        assert_eq!(pass(&mut lead, 9999), [(ms(3000), Order::Act(Why::Alone))]);
        let mut lead = Duty::new(Part::Lead, TERMS, ms(0));
        assert_eq!(pass(&mut lead, 99_999), [(ms(10_000), Order::Act(Why::Alone))]);
        let mut lead = Duty::new(Part::Lead, TERMS, ms(0));
        lead.handle_link(ms(9000), true);
        assert_eq!(pass(&mut lead, 99_999), [(ms(10_000), Order::Act(Why::Alone))]);
        let mut lead = duty(Part::Lead);
        lead.handle_peer(ms(200), false, false);
        assert_eq!(lead.poll(), None, "it has not heard of this start");
        lead.handle_peer(ms(300), false, true);
        let alone = Some(Order::Act(Why::Alone));
        assert_eq!(lead.poll(), alone, "a standby that does not act is enough");
        let mut lead = duty(Part::Lead);
        (0..=10).for_each(|second| lead.handle_peer(ms(second * 1000), false, false));
        assert_eq!(lead.poll(), alone, "one that never answers does not hear it");
    }

    #[test]
    fn a_lead_that_returns_waits_until_the_standby_hands_over() {
        let mut lead = duty(Part::Lead);
        for second in 0..30 {
            lead.handle_peer(ms(500 + second * 1000), true, false);
        }
        assert_eq!(pass(&mut lead, 31_000), []);
        lead.handle_peer(ms(31_000), false, true);
        assert_eq!(lead.poll(), Some(Order::Act(Why::HandedOver)));
        // One that dies before it does is succeeded to, with a line or without.
        for linked in [true, false] {
            let mut lead = duty(Part::Lead);
            lead.handle_peer(ms(500), true, false);
            lead.handle_link(ms(600), linked);
            assert_eq!(pass(&mut lead, 99_000), [(ms(10_500), Order::Act(Why::Gone))]);
        }
    }

    #[test]
    fn a_standby_acts_when_the_lead_is_offline_and_silent_and_not_for_one_of_the_two() {
        let mut standby = duty(Part::Standby);
        standby.handle_state(ms(0), PeerState::Online);
        standby.handle_peer(ms(5000), true, false);
        assert_eq!(pass(&mut standby, 500_000), [], "it is silent, and the broker says it lives");
        standby.handle_state(ms(500_000), PeerState::Offline);
        assert_eq!(standby.poll(), Some(Order::Act(Why::Gone)));

        let mut standby = duty(Part::Standby);
        standby.handle_state(ms(0), PeerState::Offline);
        for second in 0..100 {
            standby.handle_peer(ms(second * 1000), true, false);
            assert_eq!(pass(&mut standby, second * 1000 + 999), [], "a connection broke");
        }
        assert_eq!(pass(&mut standby, 999_000), [(ms(109_000), Order::Act(Why::Gone))]);
        assert!(standby.is_acting());
    }

    #[test]
    fn a_broker_that_has_forgotten_everybody_takes_six_times_as_long() {
        let mut standby = duty(Part::Standby);
        assert_eq!(pass(&mut standby, 99_000), [(ms(60_000), Order::Act(Why::Gone))]);
    }

    #[test]
    fn a_standby_without_a_line_does_not_take_its_own_deafness_for_the_leads_end() {
        let mut standby = duty(Part::Standby);
        standby.handle_state(ms(0), PeerState::Offline);
        standby.handle_peer(ms(1000), true, false);
        standby.handle_link(ms(2000), false);
        assert_eq!(pass(&mut standby, 500_000), []);
        standby.handle_link(ms(500_000), true);
        standby.handle_state(ms(500_100), PeerState::Offline);
        assert_eq!(pass(&mut standby, 600_000), [(ms(510_000), Order::Act(Why::Gone))]);
    }

    #[test]
    fn a_lead_that_is_back_gets_it_back_once_it_has_held_out_and_has_the_picture() {
        let mut standby = duty(Part::Standby);
        standby.handle_state(ms(0), PeerState::Offline);
        assert_eq!(pass(&mut standby, 10_000).len(), 1);
        // It comes and goes, then stays.
        standby.handle_peer(ms(20_000), false, true);
        for second in 30..=80 {
            assert_eq!(standby.poll(), None, "{second}");
            standby.handle_peer(ms(second * 1000), false, second == 80);
        }
        assert_eq!(standby.poll(), Some(Order::StandDown(Why::Returned)));
        assert_eq!(pass(&mut standby, 89_999), []);
        assert_eq!(pass(&mut standby, 90_000), [(ms(90_000), Order::Act(Why::Gone))]);
    }

    #[test]
    fn a_standby_acts_at_once_for_a_lead_that_starts_anew_and_a_lead_for_nobody() {
        let (mut standby, mut lead) = (duty(Part::Standby), duty(Part::Lead));
        standby.handle_restart();
        lead.handle_restart();
        assert_eq!((standby.poll(), lead.poll()), (Some(Order::Act(Why::Gone)), None));
    }

    #[test]
    fn where_both_act_the_standby_yields_at_once_and_the_lead_does_not() {
        let (mut standby, mut lead) = (duty(Part::Standby), duty(Part::Lead));
        standby.handle_state(ms(0), PeerState::Offline);
        pass(&mut standby, 10_000);
        pass(&mut lead, 10_000);
        lead.handle_peer(ms(20_000), true, true);
        standby.handle_peer(ms(20_000), true, true);
        assert_eq!((lead.poll(), lead.is_acting()), (None, true));
        assert_eq!(standby.poll(), Some(Order::StandDown(Why::Both)));
    }

    /// Every sequence of so many things that can happen, a step apart, to both at once: what each hears of
    /// the other is what the other does.
    #[test]
    fn whatever_happens_to_both_in_whatever_order_once_they_hear_each_other_the_lead_acts() {
        const STEPS: u32 = 5;
        /// Nothing; the lead's line is cut; the standby's is; both stand; the lead restarts; the
        /// standby restarts; a last will of the lead's that means nothing.
        const THINGS: u32 = 7;
        for mut sequence in 0..THINGS.pow(STEPS) {
            let mut pair = [duty(Part::Lead), duty(Part::Standby)];
            let (mut now, mut links) = (0, [true, true]);
            for _ in 0..STEPS {
                let thing = sequence % THINGS;
                sequence /= THINGS;
                match thing {
                    1 => links[0] = false,
                    2 => links[1] = false,
                    3 => links = [true, true],
                    4 => pair[0] = Duty::new(Part::Lead, TERMS, ms(now)),
                    5 => pair[1] = Duty::new(Part::Standby, TERMS, ms(now)),
                    6 if links[1] => pair[1].handle_state(ms(now), PeerState::Offline),
                    _ => {}
                }
                // Long enough for one decision, and for another after the next step.
                step(&mut pair, &mut now, links, 6);
            }
            step(&mut pair, &mut now, [true, true], 60);
            let acting = pair.each_ref().map(Duty::is_acting);
            assert_eq!(acting, [true, false], "the lead acts in the end");
        }
    }

    /// Lets so many seconds pass, in each of which both say how they stand.
    fn step(pair: &mut [Duty; 2], now: &mut i64, links: [bool; 2], seconds: i64) {
        for _ in 0..seconds {
            *now += 1000;
            for (duty, linked) in pair.iter_mut().zip(links) {
                duty.handle_link(ms(*now), linked);
            }
            if links[1] {
                let state = if links[0] { PeerState::Online } else { PeerState::Offline };
                pair[1].handle_state(ms(*now), state);
            }
            let said = pair.each_ref().map(Duty::is_acting);
            if links == [true, true] {
                pair[0].handle_peer(ms(*now), said[1], true);
                pair[1].handle_peer(ms(*now), said[0], true);
                let acting = pair.each_ref().map(Duty::is_acting);
                // Two act only where two have acted before they heard each other, and not for long.
                assert!(acting != [true, true] || said[1]);
            }
            for duty in pair.iter_mut() {
                duty.handle_timeout(ms(*now));
                while duty.poll().is_some() {}
            }
        }
    }
}

//! What an engine does that stands by for another: it resolves and makes nothing, and one day goes on with the
//! other's visits.
//!
//! In: open visits and what is remembered of fixtures of another gateway, in uptimes of this one, and what was heard and resolved since they were
//! told; out: situations, as if this engine had made the visits from the start. Promises that whoever
//! is not enrolled here, or has no live consent, is nobody; that what was heard is dated to when it was heard;
//! and that a visit is given up without an event.

use super::{
    Checkpoint, Engine, Pseudonym, ReceiverId, Relayed, Remembered, Sent, Sighting, Spotted,
    Uptime, VisitRecord, Whose, frame,
};

/// A sighting that was resolved while this engine made nothing of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overheard {
    /// Which receiver heard it.
    pub receiver: ReceiverId,
    /// What.
    pub spotted: Spotted,
}

/// What an engine goes on with that begins to make visits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Takeover {
    /// When what follows was true.
    pub since: Uptime,
    /// Open visits to go on with; those too long ago end, as after a restart.
    pub open: Vec<(Pseudonym, VisitRecord)>,
    /// What is remembered of fixtures there.
    pub fixtures: Vec<(String, Remembered)>,
    /// What was heard since, in the order of time.
    pub heard: Vec<Overheard>,
}

impl Engine {
    /// Takes in what another gateway heard and resolved, while nothing is made of it: counts it.
    pub fn overhear(&mut self, relayed: &Relayed) {
        for spotted in &relayed.sightings {
            let now = self.advance(spotted.heard);
            let known = match &spotted.whose {
                Whose::Subject(name) => self.live(name, now).is_some(),
                Whose::Fixture { id, .. } => self.identity.registry().fixture_named(id).is_some(),
            };
            let counts = &mut self.counts;
            counts.received += 1;
            counts.decoded += 1;
            match &spotted.whose {
                _ if !known => counts.anonymous += 1,
                Whose::Subject(_) => counts.subject += 1,
                Whose::Fixture { .. } => counts.fixture += 1,
            }
        }
        if let Some(until) = relayed.heard_until {
            self.advance(until);
        }
    }

    /// Goes on with visits as of the moment they were told, then with what was heard since, which was counted
    /// when it was heard.
    pub fn take_over(&mut self, now: Uptime, takeover: Takeover) {
        let now = self.advance(now);
        for (subject, visit) in takeover.open {
            let Some((index, _)) = self.live(&subject, now) else {
                self.checkpoints.push_back(Checkpoint::erased(&subject));
                continue;
            };
            self.presence.restore(takeover.since.min(now), index, visit);
            if self.presence.visit(index).is_some() {
                // Whoever made the visit had recognised its subject beyond doubt.
                self.identity.vouch(now, index);
                self.checkpoint(index);
            }
        }
        self.situations.recount(&self.presence, &self.identity);
        self.settle();
        self.adopt_fixtures(now, takeover.fixtures);
        for Overheard { receiver, spotted } in takeover.heard {
            let at = spotted.heard.min(now);
            self.presence.heard(at, &receiver);
            match &spotted.whose {
                Whose::Subject(name) => {
                    if let Some((subject, kind)) = self.live(name, at) {
                        let Spotted { tag, rssi, wide_window, .. } = spotted;
                        let receiver = &receiver;
                        let sighting = Sighting { subject, kind, tag, receiver, rssi, wide_window };
                        self.presence.observe(at, &sighting);
                    }
                }
                Whose::Fixture { id, data, address } => {
                    if let Some((index, _)) = self.identity.registry().fixture_named(id) {
                        let decoded = frame::decode_in(data, self.identity.context());
                        let sent = Sent { data, address: *address, decoded };
                        self.hear_fixture(at, index, (&receiver, spotted.rssi), sent);
                    }
                }
            }
            self.settle();
        }
    }

    /// Ends visits that nobody goes on with, when they were last true.
    pub fn conclude(&mut self, now: Uptime, visits: Vec<(Pseudonym, VisitRecord)>) {
        let now = self.advance(now);
        for (subject, visit) in visits {
            if let Some((index, _)) = self.live(&subject, now) {
                self.presence.conclude(now, index, visit);
            }
            if self.open_visit(&subject).is_none() {
                self.checkpoints.push_back(Checkpoint::erased(&subject));
            }
        }
        self.settle();
        self.situations.recount(&self.presence, &self.identity);
    }

    /// Forgets what is remembered of visits that another gateway goes on with.
    pub fn disown(&mut self, subjects: impl IntoIterator<Item = Pseudonym>) {
        for subject in subjects {
            if self.open_visit(&subject).is_none() {
                self.checkpoints.push_back(Checkpoint::erased(&subject));
            }
        }
    }

    /// Gives up all open visits, without an event; what is remembered of them across a restart stays.
    pub fn give_up(&mut self, now: Uptime) -> Vec<(Pseudonym, VisitRecord)> {
        self.advance(now);
        let given = self.presence.give_up();
        // Fixtures are not listened to from now on: that is no silence of theirs.
        self.sensors.rest();
        self.situations.recount(&self.presence, &self.identity);
        let registry = self.identity.registry();
        let named = |(index, visit)| Some((registry.subject(index)?.pseudonym.clone(), visit));
        given.into_iter().filter_map(named).collect()
    }

    /// All open visits.
    pub fn open_visits(&self) -> impl Iterator<Item = (&Pseudonym, &VisitRecord)> {
        self.presence.present().filter_map(|(index, _)| {
            let subject = self.identity.registry().subject(index)?;
            Some((&subject.pseudonym, self.presence.visit(index)?))
        })
    }

    fn open_visit(&self, subject: &Pseudonym) -> Option<&VisitRecord> {
        self.presence.visit(self.identity.registry().by_pseudonym(subject.as_str())?)
    }

    /// Somebody who is enrolled here and has a live consent.
    fn live(
        &self,
        name: &Pseudonym,
        at: Uptime,
    ) -> Option<(super::SubjectIndex, super::SubjectKind)> {
        let registry = self.identity.registry();
        let subject = registry.by_pseudonym(name.as_str())?;
        let kind = registry.subject(subject)?.kind;
        registry.is_live(subject, &self.wall, at).then_some((subject, kind))
    }
}

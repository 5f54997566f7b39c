//! What may still be sent, and what may still be kept: asked for each record before it is published,
//! and for all that waits when somebody's consent changes.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    engine::{ConsentLedger, Standing, WallClock},
    outbox::{
        Verdict,
        record::{Coverage, Record},
    },
    uplink::payload::Origin,
};

/// The consent in force, shared between the registrar, which writes it, and those who ask.
///
/// It is changed in place: a chain's programme has a hundred thousand members, and a change is
/// about one.
#[derive(Clone, Debug)]
pub(super) struct Ledger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ledger: RwLock<ConsentLedger>,
    /// How often it was changed.
    revision: AtomicU64,
    /// How many changes are being carried to the outbox.
    under_way: AtomicU64,
}

/// As long as this lives nothing about anybody is sent or erased by the uplink: what waits is being
/// looked through, and the receipt counts what was found.
#[derive(Debug)]
pub(super) struct Hold(Ledger);

/// What may be done with a record now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ruling {
    /// It may be sent as it is.
    Send,
    /// It may be sent like this.
    SendNarrowed(Box<Record>),
    /// It is not known yet.
    Wait,
    /// It may be neither sent nor kept.
    Erase,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(ledger: ConsentLedger) -> Self {
        Self(Arc::new(Shared {
            ledger: RwLock::new(ledger),
            revision: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
        }))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, ConsentLedger> {
        // A change is a single step of a map, so a panic in between leaves nothing half done.
        self.0.ledger.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, ConsentLedger> {
        let guard = self.0.ledger.write().unwrap_or_else(PoisonError::into_inner);
        self.0.revision.fetch_add(1, Relaxed);
        guard
    }

    /// Holds the uplink back while a change is carried to the outbox.
    pub(super) fn hold(&self) -> Hold {
        self.0.under_way.fetch_add(1, Relaxed);
        Hold(self.clone())
    }

    /// Whether a change is being carried to the outbox.
    pub(super) fn is_held(&self) -> bool {
        self.0.under_way.load(Relaxed) > 0
    }

    /// How often it was changed.
    pub(super) fn revision(&self) -> u64 {
        self.0.revision.load(Relaxed)
    }

    /// Decides about a record at the moment of a clock reading.
    pub(super) fn rule(&self, origin: &Origin, record: &Record, now: &WallClock) -> Ruling {
        let Some((subject, _)) = record.subject() else { return Ruling::Send };
        let (purposes, from) = match self.read().standing(subject, now) {
            Standing::NotKnown => return Ruling::Wait,
            Standing::May { purposes, from } => (purposes, from),
        };
        // A grant says nothing about what happened before it. Where it is not known when that was
        // (an earlier run, whose clock was never set), the grant that was in force then decides.
        let (made, clock) = origin.stamp(record, now);
        if clock != "unsynced" && from.is_some_and(|from| made < from) {
            return Ruling::Erase;
        }
        let mut narrowed = record.clone();
        match narrowed.narrow(purposes) {
            Coverage::Whole => Ruling::Send,
            Coverage::Narrowed => Ruling::SendNarrowed(Box::new(narrowed)),
            Coverage::Nothing => Ruling::Erase,
        }
    }

    /// Decides about what waits in the outbox. What cannot be read stays: the uplink reports it.
    pub(super) fn judge(
        &self,
        origin: Origin,
        now: WallClock,
    ) -> impl FnMut(&[u8]) -> Verdict + Send + use<> {
        let ledger = self.clone();
        move |bytes| {
            let Ok(record) = Record::decode(bytes) else { return Verdict::Keep };
            match ledger.rule(&origin, &record, &now) {
                Ruling::Send | Ruling::Wait => Verdict::Keep,
                Ruling::SendNarrowed(narrowed) => Verdict::Replace(narrowed.encode()),
                Ruling::Erase => Verdict::Erase,
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::{
        engine::{
            ClockQuality, Consent, Pseudonym, Purpose, Purposes, Registry, Subject, SubjectKind,
            UnixTime, Uptime,
        },
        outbox::record::{Body, Change, Context, Presence, RunId, VisitSummary},
        timeline::Timeline,
    };

    const RUN: RunId = RunId(1);

    fn origin() -> Origin {
        Origin {
            tenant: "t".to_owned(),
            store: "s".to_owned(),
            gateway: "g".to_owned(),
            epoch: 1,
            run: RUN,
            timeline: Timeline::default(),
            time_zone: TimeZone::UTC,
            opening_hours: Vec::new(),
            historical_after_ms: 60_000,
        }
    }

    fn at(seconds: i64, quality: ClockQuality) -> WallClock {
        let unix = UnixTime::from_millis(seconds * 1000);
        WallClock { at: Uptime::from_micros(seconds * 1_000_000), unix, quality }
    }

    fn ledger(purposes: &[Purpose], from: i64, until: Option<i64>) -> Ledger {
        let seconds = |seconds: i64| UnixTime::from_millis(seconds * 1000);
        let consent = Consent {
            purposes: purposes.iter().copied().collect::<Purposes>(),
            from: seconds(from),
            until: until.map(seconds),
            proof: "form-1".into(),
        };
        let subject = Subject {
            pseudonym: Pseudonym::new("s1"),
            kind: SubjectKind::Customer,
            identifiers: Vec::new(),
            consent: Some(consent),
        };
        Ledger::new(Registry::new(vec![subject], Vec::new()).unwrap().ledger())
    }

    /// The end of a visit, made at second 100 for presence and journey.
    fn record(quality: ClockQuality, run: RunId) -> Record {
        let summary = VisitSummary {
            reason: "silent".to_owned(),
            zones: vec!["dairy".to_owned()],
            path: vec![(0, 1000, 500)],
            dwell: vec![(0, 500)],
            path_cut: false,
            first_receiver: "local".to_owned(),
            last_receiver: "local".to_owned(),
            sightings: 9,
            mean_rssi: None,
            longest_gap_ms: 7,
        };
        let presence = Presence {
            subject: "s1".to_owned(),
            kind: "customer".to_owned(),
            purpose: "presence".to_owned(),
            proof: "form-1".to_owned(),
            purposes: vec!["presence".to_owned(), "journey".to_owned()],
            wide_window: false,
            visit: (1, 1, 1),
            begun_at: None,
            change: Change::VisitEnded(Box::new(summary)),
            context: Context { zones_visited: vec!["dairy".to_owned()], ..Context::default() },
        };
        let body = Body::Presence(Box::new(presence));
        Record::new(body, Uptime::from_micros(100_000_000), run, &at(100, quality))
    }

    use ClockQuality::{Synced, Unsynced};
    use Purpose::{Engagement, Journey, Presence as Present};

    #[test]
    fn a_record_is_sent_whole_narrowed_or_not_at_all_as_its_purposes_are_live() {
        let rule = |purposes: &[Purpose]| {
            ledger(purposes, 0, None).rule(&origin(), &record(Synced, RUN), &at(200, Synced))
        };
        assert_eq!(rule(&[Present, Journey, Engagement]), Ruling::Send);
        assert_eq!(rule(&[Journey]), Ruling::Erase);
        let Ruling::SendNarrowed(narrowed) = rule(&[Present]) else { panic!("not narrowed") };
        let text = format!("{narrowed:?}");
        assert!(!text.contains("dairy") && !text.contains("journey"), "{text}");
        assert!(text.contains("sightings: 9"), "what presence covers stays");
    }

    #[test]
    fn while_the_clock_is_not_synced_what_may_have_run_out_waits() {
        let ruling = |until, quality, made| {
            ledger(&[Present, Journey], 0, until).rule(
                &origin(),
                &record(made, RUN),
                &at(200, quality),
            )
        };
        assert_eq!(ruling(Some(300), Unsynced, Unsynced), Ruling::Wait);
        assert_eq!(ruling(None, Unsynced, Unsynced), Ruling::Send);
        assert_eq!(ruling(Some(300), Synced, Unsynced), Ruling::Send);
        assert_eq!(ruling(Some(150), Synced, Unsynced), Ruling::Erase);
        assert_eq!(ruling(Some(150), Synced, Synced), Ruling::Erase, "sent too late");
    }

    #[test]
    fn a_grant_does_not_cover_what_happened_before_it() {
        let ruling = |from, made, run| {
            ledger(&[Present, Journey], from, None).rule(
                &origin(),
                &record(made, run),
                &at(200, Synced),
            )
        };
        assert_eq!(ruling(101, Synced, RUN), Ruling::Erase);
        assert_eq!(ruling(100, Synced, RUN), Ruling::Send);
        assert_eq!(ruling(101, Unsynced, RUN), Ruling::Erase, "its time is corrected");
        assert_eq!(ruling(101, Unsynced, RunId(2)), Ruling::Send, "its time will never be known");
    }

    #[test]
    fn what_waits_in_the_outbox_is_kept_replaced_or_erased() {
        let bytes = record(Synced, RUN).encode();
        let now = at(200, Synced);
        let verdict = |ledger: &Ledger| ledger.judge(origin(), now)(&bytes);
        assert_eq!(verdict(&ledger(&[Present, Journey], 0, None)), Verdict::Keep);
        assert!(matches!(verdict(&ledger(&[Present], 0, None)), Verdict::Replace(_)));
        let withdrawn = ledger(&[Present], 0, None);
        withdrawn.write().withdraw("s1");
        assert_eq!(verdict(&withdrawn), Verdict::Erase);
        assert_eq!(withdrawn.judge(origin(), now)(b"no record"), Verdict::Keep);
    }
}

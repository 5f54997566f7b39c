//! Sightings that were resolved elsewhere. On a receiver: an advertisement in, who sent it out, and
//! nothing of a stranger. On the lead: such sightings in, to presence and to the sensors, as if they had
//! been resolved here.
//!
//! Promises that consent is asked for at both ends, of the registry of each; that nobody's absence
//! is proven by what does not say that it heard; and the same counts as for advertisements.

use std::fmt;

use super::{
    Advertisement, Engine, Looked, Pseudonym, ReceiverId, Recognition, Resolution, Rssi, Sent,
    Sighting, Uptime, frame, known,
};

/// Who or what was heard. There is no word for a stranger.
#[derive(Clone, Eq, PartialEq)]
pub enum Whose {
    /// An enrolled subject, by its pseudonym.
    Subject(Pseudonym),
    /// One of the shop's own devices.
    Fixture {
        /// Its name in the configuration, which is the same at both ends.
        id: String,
        /// What it sent, for its readings; at most [`LONGEST_FIXTURE_DATA`] octets, else nothing.
        data: Vec<u8>,
        /// From which address, most significant octet first, where the other end needs it to decrypt
        /// the data and does not know it from the configuration.
        address: Option<[u8; 6]>,
    },
}

/// One sighting that was resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spotted {
    /// Of whom.
    pub whose: Whose,
    /// By which of a subject's tags: the identifier's place among the subject's, at the end that heard
    /// it.
    pub tag: u8,
    /// How loud.
    pub rssi: Option<Rssi>,
    /// When.
    pub heard: Uptime,
    /// It took the wider window that is searched while the clock is not synced.
    pub wide_window: bool,
}

/// What a receiver that resolves by itself tells at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relayed {
    /// Which.
    pub receiver: ReceiverId,
    /// In the order of time.
    pub sightings: Vec<Spotted>,
    /// Up to when it heard whatever there was to hear; `None` when it cannot say that it heard
    /// anything.
    pub heard_until: Option<Uptime>,
}

/// The longest data of a fixture that are carried, in octets: legacy advertising has 31, with a
/// scan response 62, and sensors that use extended advertising stay below this.
pub const LONGEST_FIXTURE_DATA: usize = 255;

impl Engine {
    /// Says whose an advertisement is, for somebody else to make something of it, and counts it.
    /// Makes no visits and no readings here.
    pub fn spot(&mut self, advertisement: &Advertisement) -> Option<Spotted> {
        let now = self.advance(advertisement.heard);
        self.identity.work(now, &self.wall);
        let Looked { decoded, is_encrypted, resolution, .. } = self.look(now, advertisement);
        self.tally(&decoded, resolution);
        let (whose, tag, wide_window) = match resolution {
            Resolution::Anonymous => return None,
            Resolution::Subject(Recognition { subject, tag, wide_window }) => {
                let subject = self.identity.registry().subject(subject)?;
                (Whose::Subject(subject.pseudonym.clone()), tag, wide_window)
            }
            Resolution::Fixture(index) => {
                self.hear_canary(now, index, &advertisement.receiver);
                let fixture = self.identity.registry().fixture(index)?;
                let data = advertisement.data();
                let fits = data.len() <= LONGEST_FIXTURE_DATA;
                let data = if fits { data.to_vec() } else { Vec::new() };
                let needs_address = fits && is_encrypted && fixture.address().is_none();
                let address = known(advertisement.address()).filter(|_| needs_address);
                (Whose::Fixture { id: fixture.id.clone(), data, address }, 0, false)
            }
        };
        let (rssi, heard) = (advertisement.rssi, advertisement.heard);
        Some(Spotted { whose, tag, rssi, heard, wide_window })
    }

    /// Takes in what another gateway heard and resolved. Who is not enrolled here, or has no consent
    /// that is live, is nobody, whatever was believed there.
    pub fn handle_relayed(&mut self, relayed: &Relayed) {
        for spotted in &relayed.sightings {
            self.take_spotted(&relayed.receiver, spotted);
            self.settle();
        }
        if let Some(until) = relayed.heard_until {
            let now = self.advance(until);
            self.sensors.listen(now, self.identity.registry());
            // Late as it may be, it proves nothing about what came after it.
            self.presence.heard(until, &relayed.receiver);
            self.settle();
        }
    }

    fn take_spotted(&mut self, receiver: &ReceiverId, spotted: &Spotted) {
        let now = self.advance(spotted.heard);
        self.identity.work(now, &self.wall);
        self.presence.heard(spotted.heard, receiver);
        self.sensors.listen(now, self.identity.registry());
        self.counts.received += 1;
        self.counts.decoded += 1;
        let registry = self.identity.registry();
        match &spotted.whose {
            Whose::Subject(name) => {
                let live = registry
                    .by_pseudonym(name.as_str())
                    .filter(|subject| registry.is_live(*subject, &self.wall, now))
                    .and_then(|subject| Some((subject, registry.subject(subject)?.kind)));
                let Some((subject, kind)) = live else {
                    self.counts.anonymous += 1;
                    return;
                };
                self.counts.subject += 1;
                let Spotted { tag, rssi, wide_window, .. } = *spotted;
                let sighting = Sighting { subject, kind, tag, receiver, rssi, wide_window };
                self.presence.observe(now, &sighting);
            }
            Whose::Fixture { id, data, address } => {
                let Some((index, _)) = registry.fixture_named(id) else {
                    self.counts.anonymous += 1;
                    return;
                };
                self.counts.fixture += 1;
                let decoded = frame::decode_in(data, self.identity.context());
                let sent = Sent { data, address: *address, decoded };
                self.hear_fixture(now, index, (receiver, spotted.rssi), sent);
            }
        }
    }
}

/// What a fixture sent may have its address in it.
impl fmt::Debug for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(name) => f.debug_tuple("Subject").field(name).finish(),
            Self::Fixture { id, data, .. } => {
                let fixture = &mut f.debug_struct("Fixture");
                fixture.field("id", id).field("bytes", &data.len()).finish_non_exhaustive()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        AddressKind, AddressSeed, ClockQuality, Consent, DeviceAddress, Enrolment, Fixture,
        Identifier, Identity, IdentitySettings, PresenceSettings, Purposes, RadioState, Registry,
        ReportPolicy, Subject, SubjectKind, TransitionKind, UnixTime, VisitId, WallClock, What,
        Zone, ZoneId,
    };

    const MEMBER: [u8; 6] = [0xC0, 1, 2, 3, 4, 5];
    const SENSOR: [u8; 6] = [0xC0, 9, 9, 9, 9, 9];
    /// RuuviTag's raw format 2 (data format 5), as its documentation gives it.
    const RUUVI: [u8; 28] = [
        0x1B, 0xFF, 0x99, 0x04, 0x05, 0x12, 0xFC, 0x53, 0x94, 0xC3, 0x7C, 0x00, 0x04, 0xFF, 0xFC,
        0x04, 0x0C, 0xAC, 0x36, 0x42, 0x00, 0xCD, 0xCB, 0xB8, 0x33, 0x4C, 0x88, 0x4F,
    ];

    fn s(seconds: i64) -> Uptime {
        Uptime::from_micros(seconds * 1_000_000)
    }

    fn member(until: Option<UnixTime>) -> Subject {
        Subject {
            pseudonym: Pseudonym::new("m"),
            kind: SubjectKind::Customer,
            identifiers: vec![Identifier::Address(MEMBER)],
            consent: Some(Consent {
                purposes: Purposes::ALL,
                from: UnixTime::from_millis(0),
                until,
                proof: "p".into(),
            }),
        }
    }

    fn engine(subjects: Vec<Subject>) -> Engine {
        let fixture = Fixture {
            id: "fridge".to_owned(),
            zone: None,
            hangs: None,
            identifier: Identifier::Address(SENSOR).into(),
            key: None,
            canary: true,
            report: ReportPolicy::default(),
        };
        let registry = Registry::new(subjects, vec![fixture]).unwrap();
        let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
        let zone = Zone {
            id: ZoneId::new("wine"),
            enter_rssi: -75.0,
            exit_rssi: -85.0,
            loitering: Vec::new(),
            receivers: vec![ReceiverId::new("there")],
        };
        let presence = PresenceSettings {
            zones: vec![zone],
            receivers: vec![ReceiverId::new("there")],
            ..PresenceSettings::default()
        };
        let mut engine = Engine::new(identity, presence, VisitId { epoch: 1, run: 0, number: 1 });
        engine.handle_clock(WallClock {
            at: s(0),
            unix: UnixTime::from_millis(1_000_000),
            quality: ClockQuality::Synced,
        });
        engine
    }

    fn heard(second: i64, whose: Whose) -> Relayed {
        let rssi = Some(Rssi(-60));
        let spotted = Spotted { whose, tag: 0, rssi, heard: s(second), wide_window: false };
        let heard_until = Some(s(second));
        Relayed { receiver: ReceiverId::new("there"), sightings: vec![spotted], heard_until }
    }

    fn subject(second: i64) -> Relayed {
        heard(second, Whose::Subject(Pseudonym::new("m")))
    }

    /// Nothing was heard of anybody enrolled, but it hears.
    fn alive(second: i64) -> Relayed {
        Relayed { sightings: Vec::new(), ..subject(second) }
    }

    fn kinds(engine: &mut Engine) -> Vec<(Uptime, &'static str)> {
        let kind = |what: &What| match what {
            What::Presence(presence) => match presence.change {
                TransitionKind::VisitStarted => "started",
                TransitionKind::VisitEnded(_) => "ended",
                TransitionKind::ZoneEntered { .. } => "entered",
                TransitionKind::ZoneDwelled { .. } => "dwelled",
                TransitionKind::ZoneExited { .. } => "exited",
            },
            What::Sensor { .. } => "measured",
            _ => "other",
        };
        std::iter::from_fn(|| engine.poll_event()).map(|it| (it.at, kind(&it.what))).collect()
    }

    fn advertisement(address: [u8; 6], data: &[u8]) -> Advertisement {
        let address = DeviceAddress::new(address, AddressKind::Random);
        Advertisement::new(s(1), ReceiverId::new("local"), address, Some(Rssi(-50)), data)
    }

    fn conserves(engine: &Engine) {
        let counts = engine.counts();
        assert_eq!(counts.received, counts.malformed + counts.unknown + counts.decoded);
        assert_eq!(counts.decoded, counts.subject + counts.fixture + counts.anonymous);
    }

    #[test]
    fn what_another_resolved_makes_a_visit_and_its_word_that_it_heard_on_ends_it() {
        let mut engine = engine(vec![member(None)]);
        engine.handle_relayed(&subject(1));
        assert_eq!(kinds(&mut engine), [(s(1), "started"), (s(1), "entered")]);
        for second in 2..31 {
            engine.handle_relayed(&alive(second));
            assert_eq!(kinds(&mut engine), [], "{second}");
        }
        engine.handle_relayed(&alive(31));
        assert_eq!(kinds(&mut engine), [(s(1), "exited"), (s(1), "ended")]);
        conserves(&engine);
    }

    #[test]
    fn without_that_word_nobody_leaves_however_much_time_passes() {
        let mut engine = engine(vec![member(None)]);
        engine.handle_relayed(&subject(1));
        kinds(&mut engine);
        engine.handle_relayed(&Relayed { heard_until: None, ..alive(500) });
        engine.handle_timeout(s(1000));
        engine.handle_radio(
            s(1001),
            &ReceiverId::new("there"),
            RadioState::Suspect { since: s(1) },
        );
        engine.handle_timeout(s(9000));
        assert_eq!(kinds(&mut engine), []);
        assert_eq!(engine.visits_open(), 1);
    }

    #[test]
    fn who_is_not_enrolled_here_or_has_no_live_consent_is_nobody() {
        for subjects in [vec![], vec![member(Some(UnixTime::from_millis(1_000_500)))]] {
            let mut engine = engine(subjects);
            engine.handle_relayed(&subject(1));
            assert_eq!((kinds(&mut engine).len(), engine.visits_open()), (0, 0));
            assert_eq!(engine.counts().anonymous, 1);
            conserves(&engine);
        }
        let mut engine = engine(vec![member(None)]);
        engine.handle_relayed(&subject(1));
        engine.handle_enrolment(s(2), vec![Enrolment::Withdraw(Pseudonym::new("m"))]);
        engine.handle_relayed(&subject(3));
        assert_eq!(engine.visits_open(), 0, "the withdrawal ended the visit, and none began");
        engine.handle_relayed(&heard(
            4,
            Whose::Fixture { id: "unknown".into(), data: vec![], address: None },
        ));
        assert_eq!(engine.counts().anonymous, 2);
        conserves(&engine);
    }

    #[test]
    fn a_fixture_that_another_heard_measures_here() {
        let mut engine = engine(Vec::new());
        let fridge =
            Whose::Fixture { id: "fridge".to_owned(), data: RUUVI.to_vec(), address: None };
        engine.handle_relayed(&heard(5, fridge));
        assert_eq!(kinds(&mut engine), [(s(5), "measured")]);
        // What is broken has no readings.
        let broken =
            Whose::Fixture { id: "fridge".to_owned(), data: vec![0x1B, 0xFF], address: None };
        engine.handle_relayed(&heard(6, broken));
        assert_eq!((kinds(&mut engine).len(), engine.counts().fixture), (0, 2));
    }

    #[test]
    fn a_receiver_tells_who_is_enrolled_and_has_no_word_for_anybody_else() {
        let mut engine = engine(vec![member(None)]);
        let spotted = engine.spot(&advertisement(MEMBER, &[2, 1, 6])).unwrap();
        assert_eq!(spotted.whose, Whose::Subject(Pseudonym::new("m")));
        let fixture = engine.spot(&advertisement(SENSOR, &RUUVI)).unwrap();
        let data = RUUVI.to_vec();
        assert_eq!(fixture.whose, Whose::Fixture { id: "fridge".to_owned(), data, address: None });
        assert!(!format!("{fixture:?}").contains("203"), "data are not shown");
        assert!(engine.canaries().contains_key(&ReceiverId::new("local")));
        let long = engine.spot(&advertisement(SENSOR, &[0; 256])).unwrap();
        assert_eq!(
            long.whose,
            Whose::Fixture { id: "fridge".to_owned(), data: Vec::new(), address: None }
        );
        for data in [&[2, 1, 6][..], &RUUVI, &[9, 9], &[3, 3, 0x6F, 0xFD]] {
            assert_eq!(engine.spot(&advertisement([0xC0, 7, 7, 7, 7, 7], data)), None);
        }
        assert_eq!(engine.counts().received, 7);
        assert_eq!(engine.counts().refused, 1);
        assert_eq!((kinds(&mut engine).len(), engine.visits_open()), (0, 0));
        conserves(&engine);
    }

    #[test]
    fn a_late_word_proves_no_more_than_it_says() {
        let mut engine = engine(vec![member(None)]);
        engine.handle_relayed(&subject(1));
        kinds(&mut engine);
        // Another receiver has been heard since.
        engine.handle_relayed(&Relayed { receiver: ReceiverId::new("here"), ..alive(100) });
        engine.handle_relayed(&alive(30));
        assert_eq!(kinds(&mut engine), []);
        engine.handle_relayed(&alive(31));
        assert_eq!(kinds(&mut engine), [(s(1), "exited"), (s(1), "ended")]);
    }

    #[test]
    fn time_does_not_run_backwards_when_a_receiver_is_late() {
        let mut engine = engine(vec![member(None)]);
        engine.handle_relayed(&alive(100));
        engine.handle_relayed(&subject(50));
        assert_eq!(kinds(&mut engine)[0], (s(100), "started"));
    }
}

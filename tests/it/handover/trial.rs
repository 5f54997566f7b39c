//! One of two gateways that is told whatever somebody likes: for the fuzz target `handover`, and for the tests,
//! which do what it found worth keeping.

use std::{sync::Arc, time::Duration};

use beacon_gateway::{
    checkpoint,
    engine::{
        AddressKind, AddressSeed, Advertisement, ClockQuality, Consent, DeviceAddress, Engine,
        Identifier, Identity, IdentitySettings, PresenceSettings, Pseudonym, Purposes, RadioState,
        ReceiverId, Registry, Rssi, Subject, SubjectKind, UnixTime, Uptime, VisitId, WallClock,
        Zone, ZoneId,
    },
    outbox::record::{Record, RunId},
    relay::Run,
    seal::{KeyRing, Sealer},
    standby::{
        Bond, Inbox, LARGEST, Message, Names, Part, Partner, PeerState, Refusal, Stamp, Terms,
    },
    uplink::Topics,
};

/// Who is enrolled at both.
pub(crate) const ENROLLED: [&str; 2] = ["m", "n"];

/// The wall clock at uptime zero, in milliseconds since 1970.
const START_MS: i64 = 1_790_000_000_000;

/// What a message is sealed for, before its topic.
const LABEL: &[u8] = b"beacon-gateway handover 1\0";

/// One of two gateways.
pub(crate) struct Side {
    engine: Engine,
    partner: Partner,
    inbox: Inbox,
    ours: Bond,
    theirs: Bond,
    quality: ClockQuality,
    now: Uptime,
    run: RunId,
}

/// How many messages were taken, and how many were not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Played {
    pub(crate) taken: u64,
    pub(crate) refused: u64,
}

fn sealer() -> Sealer {
    let keys = KeyRing::parse(format!("1:{}", "5a".repeat(32)).as_bytes());
    Sealer::new(keys.expect("it is a key"))
}

impl Side {
    pub(crate) fn new(part: Part, quality: ClockQuality) -> Self {
        let (me, peer) = match part {
            Part::Lead => ("gw1", "gw2"),
            Part::Standby => ("gw2", "gw1"),
        };
        let [ours, theirs] = [me, peer].map(|gateway| {
            let name = |text: &str| text.parse().expect("it is a name");
            Bond::new(&Topics::new(name("t"), name("s"), name(gateway)))
        });
        let names = Names {
            store: "s".to_owned(),
            me: Arc::from(me),
            peer: Arc::from(peer),
            private: vec![ZoneId::new("private")],
        };
        let (takeover_after, return_after) = (Duration::from_secs(5), Duration::from_secs(10));
        let (terms, run) = (Terms { takeover_after, return_after }, RunId(7));
        let start = Run { epoch: 1, sequence: 1, mark: 7 };
        let partner = Partner::new((part, terms), names, (run, start), Vec::new(), Uptime::ZERO);
        let inbox = Inbox::new(sealer(), theirs.clone());
        let mut side = Self {
            engine: engine(),
            partner,
            inbox,
            ours,
            theirs,
            quality,
            now: Uptime::ZERO,
            run,
        };
        side.engine.handle_clock(side.wall());
        side.engine.handle_radio(Uptime::ZERO, &ReceiverId::new("local"), RadioState::Quiet);
        side.partner.handle_link(Uptime::ZERO, &mut side.engine, true);
        side.partner.handle_state(Uptime::ZERO, &mut side.engine, PeerState::Online);
        side
    }

    fn wall(&self) -> WallClock {
        let millis = START_MS + self.now.as_micros() / 1000;
        WallClock { at: self.now, unix: UnixTime::from_millis(millis), quality: self.quality }
    }

    /// When a message that is made now says that it was.
    pub(crate) fn stamp(&self) -> Stamp {
        let sent_us = self.wall().unix.as_millis() * 1000;
        let synced = self.quality == ClockQuality::Synced;
        Stamp { sent_us, error_us: synced.then_some(1000) }
    }

    /// Lets time pass, and hears somebody.
    pub(crate) fn pass(&mut self, span: Duration, heard: Option<&str>) {
        self.now = self.now + span;
        self.engine.handle_clock(self.wall());
        if let Some(name) = heard {
            let address = DeviceAddress::new(address(name), AddressKind::Random);
            let receiver = ReceiverId::new("local");
            let rssi = Some(Rssi(-60));
            let one = Advertisement::new(self.now, receiver, address, rssi, &[2, 1, 6]);
            self.partner.hear(&mut self.engine, &one);
        }
        self.engine.handle_timeout(self.now);
        self.partner.handle_timeout(self.now, &mut self.engine);
    }

    /// Seals what the other one might have said.
    pub(crate) fn sealed(&self, plain: &[u8]) -> Vec<u8> {
        let place = [LABEL, self.theirs.topic().as_bytes()].concat();
        self.inbox.sealer().seal(&place, plain).expect("it is not long")
    }

    /// Takes what came, as the line and the engine's task do.
    pub(crate) fn take(&mut self, payload: &[u8], retained: bool) -> Result<(), Refusal> {
        let wall = self.wall();
        let message = self.inbox.take(self.now, &wall, payload, retained)?;
        let again = self.inbox.take(self.now, &wall, payload, false);
        assert!(again.is_err(), "it is taken once");
        self.partner.handle_message(self.now, &wall, &mut self.engine, &message);
        Ok(())
    }

    /// Carries on what all that leads to. What is told the other one is told by name only of who is enrolled, and
    /// can be read there.
    pub(crate) fn settle(&mut self) -> Vec<Message> {
        let (now, wall) = (self.now, self.wall());
        let situations = std::iter::from_fn(|| self.engine.poll_event());
        let records = situations.map(|it| Record::of(&it, self.run, &wall)).collect();
        let changes = std::iter::from_fn(|| self.engine.poll_checkpoint()).collect();
        let fixtures = std::iter::from_fn(|| self.engine.poll_fixture());
        let fixtures = fixtures.flat_map(|it| checkpoint::fixture::write(&it, &wall, self.run));
        let fixtures = fixtures.collect();
        self.partner.keep(now, &wall, records, (changes, fixtures));
        while self.partner.poll_writes().is_some() {}
        while self.partner.poll_note().is_some() {}
        self.partner.handle_delivered(now);
        let told: Vec<_> = std::iter::from_fn(|| self.partner.poll_message()).collect();
        let stamp = self.stamp();
        for message in &told {
            let seen = message.seen.iter().map(|(name, _)| name);
            for name in message.visits.iter().map(|(name, _)| name).chain(seen) {
                assert!(ENROLLED.contains(&name.as_str()), "somebody who is not enrolled is named");
            }
            let sealed = message.seal(stamp, self.inbox.sealer(), &self.ours).expect("it fits");
            assert!(sealed.len() <= LARGEST);
            let read = Message::open(self.inbox.sealer(), &self.ours, &sealed);
            assert!(read.is_ok_and(|(_, read)| read == *message), "it is read as it was told");
        }
        told
    }
}

/// Plays an input. The first byte chooses: which of the two it is, whether its clock is set, whether what
/// follows is to be sealed with the key that both have, who is heard, and how fast time passes. Then messages, each
/// behind its length (two bytes, little-endian; the top bit says that the broker had kept it).
pub(crate) fn play(input: &[u8]) -> Played {
    let mut played = Played::default();
    let Some((choice, mut rest)) = input.split_first() else { return played };
    let part = if choice & 1 == 0 { Part::Standby } else { Part::Lead };
    let quality = if choice & 2 == 0 { ClockQuality::Synced } else { ClockQuality::Unsynced };
    let has_key = choice & 4 == 0;
    let heard = (choice & 8 == 8).then_some("m");
    let step = Duration::from_millis(u64::from(choice >> 4) * 250);
    let mut side = Side::new(part, quality);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u16::from_le_bytes(*length);
        let (retained, length) = (length >> 15 == 1, usize::from(length & 0x7fff));
        let (content, behind) = behind.split_at(length.min(behind.len()));
        rest = behind;
        side.pass(step, heard);
        let payload = if has_key { side.sealed(content) } else { content.to_vec() };
        match side.take(&payload, retained) {
            Ok(()) => {
                assert!(has_key && !retained, "nobody who has the key has just sent this");
                played.taken += 1;
            }
            Err(_) => played.refused += 1,
        }
        side.settle();
    }
    // It is silent from now on.
    for _ in 0..8 {
        side.pass(Duration::from_secs(5), None);
        side.settle();
    }
    played
}

fn address(name: &str) -> [u8; 6] {
    [0xc0, 0, 0, 0, 0, name.bytes().next().unwrap_or_default()]
}

fn engine() -> Engine {
    let subject = |name: &&str| Subject {
        pseudonym: Pseudonym::new(name),
        kind: SubjectKind::Customer,
        identifiers: vec![Identifier::Address(address(name))],
        consent: Some(Consent {
            purposes: Purposes::ALL,
            from: UnixTime::from_millis(0),
            until: None,
            proof: "p".into(),
        }),
    };
    let subjects = ENROLLED.iter().map(subject).collect();
    let registry = Registry::new(subjects, Vec::new()).expect("they differ");
    let identity = Identity::new(registry, IdentitySettings::default(), AddressSeed::new(1));
    let zone = Zone {
        id: ZoneId::new("door"),
        enter_rssi: -75.0,
        exit_rssi: -85.0,
        loitering: vec![Duration::from_mins(1)],
        receivers: vec![ReceiverId::new("local")],
    };
    let presence = PresenceSettings {
        zones: vec![zone],
        receivers: vec![ReceiverId::new("local")],
        ..PresenceSettings::default()
    };
    Engine::new(identity, presence, VisitId { epoch: 1, run: 1, number: 1 })
}

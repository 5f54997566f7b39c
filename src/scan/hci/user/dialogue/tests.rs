//! A scripted controller answers; what it was told is compared with what it should have been told.

use super::*;

/// A controller, by what it answers.
#[derive(Clone, Copy)]
struct Model {
    le: bool,
    extended: bool,
    coded: bool,
    /// Refuses this command with this status.
    refuses: Option<(u16, u8)>,
}

const LEGACY: Model = Model { le: true, extended: false, coded: false, refuses: None };
const EXTENDED: Model = Model { le: true, extended: true, coded: true, refuses: None };

const PATIENCE: Duration = Duration::from_secs(2);
const HARDWARE: [u8; 4] = [4, 0x10, 1, 0x42];

fn at(millis: u64) -> Uptime {
    Uptime::ZERO + Duration::from_millis(millis)
}

fn dialogue(settings: Settings) -> Dialogue {
    Dialogue::new(settings, "hci3".to_owned(), PATIENCE, [0xff; 6])
}

fn both_phys() -> Settings {
    Settings { phys: vec![Phy::OneM, Phy::Coded], ..Settings::default() }
}

fn complete(opcode: u16, credits: u8, returned: &[u8]) -> Vec<u8> {
    let [low, high] = opcode.to_le_bytes();
    let mut packet = vec![4, 0x0e, 0, credits, low, high];
    packet.extend(returned);
    packet[2] = u8::try_from(packet.len() - 3).unwrap();
    packet
}

impl Model {
    fn returned(self, opcode: u16) -> Vec<u8> {
        if let Some((refused, status)) = self.refuses
            && refused == opcode
        {
            return vec![status];
        }
        let mut returned = vec![0];
        match opcode {
            0x1001 => returned.extend([9, 0, 0, 9, 0xf1, 5, 0, 0]),
            0x1002 => {
                let mut commands = [0; 64];
                commands[37] = if self.extended { 0x60 } else { 0 };
                returned.extend(commands);
            }
            0x1003 => returned.extend([0, 0, 0, 0, if self.le { 0x40 } else { 0 }, 0, 0, 0]),
            0x1009 => returned.extend([1, 2, 3, 4, 5, 6]),
            0x2003 => {
                let features =
                    (if self.extended { 0x10 } else { 0 }) | (if self.coded { 0x08 } else { 0 });
                returned.extend([1, features, 0, 0, 0, 0, 0, 0]);
            }
            _ => {}
        }
        returned
    }
}

/// Answers each command until nothing more is said; returns the opcodes with their parameters.
fn answer_all(dialogue: &mut Dialogue, model: Model) -> Vec<(u16, Vec<u8>)> {
    let mut said = Vec::new();
    for _ in 0..100 {
        let Some(packet) = dialogue.poll_packet() else { return said };
        let [1, low, high, length, parameters @ ..] = packet.as_slice() else {
            panic!("no command: {packet:x?}");
        };
        assert_eq!(usize::from(*length), parameters.len());
        let opcode = u16::from_le_bytes([*low, *high]);
        said.push((opcode, parameters.to_vec()));
        assert_eq!(dialogue.poll_packet(), None, "two commands at once");
        dialogue.handle_packet(at(1), &complete(opcode, 1, &model.returned(opcode)), &mut |_| {});
    }
    panic!("it never comes to an end");
}

fn opcodes(said: &[(u16, Vec<u8>)]) -> Vec<u16> {
    said.iter().map(|(opcode, _)| *opcode).collect()
}

fn events(dialogue: &mut Dialogue) -> Vec<Event> {
    std::iter::from_fn(|| dialogue.poll_event()).collect()
}

/// A dialogue that has got the controller to scan.
fn scanning(settings: Settings, model: Model) -> Dialogue {
    let mut dialogue = dialogue(settings);
    dialogue.reset(at(0));
    answer_all(&mut dialogue, model);
    assert_eq!(events(&mut dialogue), [Event::Scanning]);
    assert_eq!(dialogue.poll_timeout(), None);
    dialogue
}

#[test]
fn an_old_controller_is_made_to_scan_with_the_old_commands() {
    let mut dialogue = dialogue(Settings::default());
    dialogue.reset(at(0));
    let said = answer_all(&mut dialogue, LEGACY);
    assert_eq!(
        opcodes(&said),
        [
            0x0c03, 0x1001, 0x1002, 0x1003, 0x1009, 0x2003, // what it is
            0x0c01, 0x2001, // what it may say
            0x200b, 0x200c, // to scan
        ]
    );
    let last = said.last().map(|(_, parameters)| parameters.clone());
    assert_eq!(last, Some(vec![1, 0]), "on, and every advertisement");
    assert_eq!(events(&mut dialogue), [Event::Scanning]);
    let address = dialogue.ability().address.map(|address| address.octets());
    assert_eq!(address, Some([6, 5, 4, 3, 2, 1]));
}

#[test]
fn a_new_controller_is_made_to_scan_on_both_phys() {
    let mut dialogue = dialogue(both_phys());
    dialogue.reset(at(0));
    let said = answer_all(&mut dialogue, EXTENDED);
    assert_eq!(opcodes(&said).last_chunk(), Some(&[0x2041, 0x2042]));
    let (_, parameters) = said.iter().find(|(opcode, _)| *opcode == 0x2041).unwrap();
    assert_eq!(parameters, &[0, 0, 5, 0, 0x60, 0, 0x60, 0, 0, 0x20, 1, 0x20, 1]);
    assert_eq!(events(&mut dialogue), [Event::Scanning]);
}

#[test]
fn an_active_scan_asks_under_an_address_that_says_nothing() {
    let mut dialogue = dialogue(Settings { active: true, ..Settings::default() });
    dialogue.reset(at(0));
    let said = answer_all(&mut dialogue, LEGACY);
    let place = |opcode| opcodes(&said).iter().position(|other| *other == opcode).unwrap();
    assert!(place(0x2005) < place(0x200b));
    assert_eq!(said[place(0x2005)].1, [1, 0, 0, 0, 0, 0], "neither all ones nor resolvable");
    assert_eq!(said[place(0x200b)].1, [1, 0x60, 0, 0x60, 0, 1, 0]);
}

#[test]
fn a_controller_without_coded_phy_listens_without_it_and_says_so() {
    for model in [LEGACY, Model { coded: false, ..EXTENDED }] {
        let mut dialogue = dialogue(both_phys());
        dialogue.reset(at(0));
        answer_all(&mut dialogue, model);
        assert_eq!(events(&mut dialogue), [Event::NoCoded, Event::Scanning]);
    }
}

#[test]
fn a_controller_that_refuses_the_coded_phy_listens_without_it() {
    let mut willing = false;
    let mut dialogue = dialogue(both_phys());
    dialogue.reset(at(0));
    for _ in 0..20 {
        let Some(packet) = dialogue.poll_packet() else { break };
        let opcode = u16::from_le_bytes([packet[1], packet[2]]);
        let refused = opcode == 0x2041 && !std::mem::replace(&mut willing, true);
        let returned = if refused { vec![0x12] } else { EXTENDED.returned(opcode) };
        dialogue.handle_packet(at(1), &complete(opcode, 1, &returned), &mut |_| {});
    }
    assert!(willing);
    assert_eq!(events(&mut dialogue), [Event::NoCoded, Event::Scanning]);
}

#[test]
fn a_controller_without_le_is_no_use() {
    let mut dialogue = dialogue(Settings::default());
    dialogue.reset(at(0));
    answer_all(&mut dialogue, Model { le: false, ..LEGACY });
    assert_eq!(events(&mut dialogue), [Event::Failed(HciError::Unfit("hci3".to_owned()))]);
    assert_eq!(dialogue.poll_timeout(), None);
}

#[test]
fn what_is_only_good_to_know_may_be_refused_and_the_rest_may_not() {
    for opcode in [0x1001, 0x1002, 0x1009, 0x2003] {
        let mut dialogue = dialogue(Settings::default());
        dialogue.reset(at(0));
        answer_all(&mut dialogue, Model { refuses: Some((opcode, 1)), ..LEGACY });
        assert_eq!(events(&mut dialogue), [Event::Scanning], "{opcode:x}");
    }
    for opcode in [0x0c03, 0x1003, 0x0c01, 0x2001, 0x200b, 0x200c] {
        let mut dialogue = dialogue(Settings::default());
        dialogue.reset(at(0));
        answer_all(&mut dialogue, Model { refuses: Some((opcode, 0x0c)), ..LEGACY });
        let events = events(&mut dialogue);
        assert!(
            matches!(events.as_slice(), [Event::Failed(HciError::Refused { status: 0x0c, .. })]),
            "{opcode:x}: {events:?}"
        );
    }
}

#[test]
fn a_refusal_may_come_as_a_status() {
    let mut dialogue = dialogue(Settings::default());
    dialogue.reset(at(0));
    dialogue.handle_packet(at(1), &[4, 0x0f, 4, 0x01, 1, 0x03, 0x0c], &mut |_| {});
    assert!(matches!(
        events(&mut dialogue).as_slice(),
        [Event::Failed(HciError::Refused { status: 1, .. })]
    ));
}

#[test]
fn a_silent_controller_is_given_up_in_time() {
    let mut dialogue = dialogue(Settings::default());
    dialogue.reset(at(0));
    assert_eq!(dialogue.poll_timeout(), Some(at(2000)));
    dialogue.handle_timeout(at(1999));
    assert_eq!(events(&mut dialogue), []);
    dialogue.handle_timeout(at(2000));
    assert_eq!(
        events(&mut dialogue),
        [Event::Failed(HciError::Silent { doing: Command::Reset.doing() })]
    );
    // A reset is another attempt.
    dialogue.reset(at(3000));
    answer_all(&mut dialogue, LEGACY);
    assert_eq!(events(&mut dialogue), [Event::Scanning]);
}

#[test]
fn a_command_waits_until_the_controller_takes_one() {
    let mut dialogue = dialogue(Settings::default());
    dialogue.reset(at(0));
    assert!(dialogue.poll_packet().is_some());
    // The answer to the reset, and no leave to send more.
    dialogue.handle_packet(at(10), &complete(0x0c03, 0, &[0]), &mut |_| {});
    assert_eq!(dialogue.poll_packet(), None);
    assert_eq!(dialogue.poll_timeout(), Some(at(2010)));
    // An answer to nothing gives leave.
    dialogue.handle_packet(at(20), &complete(0, 1, &[]), &mut |_| {});
    let packet = dialogue.poll_packet().unwrap();
    assert_eq!(packet, Command::ReadVersion.packet());
    assert_eq!(dialogue.poll_timeout(), Some(at(2020)));
}

#[test]
fn a_controller_that_never_takes_another_command_is_given_up() {
    let mut dialogue = dialogue(Settings::default());
    dialogue.reset(at(0));
    dialogue.handle_packet(at(10), &complete(0x0c03, 0, &[0]), &mut |_| {});
    dialogue.handle_packet(at(1000), &complete(0, 0, &[]), &mut |_| {});
    dialogue.handle_timeout(at(2010));
    assert_eq!(
        events(&mut dialogue),
        [Event::Failed(HciError::Silent { doing: Command::ReadVersion.doing() })]
    );
}

#[test]
fn a_scan_is_ended_and_started_again() {
    let mut dialogue = scanning(Settings::default(), EXTENDED);
    dialogue.restart_scan(at(5000));
    let said = answer_all(&mut dialogue, EXTENDED);
    assert_eq!(opcodes(&said), [0x2042, 0x2041, 0x2042]);
    assert_eq!(said[0].1[0], 0);
    assert_eq!(said[2].1[0], 1);
    assert_eq!(events(&mut dialogue), [Event::Scanning]);
}

#[test]
fn a_scan_that_had_ended_by_itself_is_started_again() {
    let mut dialogue = scanning(Settings::default(), LEGACY);
    dialogue.restart_scan(at(5000));
    assert_eq!(dialogue.poll_packet(), Some(Command::ScanEnable(false).packet()));
    // "Command disallowed": there is nothing to end.
    dialogue.handle_packet(at(5001), &complete(0x200c, 1, &[0x0c]), &mut |_| {});
    let said = answer_all(&mut dialogue, LEGACY);
    assert_eq!(opcodes(&said), [0x200b, 0x200c]);
    assert_eq!(events(&mut dialogue), [Event::Scanning]);
}

#[test]
fn a_hardware_error_is_told_and_answered_with_a_reset() {
    let mut dialogue = scanning(Settings::default(), LEGACY);
    dialogue.handle_packet(at(5000), &HARDWARE, &mut |_| {});
    assert_eq!(events(&mut dialogue), [Event::HardwareError { code: 0x42 }]);
    let said = answer_all(&mut dialogue, LEGACY);
    assert_eq!(opcodes(&said).first(), Some(&0x0c03));
    assert_eq!(events(&mut dialogue), [Event::Scanning]);
}

#[test]
fn a_controller_that_breaks_while_it_is_set_up_is_not_reset_for_ever() {
    let mut dialogue = scanning(Settings::default(), LEGACY);
    dialogue.handle_packet(at(5000), &HARDWARE, &mut |_| {});
    dialogue.handle_packet(at(5001), &HARDWARE, &mut |_| {});
    let events = events(&mut dialogue);
    assert!(
        matches!(events.as_slice(), [_, Event::Failed(HciError::Refused { status: 3, .. })]),
        "{events:?}"
    );
    assert_eq!(dialogue.poll_packet(), None);
}

#[test]
fn an_answer_from_before_a_reset_changes_nothing() {
    let mut dialogue = scanning(Settings::default(), LEGACY);
    dialogue.restart_scan(at(5000));
    dialogue.reset(at(5001));
    assert_eq!(dialogue.poll_packet(), Some(Command::Reset.packet()));
    dialogue.handle_packet(at(5002), &complete(0x200c, 1, &[0x0c]), &mut |_| {});
    assert_eq!(dialogue.poll_packet(), None, "the reset is still under way");
    dialogue.handle_packet(at(5003), &complete(0x0c03, 1, &[0]), &mut |_| {});
    assert_eq!(dialogue.poll_packet(), Some(Command::ReadVersion.packet()));
}

#[test]
fn a_scan_is_ended_before_the_controller_is_given_back() {
    let mut dialogue = scanning(Settings::default(), LEGACY);
    dialogue.end_scan(at(5000));
    assert_eq!(opcodes(&answer_all(&mut dialogue, LEGACY)), [0x200c]);
    assert_eq!(events(&mut dialogue), [Event::Ended]);
    // Where there is no scan, there is nothing to be said.
    dialogue.end_scan(at(6000));
    assert_eq!(dialogue.poll_packet(), None);
    assert_eq!(events(&mut dialogue), [Event::Ended]);
}

#[test]
fn reports_are_handed_on_at_any_time() {
    let mut dialogue = scanning(Settings::default(), LEGACY);
    let report = [4, 0x3e, 14, 2, 1, 3, 1, 1, 2, 3, 4, 5, 0xc6, 2, 0x01, 0xff, 0xc4];
    let mut heard = 0;
    dialogue.handle_packet(at(1), &report, &mut |report| {
        assert!(report.is_ok());
        heard += 1;
    });
    assert_eq!(heard, 1);
}

#[test]
fn whatever_a_controller_says_something_is_due_or_nothing_is_under_way() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut dialogue = dialogue(if random.bool() { both_phys() } else { Settings::default() });
        let mut now = at(0);
        dialogue.reset(now);
        for _ in 0..400 {
            now = now + Duration::from_millis(random.u64(0..300));
            let mut bytes = vec![0; random.usize(0..24)];
            bytes.fill_with(|| random.u8(..));
            match random.u8(0..12) {
                0 => dialogue.handle_packet(now, &bytes, &mut |_| {}),
                1 => {
                    let event = [4, random.choice([0x0e, 0x0f, 0x10, 0x3e]).unwrap_or(0x0e)];
                    bytes.splice(0..0, event);
                    dialogue.handle_packet(now, &bytes, &mut |_| {});
                }
                // A true answer, or a refusal, to what is under way.
                2..9 => {
                    if let Some(command) = dialogue.waiting {
                        let opcode = command.opcode();
                        let model = Model {
                            refuses: (random.u8(0..8) == 0).then_some((opcode, 1)),
                            ..EXTENDED
                        };
                        let packet = complete(opcode, random.u8(0..3), &model.returned(opcode));
                        dialogue.handle_packet(now, &packet, &mut |_| {});
                    }
                }
                9 => dialogue.restart_scan(now),
                10 => dialogue.reset(now),
                _ => dialogue.handle_timeout(now),
            }
            while dialogue.poll_packet().is_some() {}
            while dialogue.poll_event().is_some() {}
            let busy = !matches!(dialogue.phase, Phase::Idle | Phase::Scanning);
            assert_eq!(busy, dialogue.poll_timeout().is_some(), "seed {seed}: {dialogue:?}");
            assert!(dialogue.plan.len() < 10, "seed {seed}");
        }
    }
}

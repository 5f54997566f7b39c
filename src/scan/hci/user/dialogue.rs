//! The decider of a session on the user channel; its doer is [`super::UserSession`]. Packets from
//! the controller and the time in; packets to the controller, advertising reports and events out.
//!
//! Pure and total: it knows no socket and no clock, and no bytes make it panic. One command is under
//! way at a time, and only when the controller has said that it takes one (Core Specification 5.4,
//! Vol 4 Part E 4.4). An answer that does not come ends the attempt; what is done then is decided
//! elsewhere.

use std::{collections::VecDeque, time::Duration};

use super::{
    command::{Ability, Command},
    plan,
};
use crate::{
    engine::Uptime,
    scan::hci::{
        Each, HciReports,
        error::HciError,
        settings::{Phy, Settings},
    },
};

/// What the controller is being told, and how far that is.
#[derive(Debug)]
pub(super) struct Dialogue {
    settings: Settings,
    /// What the adapter is called in an error.
    adapter: String,
    /// How long one answer may take.
    patience: Duration,
    /// The address of active scans, least significant octet first.
    random_address: [u8; 6],
    phase: Phase,
    ability: Ability,
    /// What is left to be said, next first.
    plan: VecDeque<Command>,
    /// The command under way.
    waiting: Option<Command>,
    /// When to give up: on the answer, or on the leave to send the next command.
    due: Option<Uptime>,
    /// How many commands the controller takes now.
    credits: u8,
    reports: HciReports,
    packets: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Nothing was begun, or it failed.
    Idle,
    /// The controller is reset and asked what it is.
    SettingUp,
    /// The scan is being started.
    Starting,
    Scanning,
    /// The scan is being ended.
    Ending,
}

/// What became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The controller scans.
    Scanning,
    /// It has ended its scan, as it was told to.
    Ended,
    /// It says that it is broken; it is being reset.
    HardwareError { code: u8 },
    /// It cannot listen for what is configured, and listens for 1M.
    NoCoded,
    /// The attempt failed. Nothing happens until it is reset.
    Failed(HciError),
}

// Packet types and events (Core Specification 5.4, Vol 4 Part A 2; Part E 7.7.14 to 7.7.16).
const H4_EVENT: u8 = 0x04;
const COMMAND_COMPLETE: u8 = 0x0e;
const COMMAND_STATUS: u8 = 0x0f;
const HARDWARE_ERROR: u8 = 0x10;

/// The error code of a controller that broke while it was being set up (Vol 1 Part F 2.3).
const HARDWARE_FAILURE: u8 = 0x03;

impl Dialogue {
    pub(super) fn new(
        settings: Settings,
        adapter: String,
        patience: Duration,
        random_address: [u8; 6],
    ) -> Self {
        Self {
            settings,
            adapter,
            patience,
            random_address: plan::non_resolvable(random_address),
            phase: Phase::Idle,
            ability: Ability::default(),
            plan: VecDeque::new(),
            waiting: None,
            due: None,
            credits: 0,
            reports: HciReports::default(),
            packets: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    pub(super) const fn ability(&self) -> &Ability {
        &self.ability
    }

    /// Gives up on fragments that are not continued; see [`HciReports::forget`].
    pub(super) fn forget(&mut self) -> u64 {
        self.reports.forget()
    }

    /// Resets the controller, whatever it is doing, and makes it scan.
    pub(super) fn reset(&mut self, now: Uptime) {
        self.ability = Ability::default();
        self.packets.clear();
        self.reports.abandon();
        self.waiting = None;
        // A controller that is to be reset takes that one command.
        self.credits = 1;
        self.phase = Phase::SettingUp;
        self.plan = plan::questions();
        self.advance(now);
    }

    /// Ends the scan and starts it again. Changes nothing while it is being started anyway.
    pub(super) fn restart_scan(&mut self, now: Uptime) {
        match self.phase {
            Phase::Scanning => {
                self.plan = plan::scan(&self.settings, &self.ability);
                self.plan.push_front(plan::enable(&self.ability, false));
                self.phase = Phase::Starting;
                self.advance(now);
            }
            Phase::Idle | Phase::Ending => self.reset(now),
            Phase::SettingUp | Phase::Starting => {}
        }
    }

    /// Ends the scan.
    pub(super) fn end_scan(&mut self, now: Uptime) {
        if self.phase == Phase::Scanning {
            self.plan = VecDeque::from([plan::enable(&self.ability, false)]);
            self.phase = Phase::Ending;
            self.advance(now);
        } else {
            self.phase = Phase::Idle;
            self.silence();
            self.events.push_back(Event::Ended);
        }
    }

    /// Takes one packet in, with its H4 packet type.
    pub(super) fn handle_packet(&mut self, now: Uptime, packet: &[u8], each: Each<'_>) {
        match packet {
            [H4_EVENT, COMMAND_COMPLETE, _, credits, low, high, rest @ ..] => {
                // Without status: nothing was carried out, only the number of commands changed.
                let (status, parameters) = rest.split_first().map_or((0, rest), |(s, p)| (*s, p));
                self.answer(now, u16::from_le_bytes([*low, *high]), *credits, status, parameters);
            }
            // With status 0 it says that the command has begun; the rest will follow.
            [H4_EVENT, COMMAND_STATUS, _, 0, credits, ..] => self.credit(now, *credits),
            [H4_EVENT, COMMAND_STATUS, _, status, credits, low, high, ..] => {
                self.answer(now, u16::from_le_bytes([*low, *high]), *credits, *status, &[]);
            }
            [H4_EVENT, HARDWARE_ERROR, _, code, ..] => self.hardware_error(now, *code),
            _ => self.reports.h4(packet, each),
        }
    }

    /// Gives up on what is due.
    pub(super) fn handle_timeout(&mut self, now: Uptime) {
        if self.due.is_some_and(|due| due <= now) {
            let unsaid = self.waiting.or_else(|| self.plan.front().copied());
            let doing = unsaid.map_or("speak to a Bluetooth controller", Command::doing);
            self.fail(HciError::Silent { doing });
        }
    }

    /// When something is due.
    pub(super) const fn poll_timeout(&self) -> Option<Uptime> {
        self.due
    }

    /// The next packet to be sent.
    pub(super) fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The answer that is waited for, as a controller would give it; for rehearsals.
    pub(super) fn answer_to(&self, returned: &[u8]) -> Option<Vec<u8>> {
        let [low, high] = self.waiting?.opcode().to_le_bytes();
        let length = u8::try_from(returned.len().checked_add(3)?).ok()?;
        let mut packet = vec![H4_EVENT, COMMAND_COMPLETE, length, 1, low, high];
        packet.extend(returned);
        Some(packet)
    }

    fn answer(&mut self, now: Uptime, opcode: u16, credits: u8, status: u8, parameters: &[u8]) {
        match self.waiting {
            Some(command) if command.opcode() == opcode => {
                self.waiting = None;
                self.due = None;
                if status == 0 {
                    self.ability.learn(command, parameters);
                    self.check(command);
                } else {
                    self.refused(command, status);
                }
            }
            // To what was asked before a reset, or to nobody.
            _ => {}
        }
        self.credit(now, credits);
    }

    fn credit(&mut self, now: Uptime, credits: u8) {
        // Before it was reset, a controller speaks of commands that are not ours.
        if self.waiting != Some(Command::Reset) {
            self.credits = credits;
        }
        self.advance(now);
    }

    /// What was learnt may end it here.
    fn check(&mut self, command: Command) {
        if command == Command::ReadFeatures && !self.ability.le() {
            self.fail(HciError::Unfit(self.adapter.clone()));
        }
    }

    fn refused(&mut self, command: Command, status: u8) {
        match command {
            // Good to know, but not needed: a controller that does not tell is spoken to as in the
            // days before it could.
            Command::ReadVersion
            | Command::ReadCommands
            | Command::ReadAddress
            | Command::ReadLeFeatures
            // There is no scan to end.
            | Command::ScanEnable(false)
            | Command::ExtendedScanEnable(false) => {}
            // It has the Coded PHY, and yet does not scan with it.
            Command::ExtendedScanParameters { coded: Some(_), .. } if self.ability.coded() => {
                self.ability.forget_coded();
                self.plan = plan::scan(&self.settings, &self.ability);
                self.events.push_back(Event::NoCoded);
            }
            _ => self.fail(HciError::Refused { doing: command.doing(), status }),
        }
    }

    fn hardware_error(&mut self, now: Uptime, code: u8) {
        match self.phase {
            Phase::Idle | Phase::Ending => {}
            // It is told once. A controller that breaks again while it is set up is left to those
            // who can do more.
            Phase::SettingUp => {
                let doing = "set a Bluetooth controller up";
                self.fail(HciError::Refused { doing, status: HARDWARE_FAILURE });
            }
            Phase::Starting | Phase::Scanning => {
                self.events.push_back(Event::HardwareError { code });
                self.reset(now);
            }
        }
    }

    /// Says the next thing if the controller takes it, or finds that all has been said.
    fn advance(&mut self, now: Uptime) {
        if self.waiting.is_some() || self.phase == Phase::Idle {
            return;
        }
        if self.plan.is_empty() {
            match self.phase {
                Phase::SettingUp => {
                    let (settings, ability) = (&self.settings, &self.ability);
                    self.plan = plan::configuration(settings, ability, self.random_address);
                    if settings.wants(Phy::Coded) && !ability.coded() {
                        self.events.push_back(Event::NoCoded);
                    }
                    self.phase = Phase::Starting;
                }
                Phase::Starting => {
                    self.phase = Phase::Scanning;
                    self.due = None;
                    self.events.push_back(Event::Scanning);
                    return;
                }
                Phase::Ending => {
                    self.phase = Phase::Idle;
                    self.silence();
                    self.events.push_back(Event::Ended);
                    return;
                }
                Phase::Scanning | Phase::Idle => return,
            }
        }
        let Some(credits) = self.credits.checked_sub(1) else {
            self.due.get_or_insert(now + self.patience);
            return;
        };
        if let Some(command) = self.plan.pop_front() {
            self.credits = credits;
            self.waiting = Some(command);
            self.due = Some(now + self.patience);
            self.packets.push_back(command.packet());
        }
    }

    fn fail(&mut self, error: HciError) {
        self.phase = Phase::Idle;
        self.silence();
        self.events.push_back(Event::Failed(error));
    }

    /// Says nothing more.
    fn silence(&mut self) {
        self.plan.clear();
        self.packets.clear();
        self.waiting = None;
        self.due = None;
    }
}

#[cfg(test)]
mod tests;

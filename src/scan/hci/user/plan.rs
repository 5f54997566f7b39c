//! What is said to a controller, in order. Settings and what the controller can in, commands out.

use std::collections::VecDeque;

use super::command::{Ability, Command, Timing};
use crate::scan::hci::settings::{Phy, Settings, slots};

/// A packet of the Coded PHY takes up to eight times as long as one of 1M, so a scanner that hears
/// both stays on Coded three times as long; the kernel does the same.
const CODED_SHARE: u16 = 3;

/// Begins from the beginning, and asks a controller what it is.
pub(super) fn questions() -> VecDeque<Command> {
    VecDeque::from([
        Command::Reset,
        Command::ReadVersion,
        Command::ReadCommands,
        Command::ReadFeatures,
        Command::ReadAddress,
        Command::ReadLeFeatures,
    ])
}

/// Makes a controller scan that was reset and has told what it can.
pub(super) fn configuration(
    settings: &Settings,
    ability: &Ability,
    random_address: [u8; 6],
) -> VecDeque<Command> {
    let mut plan = VecDeque::from([Command::SetEventMask, Command::SetLeEventMask]);
    if settings.active {
        plan.push_back(Command::SetRandomAddress(random_address));
    }
    plan.extend(scan(settings, ability));
    plan
}

/// Starts a scan.
pub(super) fn scan(settings: &Settings, ability: &Ability) -> VecDeque<Command> {
    let timing = Timing {
        active: settings.active,
        interval: slots(settings.interval),
        window: slots(settings.window),
    };
    let parameters = if ability.extended() {
        let coded = settings.wants(Phy::Coded) && ability.coded();
        let one_m = settings.wants(Phy::OneM) || !coded;
        let longer = Timing {
            interval: timing.interval.saturating_mul(CODED_SHARE),
            window: timing.window.saturating_mul(CODED_SHARE),
            ..timing
        };
        Command::ExtendedScanParameters {
            one_m: one_m.then_some(timing),
            coded: coded.then_some(if one_m { longer } else { timing }),
        }
    } else {
        Command::ScanParameters(timing)
    };
    VecDeque::from([parameters, enable(ability, true)])
}

/// Switches a scan on or off.
pub(super) fn enable(ability: &Ability, on: bool) -> Command {
    if ability.extended() { Command::ExtendedScanEnable(on) } else { Command::ScanEnable(on) }
}

/// Makes a non-resolvable private address of random octets, least significant first: the two most
/// significant bits are 0, and the others are neither all 0 nor all 1 (Core Specification 5.4,
/// Vol 6 Part B 1.3.2.2).
pub(super) fn non_resolvable(mut octets: [u8; 6]) -> [u8; 6] {
    let [.., highest] = &mut octets;
    *highest &= 0x3f;
    match octets {
        [0, 0, 0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff, 0xff, 0x3f] => [1, 0, 0, 0, 0, 0],
        octets => octets,
    }
}

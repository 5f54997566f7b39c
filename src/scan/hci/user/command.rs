//! The commands with which a controller is made to scan. A command in, its packet out; the
//! parameters of an answer in, what they say out. Total: no answer panics.
//!
//! The types of commands, parameters and returns are those of the crate `bt-hci`. Its events are not
//! used, because they insist on the length of an answer, which later versions of the specification
//! may add to; nor is its transport `bt-hci-linux`, which tells neither the kernel's time of a packet
//! nor what the kernel dropped. The reports are read by [`crate::scan::hci::HciReports`], as those of
//! recordings are.

use bt_hci::{
    FromHciBytes, WriteHci,
    cmd::{
        Cmd, SyncCmd,
        controller_baseband::{Reset, SetEventMask},
        info::{
            ReadBdAddr, ReadLocalSupportedCmds, ReadLocalSupportedFeatures,
            ReadLocalVersionInformation,
        },
        le::{
            LeReadLocalSupportedFeatures, LeSetEventMask, LeSetExtScanEnable, LeSetExtScanParams,
            LeSetRandomAddr, LeSetScanEnable, LeSetScanParams,
        },
    },
    param::{
        AddrKind, BdAddr, CmdMask, Duration, EventMask, FilterDuplicates, LeEventMask,
        LeFeatureMask, LeScanKind, LmpFeatureMask, PhyParams, ScanningFilterPolicy, ScanningPhy,
    },
};

use crate::{
    engine::{AddressKind, DeviceAddress},
    scan::hci::from_air,
};

/// One command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command {
    /// Begins from the beginning.
    Reset,
    ReadVersion,
    ReadCommands,
    ReadFeatures,
    ReadAddress,
    ReadLeFeatures,
    SetEventMask,
    SetLeEventMask,
    /// The address that is shown to those whom an active scan asks.
    SetRandomAddress([u8; 6]),
    ScanParameters(Timing),
    ScanEnable(bool),
    /// For 1M, for Coded, or for both.
    ExtendedScanParameters {
        one_m: Option<Timing>,
        coded: Option<Timing>,
    },
    ExtendedScanEnable(bool),
}

/// How to scan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Timing {
    pub(super) active: bool,
    /// In slots of 625 µs, as is the window.
    pub(super) interval: u16,
    pub(super) window: u16,
}

/// What answers say about a controller.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ability {
    /// The version of its HCI (Assigned Numbers, "Core version"): 9 is 5.0.
    pub version: u8,
    /// Who made it (Assigned Numbers, "Company identifiers").
    pub manufacturer: u16,
    /// Its public address, if it told.
    pub address: Option<DeviceAddress>,
    features: LmpFeatureMask,
    le_features: LeFeatureMask,
    commands: CmdMask,
}

/// The H4 packet type of a command (Core Specification 5.4, Vol 4 Part A 2).
const H4_COMMAND: u8 = 0x01;

// === impl Command ===

impl Command {
    pub(super) const fn opcode(self) -> u16 {
        match self {
            Self::Reset => Reset::OPCODE,
            Self::ReadVersion => ReadLocalVersionInformation::OPCODE,
            Self::ReadCommands => ReadLocalSupportedCmds::OPCODE,
            Self::ReadFeatures => ReadLocalSupportedFeatures::OPCODE,
            Self::ReadAddress => ReadBdAddr::OPCODE,
            Self::ReadLeFeatures => LeReadLocalSupportedFeatures::OPCODE,
            Self::SetEventMask => SetEventMask::OPCODE,
            Self::SetLeEventMask => LeSetEventMask::OPCODE,
            Self::SetRandomAddress(_) => LeSetRandomAddr::OPCODE,
            Self::ScanParameters(_) => LeSetScanParams::OPCODE,
            Self::ScanEnable(_) => LeSetScanEnable::OPCODE,
            Self::ExtendedScanParameters { .. } => LeSetExtScanParams::OPCODE,
            Self::ExtendedScanEnable(_) => LeSetExtScanEnable::OPCODE,
        }
        .to_raw()
    }

    /// What it is for, in a sentence that begins with "failed to".
    pub(super) const fn doing(self) -> &'static str {
        match self {
            Self::Reset => "reset a Bluetooth controller",
            Self::ReadVersion
            | Self::ReadCommands
            | Self::ReadFeatures
            | Self::ReadAddress
            | Self::ReadLeFeatures => "ask what a Bluetooth controller is",
            Self::SetEventMask | Self::SetLeEventMask | Self::SetRandomAddress(_) => {
                "set a Bluetooth controller up"
            }
            Self::ScanParameters(_)
            | Self::ExtendedScanParameters { .. }
            | Self::ScanEnable(true)
            | Self::ExtendedScanEnable(true) => "begin to scan",
            Self::ScanEnable(false) | Self::ExtendedScanEnable(false) => "end a scan",
        }
    }

    /// The packet with its H4 packet type.
    pub(super) fn packet(self) -> Vec<u8> {
        match self {
            Self::Reset => packet(&Reset::new()),
            Self::ReadVersion => packet(&ReadLocalVersionInformation::new()),
            Self::ReadCommands => packet(&ReadLocalSupportedCmds::new()),
            Self::ReadFeatures => packet(&ReadLocalSupportedFeatures::new()),
            Self::ReadAddress => packet(&ReadBdAddr::new()),
            Self::ReadLeFeatures => packet(&LeReadLocalSupportedFeatures::new()),
            Self::SetEventMask => packet(&SetEventMask::new(
                EventMask::new().enable_hardware_error(true).enable_le_meta(true),
            )),
            Self::SetLeEventMask => packet(&LeSetEventMask::new(
                LeEventMask::new().enable_le_adv_report(true).enable_le_ext_adv_report(true),
            )),
            Self::SetRandomAddress(address) => packet(&LeSetRandomAddr::new(BdAddr::new(address))),
            Self::ScanParameters(timing) => packet(&LeSetScanParams::new(
                if timing.active { LeScanKind::Active } else { LeScanKind::Passive },
                Duration::from_u16(timing.interval),
                Duration::from_u16(timing.window),
                own_address(timing.active),
                ScanningFilterPolicy::BasicUnfiltered,
            )),
            // Every advertisement is wanted, not only the first one of each device.
            Self::ScanEnable(on) => packet(&LeSetScanEnable::new(on, false)),
            Self::ExtendedScanParameters { one_m, coded } => packet(&LeSetExtScanParams::new(
                own_address(one_m.or(coded).is_some_and(|timing| timing.active)),
                ScanningFilterPolicy::BasicUnfiltered,
                PhyParams {
                    le_1m_phy: one_m.map(Timing::on_a_phy),
                    le_2m_phy: None,
                    le_coded_phy: coded.map(Timing::on_a_phy),
                },
            )),
            // Without duration or period: until it is ended.
            Self::ExtendedScanEnable(on) => packet(&LeSetExtScanEnable::new(
                on,
                FilterDuplicates::Disabled,
                Duration::from_u16(0),
                Duration::from_u16(0),
            )),
        }
    }
}

/// A passive scan sends nothing; an active one asks under an address that says nothing about us.
const fn own_address(active: bool) -> AddrKind {
    if active { AddrKind::RANDOM } else { AddrKind::PUBLIC }
}

fn packet<C: Cmd>(command: &C) -> Vec<u8> {
    let mut packet = vec![0; 1 + WriteHci::size(command)];
    if let Some((kind, room)) = packet.split_first_mut() {
        *kind = H4_COMMAND;
        let written = WriteHci::write_hci(command, room);
        debug_assert!(written.is_ok(), "there is as much room as the command asked for");
    }
    packet
}

// === impl Timing ===

impl Timing {
    const fn on_a_phy(self) -> ScanningPhy {
        ScanningPhy {
            active_scan: self.active,
            scan_interval: Duration::from_u16(self.interval),
            scan_window: Duration::from_u16(self.window),
        }
    }
}

// === impl Ability ===

impl Ability {
    /// Takes in what a command that succeeded returned. An answer that is cut short says nothing.
    pub(super) fn learn(&mut self, command: Command, parameters: &[u8]) {
        match command {
            Command::ReadVersion => {
                if let Some(read) = returned::<ReadLocalVersionInformation>(parameters) {
                    (self.version, self.manufacturer) =
                        (read.hci_version.into_inner(), read.company_identifier);
                }
            }
            Command::ReadCommands => {
                self.commands = returned::<ReadLocalSupportedCmds>(parameters).unwrap_or_default();
            }
            Command::ReadFeatures => {
                self.features =
                    returned::<ReadLocalSupportedFeatures>(parameters).unwrap_or_default();
            }
            Command::ReadAddress => {
                let told = returned::<ReadBdAddr>(parameters).map(BdAddr::into_inner);
                self.address = told.map(|octets| from_air(octets, AddressKind::Public));
            }
            Command::ReadLeFeatures => {
                self.le_features =
                    returned::<LeReadLocalSupportedFeatures>(parameters).unwrap_or_default();
            }
            _ => {}
        }
    }

    /// Whether it has Bluetooth LE at all.
    pub const fn le(&self) -> bool {
        self.features.supports_le()
    }

    /// Whether it hears extended advertisements. One that does must not be spoken to with both kinds
    /// of scan commands (Core Specification 5.4, Vol 4 Part E 3.1.1).
    pub fn extended(&self) -> bool {
        self.le_features.supports_le_ext_adv()
            && self.commands.le_set_ext_scan_parameters()
            && self.commands.le_set_ext_scan_enable()
    }

    /// Whether it hears advertisements that are sent with the Coded PHY.
    pub fn coded(&self) -> bool {
        self.extended() && self.le_features.supports_le_coded_phy()
    }

    /// It turned out that it does not, whatever it said.
    pub(super) const fn forget_coded(&mut self) {
        self.le_features = self.le_features.set_le_coded_phy(false);
    }
}

fn returned<C: SyncCmd>(parameters: &[u8]) -> Option<C::Return> {
    C::Return::from_hci_bytes(parameters).ok().map(|(read, _later_versions_say_more)| read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { active: false, interval: 0x60, window: 0x30 };

    #[test]
    fn commands_are_written_as_the_specification_says() {
        let active = Timing { active: true, ..TIMING };
        let coded = Timing { interval: 0x120, window: 0x90, active: false };
        for (command, expected) in [
            (Command::Reset, "01030c00"),
            (Command::ReadVersion, "01011000"),
            (Command::ReadCommands, "01021000"),
            (Command::ReadFeatures, "01031000"),
            (Command::ReadAddress, "01091000"),
            (Command::ReadLeFeatures, "01032000"),
            // Bits 15 and 61; bits 1 and 12.
            (Command::SetEventMask, "01010c080080000000000020"),
            (Command::SetLeEventMask, "010120080210000000000000"),
            (Command::SetRandomAddress([1, 2, 3, 4, 5, 6]), "01052006010203040506"),
            (Command::ScanParameters(TIMING), "010b200700600030000000"),
            (Command::ScanParameters(active), "010b200701600030000100"),
            (Command::ScanEnable(true), "010c20020100"),
            (
                Command::ExtendedScanParameters { one_m: Some(TIMING), coded: None },
                "01412008000001 0060003000",
            ),
            (
                Command::ExtendedScanParameters { one_m: Some(TIMING), coded: Some(coded) },
                "0141200d000005 0060003000 0020019000",
            ),
            (
                Command::ExtendedScanParameters { one_m: None, coded: Some(active) },
                "01412008010004 0160003000",
            ),
            (Command::ExtendedScanEnable(false), "01422006000000000000"),
        ] {
            assert_eq!(hex::encode(command.packet()), expected.replace(' ', ""), "{command:?}");
            let opcode: Vec<_> = command.packet().into_iter().skip(1).take(2).collect();
            assert_eq!(opcode, command.opcode().to_le_bytes(), "{command:?}");
        }
    }

    #[test]
    fn what_a_controller_can_is_read_from_its_answers() {
        let mut ability = Ability::default();
        ability.learn(Command::ReadVersion, &[9, 1, 0, 9, 0xf1, 5, 0, 0]);
        ability.learn(Command::ReadFeatures, &[0, 0, 0, 0, 0x40, 0, 0, 0]);
        assert!(ability.le() && !ability.extended());
        let mut commands = [0; 64];
        commands[37] = 0x60;
        ability.learn(Command::ReadCommands, &commands);
        assert!(!ability.extended(), "the commands alone are not enough");
        // Bits 11 and 12, and a byte that a later version may add.
        ability.learn(Command::ReadLeFeatures, &[0, 0x18, 0, 0, 0, 0, 0, 0, 7]);
        assert!(ability.extended() && ability.coded());
        assert_eq!((ability.version, ability.manufacturer), (9, 0x05f1));
    }

    #[test]
    fn an_answer_that_is_cut_short_says_nothing() {
        let mut ability = Ability::default();
        for command in [
            Command::ReadVersion,
            Command::ReadCommands,
            Command::ReadFeatures,
            Command::ReadAddress,
            Command::ReadLeFeatures,
        ] {
            for length in 0..6 {
                ability.learn(command, vec![0xff; length].as_slice());
            }
        }
        assert_eq!(ability, Ability::default());
    }
}

//! What a controller answers to each command.

use super::Model;

/// An answer.
pub(super) enum Reply {
    /// The command goes on for a while (7.7.15).
    Status(u8),
    /// The status, and what the command returns (7.7.14).
    Complete(Vec<u8>),
}

/// The commands that change what a controller does.
pub(super) mod opcode {
    pub(in super::super) const INQUIRY: u16 = 0x0401;
    pub(in super::super) const INQUIRY_CANCEL: u16 = 0x0402;
    pub(in super::super) const RESET: u16 = 0x0c03;
    pub(in super::super) const LE_SCAN_PARAMETERS: u16 = 0x200b;
    pub(in super::super) const LE_SCAN_ENABLE: u16 = 0x200c;
    pub(in super::super) const LE_EXTENDED_SCAN_PARAMETERS: u16 = 0x2041;
    pub(in super::super) const LE_EXTENDED_SCAN_ENABLE: u16 = 0x2042;
}

// Error codes (Vol 1 Part F).
pub(super) const UNKNOWN_COMMAND: u8 = 0x01;
pub(super) const COMMAND_DISALLOWED: u8 = 0x0c;
pub(super) const UNSUPPORTED_PARAMETER: u8 = 0x11;

/// The answer to a command that was taken or refused.
pub(super) fn to(model: Model, opcode: u16, parameters: &[u8], taken: Result<(), u8>) -> Reply {
    match taken {
        Err(code) if opcode == opcode::INQUIRY => Reply::Status(code),
        Err(code) => Reply::Complete(vec![code]),
        Ok(()) if opcode == opcode::INQUIRY => Reply::Status(0),
        Ok(()) => Reply::Complete([&[0][..], &returned(model, opcode, parameters)].concat()),
    }
}

/// What a command returns behind its status of 0; most return nothing.
pub(super) fn returned(model: Model, opcode: u16, parameters: &[u8]) -> Vec<u8> {
    match opcode {
        // Read Local Version: Core Specification 5.0, made by the Linux Foundation.
        0x1001 => vec![9, 0, 0, 9, 0xf1, 0x05, 0, 0],
        // Read Local Supported Commands: by octet, those that the kernel may use.
        0x1002 => (0..64).map(|octet| commands(model, octet)).collect(),
        // Read Local Supported Features: LE, and no BR/EDR, or both with what BlueZ asks of it.
        0x1003 if model.dual => vec![0xff, 0xff, 0, 0xfe, 0x40, 0, 0x0b, 0x80],
        0x1003 => vec![0, 0, 0, 0, 0x60, 0, 0, 0],
        // Read Local Extended Features: the page that was asked for, of one.
        0x1004 => [&[parameters.first().copied().unwrap_or(0), 0][..], &[0; 8]].concat(),
        // Read Buffer Size.
        0x1005 => vec![0xff, 0x03, 0x40, 8, 0, 8, 0],
        // Read BD_ADDR, least significant octet first.
        0x1009 => model.address.iter().rev().copied().collect(),
        // LE Read Buffer Size.
        0x2002 => vec![0xfb, 0, 16],
        // LE Read Local Supported Features: encryption; extended advertising is bit 12, the coded
        // PHY bit 11 (Vol 6 Part B 4.6).
        0x2003 => {
            let second = u8::from(model.extended) << 4 | u8::from(model.coded) << 3;
            vec![1, second, 0, 0, 0, 0, 0, 0]
        }
        // LE Read Advertising Physical Channel Tx Power; LE Set Extended Advertising Parameters
        // returns the power that was selected.
        0x2007 | 0x2036 => vec![0],
        // LE Read Filter Accept List Size and LE Read Resolving List Size.
        0x200f | 0x202a => vec![32],
        // LE Rand.
        0x2018 => vec![7; 8],
        // LE Read Supported States: all.
        0x201c => vec![0xff, 0xff, 0xff, 0xff, 0xff, 0x03, 0, 0],
        // LE Read Suggested Default Data Length.
        0x2023 => vec![27, 0, 0x48, 1],
        // LE Read Maximum Data Length.
        0x202f => vec![0xfb, 0, 0x48, 0x08, 0xfb, 0, 0x48, 0x08],
        // LE Read Maximum Advertising Data Length, and how many sets there may be.
        0x203a => vec![0xfb, 0],
        0x203b => vec![4],
        _ if model.dual => returned_by_dual(opcode),
        _ => Vec::new(),
    }
}

/// What the commands of BR/EDR return.
fn returned_by_dual(opcode: u16) -> Vec<u8> {
    match opcode {
        // Read Local Name: 248 octets, zero-terminated.
        0x0c14 => {
            let mut name = b"virtual".to_vec();
            name.resize(248, 0);
            name
        }
        // Read Class of Device.
        0x0c23 => vec![0, 0, 0],
        // Read Voice Setting, Read Default Link Policy Settings, Delete Stored Link Key: of none.
        0x0c25 | 0x080e | 0x0c12 => vec![0, 0],
        // Read Number of Supported IAC, and the General one.
        0x0c38 => vec![1],
        0x0c39 => vec![1, 0x33, 0x8b, 0x9e],
        // Read Page Scan Activity: interval and window.
        0x0c1b => vec![0, 8, 0x12, 0],
        // Read Stored Link Key: of none, none.
        0x0c0d => vec![0, 0, 0, 0],
        // Read Page Scan Type, Read Inquiry Mode, Read Inquiry Response Transmit Power.
        0x0c46 | 0x0c44 | 0x0c58 => vec![0],
        _ => Vec::new(),
    }
}

fn commands(model: Model, octet: u8) -> u8 {
    match octet {
        0 => 0x20,
        5 => 0xc0,
        10 if model.dual => 0x0c,
        14 => 0xa8,
        24 => 0x60,
        25..=27 => 0xff,
        28 => 0x07,
        // LE Set Extended Scan Parameters and Enable.
        37 if model.extended => 0x60,
        _ => 0,
    }
}

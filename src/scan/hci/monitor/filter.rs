//! What the kernel need not copy to us. An adapter's number in, a filter for our socket out.
//!
//! A program of classic BPF (`linux/filter.h`) that lets through what [`super::watch`] understands:
//! the coming and going of any adapter, and of the one adapter its advertising reports, its answers
//! to commands, its inquiries' ends and hardware errors, and the commands about scanning. Data of
//! connections, other events, and whatever other adapters do stay in the kernel.

use super::{
    header::{CLOSE_INDEX, COMMAND, DEL_INDEX, EVENT, INDEX_INFO, NEW_INDEX, OPEN_INDEX},
    watch::{
        COMMAND_COMPLETE, COMMAND_STATUS, HARDWARE_ERROR, INQUIRY, INQUIRY_CANCEL,
        INQUIRY_COMPLETE, RESET, SET_EXTENDED_SCAN_ENABLE, SET_SCAN_ENABLE,
    },
};
use crate::scan::hci::{
    ADVERTISING_REPORT, EXTENDED_ADVERTISING_REPORT, LE_META, socket::Instruction,
};

// Where things are in a packet of the monitor socket.
const KIND: u32 = 0;
const ADAPTER: u32 = 2;
/// An event's code, or a command's opcode.
const FIRST: u32 = 6;
/// Behind an event's code and length.
const SUBEVENT: u32 = 8;

// Codes of instructions.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// How much of a packet is let through: all of it.
const WHOLE: u32 = u32::MAX;

/// One step; the last two of a program are "refuse" and "let through".
#[derive(Clone, Copy)]
enum Step {
    /// Takes a number of two bytes from there.
    Half(u32),
    /// Takes one byte from there.
    Byte(u32),
    /// Lets through if it is this.
    Accept(u32),
    /// Refuses unless it is this.
    Require(u32),
    /// Leaves out so many steps unless it is this.
    Unless(u32, u8),
    Refuse,
}

/// The program for one adapter; without a number for all of them, while nobody knows which number
/// the adapter will have when it comes back.
pub(super) fn program(adapter: Option<u16>) -> Vec<Instruction> {
    use Step::{Accept, Byte, Half, Refuse, Require, Unless};
    // Without a number, what was taken is taken once more, which changes nothing.
    let ours = adapter.map_or(Half(ADAPTER), |adapter| Require(half(adapter)));
    let steps = [
        Half(KIND),
        Accept(half(NEW_INDEX)),
        Accept(half(DEL_INDEX)),
        Accept(half(OPEN_INDEX)),
        Accept(half(CLOSE_INDEX)),
        Accept(half(INDEX_INFO)),
        // What is no event jumps over the twelve steps of one.
        Unless(half(EVENT), 12),
        Half(ADAPTER),
        ours,
        Byte(FIRST),
        Accept(COMMAND_COMPLETE.into()),
        Accept(COMMAND_STATUS.into()),
        Accept(HARDWARE_ERROR.into()),
        Accept(INQUIRY_COMPLETE.into()),
        Require(LE_META.into()),
        Byte(SUBEVENT),
        Accept(ADVERTISING_REPORT.into()),
        Accept(EXTENDED_ADVERTISING_REPORT.into()),
        Refuse,
        Require(half(COMMAND)),
        Half(ADAPTER),
        ours,
        Half(FIRST),
        Accept(half(SET_SCAN_ENABLE)),
        Accept(half(SET_EXTENDED_SCAN_ENABLE)),
        Accept(half(INQUIRY)),
        Accept(half(INQUIRY_CANCEL)),
        Accept(half(RESET)),
        Refuse,
    ];
    let end = steps.len();
    let mut program: Vec<_> = steps
        .into_iter()
        .enumerate()
        .map(|(place, step)| {
            // Jumps count from the instruction behind the jump.
            let accept = u8::try_from(end - 1 - place).unwrap_or(0);
            let refuse = accept.saturating_sub(1);
            match step {
                Half(from) => instruction(LOAD_HALF, 0, 0, from),
                Byte(from) => instruction(LOAD_BYTE, 0, 0, from),
                Accept(value) => instruction(JUMP_IF_EQUAL, accept, 0, value),
                Require(value) => instruction(JUMP_IF_EQUAL, 0, refuse, value),
                Unless(value, steps) => instruction(JUMP_IF_EQUAL, 0, steps, value),
                Refuse => instruction(RETURN, 0, 0, 0),
            }
        })
        .collect();
    program.push(instruction(RETURN, 0, 0, WHOLE));
    program
}

const fn instruction(code: u16, jump_true: u8, jump_false: u8, value: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

/// A number that the packet has in little-endian order, as the filter reads it: in big-endian order.
fn half(value: u16) -> u32 {
    value.swap_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{AddressKind, DeviceAddress},
        scan::hci::monitor::watch::{Seen, Watch},
    };

    /// Does what the kernel does with a program.
    fn passes(program: &[Instruction], packet: &[u8]) -> bool {
        let (mut place, mut loaded) = (0, 0);
        loop {
            let at = *program.get(place).expect("the program ends with a return");
            place += 1;
            let from = usize::try_from(at.value).unwrap();
            match at.code {
                LOAD_BYTE => match packet.get(from) {
                    Some(byte) => loaded = u32::from(*byte),
                    None => return false,
                },
                LOAD_HALF => match packet.get(from..from + 2) {
                    Some(bytes) => loaded = u32::from(u16::from_be_bytes([bytes[0], bytes[1]])),
                    None => return false,
                },
                JUMP_IF_EQUAL => {
                    place +=
                        usize::from(if loaded == at.value { at.jump_true } else { at.jump_false });
                }
                RETURN => return at.value > 0,
                code => panic!("no such instruction: {code}"),
            }
        }
    }

    fn packet(kind: u16, adapter: u16, body: &[u8]) -> Vec<u8> {
        let mut packet: Vec<u8> =
            [kind, adapter, 0].into_iter().flat_map(u16::to_le_bytes).collect();
        packet.extend(body);
        packet
    }

    #[test]
    fn what_is_understood_passes_and_the_rest_does_not() {
        let program = program(Some(0x0102));
        for (kind, adapter, body, expected) in [
            (NEW_INDEX, 7, &[0, 1, 1, 2, 3, 4, 5, 6][..], true),
            (DEL_INDEX, 7, &[], true),
            (OPEN_INDEX, 7, &[], true),
            (CLOSE_INDEX, 7, &[], true),
            (INDEX_INFO, 7, &[1, 2, 3, 4, 5, 6, 0, 0], true),
            (EVENT, 0x0102, &[0x3e, 2, 0x02, 0], true),
            (EVENT, 0x0102, &[0x3e, 2, 0x0d, 0], true),
            (EVENT, 0x0201, &[0x3e, 2, 0x02, 0], false),
            (EVENT, 0x0102, &[0x3e, 2, 0x01, 0], false),
            (EVENT, 0x0102, &[0x0e, 4, 1, 0x0c, 0x20, 0], true),
            (EVENT, 0x0102, &[0x0f, 4, 0, 1, 1, 4], true),
            (EVENT, 0x0102, &[0x10, 1, 0], true),
            (EVENT, 0x0102, &[0x01, 1, 0], true),
            (EVENT, 0x0102, &[0x13, 1, 0], false),
            (COMMAND, 0x0102, &[0x0c, 0x20, 2, 1, 0], true),
            (COMMAND, 0x0102, &[0x42, 0x20, 6], true),
            (COMMAND, 0x0102, &[0x03, 0x0c, 0], true),
            (COMMAND, 0x0102, &[0x01, 0x04, 5], true),
            (COMMAND, 0x0102, &[0x02, 0x04, 0], true),
            (COMMAND, 0x0201, &[0x0c, 0x20, 2, 1, 0], false),
            (COMMAND, 0x0102, &[0x0b, 0x20, 7], false),
            (4, 0x0102, &[1, 2, 3], false),
            (5, 0x0102, &[1, 2, 3], false),
            (17, 0x0102, &[1, 2, 3], false),
        ] {
            let packet = packet(kind, adapter, body);
            assert_eq!(passes(&program, &packet), expected, "{kind} {adapter} {body:x?}");
        }
    }

    #[test]
    fn without_a_number_every_adapter_passes() {
        let program = program(None);
        for adapter in [0, 1, 0x0201] {
            assert!(passes(&program, &packet(EVENT, adapter, &[0x3e, 2, 0x02, 0])));
            assert!(passes(&program, &packet(COMMAND, adapter, &[0x0c, 0x20, 2, 1, 0])));
            assert!(!passes(&program, &packet(EVENT, adapter, &[0x13, 1, 0])));
        }
    }

    #[test]
    fn nothing_that_matters_is_held_back() {
        let mut random = fastrand::Rng::with_seed(5);
        let address = DeviceAddress::new([6, 5, 4, 3, 2, 1], AddressKind::Public);
        let program = program(Some(1));
        let mut mattered = 0;
        for _ in 0..200_000 {
            let kind = random.u16(0..20);
            let mut body = vec![0; random.usize(0..16)];
            body.fill_with(|| random.u8(0..0x50));
            if let Some(first) = body.first_mut() {
                *first = random.choice([0x01, 0x0c, 0x0e, 0x0f, 0x10, 0x3e, 0x42, 0x13]).unwrap();
            }
            if let Some(second) = body.get_mut(1) {
                *second = random.choice([0x20, 0x04, 0x0c]).unwrap();
            }
            let packet = packet(kind, random.u16(0..2), &body);
            let mut watch = Watch::new(1, address);
            let mut matters = false;
            watch.packet(&packet, &mut |seen| {
                // Of an event that is cut short it is not known what it would have been.
                matters |= !matches!(seen, Seen::Report(Err(_)));
            });
            mattered += u32::from(matters);
            assert!(!matters || passes(&program, &packet), "{packet:x?}");
        }
        assert!(mattered > 1000, "only {mattered} packets mattered");
    }
}

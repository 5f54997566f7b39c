//! Objects of later products.

use crate::engine::frame::{
    Action, Quantity as Q,
    sensor::{Field, Measured},
};

/// Reads an object that the older products do not have.
pub(super) fn object(id: u16, value: &[u8], measured: &mut Measured) {
    let first = value.first().copied().unwrap_or_default();
    match (id, value.len()) {
        // 0 open, 1 shut, the other way round than others.
        (0x480c, 1) => {
            Field::octet(Q::DoorOpen, 0).map(&[(0, 1.0), (1, 0.0)]).read(value, measured);
        }
        (0x484e, 1..) => {
            Field::octet(Q::Occupancy, 0)
                .map(&[(0, 0.0), (1, 1.0), (2, 0.0)])
                .read(value, measured);
        }
        // At the top, where others are at the bottom.
        (0x487b, 1) => Field::octet(Q::Leak, 0).not_zero().instance(1).read(value, measured),
        (0x4a68, 1) => {
            let (instance, leak) = (first >> 1, first & 1 == 0);
            if instance < 2 {
                measured.push_at(Q::Leak, instance, f64::from(u8::from(leak)));
            }
        }
        (0x5413, 1..) if measured.model == Some("ES5BB") => {
            Field::octet(Q::Occupancy, 0).not_zero().instance(1).read(value, measured);
        }
        (0x4a0c | 0x4e0c | 0x560c, _) => press(first, Action::Press, measured),
        (0x4a0d | 0x4e0d | 0x560d, _) => press(first, Action::DoublePress, measured),
        (0x4a0e | 0x4e0e | 0x560e, _) => press(first, Action::LongPress, measured),
        (0x4a13, 1..) if first == 1 => press(0, Action::Press, measured),
        _ => {}
    }
}

/// Which button it was, where there are several.
fn press(value: u8, action: Action, measured: &mut Measured) {
    let buttons: &[u8] = match (measured.model, value) {
        // One bit each.
        (Some("XMWXKG01YL"), 2) => &[1],
        (Some("XMWXKG01YL"), 3) => &[0, 1],
        (Some("XMWS01XS"), 0 | 1) => &[value],
        (Some("KS1" | "KS1BP"), 1..=4) => &[value - 1],
        (Some("XMWXKG01YL" | "K9BB-1BTN"), 1) => &[0],
        // It says in the number how it was pressed.
        (Some("K9BB-1BTN"), 8) => return told(0, Action::LongPress, measured),
        (Some("K9BB-1BTN"), 15) => return told(0, Action::DoublePress, measured),
        (Some("XMWXKG01YL" | "K9BB-1BTN"), _) => return,
        _ => &[0],
    };
    for button in buttons {
        told(*button, action, measured);
    }
}

fn told(button: u8, action: Action, measured: &mut Measured) {
    measured.event = true;
    measured.action(Q::Button, button, action);
}

//! Those who did not opt in. Each has an address of its own, heard a few times, and sends something
//! with sixteen octets that occur nowhere else.

use crate::{
    air::{Data, Sent, altbeacon, eddystone, ibeacon, rolling_uuid, service_token},
    needles::{Needles, What},
};

/// One stranger, for as long as an address lasts.
pub(crate) struct Stranger {
    sent: Sent,
    /// The octets by which what it sends is recognised.
    mark: [u8; 16],
}

/// So many kinds of things strangers send.
pub(crate) const KINDS: usize = 16;

impl Stranger {
    /// Makes one up; `number` says what it sends.
    pub(crate) fn new(number: usize, random: &mut fastrand::Rng) -> Self {
        let mut mark = [0; 16];
        // Neither half begins with zero, and a name has letters.
        let letters = number % KINDS == 1;
        mark.fill_with(|| if letters { random.u8(b'a'..=b'z') } else { random.u8(1..) });
        if number % KINDS == 15 {
            // As it is sent: an app's of somebody who is not enrolled.
            mark[6] = mark[6] & 0x0f | 0x80;
            mark[8] = mark[8] & 0x3f | 0x80;
        }
        let data = sent(number % KINDS, &mark, random);
        let mut address = [0; 6];
        address.fill_with(|| random.u8(1..));
        // Of ten addresses six are resolvable, two not, one is static and one public.
        let (top, is_random) = match random.u8(..10) {
            0..6 => (0x40, true),
            6 | 7 => (0x00, true),
            8 => (0xc0, true),
            _ => (0x00, false),
        };
        if is_random {
            // Never zero: no needle may begin so.
            address[0] = top | (address[0] & 0x3f).max(1);
        }
        let sent = Sent { address, random: is_random, rssi: random.i8(-95..-45), data };
        Self { sent, mark }
    }

    pub(crate) fn address(&self) -> [u8; 6] {
        self.sent.address
    }

    pub(crate) fn sent(&self) -> &Sent {
        &self.sent
    }

    /// What must not be found of it: the address in both orders, and both halves of its mark.
    pub(crate) fn hide_in(&self, number: usize, needles: &mut Needles) {
        let mut backwards = self.sent.address;
        backwards.reverse();
        for octets in [self.sent.address, backwards] {
            needles.add(&octets, What::StrangersAddress, number);
        }
        for half in self.mark.as_chunks::<8>().0 {
            needles.add(half, What::StrangersData, number);
        }
        // UUIDs are sent least significant octet first, and may be kept the other way round.
        let mut backwards = self.mark;
        backwards.reverse();
        if matches!(number % KINDS, 9 | 15) {
            for half in backwards.as_chunks::<8>().0 {
                needles.add(half, What::StrangersData, number);
            }
        }
    }
}

/// Everything the decoders know, some that they do not, some that must not be processed at all, and
/// some that is damaged.
fn sent(kind: usize, mark: &[u8; 16], random: &mut fastrand::Rng) -> Vec<u8> {
    let data = Data::default;
    let [half, _] = mark.as_chunks::<8>().0 else { return Vec::new() };
    match kind {
        0 => data().flags().manufacturer(0x004c, &[&[0x10, 16], &mark[..]].concat()).finish(),
        1 => data().flags().structure(0x09, mark).finish(),
        2 => ibeacon(mark, [0, 1, 0, random.u8(..)]),
        3 => altbeacon(&[&mark[..], &[0, 1, 0, 1]].concat()),
        4 => eddystone(&[&[0x00, 0xee], &mark[..], &[0, 0]].concat()),
        5 => eddystone(&[&[0x30, 0xee], &half[..]].concat()),
        // Exposure Notification.
        6 => data()
            .service(0xfd6f)
            .service_data(0xfd6f, &[&mark[..], &[1, 2, 3, 4]].concat())
            .finish(),
        // Find My.
        7 => {
            let content = [&[0x12, 0x19, 0x10], &mark[..], &[7; 8]].concat();
            data().manufacturer(0x004c, &content).finish()
        }
        8 => data().flags().service_data(0xfe2c, mark).finish(),
        9 => data().flags().structure(0x07, mark).finish(),
        // An extended advertisement, in two fragments.
        10 => {
            let content = [&[0x33; 40][..], mark, &[0x44; 100], mark, &[0x55; 10]].concat();
            data().flags().manufacturer(0xffff, &content).finish()
        }
        // A structure that is longer than the data.
        11 => [&[25, 0xff, 0x99, 0x04], &mark[..]].concat(),
        // A health thermometer.
        12 => data().service(0x1809).service_data(0x1809, mark).finish(),
        14 => service_token(&mark[..12]),
        15 => rolling_uuid(mark),
        // BTHome, encrypted.
        _ => data().flags().service_data(0xfcd2, &[&[0x41], &mark[..]].concat()).finish(),
    }
}

//! The air at the receivers: packets in, those that survive each other out, in the order of time.

use std::time::Duration;

use super::{
    device::Origin,
    plan::{Listener, Point},
    radio::{CHANNELS, Shadows},
    rng::Rng,
};
use crate::engine::{Advertisement, ReceiverId, Uptime};

/// The kernel scans each advertising channel for 11.25 ms and goes on to the next without a gap
/// (Linux, `DISCOV_LE_SCAN_INT` and `DISCOV_LE_SCAN_WIN`, both 0x0012).
const SCAN_INTERVAL_US: i64 = 11_250;

/// Between the packets of one advertising event on two channels.
const CHANNEL_GAP: Duration = Duration::from_micros(400);

/// A packet survives another one on its channel that is weaker by this much, in dB. The Core
/// Specification asks for no better than 21 dB (Vol 6 Part A 4.2); real receivers do with less.
const CAPTURE_DB: f64 = 9.0;

/// An advertisement together with what nobody in the shop knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Reception {
    /// Whose it was.
    pub origin: Origin,
    /// Where it was sent from.
    pub from: Point,
    /// What the receiver hands on.
    pub advertisement: Advertisement,
}

/// A radio that listens to one channel after the other.
pub(super) struct Receiver {
    pub(super) id: ReceiverId,
    pub(super) at: Point,
    pub(super) shadows: Shadows,
    phase_us: i64,
}

/// Packets that a later one may still collide with.
#[derive(Default)]
pub(super) struct Air(Vec<Packet>);

/// One packet at one receiver.
pub(super) struct Packet {
    pub(super) slot: Slot,
    pub(super) dbm: f64,
    pub(super) lost: bool,
    pub(super) reception: Reception,
}

/// When and on which channel a packet is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slot {
    pub(super) channel: usize,
    pub(super) start: Uptime,
    pub(super) end: Uptime,
}

// === impl Receiver ===

impl Receiver {
    pub(super) fn new(listener: &Listener, shadows_m: f64, mut rng: Rng) -> Self {
        let shadows = Shadows::new(&mut rng, shadows_m);
        let [phase] = rng.bytes();
        let phase_us = i64::from(phase) * 131;
        Self { id: listener.id.clone(), at: listener.at, shadows, phase_us }
    }

    /// The one packet of an advertising event that the receiver can hear: an event goes over the
    /// three channels in turn while the receiver listens to one at a time.
    pub(super) fn overhears(&self, event: Uptime, data: &[u8]) -> Option<Slot> {
        let on_air = on_air(data);
        let mut start = event;
        for channel in 0..CHANNELS {
            if self.channel(start) == channel {
                return Some(Slot { channel, start, end: start + on_air });
            }
            start = start + on_air + CHANNEL_GAP;
        }
        None
    }

    fn channel(&self, at: Uptime) -> usize {
        let turn = at.as_micros().saturating_add(self.phase_us).div_euclid(SCAN_INTERVAL_US);
        let channels = i64::try_from(CHANNELS).unwrap_or(1);
        usize::try_from(turn.rem_euclid(channels)).unwrap_or(0)
    }
}

/// Time on air of one legacy advertising packet: preamble, access address, header, advertiser's
/// address and CRC are 16 octets, and each octet takes 8 us.
fn on_air(data: &[u8]) -> Duration {
    let octets = u64::try_from(data.len()).unwrap_or(0).saturating_add(16);
    Duration::from_micros(octets.saturating_mul(8))
}

// === impl Air ===

impl Air {
    /// Adds a packet; of two that overlap at one receiver the stronger one survives, if it is
    /// stronger by enough.
    pub(super) fn put(&mut self, mut packet: Packet) {
        for other in &mut self.0 {
            if other.meets(&packet) {
                other.lost |= other.dbm < packet.dbm + CAPTURE_DB;
                packet.lost |= packet.dbm < other.dbm + CAPTURE_DB;
            }
        }
        self.0.push(packet);
    }

    /// Takes out what nothing sent from `now` on can collide with any more, in the order of time;
    /// everything when nothing more is going to be sent.
    pub(super) fn settle(&mut self, now: Option<Uptime>) -> Vec<Reception> {
        let over = |packet: &mut Packet| now.is_none_or(|now| packet.slot.end <= now);
        let mut settled: Vec<Packet> = self.0.extract_if(.., over).collect();
        settled.retain(|packet| !packet.lost);
        settled.sort_by_key(|packet| packet.slot.end);
        settled.into_iter().map(|packet| packet.reception).collect()
    }
}

// === impl Packet ===

impl Packet {
    fn meets(&self, other: &Self) -> bool {
        let (one, two) = (self.slot, other.slot);
        self.reception.advertisement.receiver == other.reception.advertisement.receiver
            && one.channel == two.channel
            && one.start < two.end
            && two.start < one.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AddressKind, DeviceAddress};

    fn packet(start_us: i64, channel: usize, dbm: f64) -> Packet {
        let start = Uptime::from_micros(start_us);
        let end = start + Duration::from_micros(376);
        let address = DeviceAddress::new([0; 6], AddressKind::Public);
        let advertisement = Advertisement::new(end, ReceiverId::default(), address, None, &[]);
        let from = Point::default();
        let reception = Reception { origin: Origin::Stranger, from, advertisement };
        Packet { slot: Slot { channel, start, end }, dbm, lost: false, reception }
    }

    fn survivors(packets: Vec<Packet>) -> Vec<i64> {
        let mut air = Air::default();
        for packet in packets {
            air.put(packet);
        }
        let start = |reception: Reception| reception.advertisement.heard.as_micros() - 376;
        air.settle(None).into_iter().map(start).collect()
    }

    #[test]
    fn of_two_packets_at_once_the_one_that_is_much_stronger_survives() {
        assert_eq!(survivors(vec![packet(0, 0, -60.0), packet(100, 0, -75.0)]), [0]);
        assert_eq!(survivors(vec![packet(0, 0, -75.0), packet(100, 0, -60.0)]), [100]);
        let none: [i64; 0] = [];
        assert_eq!(survivors(vec![packet(0, 0, -60.0), packet(100, 0, -65.0)]), none);
    }

    #[test]
    fn packets_one_after_the_other_or_on_two_channels_do_not_hurt_each_other() {
        assert_eq!(survivors(vec![packet(376, 0, -60.0), packet(0, 0, -60.0)]), [0, 376]);
        assert_eq!(survivors(vec![packet(0, 0, -60.0), packet(100, 1, -60.0)]), [0, 100]);
    }

    #[test]
    fn a_packet_is_held_back_until_nothing_can_collide_with_it() {
        let mut air = Air::default();
        air.put(packet(0, 0, -60.0));
        assert_eq!(air.settle(Some(Uptime::from_micros(375))).len(), 0);
        assert_eq!(air.settle(Some(Uptime::from_micros(376))).len(), 1);
        assert_eq!(air.settle(None).len(), 0);
    }

    #[test]
    fn a_receiver_hears_almost_every_event_on_the_channel_it_listens_to() {
        let listener = Listener { id: ReceiverId::default(), at: Point::default() };
        let receiver = Receiver::new(&listener, 1.0, Rng::new(1));
        let mut heard = [0; CHANNELS];
        for event in 0..10_000 {
            let slot = receiver.overhears(Uptime::from_micros(event * 1009), &[0; 31]);
            if let Some(count) = slot.and_then(|slot| heard.get_mut(slot.channel)) {
                *count += 1;
            }
        }
        // An event that begins just before the receiver leaves the channel it is about to reach is
        // missed; that is 1.5 ms of 33.75 ms at most.
        assert!(9400 < heard.iter().sum::<i32>(), "{heard:?}");
        assert!(heard.iter().all(|count| 2500 < *count), "{heard:?}");
    }
}

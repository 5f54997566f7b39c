//! Many advertisements at a given rate. Sending is a plain function that catches up with the clock,
//! so that thousands a second cost the guest little more than the writes themselves.

use std::time::Duration;

use beacon_gateway::{clock::Clock, engine::Uptime};
use tokio::time::sleep;

use crate::{
    antenna::Antenna,
    controller::{Kind, Phy, Report},
    process::Outcome,
};

/// A stream of advertisements, from 10 to 5,000 a second.
pub(crate) struct Burst {
    clock: Clock,
    since: Uptime,
    rate: u32,
    total: u64,
    sent: u64,
    crowd: Crowd,
}

/// Whose advertisements they are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crowd {
    /// So many devices, in turn.
    Steady(u32),
    /// So many devices in all, each heard ten times among a thousand others and then never again,
    /// as with phones that change their addresses; from the start once all were there.
    Rotating(u32),
    /// Each advertisement from another device, and every seventh malformed.
    Fresh,
}

/// How long the task sleeps between two looks at the clock: at 5,000/s, twenty advertisements.
const STEP: Duration = Duration::from_millis(4);

/// How many rotating devices are there at a time, and how often each is heard.
const AT_A_TIME: u64 = 1000;
const TIMES: u64 = 10;

impl Burst {
    /// `total` advertisements, `rate` a second.
    pub(crate) fn new(rate: u32, total: u64, crowd: Crowd) -> Self {
        let clock = Clock::start();
        Self { clock, since: clock.now(), rate, total, sent: 0, crowd }
    }

    /// Sends what is due by now; false when all is sent.
    pub(crate) fn catch_up(&mut self, antenna: &Antenna) -> Outcome<bool> {
        let elapsed = self.clock.now().since(self.since).as_micros();
        let due = elapsed * u128::from(self.rate) / 1_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(self.total);
        while self.sent < due {
            antenna.hear(&self.crowd.advertisement(self.sent))?;
            self.sent += 1;
        }
        Ok(self.sent < self.total)
    }

    /// Sends everything; gives the seconds that it took.
    pub(crate) async fn send(&mut self, antenna: &Antenna) -> Outcome<f64> {
        while self.catch_up(antenna)? {
            sleep(STEP).await;
        }
        Ok(self.clock.now().since(self.since).as_secs_f64())
    }

    /// How many were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }
}

impl Crowd {
    fn advertisement(self, number: u64) -> Report {
        let device = match self {
            Self::Steady(devices) => number % u64::from(devices),
            Self::Rotating(devices) => {
                let generation = number / (AT_A_TIME * TIMES);
                (generation * AT_A_TIME + number % AT_A_TIME) % u64::from(devices)
            }
            Self::Fresh => number,
        };
        // A static random address (Vol 6 Part B 1.3.2.1): the two most significant bits are set.
        let address = (0xc254_0000_0000 | device & 0xffff_ffff).to_be_bytes();
        let address = address.last_chunk().copied().unwrap_or_default();
        // Flags, and data of a manufacturer that does not exist; a malformed one claims more octets
        // than there are.
        let malformed = matches!(self, Self::Fresh) && number.is_multiple_of(7);
        let claimed = if malformed { 0x1f } else { 9 };
        let [.., high, middle, low, last] = number.to_be_bytes();
        let mut data = vec![2, 1, 6, claimed, 0xff, 0xff, 0xff, b'B', b'G'];
        data.extend([high, middle, low, last]);
        Report {
            address,
            random: true,
            rssi: -60,
            kind: Kind::NonConnectable,
            phy: Phy::OneMegabit,
            data,
        }
    }
}

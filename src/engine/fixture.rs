//! The shop's own sensors: what one of them sent in, what is news of it to the next room.
//!
//! Promises that a key is tried on nobody's data but its fixture's, and that what it does not open is not
//! told.

use super::{
    DeviceAddress, Engine, FixtureIndex, FixtureTally, ReceiverId, Rssi, Uptime, forget,
    frame::{self, Frames, Undecoded},
    sensor::{Belief, News, Said, Told},
};

/// What a fixture sent.
pub(super) struct Sent<'a> {
    pub(super) data: &'a [u8],
    /// From which address, most significant octet first, where that is known.
    pub(super) address: Option<[u8; 6]>,
    /// What was made of it without the fixture's key.
    pub(super) decoded: Result<Frames<'a>, Undecoded>,
}

impl Engine {
    /// Notes when a receiver heard a canary, if the fixture is one.
    pub(super) fn hear_canary(&mut self, now: Uptime, index: FixtureIndex, receiver: &ReceiverId) {
        if self.identity.registry().fixture(index).is_some_and(|fixture| fixture.canary) {
            match self.canaries.get_mut(receiver) {
                Some(heard) => *heard = now,
                None => drop(self.canaries.insert(receiver.clone(), now)),
            }
        }
    }

    /// Tells what a fixture's frames measure, if it is believed and worth it, and learns from how loud
    /// it is where it is known to be.
    pub(super) fn hear_fixture(
        &mut self,
        now: Uptime,
        index: FixtureIndex,
        (receiver, rssi): (&ReceiverId, Option<Rssi>),
        Sent { data, address, decoded }: Sent<'_>,
    ) {
        if let Ok(frames) = &decoded
            && !self.identity.is_proven(now, index)
        {
            // Another gateway resolved it.
            self.identity.overhear(now, frames);
        }
        let Some(fixture) = self.identity.registry().fixture(index) else { return };
        let mut told = match (&fixture.key, decoded) {
            (Some(key), _) => {
                let address = fixture.address().or(address);
                let clock = self.identity.beacon_clock(now, index);
                let context = self.identity.context();
                let context = frame::Context { address, key: Some(key), clock, ..context };
                let (frames, refused) = frame::open(data, context);
                let told = Told::new(&frames.unwrap_or_default(), refused);
                forget::burn_stack();
                told
            }
            (None, Ok(frames)) => Told::new(&frames, None),
            (None, Err(Undecoded::Encrypted { why, .. })) => Told::new(&[], Some(why)),
            (None, Err(_)) => Told::default(),
        };
        told.proven = fixture.has_eid() && self.identity.is_proven(now, index);
        let (belief, mut news) = self.sensors.admit(now, (index, fixture), &mut told);
        if belief != Belief::Doubted
            && let Some(hangs) = fixture.hangs
        {
            self.presence.calibrate(now, (index, hangs), receiver, rssi);
        }
        if belief == Belief::New {
            if let Some(product) = told.product
                && !self.products.contains_key(&fixture.id)
            {
                self.products.insert(fixture.id.clone(), product);
            }
            let number = told.measured.iter().find_map(|measured| measured.counter);
            let readings = told.measured.into_iter().flat_map(|measured| measured.readings);
            news.extend(self.sensors.observe(now, (index, fixture), receiver, number, readings));
        }
        self.tell_of_sensors(news);
    }

    pub(super) fn tell_of_sensors(&mut self, news: Vec<News>) {
        for (at, index, said) in news {
            if let Some(fixture) = self.identity.registry().fixture(index) {
                if matches!(said, Said::Alerted(_) | Said::Cleared { .. } | Said::Silent { .. }) {
                    self.sensors.turned(index);
                }
                self.situations.said(at, fixture.id.clone(), fixture.zone.clone(), said);
            }
        }
    }

    /// What became of the frames of each fixture of which there is something to tell, by its name.
    pub fn fixture_tallies(&self) -> impl Iterator<Item = (&str, FixtureTally)> {
        self.sensors.tallies().filter_map(|(index, tally)| {
            Some((self.identity.registry().fixture(index)?.id.as_str(), tally))
        })
    }
}

/// An address, if somebody told it.
pub(super) fn known(address: DeviceAddress) -> Option<[u8; 6]> {
    (!address.is_unknown()).then(|| address.octets())
}

#[cfg(test)]
mod tests;

//! How much a record is worth when there is not room for all, and where it stands.

use super::Pending;

/// What kind of record it is, the most valuable first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// What the gateway says about itself, and receipts of consent: without them nobody can account
    /// for the rest.
    Gateway,
    /// A rule that fired: worth most in the moment.
    Moment,
    /// Visits and zones.
    Presence,
    /// What the shop's sensors measured.
    Sensor,
    /// Anonymous counts.
    Count,
}

/// Where a held record stands.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    /// It waits to be sent and acknowledged.
    Pending,
    /// The broker has it; it is held a while longer, should the platform ask for it again.
    Acknowledged,
    /// The broker refused it for good: a dead letter, held until somebody brings it back.
    SetAside,
}

impl Class {
    /// All of them, the most valuable first.
    pub const ALL: [Self; 5] =
        [Self::Gateway, Self::Moment, Self::Presence, Self::Sensor, Self::Count];

    /// As it stands in the configuration and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Moment => "moment",
            Self::Presence => "presence",
            Self::Sensor => "sensor",
            Self::Count => "count",
        }
    }
}

/// How much is held, by class and standing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Holdings {
    pending: [Pending; Class::ALL.len()],
    acknowledged: Pending,
    set_aside: Pending,
}

impl Holdings {
    pub(super) fn pending_of(&self, class: Class) -> Pending {
        let [gateway, moment, presence, sensor, count] = self.pending;
        match class {
            Class::Gateway => gateway,
            Class::Moment => moment,
            Class::Presence => presence,
            Class::Sensor => sensor,
            Class::Count => count,
        }
    }

    pub(super) fn standing(&self, standing: Standing) -> Pending {
        match standing {
            Standing::Pending => self.pending.into_iter().fold(Pending::default(), Pending::and),
            Standing::Acknowledged => self.acknowledged,
            Standing::SetAside => self.set_aside,
        }
    }

    pub(super) fn of(&mut self, class: Class, standing: Standing) -> &mut Pending {
        let [gateway, moment, presence, sensor, count] = &mut self.pending;
        match (standing, class) {
            (Standing::Acknowledged, _) => &mut self.acknowledged,
            (Standing::SetAside, _) => &mut self.set_aside,
            (Standing::Pending, Class::Gateway) => gateway,
            (Standing::Pending, Class::Moment) => moment,
            (Standing::Pending, Class::Presence) => presence,
            (Standing::Pending, Class::Sensor) => sensor,
            (Standing::Pending, Class::Count) => count,
        }
    }
}

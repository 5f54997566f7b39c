//! What arrived over a connection in; whether everything that was said up to now is carried out
//! out. Pure.
//!
//! Records about people may only be sent while this is so: a withdrawal that waits at the broker
//! counts from the moment it was given, not from the moment we read it.

/// Whether all that the platform has said was carried out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    /// Every subscription was granted, and the fence that was published behind the last of them
    /// came back: whatever waited before it has passed.
    pub(super) fenced: bool,
    /// How many subscriptions the broker did not grant, or that had to be left out.
    pub(super) without: usize,
    /// The retained withdrawal list.
    pub(super) list: List,
    /// Something is under way, or waits in our own queue.
    pub(super) busy: bool,
}

/// The retained withdrawal list, as this connection has brought it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum List {
    /// There has never been one.
    #[default]
    Unheard,
    /// There was one once, so there is one now; it has not come yet. A broker may send it after
    /// the fence.
    Awaited,
    /// It came, and was carried out.
    Carried,
    /// One came that was refused: who has withdrawn is not known.
    Refused,
}

impl Gate {
    /// The gate of a connection that has yet to be made. `list` says whether there ever was a
    /// withdrawal list.
    pub(super) fn new(list: bool) -> Self {
        let list = if list { List::Awaited } else { List::Unheard };
        Self { list, ..Self::default() }
    }

    /// Records about people may be sent.
    pub(super) fn is_open(&self) -> bool {
        let list = matches!(self.list, List::Unheard | List::Carried);
        self.fenced && self.without == 0 && list && !self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_only_when_nothing_is_missing() {
        let open = Gate { fenced: true, ..Gate::new(false) };
        assert!(open.is_open());
        assert!(!Gate::new(false).is_open(), "the fence is not back");
        assert!(!Gate { without: 1, ..open }.is_open());
        assert!(!Gate { busy: true, ..open }.is_open());
        let expecting = Gate { fenced: true, ..Gate::new(true) };
        assert!(!expecting.is_open(), "the list was there once");
        assert!(Gate { list: List::Carried, ..expecting }.is_open());
        assert!(!Gate { list: List::Refused, ..open }.is_open());
    }
}

//! The subscriptions of one connection, and the fences behind them. Pure.
//!
//! All filters are subscribed together, and then a fence is published: a message to ourselves. A
//! broker hands messages to one client in the order in which it took them, so when the fence comes
//! back, whatever waited before it has come. When something that cannot be read waits at the broker,
//! the filters are subscribed one by one, each with a fence of its own, so that the one behind which
//! it waits is found.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tracing::error;

use crate::{
    engine::Uptime,
    uplink::{RegistryTopic, Topic, Topics},
};

/// The command that is no command: the fence.
const FENCE: &str = "fence";

/// The place of the filter for commands to this gateway; the fence needs it.
const OWN: usize = 0;

/// A subscription that was not granted is tried again after this.
const TRY_AGAIN: Duration = Duration::from_mins(5);

/// A filter behind which something unreadable waits is left out so long.
const LEFT_OUT: Duration = Duration::from_mins(10);

/// A fence that is not back after this is told.
const OVERDUE: Duration = Duration::from_mins(1);

/// The subscriptions of one connection.
pub(super) struct Joining {
    filters: Vec<String>,
    fence_topic: String,
    /// Groups still to be subscribed.
    groups: VecDeque<Vec<usize>>,
    current: Option<Group>,
    granted: BTreeSet<usize>,
    /// Not granted, and since when.
    denied: BTreeMap<usize, Uptime>,
    /// Not tried, because of what waits behind them.
    left_out: BTreeMap<usize, Uptime>,
    /// A fence has come back.
    fenced: bool,
    /// It was said that a fence does not come back.
    overdue_told: bool,
}

/// Filters that are subscribed together.
struct Group {
    filters: Vec<usize>,
    fence: String,
    since: Uptime,
    /// The broker has answered.
    answered: bool,
}

impl Joining {
    /// Everything is still to be subscribed. `left_out` are the filters that are passed over;
    /// those that were long enough are taken off it.
    pub(super) fn new(
        topics: &Topics,
        careful: bool,
        left_out: &mut BTreeMap<usize, Uptime>,
        now: Uptime,
    ) -> Self {
        left_out.retain(|_, since| now.since(*since) < LEFT_OUT);
        let fence_topic = topics.spell(Topic::Command(FENCE));
        let own =
            if left_out.contains_key(&OWN) { fence_topic.clone() } else { topics.command_filter() };
        // The withdrawal list before the version: what is retained is sent in this order.
        let registry = [
            RegistryTopic::Withdrawn,
            RegistryTopic::Withdraw,
            RegistryTopic::Upsert,
            RegistryTopic::Snapshot,
            RegistryTopic::Version,
        ];
        let registry = registry.into_iter().map(|topic| topics.spell_registry(topic));
        let filters: Vec<String> = std::iter::once(own).chain(registry).collect();
        let wanted = (0..filters.len()).filter(|n| *n == OWN || !left_out.contains_key(n));
        let groups = if careful || !left_out.is_empty() {
            wanted.map(|n| vec![n]).collect()
        } else {
            VecDeque::from([wanted.collect()])
        };
        Self {
            filters,
            fence_topic,
            groups,
            current: None,
            granted: BTreeSet::new(),
            denied: BTreeMap::new(),
            left_out: left_out.clone(),
            fenced: false,
            overdue_told: false,
        }
    }

    /// The filters to subscribe now, if it is time for any. `fence` is what to publish behind them,
    /// different each time.
    pub(super) fn next(
        &mut self,
        fence: impl FnOnce() -> String,
        now: Uptime,
    ) -> Option<Vec<String>> {
        if self.current.is_some() {
            return None;
        }
        let filters = self.groups.pop_front()?;
        let texts = filters.iter().map(|n| self.filter(*n).to_owned()).collect();
        self.current = Some(Group { filters, fence: fence(), since: now, answered: false });
        Some(texts)
    }

    /// The broker has answered: why not, or nothing, for each filter. Returns the fence to publish.
    pub(super) fn subscribed(
        &mut self,
        answers: &[Option<&'static str>],
        now: Uptime,
    ) -> Option<Vec<u8>> {
        let mut group = self.current.take()?;
        if group.answered {
            self.current = Some(group);
            return None;
        }
        let missing = std::iter::repeat(&Some("no answer for this filter"));
        for (n, answer) in group.filters.iter().zip(answers.iter().chain(missing)) {
            let Some(why) = answer else {
                self.granted.insert(*n);
                self.denied.remove(n);
                continue;
            };
            self.granted.remove(n);
            self.denied.insert(*n, now);
            let filter = self.filter(*n);
            error!(
                filter,
                why,
                "The broker refuses this subscription; let this gateway's user read it in the \
                 broker's access rules. Until then nothing about anybody is sent."
            );
        }
        if !self.granted.contains(&OWN) {
            // Without it no fence comes back, and the gate stays closed.
            return None;
        }
        group.answered = true;
        group.since = now;
        let fence = group.fence.clone().into_bytes();
        self.current = Some(group);
        Some(fence)
    }

    /// A fence came back. Returns whether it is the one that is awaited.
    pub(super) fn came_back(&mut self, fence: &[u8]) -> bool {
        let awaited = |group: &mut Group| group.answered && group.fence.as_bytes() == fence;
        if self.current.take_if(awaited).is_none() {
            return false;
        }
        self.fenced = true;
        true
    }

    /// Looks at what only time changes.
    pub(super) fn tick(&mut self, now: Uptime) {
        let again = |since: &Uptime, after: Duration| now.since(*since) >= after;
        let due: Vec<usize> = self
            .denied
            .iter()
            .filter(|(_, since)| again(since, TRY_AGAIN))
            .map(|(n, _)| *n)
            .collect();
        for n in due {
            self.denied.insert(n, now);
            self.groups.push_back(vec![n]);
        }
        let overdue = self.current.as_ref().is_some_and(|group| again(&group.since, OVERDUE));
        if overdue && !self.overdue_told {
            self.overdue_told = true;
            error!(
                topic = self.fence_topic,
                "What this gateway publishes there does not come back; let its user write and \
                 read this topic in the broker's access rules. Until then nothing about anybody \
                 is sent."
            );
        }
    }

    /// Everything that was to be subscribed is, and the last fence is back.
    pub(super) fn is_done(&self) -> bool {
        self.fenced && self.current.is_none() && self.groups.is_empty()
    }

    /// How many filters there are no messages for.
    pub(super) fn without(&self) -> usize {
        self.denied.len() + self.left_out.len()
    }

    /// The filter behind which what broke the connection must be waiting: the only one that was
    /// subscribed since the last fence, with nothing of an old session before it.
    pub(super) fn culprit(&self) -> Option<usize> {
        let group = self.current.as_ref()?;
        match group.filters.as_slice() {
            [n] if self.fenced || *n == OWN => Some(*n),
            _ => None,
        }
    }

    /// A filter by its place.
    pub(super) fn filter(&self, n: usize) -> &str {
        self.filters.get(n).map_or("", String::as_str)
    }

    /// Where fences are published.
    pub(super) fn fence_topic(&self) -> &str {
        &self.fence_topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Uptime = Uptime::ZERO;

    fn topics() -> Topics {
        Topics::new("acme".parse().unwrap(), "berlin-03".parse().unwrap(), "gw1".parse().unwrap())
    }

    fn joining(careful: bool) -> Joining {
        Joining::new(&topics(), careful, &mut BTreeMap::new(), NOW)
    }

    fn next(joining: &mut Joining, fence: &str) -> Vec<String> {
        joining.next(|| fence.to_owned(), NOW).unwrap_or_default()
    }

    #[test]
    fn all_filters_go_together_with_the_fences_own_in_front() {
        let mut joining = joining(false);
        let filters = next(&mut joining, "a");
        assert_eq!(filters.len(), 6);
        assert_eq!(filters[0], "beacon/v1/acme/berlin-03/gw1/command/+");
        assert_eq!(filters[1], "beacon/v1/acme/berlin-03/registry/withdrawn");
        assert!(!joining.came_back(b"a"), "the broker has not answered yet");
        assert_eq!(joining.subscribed(&[None; 6], NOW).unwrap(), b"a");
        assert!(!joining.came_back(b"b") && !joining.is_done());
        assert!(joining.came_back(b"a") && joining.is_done());
        assert_eq!(joining.without(), 0);
        assert!(!joining.came_back(b"a"), "once");
    }

    #[test]
    fn a_refused_subscription_is_counted_and_tried_again() {
        let mut joining = joining(false);
        next(&mut joining, "a");
        let mut answers = [None; 6];
        answers[1] = Some("0x87 not authorised");
        assert!(joining.subscribed(&answers, NOW).is_some());
        joining.came_back(b"a");
        assert_eq!((joining.is_done(), joining.without()), (true, 1));
        joining.tick(NOW);
        assert!(next(&mut joining, "b").is_empty());
        joining.tick(NOW + TRY_AGAIN);
        assert_eq!(next(&mut joining, "b"), ["beacon/v1/acme/berlin-03/registry/withdrawn"]);
        assert!(!joining.is_done());
        joining.subscribed(&[None], NOW).unwrap();
        assert!(joining.came_back(b"b"));
        assert_eq!((joining.is_done(), joining.without()), (true, 0));
    }

    #[test]
    fn without_the_own_filter_there_is_no_fence() {
        let mut joining = joining(false);
        next(&mut joining, "a");
        let mut answers = [None; 6];
        answers[OWN] = Some("0x80 failure");
        assert!(joining.subscribed(&answers, NOW).is_none());
        assert!(!joining.is_done());
        // A broker that answers for fewer filters than it was asked for has not granted the rest.
        let mut joining = self::joining(false);
        next(&mut joining, "a");
        joining.subscribed(&[None], NOW);
        assert_eq!(joining.without(), 5);
    }

    #[test]
    fn one_by_one_the_filter_with_the_unreadable_is_found_and_left_out_for_a_while() {
        let mut joining = joining(true);
        assert_eq!(next(&mut joining, "a").len(), 1);
        joining.subscribed(&[None], NOW);
        joining.came_back(b"a");
        assert_eq!(joining.culprit(), None);
        assert_eq!(next(&mut joining, "b"), ["beacon/v1/acme/berlin-03/registry/withdrawn"]);
        let culprit = joining.culprit().unwrap();
        let mut left_out = BTreeMap::from([(culprit, NOW)]);
        let mut after = Joining::new(&topics(), false, &mut left_out, NOW);
        let mut subscribed = Vec::new();
        for n in 0..5 {
            let fence = n.to_string();
            subscribed.extend(next(&mut after, &fence));
            after.subscribed(&[None], NOW);
            assert!(after.came_back(fence.as_bytes()));
        }
        assert!(after.is_done() && after.without() == 1);
        assert!(!subscribed.iter().any(|filter| filter.ends_with("/withdrawn")));
        Joining::new(&topics(), false, &mut left_out, NOW + LEFT_OUT);
        assert!(left_out.is_empty());
    }

    #[test]
    fn something_unreadable_among_all_filters_blames_none() {
        let mut joining = joining(false);
        next(&mut joining, "a");
        assert_eq!(joining.culprit(), None);
    }

    #[test]
    fn when_the_own_filter_is_to_blame_only_the_fence_is_subscribed() {
        let mut joining = joining(true);
        next(&mut joining, "a");
        let culprit = joining.culprit().unwrap();
        let mut after = Joining::new(&topics(), true, &mut BTreeMap::from([(culprit, NOW)]), NOW);
        assert_eq!(next(&mut after, "a"), ["beacon/v1/acme/berlin-03/gw1/command/fence"]);
    }
}

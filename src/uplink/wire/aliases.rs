//! Topics in, numbers out (MQTT 5.0, 3.3.2.3.4): what a broker knows by a number need not be spelled
//! again. Pure. A value belongs to one connection, as the numbers do.
//!
//! An event's topic is some 60 bytes, its number 3; of an event of 700 bytes that is 8 %.

use std::collections::HashMap;

/// So many numbers are used at most. A gateway publishes to fewer topics; a broker keeps them all
/// for each connection.
const MOST: u16 = 64;

/// Which topics have numbers.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// How many the broker grants.
    granted: u16,
    known: HashMap<String, Known>,
    /// Counts the publishes, to find what was used longest ago.
    count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    alias: u16,
    used: u64,
}

impl Aliases {
    /// The broker takes so many numbers, from 1.
    pub(super) fn grant(&mut self, most: u16) {
        self.granted = most.min(MOST);
    }

    /// The topic to spell, which is empty when the broker knows it, and the number beside it. With
    /// the name and a number the broker learns what the number means from then on.
    pub(super) fn shorten(&mut self, topic: String) -> (String, Option<u16>) {
        self.count += 1;
        if let Some(known) = self.known.get_mut(&topic) {
            known.used = self.count;
            return (String::new(), Some(known.alias));
        }
        let taken = u16::try_from(self.known.len()).unwrap_or(u16::MAX);
        let alias = if taken < self.granted { taken + 1 } else { self.free_oldest() };
        if alias == 0 {
            return (topic, None);
        }
        self.known.insert(topic.clone(), Known { alias, used: self.count });
        (topic, Some(alias))
    }

    /// Forgets the topic that was used longest ago, and returns its number; 0 when there is none.
    fn free_oldest(&mut self) -> u16 {
        let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
        let Some((topic, known)) = oldest.map(|(topic, known)| (topic.clone(), *known)) else {
            return 0;
        };
        self.known.remove(&topic);
        known.alias
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a broker makes of it.
    #[derive(Default)]
    struct Broker(HashMap<u16, String>);

    impl Broker {
        fn resolve(&mut self, (topic, alias): (String, Option<u16>)) -> Option<String> {
            match alias {
                None => Some(topic),
                Some(alias) if topic.is_empty() => self.0.get(&alias).cloned(),
                Some(alias) => {
                    self.0.insert(alias, topic.clone());
                    Some(topic)
                }
            }
        }
    }

    #[test]
    fn a_topic_is_spelled_once() {
        let mut aliases = Aliases::default();
        let mut shorten = |topic: &str| aliases.shorten(topic.to_owned());
        assert_eq!(shorten("a"), ("a".to_owned(), None), "nothing is granted");
        aliases.grant(2);
        let mut shorten = |topic: &str| aliases.shorten(topic.to_owned());
        assert_eq!(shorten("a"), ("a".to_owned(), Some(1)));
        assert_eq!(shorten("b"), ("b".to_owned(), Some(2)));
        assert_eq!(shorten("a"), (String::new(), Some(1)));
        assert_eq!(shorten("c"), ("c".to_owned(), Some(2)), "`b` was used longest ago");
        assert_eq!(shorten("b"), ("b".to_owned(), Some(1)));
        assert_eq!(shorten("c"), (String::new(), Some(2)));
    }

    #[test]
    fn a_broker_understands_every_topic_and_no_number_is_beyond_what_it_grants() {
        let mut random = fastrand::Rng::with_seed(9);
        for granted in [0, 1, 2, 10, 64, 65_535] {
            let (mut aliases, mut broker) = (Aliases::default(), Broker::default());
            aliases.grant(granted);
            for _ in 0..5_000 {
                let topic = format!("topic {}", random.u8(..100));
                let shortened = aliases.shorten(topic.clone());
                assert!(shortened.1.is_none_or(|alias| (1..=granted).contains(&alias)));
                assert_eq!(broker.resolve(shortened), Some(topic));
            }
        }
    }
}

//! Topic filters (MQTT 5.0, 4.7): a configured text in, whether a topic fits out.

/// A topic filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter(String);

/// A text that is no topic filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotAFilter;

/// The longest filter, in bytes: a string of MQTT has a 16-bit length, and no gateway's topic needs a
/// hundredth of it.
const LONGEST: usize = 512;

impl Filter {
    /// Checks a text. Shared subscriptions and `$SYS` are none of ours.
    pub fn new(text: &str) -> Result<Self, NotAFilter> {
        let levels: Vec<&str> = text.split('/').collect();
        let last = levels.len().saturating_sub(1);
        let sound = (1..=LONGEST).contains(&text.len())
            && !text.starts_with('$')
            && !text.chars().any(char::is_control)
            && levels.iter().enumerate().all(|(place, level)| match *level {
                "+" => true,
                "#" => place == last,
                level => !level.contains(['+', '#']),
            });
        if sound { Ok(Self(text.to_owned())) } else { Err(NotAFilter) }
    }

    /// The filter as it is subscribed to.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic fits.
    pub fn fits(&self, topic: &str) -> bool {
        let mut levels = topic.split('/');
        for wanted in self.0.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return !topic.starts_with('$'),
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_fit_as_the_specification_says() {
        let fits = |filter: &str, topic: &str| Filter::new(filter).unwrap().fits(topic);
        for topic in ["sport/tennis", "sport/tennis/player1", "sport/tennis/player1/ranking"] {
            assert!(fits("sport/tennis/#", topic), "{topic}");
        }
        assert!(fits("sport/+/player1", "sport/tennis/player1"));
        assert!(fits("+/+", "/finance") && fits("/+", "/finance") && !fits("+", "/finance"));
        assert!(fits("#", "a/b") && !fits("#", "$SYS/broker"));
        assert!(!fits("sport/+", "sport") && fits("sport/+", "sport/"));
        assert!(!fits("a/b", "a/b/c") && !fits("a/b/c", "a/b"));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let long = "a".repeat(LONGEST + 1);
        for text in ["", "a/#/b", "a#", "a+/b", "$share/x/y", "$SYS/#", "a\0", &long] {
            assert_eq!(Filter::new(text), Err(NotAFilter), "{text}");
        }
    }
}

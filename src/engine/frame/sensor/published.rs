//! Whole advertisements, and what they must be read as: `published.txt`.
//!
//! Those of the parsers named in `docs/sensors.md`, as their tests publish them; a line with `made` was made
//! by the published format.

use std::fmt::Write as _;

use super::BindKey;
use crate::engine::frame::{Context, Frame, decode_in};

const FACTS: &str = include_str!("published.txt");

fn told(frames: &[Frame<'_>]) -> Option<String> {
    let (family, model, readings) = frames.iter().find_map(|frame| match frame {
        Frame::Sensor(sensor) => {
            Some((sensor.family(), frame.model(), frame.readings().collect::<Vec<_>>()))
        }
        Frame::BtHome(_) => Some(("bthome", frame.model(), frame.readings().collect())),
        _ => None,
    })?;
    let mut told = format!("{family} {}", model.unwrap_or("-"));
    for reading in readings {
        write!(told, ", {}", reading.quantity.name()).unwrap();
        if reading.instance > 0 {
            write!(told, "#{}", reading.instance).unwrap();
        }
        write!(told, " {}", reading.value).unwrap();
    }
    Some(told)
}

#[test]
fn published_advertisements_are_read_as_published() {
    let mut wrong = Vec::new();
    let facts = FACTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for fact in facts {
        let (heard, expected) = fact.split_once(" = ").unwrap();
        let mut words = heard.split(' ');
        let data = hex::decode(words.next_back().unwrap()).unwrap();
        let (mut address, mut key) = (None, None);
        for word in words {
            match (word.len(), hex::decode(word)) {
                (12, Ok(octets)) => address = octets.try_into().ok(),
                (32, Ok(octets)) => key = BindKey::new(&octets),
                _ => assert_eq!(word, "made"),
            }
        }
        let context = Context { address, key: key.as_ref(), ..Context::default() };
        let frames = decode_in(&data, context).unwrap_or_default();
        let told = told(&frames).unwrap_or_else(|| "nothing".to_owned());
        if told != expected {
            wrong.push(format!("{heard}\n is {told}\n not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

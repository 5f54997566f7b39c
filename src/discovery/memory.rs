//! What brokers keep of ours, in a file: without it nobody would know what to take back once a fixture is
//! gone from the configuration, or discovery is switched off.
//!
//! Names of fixtures and of what they measure are in it, which are in the configuration as well; values
//! are not. A file that is damaged or lost is begun anew; then what is outdated stays at the broker.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{board::Product, entity::Entity};
use crate::engine::frame::Quantity;

/// The file, in the state directory.
const FILE: &str = "discovery.json";

/// The form of the file.
const FORM: u32 = 1;

/// What brokers keep of ours.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Memory {
    form: u32,
    /// Every topic that has a retained message of ours, or may have.
    pub(super) topics: BTreeSet<String>,
    /// What each fixture has told so far, of which there are messages.
    pub(super) fixtures: BTreeMap<String, Known>,
}

/// What there is of a fixture.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Known {
    readings: BTreeSet<(String, u8)>,
    alerts: BTreeSet<String>,
    buttons: BTreeSet<u8>,
    maker: Option<String>,
    model: Option<String>,
}

/// Where it is.
#[derive(Clone, Debug)]
pub(super) struct MemoryFile {
    path: PathBuf,
}

impl Known {
    /// All that Home Assistant shows of it. What this version does not know is left out.
    pub(super) fn entities(&self) -> impl Iterator<Item = Entity> {
        let reading = |(name, instance): &(String, u8)| {
            Some(Entity::Reading(Quantity::from_name(name)?, *instance))
        };
        let readings = self.readings.iter().filter_map(reading);
        let alerts = self.alerts.iter().cloned().map(Entity::Alert);
        readings.chain(alerts).chain(self.buttons.iter().copied().map(Entity::Button))
    }

    /// How many that are.
    pub(super) fn len(&self) -> usize {
        self.readings.len() + self.alerts.len() + self.buttons.len()
    }

    pub(super) fn contains(&self, entity: &Entity) -> bool {
        match entity {
            Entity::Reading(quantity, instance) => {
                self.readings.contains(&(quantity.name().to_owned(), *instance))
            }
            Entity::Alert(rule) => self.alerts.contains(rule),
            Entity::Button(button) => self.buttons.contains(button),
        }
    }

    pub(super) fn insert(&mut self, entity: Entity) {
        match entity {
            Entity::Reading(quantity, instance) => {
                self.readings.insert((quantity.name().to_owned(), instance));
            }
            Entity::Alert(rule) => drop(self.alerts.insert(rule)),
            Entity::Button(button) => drop(self.buttons.insert(button)),
        }
    }

    /// Keeps those alerts alone.
    pub(super) fn keep_alerts(&mut self, keep: impl Fn(&str) -> bool) {
        self.alerts.retain(|rule| keep(rule));
    }

    pub(super) fn product(&self) -> Option<Product> {
        let model = self.model.clone()?;
        Some(Product { maker: self.maker.clone(), model })
    }

    /// Takes note of what it is. Returns whether that is news.
    pub(super) fn learn(&mut self, product: &Product) -> bool {
        let news = self.product().as_ref() != Some(product);
        self.maker.clone_from(&product.maker);
        self.model = Some(product.model.clone());
        news
    }
}

impl MemoryFile {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE) }
    }

    /// Reads it.
    pub(super) fn read(&self) -> Memory {
        let fresh = || Memory { form: FORM, ..Memory::default() };
        let path = self.path.display();
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return fresh(),
            Err(error) => {
                warn!(%error, %path, "What brokers keep for Home Assistant cannot be read.");
                return fresh();
            }
        };
        match serde_json::from_slice::<Memory>(&text) {
            Ok(memory) if memory.form == FORM => memory,
            Ok(_) | Err(_) => {
                let what = "What brokers keep for Home Assistant is not in a form of ours, and is \
                            begun anew; what is outdated there has to be taken back by hand.";
                warn!(%path, "{what}");
                fresh()
            }
        }
    }

    /// Replaces it, or removes it when there is nothing to remember. Whoever reads finds the old content
    /// or the new; it is on the disk when this returns.
    pub(super) fn write(&self, memory: &Memory) -> io::Result<()> {
        if memory.topics.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => {
                    info!("Nothing for Home Assistant is kept by the broker any more.");
                    Ok(())
                }
            };
        }
        let new = self.path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(memory).unwrap_or_default())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = MemoryFile::new(folder.path());
        let mut memory = file.read();
        assert!(memory.topics.is_empty());
        memory.topics.insert("a/b".to_owned());
        let known = memory.fixtures.entry("fridge".to_owned()).or_default();
        let entities = [
            Entity::Reading(Quantity::TemperatureC, 1),
            Entity::Alert("warm".to_owned()),
            Entity::Button(3),
        ];
        for entity in &entities {
            assert!(!known.contains(entity));
            known.insert(entity.clone());
            assert!(known.contains(entity));
        }
        known.learn(&Product { maker: None, model: "Ruuvi".to_owned() });
        file.write(&memory).unwrap();
        let read = file.read();
        assert_eq!(read, memory);
        assert_eq!(read.fixtures["fridge"].entities().collect::<Vec<_>>(), entities);
        memory.topics.clear();
        file.write(&memory).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = MemoryFile::new(folder.path());
        for text in ["", "{", "{\"form\":99,\"topics\":[],\"fixtures\":{}}"] {
            fs::write(folder.path().join(FILE), text).unwrap();
            assert_eq!(file.read(), Memory { form: FORM, ..Memory::default() });
        }
    }
}

//! The built-in families: their decoders, joined into one table, and what is said about them.

#![expect(clippy::unnecessary_wraps, reason = "decoders that are code have one signature")]

mod atc;
mod bluemaestro;
mod encrypted;
mod gatt;

use super::{
    Decoder,
    index::{Index, count},
};
use crate::engine::frame::Quantity;

/// What is known of a family, for its documentation.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name in payloads, metrics and the configuration.
    pub family: &'static str,
    /// Its name among people.
    pub name: &'static str,
    /// The products that are told apart, and those that look all the same.
    pub models: &'static [&'static str],
    /// What its frames tell; not every product tells all of it.
    pub quantities: &'static [Quantity],
    /// Which of its frames are encrypted.
    pub encryption: Encryption,
    /// Whether the values are in the scan response, so that a passive receiver hears none.
    pub active_scan: ActiveScan,
    /// Where the format is described.
    pub source: &'static str,
}

/// Which frames of a family are encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// None.
    Never,
    /// Some, or with some settings.
    Sometimes,
}

/// Whether an active scan is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActiveScan {
    /// Never.
    No,
    /// For some products, or for a part of the values.
    Sometimes,
    /// Always.
    Yes,
}

const TABLES: &[&[Decoder]] =
    &[atc::DECODERS, bluemaestro::DECODERS, encrypted::DECODERS, gatt::DECODERS];

/// All built-in decoders.
pub(super) static INDEX: Index<{ count(TABLES) }> = Index::new(TABLES);

const ABOUT: &[About] = &[atc::ABOUT, bluemaestro::ABOUT, gatt::ABOUT];

/// What is known of the built-in families, in the order of their names.
pub fn families() -> Vec<About> {
    let mut families = ABOUT.to_vec();
    families.sort_by_key(|about| about.family);
    families
}

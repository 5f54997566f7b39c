//! The built-in families: their decoders, joined into one table, and what is said about them.

#![expect(clippy::unnecessary_wraps, reason = "decoders that are code have one signature")]

mod air;
mod aranet;
mod atc;
mod bluemaestro;
mod brewing;
mod bthome_v1;
mod building;
mod climate;
mod encrypted;
mod food;
mod gatt;
mod govee;
mod household;
mod industrial;
mod ingics;
mod inkbird;
mod inode;
mod kkm;
mod mibeacon;
mod minew;
mod mopeka;
mod qingping;
mod rooms;
mod ruuvi_url;
mod switchbot;
mod thermobeacon;
mod thermopro;
mod victron;

use super::{
    Decoder,
    index::{Index, count},
};
use crate::engine::frame::{Quantity, bthome, family};

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
    /// Some, or with some settings; the sensor's key opens them.
    Sometimes,
    /// Some; it takes the sensor's key and its clock, which is known where its identifier is recognised.
    WithClock,
    /// Some, and nobody has published how; or it takes more than a key.
    Closed,
    /// None, but all are signed; where the sensor's key is given, the signature is checked.
    Signed,
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

/// Of a family that encrypts nothing and that a passive receiver hears.
const fn about(
    family: &'static str,
    name: &'static str,
    models: &'static [&'static str],
    quantities: &'static [Quantity],
    source: &'static str,
) -> About {
    let (encryption, active_scan) = (Encryption::Never, ActiveScan::No);
    About { family, name, models, quantities, encryption, active_scan, source }
}

const TABLES: &[&[Decoder]] = &[
    air::DECODERS,
    aranet::DECODERS,
    atc::DECODERS,
    bluemaestro::DECODERS,
    brewing::DECODERS,
    bthome_v1::DECODERS,
    building::DECODERS,
    climate::DECODERS,
    encrypted::DECODERS,
    food::DECODERS,
    govee::DECODERS,
    govee::PROBES,
    household::DECODERS,
    industrial::DECODERS,
    ingics::DECODERS,
    inkbird::DECODERS,
    inode::DECODERS,
    kkm::DECODERS,
    mibeacon::DECODERS,
    minew::DECODERS,
    mopeka::DECODERS,
    qingping::DECODERS,
    rooms::DECODERS,
    ruuvi_url::DECODERS,
    switchbot::DECODERS,
    thermobeacon::DECODERS,
    thermopro::DECODERS,
    victron::DECODERS,
    // Whoever knows a sender better is asked before.
    gatt::DECODERS,
];

/// All built-in decoders.
pub(super) static INDEX: Index<{ count(TABLES) }> = Index::new(TABLES);

/// All built-in decoders, for those who try them.
pub fn built_in() -> &'static [Decoder] {
    INDEX.all()
}

const ABOUT: &[&[About]] = &[
    air::ABOUT,
    brewing::ABOUT,
    building::ABOUT,
    climate::ABOUT,
    food::ABOUT,
    household::ABOUT,
    industrial::ABOUT,
    rooms::ABOUT,
    thermobeacon::ABOUT,
    &[
        aranet::ABOUT,
        atc::ABOUT,
        bluemaestro::ABOUT,
        bthome_v1::ABOUT,
        gatt::ABOUT,
        govee::ABOUT,
        ingics::ABOUT,
        inkbird::ABOUT,
        inode::ABOUT,
        kkm::ABOUT,
        mibeacon::ABOUT,
        minew::ABOUT,
        mopeka::ABOUT,
        qingping::ABOUT,
        switchbot::ABOUT,
        thermopro::ABOUT,
        victron::ABOUT,
    ],
    READ_ELSEWHERE,
];

/// What is known of the built-in families, in the order of their names.
pub fn families() -> Vec<About> {
    let mut families = ABOUT.concat();
    families.sort_by_key(|about| about.family);
    families
}

/// Families whose plain frames have a file of their own beside the table.
const READ_ELSEWHERE: &[About] = &[
    About {
        family: family::BTHOME,
        name: "BTHome version 2 (Shelly BLU and many home-made sensors)",
        models: bthome::shelly::MODELS,
        quantities: &Quantity::ALL,
        encryption: Encryption::Sometimes,
        active_scan: ActiveScan::No,
        source: "bthome.io/format; shelly-api-docs.shelly.cloud",
    },
    About {
        family: family::EDDYSTONE_TLM,
        name: "Eddystone-TLM",
        models: &[],
        quantities: &[
            Quantity::TemperatureC,
            Quantity::BatteryV,
            Quantity::AdvertisementCount,
            Quantity::UptimeS,
        ],
        encryption: Encryption::WithClock,
        active_scan: ActiveScan::No,
        source: "github.com/google/eddystone",
    },
    About {
        family: "ruuvi",
        name: "Ruuvi (formats 2, 3, 4, 5, 6 and E1)",
        models: &["RuuviTag", "Ruuvi Air"],
        quantities: &[
            Quantity::TemperatureC,
            Quantity::HumidityPercent,
            Quantity::PressurePa,
            Quantity::Co2Ppm,
            Quantity::Pm1UgM3,
            Quantity::Pm2p5UgM3,
            Quantity::Pm4UgM3,
            Quantity::Pm10UgM3,
            Quantity::VocIndex,
            Quantity::NoxIndex,
            Quantity::IlluminanceLx,
            Quantity::AccelerationXMS2,
            Quantity::AccelerationYMS2,
            Quantity::AccelerationZMS2,
            Quantity::BatteryV,
            Quantity::TxPowerDbm,
            Quantity::MovementCount,
            Quantity::MeasurementCount,
            Quantity::Calibrating,
        ],
        encryption: Encryption::Never,
        active_scan: ActiveScan::No,
        source: "docs.ruuvi.com",
    },
];

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The table of docs/sensors.md.
    fn table() -> String {
        let mut table = String::from(
            "| family | sensors | models | tells | encrypted | active scan | source |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for about in families() {
            let models = about.models.join(", ");
            let quantities = if about.quantities.len() == Quantity::ALL.len() {
                "all of the format".to_owned()
            } else {
                let names: Vec<_> = about.quantities.iter().map(|q| q.name()).collect();
                names.join(", ")
            };
            let encryption = match about.encryption {
                Encryption::Never => "never",
                Encryption::Sometimes | Encryption::WithClock => "some frames",
                Encryption::Closed => "some frames, which stay closed",
                Encryption::Signed => "signed",
            };
            let scan = match about.active_scan {
                ActiveScan::No => "no",
                ActiveScan::Sometimes => "some products",
                ActiveScan::Yes => "yes",
            };
            let About { family, name, source, .. } = about;
            writeln!(
                table,
                "| `{family}` | {name} | {models} | {quantities} | {encryption} | {scan} | {source} |"
            )
            .unwrap();
        }
        table
    }

    #[test]
    fn the_documentation_has_the_table_of_families() {
        let document = include_str!("../../../../docs/sensors.md");
        let table = table();
        assert!(document.contains(&table), "put this into docs/sensors.md:\n{table}");
        for quantity in Quantity::ALL {
            assert!(document.contains(&format!("`{}`", quantity.name())), "{}", quantity.name());
        }
    }

    #[test]
    fn every_decoder_has_an_entry_and_every_entry_its_own_name() {
        for decoder in INDEX.all() {
            assert!(families().iter().any(|about| about.family == decoder.family));
        }
        let names: Vec<_> = families().iter().map(|about| about.family).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        let models: usize = families().iter().map(|about| about.models.len()).sum();
        assert!(names.len() >= 62 && models >= 370, "{} families, {models} models", names.len());
    }
}

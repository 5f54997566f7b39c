//! `[zones]`: what was found out about the shop, and the file in which it stands.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Floor, Settings};
use crate::calibrate::{self, Calibration, CalibrationError};

/// `[zones]`: how zones are told apart.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZonesSection {
    /// The file that `zones calibrate` writes; empty for none. A relative name counts from the folder
    /// of the configuration that says it.
    pub calibration: PathBuf,
}

/// The file of `zones.calibration`.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// What it says; none while there is no such file.
    pub calibration: Option<Calibration>,
}

impl Settings {
    /// Reads the file that `zones.calibration` names. `folder` is that of the configuration.
    pub(super) fn read_calibration(&mut self, folder: &Path) -> Result<(), CalibrationError> {
        if self.zones.calibration.as_os_str().is_empty() {
            return Ok(());
        }
        let path = folder.join(&self.zones.calibration);
        let calibration = calibrate::read(&path)?;
        self.calibrated = Some(Calibrated { path, calibration });
        Ok(())
    }

    /// What was found out about the receivers; none without a calibration.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibrated.as_ref()?.calibration.as_ref()
    }

    /// Puts what was found out on the plan.
    pub(super) fn calibrate(&self, floor: &mut Floor) {
        if let Some(calibration) = self.calibration() {
            calibration.apply(&mut floor.plan);
        }
    }

    /// What is to be said about the calibration, in words for a log; none when nothing is.
    pub fn calibration_advice(&self) -> Option<String> {
        let Calibrated { path, calibration } = self.calibrated.as_ref()?;
        let path = path.display();
        let Some(calibration) = calibration else {
            return Some(format!(
                "there is no file `{path}` yet, which `zones.calibration` names; make it with \
                 `beacon-gateway zones calibrate`"
            ));
        };
        let floor = self.measured_floor().ok()?;
        let strangers: Vec<&str> = calibration.strangers(&floor.plan).collect();
        (!strangers.is_empty()).then(|| {
            format!(
                "`{path}` knows receivers that the configuration does not: {}; calibrate anew when \
                 receivers were changed",
                strangers.join(", ")
            )
        })
    }
}

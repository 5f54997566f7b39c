//! Where the receivers of the Position-Annotated-BLE-RSSI-Dataset hang, and how far its area reaches.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{WalkError, read};
use crate::engine::{
    ReceiverId,
    place::{Extent, FloorReceiver, PathLoss, Point},
};

#[derive(Deserialize)]
struct Par {
    limits: [f32; 4],
}

const DEV_FORM: &str = "expected `Dongles:{\"id\": [[x, y, z], …], …}`";

const PAR_FORM: &str = "expected `{\"limits\": [x, y, x, y], …}` with the smaller corner first";

/// Reads the receivers of a `.dev` file.
pub fn read_dev(path: &Path) -> Result<Vec<FloorReceiver>, WalkError> {
    let text = read(path)?;
    let wrong = || WalkError::Line { path: path.to_owned(), line: 1, expected: DEV_FORM };
    let (_, dongles) = text.split_once("Dongles:").ok_or_else(wrong)?;
    let mut values =
        serde_json::Deserializer::from_str(dongles).into_iter::<BTreeMap<String, Value>>();
    let dongles = values.next().and_then(Result::ok).ok_or_else(wrong)?;
    let number = |position: &Value, n: usize| {
        #[expect(clippy::cast_possible_truncation, reason = "metres in a building")]
        let metres = position.get(n)?.as_f64()? as f32;
        Some(metres).filter(|metres| metres.abs() < 10_000.0)
    };
    let mut receivers = Vec::new();
    for (id, device) in &dongles {
        let at = device.get(0).ok_or_else(wrong)?;
        let position = number(at, 0).zip(number(at, 1)).ok_or_else(wrong)?;
        receivers.push(FloorReceiver {
            id: ReceiverId::new(id),
            position: Some(Point::new(position.0, position.1)),
            height: number(at, 2).ok_or_else(wrong)?,
            offset_db: 0.0,
            offset_error_db: None,
            path_loss: PathLoss::default(),
        });
    }
    Ok(receivers)
}

/// Reads how far the area reaches from the `.par` file beside a `.dev` file; none without that file.
pub fn read_par(dev: &Path) -> Result<Option<Extent>, WalkError> {
    let path = dev.with_extension("par");
    if !path.exists() {
        return Ok(None);
    }
    let text = read(&path)?;
    let par: Option<Par> = serde_json::from_str(&text).ok();
    let extent = par.and_then(|Par { limits: [left, low, right, high] }| {
        let (least, most) = (Point::new(left, low), Point::new(right, high));
        let sound = least.is_sound() && most.is_sound() && left < right && low < high;
        sound.then_some(Extent { least, most })
    });
    extent.map(Some).ok_or(WalkError::Line { path, line: 1, expected: PAR_FORM })
}

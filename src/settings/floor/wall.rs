//! `[[wall]]`: what stands in the way of people and signals.

use serde::{Deserialize, Serialize};

use super::{Invalid, point};
use crate::engine::place::Wall;

/// `[[wall]]`: walls in one line, without a door between.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WallSettings {
    /// Its corners in metres, from one end to the other; doors are gaps between two walls.
    pub line: Vec<[f64; 2]>,
    /// What it takes from a signal, in dB, 0 to 40; 0 for a counter.
    pub loss_db: f64,
}

/// No wall has more corners.
const MOST_CORNERS: usize = 256;

/// No shop has more walls: each is asked for each cell of the floor.
const MOST_WALLS: usize = 1000;

/// No wall takes more, in dB: foil and reinforced concrete.
const MOST_LOSS: f64 = 40.0;

impl Default for WallSettings {
    fn default() -> Self {
        // Brick takes 5 to 8 dB at 2.4 GHz, plasterboard 3 (Rappaport, table 4.3, and others).
        Self { line: Vec::new(), loss_db: 5.0 }
    }
}

/// Checks the walls and cuts them at their corners.
pub(super) fn build(settings: &[WallSettings]) -> Result<Vec<Wall>, Invalid> {
    let mut walls = Vec::new();
    for (n, wall) in settings.iter().enumerate() {
        let line = format!("wall[{n}].line");
        if !(2..=MOST_CORNERS).contains(&wall.line.len()) {
            let found = format!("{} corners", wall.line.len());
            let allowed = "write 2 to 256 in metres, like `[[0, 3], [4, 3]]`";
            return Err(Invalid::new(&line, found, allowed));
        }
        if !(0.0..=MOST_LOSS).contains(&wall.loss_db) {
            let found = wall.loss_db.to_string();
            return Err(Invalid::new(
                &format!("wall[{n}].loss_db"),
                found,
                "allowed are 0 to 40 dB",
            ));
        }
        let corners: Vec<_> = wall.line.iter().map(|[x, y]| point(*x, *y)).collect();
        if !corners.iter().all(|corner| corner.is_sound()) {
            let found = "a corner that is off the map";
            return Err(Invalid::new(&line, found, "allowed are -10000 to 10000 metres"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "tenths of a decibel are enough")]
        let loss_db = wall.loss_db as f32;
        let pairs = corners.iter().zip(corners.iter().skip(1));
        walls.extend(pairs.map(|(from, to)| Wall { from: *from, to: *to, loss_db }));
        if walls.len() > MOST_WALLS {
            let found = format!("more than {MOST_WALLS} straight walls in all");
            let allowed = "leave out what is shorter than a metre";
            return Err(Invalid::new(&line, found, allowed));
        }
    }
    Ok(walls)
}

//! How far this gateway has followed the platform: the few numbers that outlive a restart.

use serde::{Deserialize, Serialize};

/// How far this gateway has followed the platform. To be kept together with the registry, in the
/// same write, and to be handed back at the next start: a number that was kept without its change
/// would lose the change, a change without its number is carried out again, which does no harm.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Standing {
    /// The number up to which every change of the registry was carried out; 0 before the first.
    pub last: u64,
    /// The highest number of a withdrawal that was carried out before its turn: no snapshot older
    /// than this may be taken, because it would still hold who has withdrawn.
    pub floor: u64,
    /// The number of the last withdrawal list, if there ever was one.
    pub list: Option<u64>,
    /// The number of the last command to this gateway alone; 0 before the first.
    pub gateway: u64,
}

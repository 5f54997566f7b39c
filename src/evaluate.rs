//! How well people can be placed: walks with known positions in, a comparison out.
//!
//! The same readings go, in the same order, to the gateway's estimator and to what open systems do,
//! each with the parameters that its authors published. Nothing is fitted to the walks: the estimator
//! runs with its defaults, and starts anew for each walk knowing nothing but where the receivers hang.

mod contender;
mod faults;
pub(crate) mod plot;
mod rivals;
mod score;
mod simulated;
mod table;
mod walk;

pub use contender::{Contender, METHODS, MethodName, Run, Stay};
pub use faults::{Cost, FAULTS, Fault, befall};
pub use plot::draw;
pub use score::{Bin, Score};
pub use simulated::{Layout, Outcome, SHOPS, Spot, Still, simulate, simulate_faults, still};
pub use table::{write, write_faults};
pub use walk::{Reading, Walk, WalkError, parse_walks, read_dev, read_par, read_walks};

use crate::engine::{
    ZoneId,
    place::{FloorPlan, Model},
};

/// What one method made of one walk, or of several together.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which method.
    pub method: MethodName,
    /// All walks together.
    pub all: Score,
    /// Walk by walk, in their order.
    pub walks: Vec<Score>,
}

/// The comparison.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The names of the walks.
    pub walks: Vec<String>,
    /// The names of the zones.
    pub zones: Vec<ZoneId>,
    /// Each method's result; the gateway's own first.
    pub verdicts: Vec<Verdict>,
    /// What the gateway's own estimator did, walk by walk.
    pub runs: Vec<Run>,
}

/// Lets every method see every walk.
pub fn evaluate(plan: &FloorPlan, zones: &[ZoneId], walks: &[Walk]) -> Evaluation {
    let mut runs = Vec::new();
    let verdicts = METHODS
        .into_iter()
        .map(|method| {
            let mut scores = Vec::new();
            for walk in walks {
                let run = Contender::new(method, plan, &Model::default()).run(plan, walk);
                scores.push(Score::of(&run, plan, walk));
                if method == MethodName::Gateway {
                    runs.push(run);
                }
            }
            let all = scores.iter().fold(Score::default(), Score::and);
            Verdict { method, all, walks: scores }
        })
        .collect();
    let walks = walks.iter().map(|walk| walk.name.clone()).collect();
    Evaluation { walks, zones: zones.to_vec(), verdicts, runs }
}

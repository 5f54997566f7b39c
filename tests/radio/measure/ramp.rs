//! Round `measure-ramp`: how loud each packet was, and how loud it is recorded.

use crate::{
    controller::Kind,
    plane::Plane,
    planes_round::{Ramp, ramp},
    process::Outcome,
    score::Score,
};

/// What is sent: with or without the wish to be asked for more.
const KINDS: [(Kind, &str); 2] =
    [(Kind::NonConnectable, "non-connectable"), (Kind::Connectable, "connectable, unanswered")];

pub(crate) async fn all(score: &mut Score) {
    score.round("measure-ramp: loudness in steps of 1 dB");
    println!(
        "\n| plane | advertisements | sent | recorded | with the loudness sent | largest error |\n\
         |---|---|---|---|---|---|"
    );
    let mut results = Vec::new();
    for plane in Plane::chosen() {
        for (kind, name) in KINDS {
            let result = match ramp(plane, kind).await {
                Ok(ramp) => {
                    print(plane, name, &ramp);
                    judge(plane, &ramp)
                }
                Err(why) => Err(why),
            };
            results.push((format!("{plane}: {name}"), result));
        }
    }
    println!();
    for (what, result) in results {
        score.check(&what, result);
    }
}

fn print(plane: Plane, name: &str, ramp: &Ramp) {
    let (heard, exact) = ramp.heard();
    let errors = ramp
        .steps
        .iter()
        .filter_map(|(sent, heard)| heard.map(|heard| heard.abs_diff(i64::from(*sent))));
    let largest = errors.max().map_or_else(|| "-".to_owned(), |error| format!("{error} dB"));
    println!("| {plane} | {name} | {} | {heard} | {exact} | {largest} |", ramp.steps.len());
}

fn judge(plane: Plane, ramp: &Ramp) -> Outcome<()> {
    let (_, exact) = ramp.heard();
    if exact == ramp.steps.len() || !plane.is_exact() {
        return Ok(());
    }
    Err(format!("{:?}", ramp.steps))
}

//! The rounds by name: which there are, and in which time each is run.

/// One round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) name: &'static str,
    pub(crate) time: Time,
    /// Whether it runs when no round is named. Those that measure take long.
    pub(crate) usual: bool,
}

/// The guest's time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Time {
    /// An idle guest skips to its next timer, and computing takes no time at all.
    Skipping,
    /// The host's time: whatever shall show what a CPU can do.
    Real,
}

/// All of them, in the order in which they run.
pub(crate) const ROUNDS: [Round; 15] = [
    usual("scan", Time::Skipping),
    usual("hci", Time::Skipping),
    usual("day", Time::Skipping),
    usual("outages", Time::Skipping),
    usual("planes", Time::Skipping),
    usual("receivers", Time::Skipping),
    usual("faults", Time::Skipping),
    usual("clock", Time::Skipping),
    usual("rate", Time::Real),
    measure("measure-share", Time::Real),
    measure("measure-ramp", Time::Real),
    measure("measure-memory", Time::Real),
    measure("measure-flood", Time::Real),
    measure("measure-faults", Time::Real),
    measure("measure-day", Time::Skipping),
];

/// The rounds that the words name; a word names all whose names begin with it and a dash, too. The
/// error is a word that names none.
pub(crate) fn named(words: &[String]) -> Result<Vec<Round>, String> {
    let names = |word: &str, name: &str| {
        name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if let Some(word) = words.iter().find(|word| !ROUNDS.iter().any(|it| names(word, it.name))) {
        let all = ROUNDS.map(|round| round.name).join(", ");
        return Err(format!("there is no round `{word}`; there are {all}"));
    }
    let is_wanted = |round: &Round| match words {
        [] => round.usual,
        words => words.iter().any(|word| names(word, round.name)),
    };
    Ok(ROUNDS.into_iter().filter(is_wanted).collect())
}

const fn usual(name: &'static str, time: Time) -> Round {
    Round { name, time, usual: true }
}

const fn measure(name: &'static str, time: Time) -> Round {
    Round { name, time, usual: false }
}

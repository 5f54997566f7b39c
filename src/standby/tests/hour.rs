//! A busy hour in which the lead is killed at any moment: is each visit told, once, under one name?
#![expect(clippy::print_stderr, reason = "the figures are what these tests are run for")]

use std::collections::{BTreeMap, BTreeSet};

use super::shop::{LEAD, STANDBY, Shop, Steps};

/// Somebody was there, from and to.
struct Stay {
    who: String,
    from: i64,
    to: i64,
}

/// What came of an hour.
#[derive(Debug, Default)]
struct Score {
    visits: usize,
    lost: usize,
    doubled: usize,
    unended: usize,
    /// Starts and ends of visits that came more than once.
    again: usize,
    /// Milliseconds from the lead's end until somebody makes events.
    without: Vec<i64>,
}

/// How many hours: more where there is time.
fn hours() -> u64 {
    std::env::var("STANDBY_HOURS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

const PEOPLE: usize = 60;
const HOUR: i64 = 3_600_000;

/// Sixty people come and go, some only for a moment; those who come again do so minutes later.
fn walks(rng: &mut fastrand::Rng) -> (Vec<Stay>, Steps) {
    let (mut stays, mut steps) = (Vec::new(), Vec::new());
    for person in 0..PEOPLE {
        let who = format!("p{person:02}");
        let mut from = rng.i64(10_000..HOUR);
        while from < HOUR {
            let brief = rng.u32(0..4) == 0;
            let to = from + if brief { rng.i64(2000..20_000) } else { rng.i64(60_000..900_000) };
            stays.push(Stay { who: who.clone(), from, to });
            let mut at = from;
            let mut in_corner = false;
            while at < to {
                // Whoever comes, comes by the door.
                if at > from + 20_000 && rng.u32(0..60) == 0 {
                    in_corner = !in_corner;
                }
                let near = if in_corner { -80 } else { -60 };
                let mut level = |mean: i8| {
                    // One advertisement in six does not arrive.
                    (at == from || rng.u32(0..6) > 0).then(|| mean + rng.i8(-4..=4))
                };
                let own = [level(near), level(near)];
                let corner = level(if in_corner { -58 } else { -82 });
                steps.push((at, who.clone(), own, None));
                // The corner hears another advertisement of the same tag.
                steps.push((at + 400, who.clone(), [None; 2], corner));
                at += rng.i64(900..1100);
            }
            from = to + rng.i64(150_000..900_000);
        }
    }
    steps.sort_by_key(|(at, ..)| *at);
    (stays, steps.into())
}

/// Plays an hour in which the lead is killed at these times, and comes back after so long, if it does.
fn play(seed: u64, kills: &[(i64, Option<i64>)], prepare: impl FnOnce(&mut Shop)) -> (Shop, Score) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (stays, mut steps) = walks(&mut rng);
    let names: BTreeSet<&str> = stays.iter().map(|stay| stay.who.as_str()).collect();
    let mut shop = Shop::new(seed, &names.into_iter().collect::<Vec<_>>());
    prepare(&mut shop);
    let mut turns: Vec<(i64, bool)> = Vec::new();
    for (at, back) in kills {
        turns.push((*at, false));
        turns.extend(back.map(|after| (at + after, true)));
    }
    let mut score = Score { visits: stays.len(), ..Score::default() };
    let mut killed = None;
    for (at, comes_back) in turns.into_iter().chain([(2 * HOUR, false)]) {
        while let Some((when, who, own, corner)) = steps.pop_front_if(|(when, ..)| *when < at) {
            shop.pass(when);
            shop.heard(&who, own, corner);
        }
        if at == 2 * HOUR {
            break;
        }
        shop.pass(at);
        if comes_back {
            score.without.extend(gap(&shop, killed));
            shop.start(LEAD);
        } else {
            shop.kill(LEAD);
            killed = Some(at);
        }
    }
    let last = shop.now + 120_000;
    shop.pass(last);
    if shop.nodes[LEAD].alive.is_none() {
        score.without.extend(gap(&shop, killed));
    }
    judge(&shop, &stays, &mut score);
    (shop, score)
}

fn gap(shop: &Shop, killed: Option<i64>) -> Option<i64> {
    let (acts, killed) = (shop.acts_since(STANDBY)?.0, killed?);
    (acts >= killed).then(|| acts - killed)
}

fn judge(shop: &Shop, stays: &[Stay], score: &mut Score) {
    for Stay { who, from, to } in stays {
        let starts = shop.events(who, "visit.started");
        let here = |at: i64| (*from..=*to + 1000).contains(&at);
        let visits: BTreeSet<&str> =
            starts.iter().filter(|it| here(it.at)).map(|it| it.visit.as_str()).collect();
        score.lost += usize::from(visits.is_empty());
        score.doubled += usize::from(visits.len() > 1);
        if visits.len() != 1 {
            eprintln!("{who} {from} to {to}:\n{}", shop.story(who));
        }
    }
    let mut told: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for event in shop.platform.iter().filter(|it| it.kind.starts_with("visit.")) {
        *told.entry((&event.visit, &event.kind)).or_default() += 1;
    }
    score.again = told.values().filter(|times| **times > 1).count();
    for (visit, kind) in told.keys().filter(|(_, kind)| *kind == "visit.started") {
        if !told.contains_key(&(*visit, "visit.ended")) {
            score.unended += 1;
            eprintln!("{visit} {kind} and not ended; {:?}", shop.acting());
        }
    }
}

fn spread(mut times: Vec<i64>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a short list"
        )]
        let place = ((times.len().saturating_sub(1)) as f64 * share).round() as usize;
        times.get(place).copied().unwrap_or_default()
    };
    let [least, median, most] = [0.0, 0.5, 1.0].map(at);
    format!("{} times: least {least} ms, median {median} ms, most {most} ms", times.len())
}

/// Plays hours, and adds up what came of them.
fn add_up(
    what: &str,
    kills: impl Fn(&mut fastrand::Rng) -> Vec<(i64, Option<i64>)>,
    prepare: impl Fn(&mut Shop),
) -> Score {
    let mut sum = Score::default();
    for seed in 0..hours() {
        let mut rng = fastrand::Rng::with_seed(seed + 1_000_000);
        let (_, score) = play(seed, &kills(&mut rng), &prepare);
        sum.visits += score.visits;
        sum.lost += score.lost;
        sum.doubled += score.doubled;
        sum.unended += score.unended;
        sum.again += score.again;
        sum.without.extend(score.without);
    }
    let Score { visits, lost, doubled, unended, again, .. } = &sum;
    eprintln!(
        "{what}: {visits} visits, {lost} lost, {doubled} doubled, {unended} without an end, {again} starts \
         or ends told again; without events {}",
        spread(sum.without.clone())
    );
    sum
}

#[test]
fn whenever_the_lead_is_killed_for_good_no_visit_is_lost_or_doubled_and_nothing_is_told_twice() {
    let once = |rng: &mut fastrand::Rng| vec![(rng.i64(60_000..HOUR), None)];
    let score = add_up("killed for good", once, |_| {});
    assert_eq!((score.lost, score.doubled, score.unended, score.again), (0, 0, 0, 0));
    assert!(score.without.iter().all(|it| (4000..=6100).contains(it)), "{:?}", score.without);
    assert_eq!(score.without.len(), usize::try_from(hours()).unwrap());
}

#[test]
fn a_lead_that_is_killed_again_and_again_and_comes_back_loses_and_doubles_no_visit() {
    let often = |rng: &mut fastrand::Rng| {
        let mut at = 0;
        let mut kills = Vec::new();
        loop {
            at += rng.i64(20_000..400_000);
            // It is back before anybody notices, or after its visits would be over.
            let back = if rng.bool() { rng.i64(500..8000) } else { rng.i64(8000..500_000) };
            if at + back > HOUR {
                return kills;
            }
            kills.push((at, Some(back)));
            at += back;
        }
    };
    let score = add_up("killed again and again", often, |_| {});
    assert_eq!((score.lost, score.doubled, score.unended), (0, 0, 0));
    // What lay on a disk that comes back: its start or end comes twice under one name.
    assert!(score.again <= score.without.len(), "{score:?}");
}

#[test]
fn without_leave_to_read_the_events_or_over_a_line_that_loses_messages_no_visit_is_doubled_either()
{
    let once = |rng: &mut fastrand::Rng| vec![(rng.i64(60_000..HOUR), None)];
    let score = add_up("without echoes", once, |shop| shop.echoes = false);
    assert_eq!((score.lost, score.doubled, score.unended), (0, 0, 0));
    let score = add_up("one message in a hundred lost", once, |shop| shop.lossy = 10);
    assert_eq!((score.lost, score.doubled, score.unended), (0, 0, 0));
}

#[test]
fn a_lead_whose_power_is_cut_is_missed_when_the_broker_notices_and_no_visit_is_lost_even_then() {
    // One and a half keep-alives of 30 s (MQTT 5.0, 3.1.2.10).
    const NOTICED: i64 = 45_000;
    let once = |rng: &mut fastrand::Rng| vec![(rng.i64(60_000..HOUR), None)];
    let score = add_up("power cut", once, |shop| shop.will_after = NOTICED);
    assert_eq!((score.lost, score.doubled, score.unended, score.again), (0, 0, 0, 0));
    assert!(score.without.iter().all(|it| *it == NOTICED), "{:?}", score.without);
}

//! Imports that are killed at any moment: there is the old registry or the new one.

use std::time::Duration;

use beacon_gateway::clock::Clock;

use super::{Shop, load, people, person};

/// How many are enrolled: enough that writing takes a while.
const PEOPLE: usize = 600;

/// How many imports are killed.
const ROUNDS: u32 = 16;

#[test]
#[expect(clippy::print_stdout, reason = "the numbers are for whoever asks")]
fn an_import_that_is_killed_leaves_one_registry_or_the_other() {
    let shop = Shop::new();
    let everybody = |generation: &str| -> String {
        let identifier = |n: usize| format!(r#"{{"irk":"{n:032x}"}}"#);
        (0..PEOPLE).map(|n| person(&format!("{generation}{n}"), &identifier(n))).collect()
    };
    shop.import("a.jsonl", &everybody("a"), &["--replace"]);
    let (mut killed, mut replaced) = (0, 0);
    for round in 0..ROUNDS {
        let generation = if round.is_multiple_of(2) { "b" } else { "a" };
        let file = shop.write("next.jsonl", &everybody(generation));
        let file = file.display().to_string();
        let mut command = shop.command(&["registry", "import", "--replace", &file]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        // Somewhere between its first sign of work and its end; where exactly is left to chance.
        let workshop = shop.state().join("registry/new");
        let patience = Duration::from_micros(u64::from(fastrand::u32(0..300_000)));
        let clock = Clock::start();
        let begun = clock.now();
        let mut seen = None;
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            seen = seen.or_else(|| workshop.exists().then(|| clock.now()));
            if seen.is_some_and(|seen| clock.now().since(seen) >= patience) {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            assert!(clock.now().since(begun) < Duration::from_mins(1), "the import never begins");
            std::thread::yield_now();
        };
        killed += u32::from(!ended.success());
        let found = load(&shop.open());
        assert_eq!(found.len(), PEOPLE);
        let first = |generation: &str| {
            found.iter().filter(|it| it.pseudonym.as_str().starts_with(generation)).count()
        };
        assert!(first("a") == PEOPLE || first("b") == PEOPLE, "a mixture");
        replaced += u32::from(first(generation) == PEOPLE);
        let entries = std::fs::read_dir(shop.state().join("registry")).unwrap().count();
        assert_eq!(entries, 3, "lock, stamp and one generation");
    }
    println!("{ROUNDS} imports: {killed} killed, {replaced} took effect");
    assert!(killed > 0, "not one import was killed");
}

#[test]
#[expect(clippy::print_stdout, reason = "the numbers are for whoever asks")]
fn a_key_rotation_that_is_killed_can_be_completed() {
    let shop = Shop::new();
    shop.import("a.jsonl", &people(0..200), &[]);
    let mut killed = 0;
    for _ in 0..12 {
        let mut child = shop.command(&["registry", "rotate-key"]);
        child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = child.spawn().unwrap();
        let patience = Duration::from_micros(u64::from(fastrand::u32(0..150_000)));
        let clock = Clock::start();
        let begun = clock.now();
        while clock.now().since(begun) < patience && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().ok();
        killed += u32::from(!child.wait().unwrap().success());
        assert_eq!(load(&shop.open()).len(), 200, "everything opens, whenever it was killed");
    }
    shop.registry(&["rotate-key"]);
    let keys = std::fs::read_to_string(shop.state().join("registry.key")).unwrap();
    assert_eq!((keys.lines().count(), load(&shop.open()).len()), (1, 200));
    println!("12 rotations: {killed} killed");
}

//! A chain's loyalty programme: how long it takes and how much memory, printed for whoever asks.

use std::{fmt::Write as _, fs};

use beacon_gateway::clock::Clock;

use super::{CONSENT, Shop, load};

const MEMBERS: u32 = 100_000;

/// A line of `/proc/self/status`, in KiB.
fn kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "the numbers are for whoever asks")]
fn a_hundred_thousand_are_imported_and_loaded() {
    let (shop, clock) = (Shop::new(), Clock::start());
    let mut file = String::new();
    for n in 0..MEMBERS {
        let identifier = match n % 10 {
            0 => format!(r#"{{"irk":"{n:032x}"}}"#),
            1 | 2 => format!(
                r#"{{"address":"C0:11:22:{:02X}:{:02X}:{:02X}"}}"#,
                n >> 16,
                n >> 8 & 255,
                n & 255
            ),
            _ => format!(
                r#"{{"eddystone_eid":{{"identity_key":"{n:032x}","rotation_exponent":10}}}}"#
            ),
        };
        writeln!(
            file,
            r#"{{"subject":"member_{n:06}","kind":"customer","identifiers":[{identifier}],{CONSENT}}}"#
        )
        .unwrap();
    }
    let path = shop.write("members.jsonl", &file).display().to_string();
    drop(file);
    let begun = clock.now();
    let done: serde_json::Value =
        serde_json::from_str(&shop.registry(&["import", "--json", &path])).unwrap();
    let imported = clock.now().since(begun);
    assert_eq!(done["added"], MEMBERS);

    let before = kib("VmRSS");
    let begun = clock.now();
    let store = shop.open();
    let opened = clock.now().since(begun);
    let subjects = load(&store);
    let loaded = clock.now().since(begun);
    let peak = kib("VmRSS");
    drop(store);
    let after = kib("VmRSS");
    assert_eq!(subjects.len(), MEMBERS as usize);

    let begun = clock.now();
    shop.registry(&["withdraw", "member_000077"]);
    let withdrawn = clock.now().since(begun);
    assert_eq!(shop.open().version().subjects, u64::from(MEMBERS) - 1);
    let sled = fs::read_dir(shop.state().join("registry")).unwrap().map(|it| it.unwrap().path());
    let sled = sled.into_iter().find(|it| it.display().to_string().contains("store-")).unwrap();
    let disk = fs::metadata(sled.join("sled/db")).unwrap().len();
    println!(
        "{MEMBERS} subjects, not optimised: imported in {imported:.1?}, opened in {opened:.1?}, \
         opened and loaded in {loaded:.1?}, one withdrawn in {withdrawn:.1?}; {} MiB on disk; \
         resident {} MiB before, {} MiB with store and subjects, {} MiB with subjects",
        disk >> 20,
        before >> 10,
        peak >> 10,
        after >> 10
    );
}

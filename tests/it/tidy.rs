//! Holds the architecture's invariants that no type can hold.

use std::{fs, path::Path};

#[test]
fn the_engine_does_no_io_and_reads_no_clock() {
    let banned = [
        "tokio",
        "rumqttc",
        "sled",
        "btleplug",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "Instant",
        "SystemTime",
        "async ",
        ".await",
        "fastrand",
        "tracing",
        "Serialize",
        "crate::outbox",
        "crate::uplink",
        "crate::gateway",
        "crate::clock",
        "crate::scan",
        "crate::settings",
    ];
    for (path, text) in sources("src/engine.rs").into_iter().chain(sources("src/engine")) {
        if ["totality.rs", "/tests.rs", "changes.rs", "forgetting.rs"]
            .iter()
            .any(|test| path.ends_with(test))
        {
            continue; // Tests, which draw their random inputs from fixed seeds.
        }
        for word in banned {
            let found = code(&text).any(|line| line.contains(word));
            assert!(!found, "{path} mentions `{word}`");
        }
    }
}

#[test]
fn no_radio_identifier_passes_the_identity_room() {
    let behind = [
        "src/engine/presence.rs",
        "src/engine/presence",
        "src/engine/situation.rs",
        "src/engine/sensor.rs",
        // Beside it `salt.rs`, where an address becomes a mark that only a sketch can take.
        "src/engine/footfall.rs",
        "src/engine/footfall/cell.rs",
        "src/engine/footfall/sketch.rs",
        "src/outbox.rs",
        "src/outbox",
        "src/uplink.rs",
        "src/uplink",
        "src/checkpoint.rs",
    ];
    for (path, text) in behind.into_iter().flat_map(sources) {
        for word in ["DeviceAddress", "AddressKind", ".octets()"] {
            assert!(!text.contains(word), "{path} mentions `{word}`");
        }
    }
}

#[test]
fn a_strangers_address_is_unveiled_for_a_technician_at_a_terminal_alone() {
    let finder = "src/commands/scan/sensors";
    for (path, text) in sources("src") {
        for word in ["unveil_address", "unveil_serial", "Unveiled"] {
            let found = code(&text).any(|line| line.contains(word));
            let allowed = ["src/engine/find.rs", "src/engine.rs", finder];
            assert!(!found || allowed.iter().any(|it| path.contains(it)), "{path} has `{word}`");
        }
        for word in ["tracing", "std::fs", "Recorder", "eprint", "uplink"] {
            let found = path.contains(finder) && !path.ends_with("tests.rs");
            let found = found && code(&text).any(|line| line.contains(word));
            assert!(!found, "{path} mentions `{word}`");
        }
    }
}

#[test]
fn only_the_clock_asks_what_time_it_is() {
    for (path, text) in sources("src") {
        for word in ["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"] {
            let found = code(&text).any(|line| line.contains(word));
            let is_clock = ["src/clock.rs", "src/clock/"].iter().any(|place| path.contains(place));
            assert!(!found || is_clock, "{path} mentions `{word}`");
        }
    }
}

#[test]
fn unsafe_code_stands_in_three_files() {
    for (path, text) in sources("src") {
        let found = code(&text).any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        let allowed = ["src/clock/kernel.rs", "src/forget.rs", "src/scan/hci/socket.rs"];
        assert!(
            !found || allowed.iter().any(|file| path.ends_with(file)),
            "{path} has unsafe code"
        );
    }
}

#[test]
fn no_test_sleeps_and_none_is_ignored() {
    for (path, text) in sources("tests") {
        let rust = Path::new(&path).extension().is_some_and(|extension| extension == "rs");
        // The radio test is about real time: it plays the air, and waits for what kernels do. The
        // cutter cuts links after real time; the file system waits for others to let go of it.
        let real = ["/radio/", "cutter.rs", "power_cut/fuse.rs"].iter().any(|it| path.contains(it));
        if path.ends_with("tidy.rs") || real || !rust {
            continue;
        }
        for word in ["sleep(", "#[ignore"] {
            let found = code(&text).any(|line| line.contains(word));
            // On a paused clock sleeping takes no time: it waits until nothing else is to be done.
            let paused = text.contains("start_paused");
            assert!(!found || paused, "{path} mentions `{word}`");
        }
    }
}

#[test]
fn rooms_do_not_know_each_other_but_for_what_they_hand_over() {
    for (room, strangers) in [
        ("src/scan", ["crate::outbox", "crate::uplink", "crate::gateway::run"]),
        ("src/remote", ["crate::outbox", "crate::command", "crate::gateway"]),
        ("src/outbox", ["crate::scan", "crate::uplink", "crate::gateway"]),
        ("src/uplink", ["crate::scan", "crate::gateway", "crate::registry"]),
        ("src/discovery", ["crate::scan", "crate::gateway", "crate::outbox"]),
    ] {
        for (path, text) in sources(room) {
            for word in strangers {
                let found = code(&text).any(|line| line.contains(word));
                assert!(!found, "{path} mentions `{word}`");
            }
        }
    }
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

fn sources(path: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut pending = vec![root];
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push((path.display().to_string(), text));
        }
    }
    assert!(!found.is_empty(), "{path} has no sources");
    found
}

//! How fast a mixture of frames is read, beside `TheengsDecoder` (`PyPI`) and `advlib` (npm), in one run:
//! `cargo bench --bench peers`. `install` gets the two and puts them beside the build.
//!
//! Everybody reads the same frames from memory, on the same core, each in the form that it takes:
//! `TheengsDecoder` and `decode` a JSON object, advlib hex, the engine octets. Rounds alternate; told are
//! the median of the rounds, the slowest and the fastest, and how many of the frames were read at all.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set its stage up has failed")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    decode::decode_line,
    engine::frame::{Context, Frame, decode_in},
};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);

/// One decoder, and how fast it was in each round.
struct Contender {
    name: &'static str,
    takes: &'static str,
    run: Box<dyn Fn() -> Score>,
    rates: Vec<f64>,
    read: u64,
}

/// What one round came to.
struct Score {
    frames: f64,
    seconds: f64,
    read: u64,
}

fn main() {
    // `cargo test --all-targets` starts this as well, and then asks for no measurement.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let frames = here.join("frames.tsv");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
    let installed = Command::new(here.join("install")).arg(&folder).status().unwrap();
    assert!(installed.success(), "benches/peers/install could not get the others");
    stay_on_one_core();

    let text = std::fs::read_to_string(&frames).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let data: Vec<Vec<u8>> =
        lines.map(|line| hex::decode(line.rsplit('\t').next().unwrap()).unwrap()).collect();
    let address = |data: &Vec<u8>| {
        format!(r#"{{"address":"A4:C1:38:11:22:33","adv":"{}"}}"#, hex::encode(data))
    };
    let objects: Vec<String> = data.iter().map(address).collect();
    let count = data.len();

    let other = |program: PathBuf, script: &str| -> Box<dyn Fn() -> Score> {
        let script = folder.join(script);
        let frames = frames.clone();
        Box::new(move || elsewhere(&program, &script, &frames))
    };
    let contender = |name, takes, run| Contender { name, takes, run, rates: Vec::new(), read: 0 };
    let mut contenders = [
        contender("beacon-gateway", "octets", Box::new(move || here_and_now(&data, |it| read(it)))),
        contender(
            "beacon-gateway decode",
            "JSON",
            Box::new(move || {
                here_and_now(&objects, |it| {
                    !black_box(decode_line(black_box(it))).starts_with(r#"{"unknown"#)
                })
            }),
        ),
        contender("advlib", "hex", other(PathBuf::from("node"), "advlib.cjs")),
        contender("TheengsDecoder", "JSON", other(folder.join("python/bin/python"), "theengs.py")),
    ];
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            let Score { frames, seconds, read } = (contender.run)();
            contender.rates.push(frames / seconds);
            contender.read = read;
        }
    }
    println!("{count} frames, {ROUNDS} alternating rounds of {ROUND:?} on one core");
    println!(
        "{:<22} {:<7} {:>12} {:>12} {:>12} {:>6} {:>9}",
        "decoder", "takes", "frames/s", "slowest", "fastest", "read", "times us"
    );
    let mut ours = None;
    for Contender { name, takes, rates, read, .. } in &mut contenders {
        rates.sort_by(f64::total_cmp);
        let (median, slowest, fastest) =
            (rates.get(ROUNDS / 2).unwrap(), rates.first().unwrap(), rates.last().unwrap());
        let ours = *ours.get_or_insert(*median);
        println!(
            "{name:<22} {takes:<7} {median:>12.0} {slowest:>12.0} {fastest:>12.0} {read:>6} {:>9.4}",
            median / ours
        );
    }
}

/// Decodes, and reads what a sensor told; whether it is a frame at all.
fn read(data: &[u8]) -> bool {
    decode_in(black_box(data), Context::default()).is_ok_and(|frames| {
        let told = frames.iter().flat_map(Frame::readings).map(|reading| reading.value);
        black_box(told.sum::<f64>());
        true
    })
}

/// One round in this process.
fn here_and_now<T>(inputs: &[T], is_read: impl Fn(&T) -> bool) -> Score {
    let read = inputs.iter().filter(|input| is_read(input)).count();
    let clock = Clock::start();
    let (begun, mut frames) = (clock.now(), 0_u32);
    while clock.now().since(begun) < ROUND {
        for _ in 0..100 {
            for input in inputs {
                black_box(is_read(input));
            }
        }
        frames += 100 * u32::try_from(inputs.len()).unwrap();
    }
    let seconds = clock.now().since(begun).as_secs_f64();
    Score { frames: f64::from(frames), seconds, read: read as u64 }
}

/// One round of a program that prints what it came to.
fn elsewhere(program: &Path, script: &Path, frames: &Path) -> Score {
    let seconds = ROUND.as_secs().to_string();
    let ran = Command::new(program).arg(script).arg(frames).arg(seconds).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}: {said}", script.display());
    let score: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let number = |key: &str| score.get(key).and_then(serde_json::Value::as_f64).unwrap();
    let read = score.get("read").and_then(serde_json::Value::as_u64).unwrap();
    Score { frames: number("frames"), seconds: number("seconds"), read }
}

/// Keeps this process, and those that it starts, on the last core that it may use.
fn stay_on_one_core() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let last = (0..CpuSet::count()).rev().find(|core| allowed.is_set(*core).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.unwrap()).unwrap();
    sched_setaffinity(this, &one).unwrap();
}

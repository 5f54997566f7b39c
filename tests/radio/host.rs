//! On the host: builds the guest, boots it, shows what it prints, and judges by the code it leaves.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use crate::{
    rounds::{self, Round, Time},
    score::Sum,
};

/// How long a guest may take: the usual rounds need a minute of one core, and a quarter of an hour
/// when their time is real; those that measure take an hour.
const PATIENCE: Duration = Duration::from_hours(3);

/// 2026-11-21T10:00:00Z, the guest's date, in nanoseconds.
const DATE: u64 = 1_795_255_200_000_000_000;

pub(crate) fn main(words: &[String]) -> ExitCode {
    match run(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("radio test: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let rounds = rounds::named(words)?;
    let home = directory();
    for script in ["build-kernel.sh", "build-guest.sh"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/radio").join(script);
        let status = Command::new(&path)
            .arg(&home)
            .status()
            .map_err(|error| format!("failed to start {}: {error}", path.display()))?;
        if !status.success() {
            return Err(format!("{script} could not build the guest; it says above why"));
        }
    }
    let mut sum = Sum::default();
    let mut troubles = Vec::new();
    for time in [Time::Skipping, Time::Real] {
        let mut rounds = rounds.clone();
        rounds.retain(|round| round.time == time);
        if !rounds.is_empty() {
            match guest(&home, time, &rounds) {
                Ok(checked) => sum = sum.and(checked),
                Err(trouble) => {
                    sum.failed += 1;
                    troubles.push(trouble);
                }
            }
        }
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    troubles.extend((!sum.is_good()).then(|| "not everything is as it should be".to_owned()));
    if troubles.is_empty() { Ok(()) } else { Err(troubles.join("; ")) }
}

/// Runs rounds in a guest of their own; gives what was checked there.
fn guest(home: &Path, time: Time, rounds: &[Round]) -> Result<Sum, String> {
    let share = home.join(format!("share-{}-{time:?}", std::process::id()));
    let told = |what: &str, error: std::io::Error| format!("failed to {what}: {error}");
    fs::create_dir_all(&share).map_err(|error| told("make the guest's directory", error))?;
    let itself = env::current_exe().map_err(|error| told("find this program", error))?;
    let gateway = env::var_os("RADIO_GATEWAY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_beacon-gateway")), PathBuf::from);
    for (program, name) in [(itself, "radio"), (gateway, "beacon-gateway")] {
        let there = share.join(name);
        fs::hard_link(&program, &there)
            .or_else(|_| fs::copy(&program, &there).map(|_| ()))
            .map_err(|error| told("hand the programs to the guest", error))?;
    }
    boot(home, &share, time, rounds)?;
    let sum = Sum::read(&share.join("sum"))
        .ok_or_else(|| format!("the guest died; what it left is in {}", share.display()))?;
    if sum.is_good() {
        fs::remove_dir_all(&share).map_err(|error| told("clean up", error))?;
    } else {
        eprintln!("radio test: the logs of the guest are in {}", share.display());
    }
    Ok(sum)
}

fn boot(home: &Path, share: &Path, time: Time, rounds: &[Round]) -> Result<(), String> {
    let mut kernel = Command::new(home.join("linux"));
    let names: Vec<_> = rounds.iter().map(|round| round.name).collect();
    // bluetoothd keeps every address for half a minute, which is much in a flood. The host gives
    // memory only as it is used.
    let memory_size = if rounds.iter().all(|round| round.usual) { "mem=384M" } else { "mem=2G" };
    kernel
        .args([memory_size, "con=null", "con0=fd:0,fd:1", "ssl=null", "quiet", "loglevel=3"])
        .arg("panic=-1")
        .arg(format!("initrd={}", home.join("initramfs").display()))
        .arg(format!("uml_dir={}", share.display()))
        .arg(format!("radio.share={}", share.display()))
        .arg(format!("env.RADIO_ROUNDS={}", names.join(",")))
        .arg(format!("env.RADIO_PLANES={}", env::var("RADIO_PLANES").unwrap_or_default()))
        .arg("env.RUST_BACKTRACE=1")
        .env("TMPDIR", memory(share));
    if time == Time::Skipping && env::var_os("RADIO_REAL_TIME").is_none() {
        kernel.arg("time-travel=inf-cpu").arg(format!("time-travel-start={DATE}"));
    }
    let mut guest = kernel
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("failed to start the guest's kernel: {error}"))?;
    let console = guest.stdout.take().ok_or("the guest has no console")?;
    let (heartbeat, ended) = std::sync::mpsc::sync_channel::<()>(0);
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).lines().map_while(Result::ok) {
            println!("{}", line.trim_end());
        }
        drop(heartbeat);
    });
    // The sender is dropped when the console closes, which is when the guest ends.
    let timely =
        ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected);
    if !timely {
        guest.kill().map_err(|error| format!("failed to end the guest: {error}"))?;
    }
    guest.wait().map_err(|error| format!("failed to wait for the guest: {error}"))?;
    drop(reader.join());
    if timely { Ok(()) } else { Err(format!("the guest did not end within {PATIENCE:?}")) }
}

/// Where the kernel, the image and the shared directories are.
fn directory() -> PathBuf {
    env::var_os("RADIO_GUEST_DIR").map_or_else(
        || {
            let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
            tmp.parent().unwrap_or(tmp).join("radio-guest")
        },
        PathBuf::from,
    )
}

/// Where the guest's memory is kept: a file system in memory if there is one on which programs may
/// run (the guest's do) with enough room, which containers often lack; else the disk.
fn memory(share: &Path) -> PathBuf {
    let shm = Path::new("/dev/shm");
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let runs = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some("/dev/shm")
            && words.next() == Some("tmpfs")
            && !words.next().unwrap_or_default().split(',').any(|option| option == "noexec")
    });
    let room = Command::new("df").args(["--output=avail", "-BM", "/dev/shm"]).output();
    let room = room.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let megabytes: u64 = room
        .ok()
        .and_then(|text| text.lines().nth(1)?.trim().trim_end_matches('M').parse().ok())
        .unwrap_or(0);
    if runs && megabytes >= 512 { shm.to_owned() } else { share.to_owned() }
}

//! A storm of content that nobody meant, over every decoder: how often arbitrary advertising data is
//! taken for a sensor, and whether any decoder panics or tells what cannot be.
//!
//! ```console
//! $ cargo run --release --example storm -- --frames 100000000 --tries 10000000
//! ```
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

mod trial;

use std::{
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, available_parallelism},
};

use beacon_gateway::{clock::Clock, engine::frame::sensor::built_in};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use trial::{Matches, Tried, arbitrary_content, arbitrary_frames};

/// One share of the work; the bar moves when one is done.
const SHARE: u64 = 1_000_000;

#[derive(Debug, Parser)]
#[command(about = "A storm of arbitrary content over every decoder")]
struct Cli {
    /// How many pieces of arbitrary advertising data.
    #[arg(long, default_value_t = 10_000_000)]
    frames: u64,
    /// How often each decoder is tried with content that fits it and is otherwise arbitrary.
    #[arg(long, default_value_t = 1_000_000)]
    tries: u64,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() {
    let cli = Cli::parse();
    let clock = Clock::start();
    let begun = clock.now();
    let shares = shares(cli.frames);
    let found = side_by_side("arbitrary frames", shares.len(), |n| {
        let frames = shares.get(n).copied().unwrap_or_default();
        arbitrary_frames(frames, cli.seed.wrapping_add(n as u64))
    });
    let mut taken_for = Matches::new();
    for (family, count) in found.into_iter().flatten() {
        *taken_for.entry(family).or_default() += count;
    }
    let decoders = built_in();
    let tried = side_by_side("decoders", decoders.len(), |n| {
        decoders.get(n).map(|it| arbitrary_content(it, cli.tries, cli.seed)).unwrap_or_default()
    });
    let seconds = clock.now().since(begun).as_secs();
    if cli.json {
        println!("{}", as_json(&cli, &taken_for, &tried, seconds));
    } else {
        print(&cli, &taken_for, &tried, seconds);
    }
}

/// A number, as shares of which none is large.
fn shares(all: u64) -> Vec<u64> {
    (0..all.div_ceil(SHARE)).map(|n| SHARE.min(all - n * SHARE)).collect()
}

/// Does that many pieces of work on all processors, and gives the results in order.
fn side_by_side<T: Send>(what: &str, pieces: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}");
    let bar = ProgressBar::new(pieces as u64).with_message(what.to_owned());
    let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
    let next = AtomicUsize::new(0);
    let one = || {
        let mut done = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= pieces {
                return done;
            }
            done.push((n, work(n)));
            bar.inc(1);
        }
    };
    let threads = available_parallelism().map_or(1, NonZero::get);
    let mut done: Vec<(usize, T)> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().flat_map(|it| it.join().expect("a decoder panicked")).collect()
    });
    bar.finish_and_clear();
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

fn as_json(cli: &Cli, taken_for: &Matches, tried: &[Tried], seconds: u64) -> serde_json::Value {
    let rows = built_in().iter().zip(tried).map(|(decoder, tried)| {
        let Tried { read, malformed, encrypted } = tried;
        serde_json::json!({
            "family": decoder.family, "carrier": format!("{:?}", decoder.carrier),
            "read": read, "malformed": malformed, "encrypted": encrypted,
        })
    });
    let rows: Vec<_> = rows.collect();
    serde_json::json!({
        "frames": cli.frames, "tries": cli.tries, "taken_for": taken_for, "decoders": rows, "seconds": seconds,
    })
}

fn print(cli: &Cli, taken_for: &Matches, tried: &[Tried], seconds: u64) {
    println!("of {} arbitrary frames were taken for", cli.frames);
    for (family, count) in taken_for {
        println!("  {family:<16} {count:>10}   one in {}", cli.frames / count.max(&1));
    }
    println!("each decoder was tried {} times with content that fits it", cli.tries);
    println!("{:<16} {:>12} {:>12} {:>12}", "decoder", "read", "malformed", "encrypted");
    for (decoder, tried) in built_in().iter().zip(tried) {
        let Tried { read, malformed, encrypted } = tried;
        println!("{:<16} {read:>12} {malformed:>12} {encrypted:>12}", decoder.family);
    }
    println!("no panic, and nothing told that cannot be; {seconds} s");
}

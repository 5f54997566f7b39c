//! How fast advertising data becomes frames, and lines become answers.
//!
//! One element is one advertisement (or one line); sensor frames are read to their last value.

use std::hint::black_box;

use beacon_gateway::{decode, engine::frame};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// What a receiver hears: our formats, each with what stands around it in the air.
const FORMATS: [(&str, &str); 10] = [
    ("ibeacon", "0201061AFF4C000215000102030405060708090A0B0C0D0E0F0102FFFEC5"),
    ("altbeacon", "02011A1BFF1801BEAC0102030405060708090A0B0C0D0E0F1011121314C542"),
    ("eddystone_uid", "0201060303AAFE1716AAFE00FC00112233445566778899AABBCCDDEEFF0000"),
    ("eddystone_url", "0201060303AAFE1016AAFE10000367657470617265746F07"),
    ("eddystone_tlm", "0201060303AAFE1116AAFE20000BB815000000004500000258"),
    ("eddystone_eid", "0201060303AAFE0D16AAFE30FC0011223344556677"),
    ("bthome", "0201060E16D2FC4000A7015D02CA0903BF13"),
    ("ruuvi_5", "0201061BFF99040512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"),
    ("ruuvi_6", "02010617FF990406170C5668C79E007000C90501D9FFCD004C884F"),
    // A telephone nearby: most of what is in the air.
    ("unknown", "02011A020A0C0AFF4C0010051B1C2A3B4C"),
];

/// Decodes, and reads what a sensor told.
fn read(data: &[u8]) -> f64 {
    match frame::decode(black_box(data)) {
        Ok(frames) => {
            frames.iter().flat_map(frame::Frame::readings).map(|reading| reading.value).sum()
        }
        Err(_) => 0.0,
    }
}

fn frames(criterion: &mut Criterion) {
    let payloads = FORMATS.map(|(name, payload)| {
        (name, hex::decode(payload).expect("the payloads of this file are hex"))
    });
    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Elements(1));
    for (name, data) in &payloads {
        group.bench_function(*name, |bencher| bencher.iter(|| read(data)));
    }
    group.throughput(Throughput::Elements(payloads.len() as u64));
    group.bench_function("mixed", |bencher| {
        bencher.iter(|| payloads.iter().map(|(_, data)| read(data)).sum::<f64>());
    });
    group.finish();
}

fn lines(criterion: &mut Criterion) {
    let joined = |line: fn(&str) -> String| FORMATS.map(|(_, payload)| line(payload)).join("\n");
    let hex = joined(str::to_owned);
    let json = joined(|payload| format!(r#"{{"address":"C0:11:22:33:44:55","adv":"{payload}"}}"#));
    let mut group = criterion.benchmark_group("line");
    group.throughput(Throughput::Elements(FORMATS.len() as u64));
    for (name, input) in [("hex", hex), ("json", json)] {
        group.bench_function(name, |bencher| {
            let mut output = Vec::with_capacity(64 * 1024);
            bencher.iter(|| {
                output.clear();
                decode::run(black_box(input.as_bytes()), &mut output).expect("memory never fails")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames, lines);
criterion_main!(benches);

//! What made-up receivers hear. None of its numbers is known to the estimator, and much of it is not
//! even of its form: the law of distance has a bend, shelves and passers-by stand in the way one by
//! one, a body shadows one side, and fading is that of waves that meet: it differs from channel to
//! channel, changes within centimetres, and stands still with whoever stands still.

use std::f32::consts::TAU;

use super::{people::Person, shop::Layout};
use crate::{
    chance::Rng,
    engine::place::{FloorPlan, Point},
};

/// The air of one shop.
#[derive(Debug)]
pub(super) struct Air {
    exponent: f32,
    /// Beyond this, in metres, signals fall faster.
    bend_m: f32,
    shelf_db: f32,
    passer_db: f32,
    links: Vec<Link>,
}

/// The way to one receiver.
#[derive(Debug)]
struct Link {
    at: Point,
    above: f32,
    /// What it hears more than others, in dB.
    gain_db: f32,
    /// The part of advertisements that it catches from nearby.
    catches: f32,
    /// Shadows of what always stands: strength, wave numbers and phase.
    shadows: [(f32, f32, f32, f32); SHADOWS],
    /// For each advertising channel the waves that walls and shelves scatter, added up, and those
    /// that people do: complex numbers.
    scattered: [[Wave; 2]; 3],
}

/// A wave's strength and phase, as a complex number.
type Wave = (f32, f32);

/// A tag's radio.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    /// One metre away, in dBm.
    pub(super) strength_dbm: f32,
    /// What a body takes behind it, in dB.
    pub(super) body_db: f32,
}

const SHADOWS: usize = 8;

/// Signals are scattered anew when a tag has moved this far, in metres: half a wave of 2.4 GHz.
const HALF_WAVE: f32 = 0.06;

/// What people scatter is scattered anew within this time, in seconds: some steps.
const STIR: f32 = 5.0;

/// How much stronger the direct wave is than all scattered ones together.
const RICE: f32 = 3.0;

/// Somebody stands in the way within this of the straight line, in metres.
const SHOULDER: f32 = 0.3;

/// Quieter than this nothing is heard, in dBm, give or take two.
const FLOOR_DBM: f32 = -96.0;

impl Tag {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { strength_dbm: -60.0 + 4.0 * rng.normal_f32(), body_db: rng.between_f32(4.0, 14.0) }
    }
}

impl Air {
    pub(super) fn new(plan: &FloorPlan, rng: &mut Rng) -> Self {
        let links = plan.receivers.iter().map(|receiver| Link {
            at: receiver.position.unwrap_or_default(),
            above: receiver.height - 1.1,
            gain_db: 3.0 * rng.normal_f32(),
            catches: rng.between_f32(0.4, 0.9),
            shadows: std::array::from_fn(|_| {
                // A metre to four wide; the eight of them together have a spread of 3 dB.
                let (number, angle) = (TAU / rng.between_f32(2.0, 8.0), rng.between_f32(0.0, TAU));
                (1.5, number * angle.cos(), number * angle.sin(), rng.between_f32(0.0, TAU))
            }),
            scattered: std::array::from_fn(|_| [wave(rng), wave(rng)]),
        });
        let links = links.collect();
        Self {
            exponent: rng.between_f32(1.5, 2.3),
            bend_m: rng.between_f32(6.0, 15.0),
            shelf_db: rng.between_f32(0.5, 3.0),
            passer_db: rng.between_f32(3.0, 8.0),
            links,
        }
    }

    /// What each receiver hears of one advertisement, `seconds` after the last.
    pub(super) fn hear(
        &mut self,
        person: &Person,
        tag: Tag,
        seconds: f32,
        (layout, crowd): (&Layout, &[Person]),
        rng: &mut Rng,
    ) -> Vec<(usize, f32)> {
        // How much of the scattered waves is still as it was.
        let stands = (-person.moved / HALF_WAVE).exp();
        let stirs = stands * (-seconds / STIR).exp();
        // In an empty shop a tenth of what is scattered moves, in a crowd half: who lies still fades
        // with a K of 8 to 14 dB (Hashemi, The indoor radio propagation channel, 1993).
        let area = layout.size().x * layout.size().y;
        let others = f32::from(layout.crowd) / area;
        let stirred = (0.1 + 2.0 * others).min(0.5);
        let (left, right) = layout.shelf_ends();
        let mut heard = Vec::new();
        for (receiver, link) in self.links.iter_mut().enumerate() {
            for [walls, people] in &mut link.scattered {
                age(walls, stands, rng);
                age(people, stirs, rng);
            }
            let flat = link.at.distance(person.at);
            let distance = flat.hypot(link.above).max(0.3);
            let beyond = (distance / self.bend_m).max(1.0);
            let law = 10.0 * self.exponent * distance.log10() + 15.0 * beyond.log10();
            let crossed = layout.shelves().filter(|y| {
                let part = (y - person.at.y) / (link.at.y - person.at.y);
                let x = person.at.x + part * (link.at.x - person.at.x);
                (0.0..1.0).contains(&part) && (left..right).contains(&x)
            });
            // Three shelves take all that goes straight; the rest comes over them.
            let shelves = f32::from(u8::try_from(crossed.count().min(3)).unwrap_or(3));
            let passers = crowd.iter().filter(|it| in_the_way(it.at, person.at, link.at));
            let passers = f32::from(u8::try_from(passers.count().min(2)).unwrap_or(2));
            let towards = (link.at.y - person.at.y).atan2(link.at.x - person.at.x);
            let behind = (1.0 - (towards - person.facing).cos()) / 2.0;
            let body = if person.is_carried() { tag.body_db * behind * behind } else { 0.0 };
            let shadow: f32 = link
                .shadows
                .iter()
                .map(|(db, x, y, phase)| db * (x * person.at.x + y * person.at.y + phase).sin())
                .sum();
            let channel = (rng.unit_f32() * 3.0).floor();
            let mut channels = link.scattered.iter().zip([0.0, 1.0, 2.0]);
            let both = channels.find(|(_, n)| *n >= channel).map(|(both, _)| *both);
            let [walls, people] = both.unwrap_or_default();
            let (fixed, moving) = ((1.0 - stirred).sqrt(), stirred.sqrt());
            let re = fixed * walls.0 + moving * people.0;
            let im = fixed * walls.1 + moving * people.1;
            let scale = (0.5 / (RICE + 1.0)).sqrt();
            let direct = (RICE / (RICE + 1.0)).sqrt();
            let amplitude = (direct + scale * re).hypot(scale * im).max(0.03);
            let rssi = tag.strength_dbm + link.gain_db + shadow + 20.0 * amplitude.log10()
                - law
                - body
                - shelves * self.shelf_db
                - passers * self.passer_db
                + rng.normal_f32();
            let audible = 1.0 / (1.0 + ((FLOOR_DBM - rssi) / 2.0).exp());
            if rng.unit_f32() < link.catches * audible {
                heard.push((receiver, rssi.round().clamp(-127.0, 20.0)));
            }
        }
        heard
    }
}

fn wave(rng: &mut Rng) -> Wave {
    (rng.normal_f32(), rng.normal_f32())
}

/// Lets a wave become another, but for the part that stays the same.
fn age((re, im): &mut Wave, same: f32, rng: &mut Rng) {
    let fresh = (1.0 - same * same).max(0.0).sqrt();
    *re = same * *re + fresh * rng.normal_f32();
    *im = same * *im + fresh * rng.normal_f32();
}

/// Whether somebody stands between two places.
fn in_the_way(who: Point, from: Point, to: Point) -> bool {
    let (x, y) = (to.x - from.x, to.y - from.y);
    let square = (x * x + y * y).max(1e-6);
    let part = ((who.x - from.x) * x + (who.y - from.y) * y) / square;
    // Receivers hang high: only who stands near the tag stands in the way.
    let near = part * square.sqrt() < 4.0;
    let foot = Point::new(from.x + part * x, from.y + part * y);
    (0.0..1.0).contains(&part) && near && who.distance(foot) < SHOULDER
}

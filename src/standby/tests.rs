//! Two gateways of one shop in virtual time: their engines, partners and outboxes, the broker between them, people
//! who walk, and a platform that takes notes.

mod hour;
mod shop;
mod turns;

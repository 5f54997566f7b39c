//! Turns Bluetooth LE advertisements heard in a shop into situational events about those who opted
//! in, and delivers those events to a central MQTT broker at least once.
//!
//! Read the modules in this order; it is the order the data takes.
//!
//! | room          | takes                            | gives                        | may do I/O |
//! |---------------|----------------------------------|------------------------------|------------|
//! | [`scan`]      | radios, recordings               | [`engine::Advertisement`]    | yes        |
//! | [`remote`]    | what foreign gateways heard | [`engine::Advertisement`] | yes          |
//! | [`engine`]    | advertisements, time             | [`engine::Situation`]        | **no**     |
//! | [`outbox`]    | situations, as records           | durable records              | yes        |
//! | [`uplink`]    | durable records                  | MQTT publishes, acks         | yes        |
//! | [`relay`]     | who was heard by a receiver      | sealed messages to its lead  | yes        |
//! | [`standby`]   | what either of a pair of gateways has to tell | sealed messages, open visits | yes |
//! | [`command`]   | the platform's commands          | orders for the corridor      | yes        |
//!
//! [`gateway`] is the corridor: it owns every channel between the rooms and closes them in order.
//! [`clock`] is the only place that reads the time, [`timeline`] dates what happened when the clock
//! was wrong, [`forget`] clears what is no longer used, [`chance`] makes shops up. [`settings`], [`registry`] and
//! [`checkpoint`] are what is read from and written to files; [`telemetry`] and [`health`] are what
//! the operator is told; [`commands`], [`decode`], [`demo`], [`evaluate`] and
//! [`calibrate`] are what people start.

pub mod scan;

pub mod remote;

pub mod engine;

pub mod outbox;

pub mod uplink;

pub mod relay;

pub mod standby;

pub mod command;

pub mod gateway;

pub mod calibrate;
pub mod chance;
pub mod checkpoint;
pub mod clock;
pub mod forget;
pub mod health;
pub mod registry;
pub mod seal;
pub mod settings;
pub mod telemetry;
pub mod timeline;

pub mod commands;
pub mod decode;
pub mod demo;
pub mod discovery;
pub mod evaluate;

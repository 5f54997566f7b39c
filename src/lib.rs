//! Turns Bluetooth LE advertisements heard in a shop into situational events about those who opted
//! in, and delivers those events to a central MQTT broker at least once.

pub mod checkpoint;
pub mod clock;
pub mod commands;
pub mod decode;
pub mod demo;
pub mod engine;
pub mod gateway;
pub mod health;
pub mod outbox;
pub mod registry;
pub mod scan;
pub mod settings;
pub mod telemetry;
pub mod uplink;

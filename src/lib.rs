//! Turns Bluetooth LE advertisements heard in a shop into situational events about those who opted
//! in, and delivers those events to a central MQTT broker at least once.

pub mod clock;
pub mod decode;
pub mod demo;
pub mod engine;
pub mod outbox;
pub mod registry;
pub mod scan;
pub mod settings;
pub mod uplink;

//! The room of the platform's commands, at a real mosquitto, with a stand-in for the corridor.

mod errands;
mod gate;
mod large;
mod order;
mod refusals;
pub(crate) mod rig;

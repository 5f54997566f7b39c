//! The outbox as the rooms around it see it.

mod inspecting;
mod losses;
mod model;
mod opening;
mod serving;

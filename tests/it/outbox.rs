//! The outbox as the rooms around it see it.

mod corruption;
mod erasing;
mod inspecting;
mod losses;
mod model;
mod opening;
mod scrubbing;
mod serving;
mod withdrawal;

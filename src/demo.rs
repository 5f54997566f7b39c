//! What `demo` shows: events as a subscriber on the other side of a broker receives them.
//!
//! The `demo` command assembles these: [`broker`] stands in for the platform's broker, [`subscriber`]
//! for the platform, [`view`] makes a line of each event, [`tally`] counts them, and [`summary`] is
//! the table at the end. The advertisements come from [`crate::scan::simulate`]; everything between
//! is the gateway as it is.

#[cfg(feature = "demo")]
pub mod broker;
pub mod screen;
pub mod subscriber;
pub mod summary;
pub mod tally;
pub mod view;
mod words;

//! The configuration: layered, checked, and handed room by room to those who own it.

mod units;
pub use units::{ByteSize, NotAQuantity, Span};

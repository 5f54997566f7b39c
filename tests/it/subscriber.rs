//! The reference subscriber's arithmetic. `tests/accounts` runs the whole of it.
#![expect(dead_code, reason = "not all that the example uses is used by its own tests")]

#[path = "../../examples/subscriber/account.rs"]
mod account;
#[path = "../../examples/subscriber/ranges.rs"]
mod ranges;

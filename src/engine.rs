//! Rooms 2 to 5. The deterministic heart: advertisements and time in, situations out.

mod advertisement;
pub use advertisement::{
    AddressKind, Advertisement, DeviceAddress, NotAnAddress, ReceiverId, Rssi, parse_octets,
};

pub mod frame;

mod radio;
pub use radio::{DeafCause, RadioState};

mod time;
pub use time::{ClockQuality, UnixTime, Uptime, WallClock};

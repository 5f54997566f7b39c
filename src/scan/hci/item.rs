//! What a controller was heard to say, by whichever socket.

use super::{Report, Unusable};
use crate::engine::{Advertisement, ReceiverId, Uptime};

/// One thing that came from a controller, or happened to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// An advertisement, with the time at which the kernel took it from the controller.
    Advertisement(Advertisement),
    /// A report without a usable advertisement.
    Unusable(Unusable),
    /// A change that matters for hearing.
    News(News),
}

/// A change that matters for hearing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// The controller was told to begin or to end scanning, and has not answered yet.
    ScanAsked {
        /// To begin.
        on: bool,
    },
    /// The controller has begun or ended scanning.
    Scan {
        /// It has begun.
        on: bool,
    },
    /// The controller refused to begin or to end scanning.
    ScanRefused {
        /// To begin.
        on: bool,
        /// Its error code (Core Specification 5.4, Vol 1 Part F).
        status: u8,
    },
    /// The controller has begun or ended an inquiry for classic devices, which takes air time from
    /// the scan.
    Inquiry {
        /// It has begun.
        on: bool,
    },
    /// The controller says that it is broken (Core Specification 5.4, Vol 4 Part E 7.7.16). The
    /// kernel, or here the session, resets it.
    HardwareError {
        /// The manufacturer's own number.
        code: u8,
    },
    /// The kernel, or another program, opened the controller: it was switched on.
    Opened,
    /// It was switched off.
    Closed,
    /// The adapter was pulled out.
    Removed,
    /// The adapter is there (again), perhaps under another number.
    Added {
        /// Its number now.
        index: u16,
    },
}

impl Item {
    pub(super) fn of_report(
        receiver: &ReceiverId,
        heard: Uptime,
        report: Result<Report<'_>, Unusable>,
    ) -> Self {
        match report {
            Ok(Report { address, rssi, data }) => Self::Advertisement(Advertisement::new(
                heard,
                receiver.clone(),
                address,
                rssi,
                data,
            )),
            Err(unusable) => Self::Unusable(unusable),
        }
    }
}

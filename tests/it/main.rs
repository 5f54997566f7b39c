//! Integration tests, in one binary so that the heavy dependencies link once.

mod support;
mod uplink_delivery;
mod uplink_faults;
mod uplink_link_cut;
mod uplink_refusals;
mod uplink_tls;

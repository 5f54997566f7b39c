//! Integration tests, in one binary so that the heavy dependencies link once.

#![expect(clippy::unwrap_used, reason = "a test helper that panics is a failed test")]
mod clock;
mod cold_chain;
mod command;
mod config;
mod decoders;
mod demo;
mod discovery;
mod enrolment;

mod footfall;
mod gateway;
mod handover;
mod outbox;
mod payload;
mod placed;
mod privacy;
mod receiver;
mod registry;
mod remote;
mod replay;
mod rotating;
mod scan;
mod simulate;
mod simulation;
mod standby;
mod subscriber;
mod support;
mod tidy;
mod uplink_brokers;
mod uplink_delivery;
mod uplink_faults;
mod uplink_lanes;
mod uplink_link_cut;
mod uplink_passing;
mod uplink_refusals;
mod uplink_tls;
mod uplink_ways;
mod vectors;
mod withdrawal;
mod zones;

//! The daemon against a distributed broker: three nodes of `RabbitMQ` with its MQTT plugin and
//! quorum queues, on hosts of their own, whose processes and cables fail while gateways send.
//!
//! | part | what it does |
//! |---|---|
//! | `network` | hosts and switches out of network namespaces |
//! | `node`, `cluster` | `RabbitMQ`: one node, and three that are one |
//! | `balancer` | a TCP load balancer before them |
//! | `gateway` | the daemon, in processes of their own: behind the balancer, and with a list of nodes |
//! | `platform`, `ledger` | the subscriber, and what it has received |
//! | `scenario` | what happens, and the table |
//!
//! Needs root (or sudo), because of the namespaces, and Debian's `rabbitmq-server`; without them it fails.
//! `CLUSTER_ROUNDS` (1) repeats the faults. `CLUSTER_QUEUES=classic` gives the cluster the queues that
//! it has by default, with which it acknowledges what it then loses: that run is to fail. Whatever
//! this starts ends with it, however it ends.

#![expect(clippy::expect_used, reason = "a helper of a test that panics is a failed test")]
#![expect(clippy::indexing_slicing, reason = "a helper of a test that panics is a failed test")]

mod balancer;
mod cluster;
mod gateway;
#[path = "../power_cut/harness.rs"]
mod harness;
mod ledger;
mod network;
mod node;
mod platform;
mod scenario;
mod support;

use std::{
    env, fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    process::{Command, ExitCode},
};

const TESTS: &[harness::Test] = &[
    (
        "the_ledger_counts_what_is_missing_and_what_came_twice",
        ledger::counts_what_is_missing_and_what_came_twice,
    ),
    ("the_ledger_counts_who_comes_out_of_order", ledger::counts_who_comes_out_of_order),
    (
        "the_ledger_finds_a_number_that_means_two_events",
        ledger::finds_a_number_that_means_two_events,
    ),
    (
        "nodes_and_cables_fail_and_nothing_is_lost",
        scenario::nodes_and_cables_fail_and_nothing_is_lost,
    ),
];

fn main() -> ExitCode {
    if let Some(ended) = gateway::run_if_asked().or_else(scenario::run_if_asked) {
        return ended;
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if is_root || env::args().any(|argument| argument == "--list") {
        return harness::run(TESTS);
    }
    // The same once more, as root; it only returns when there is no sudo.
    let error = Command::new("sudo")
        .arg("--preserve-env=CLUSTER_ROUNDS,CLUSTER_QUEUES,PATH")
        .args(env::args())
        .exec();
    harness::say(&format!("this test needs root, and there is no sudo: {error}"));
    ExitCode::FAILURE
}

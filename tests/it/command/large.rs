//! Messages that are too large: refused, or kept away, and the line goes on.

use beacon_gateway::{
    command::{Reason, Standing},
    uplink::{
        Protocol,
        RegistryTopic::{Upsert, Withdraw, Withdrawn},
    },
};
use serde_json::json;

use super::rig::{Corridor, PROTOCOLS, Platform, Rig};
use crate::support::{eventually, mosquitto::Mosquitto};

/// More than the room reads at all.
const UNREADABLE: usize = 20_000_000;

#[tokio::test]
async fn ten_million_bytes_are_refused_over_the_same_connection() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        platform.tell(Upsert, &vec![b'x'; 10_000_000]).await;
        platform.result(&[("reason", json!("too_large"))]).await;
        platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
        platform.result(&[("number", json!(1)), ("outcome", json!("done"))]).await;
        let totals = rig.stop().await;
        assert_eq!((totals.refused_for(Reason::TooLarge), totals.connections), (1, 1));
    }
}

#[tokio::test]
async fn what_cannot_be_read_at_all_does_not_break_the_line_for_ever() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        rig.stop().await;
        platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
        platform.tell(Upsert, &vec![b'x'; UNREADABLE]).await;
        platform.tell(Withdraw, &platform.signer.withdraw(2, &["ann"])).await;
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        platform.tell(Withdraw, &platform.signer.withdraw(3, &["bob"])).await;
        platform.result(&[("number", json!(3)), ("outcome", json!("done"))]).await;
        match protocol {
            // The broker was told how much we take, and kept the rest to itself.
            Protocol::V5 => {
                assert_eq!(corridor.orders(), ["upsert ann", "withdraw ann", "withdraw bob"]);
                assert_eq!(rig.stop().await.discarded, 0);
            }
            // What waited was discarded with it, and is asked for.
            Protocol::V311 => {
                let wanted = platform.result(&[("outcome", json!("wanted"))]).await;
                assert_eq!(wanted["need"], 3);
                let totals = rig.stop().await;
                assert!(totals.discarded >= 1, "{totals:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_unreadable_message_over_an_open_line_is_discarded_too() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(Protocol::V311, mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    platform.tell(Upsert, &vec![b'x'; UNREADABLE]).await;
    eventually("a discarded session", || rig.totals().discarded == 1).await;
    rig.caught_up().await;
    platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
    platform.result(&[("number", json!(1)), ("outcome", json!("done"))]).await;
    rig.stop().await;
}

#[tokio::test]
async fn an_unreadable_withdrawal_list_closes_the_gate_and_not_the_line() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    platform.retain(Withdrawn, &vec![b'x'; UNREADABLE]).await;
    let corridor = Corridor::with(Standing { list: Some(1), ..Standing::default() });
    let rig = Rig::start(Protocol::V311, mosquitto.port(), &platform.signer, &corridor);
    // Once to discard the session, once to find what is behind it, once without.
    eventually("a line without the list", || {
        let totals = rig.totals();
        totals.discarded >= 2 && totals.online
    })
    .await;
    // Retained, because nobody can see from outside when the subscription is there.
    platform.retain(Withdraw, &platform.signer.withdraw(1, &["ann"])).await;
    platform.result(&[("number", json!(1)), ("outcome", json!("done"))]).await;
    assert!(!rig.gate());
    rig.stop().await;
}

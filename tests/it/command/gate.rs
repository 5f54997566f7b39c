//! When records about people may be sent: only while everything said was carried out.

use beacon_gateway::{
    command::{Reason, Standing},
    uplink::RegistryTopic::{Upsert, Version, Withdraw, Withdrawn},
};
use serde_json::json;

use super::{
    refusals::Journal,
    rig::{Corridor, Happened, Mood, PROTOCOLS, Platform, Rig},
};
use crate::support::{eventually, mosquitto::Mosquitto};

#[tokio::test]
async fn the_retained_withdrawal_list_is_carried_out_before_the_gate_opens() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        platform.retain(Withdrawn, &platform.signer.withdrawn(5, &["ann", "bob"])).await;
        platform.retain(Version, &platform.signer.version(5)).await;
        let corridor = Corridor::with(Standing { last: 5, ..Standing::default() });
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        let happened = corridor.happened();
        let list = Happened::Ordered(5, "withdrawn ann bob".to_owned());
        assert_eq!(happened, [list, Happened::Gate(true)]);
        assert_eq!(corridor.standing().list, Some(5));
        assert_eq!(rig.stop().await.asked, 0, "nothing is missing");
    }
}

#[tokio::test]
async fn while_an_order_is_under_way_the_gate_is_closed() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    rig.mood.send_replace(Mood::Slow);
    platform.tell(Withdraw, &platform.signer.withdraw(1, &["ann"])).await;
    eventually("a closed gate", || !rig.gate()).await;
    rig.mood.send_replace(Mood::Willing);
    rig.caught_up().await;
    rig.stop().await;
}

#[tokio::test]
async fn where_there_was_a_withdrawal_list_the_gate_waits_for_it() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &Corridor::default());
    rig.caught_up().await;
    rig.stop().await;
    platform.tell(Upsert, &platform.signer.upsert(6, &["ann"])).await;
    let corridor = Corridor::with(Standing { list: Some(5), last: 5, ..Standing::default() });
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    // The line works, and the list has not come.
    platform.result(&[("number", json!(6)), ("outcome", json!("done"))]).await;
    assert!(!corridor.happened().contains(&Happened::Gate(true)));
    platform.retain(Withdrawn, &platform.signer.withdrawn(5, &["bob"])).await;
    rig.caught_up().await;
    assert_eq!(corridor.orders(), ["upsert ann", "withdrawn bob"]);
    rig.stop().await;
    // And with every connection it is looked at again.
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    assert_eq!(corridor.orders().len(), 3);
    rig.stop().await;
}

#[tokio::test]
async fn a_withdrawal_list_that_is_refused_closes_the_gate_until_a_sound_one_comes() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    platform.retain(Withdrawn, b"forged").await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    platform.result(&[("command", json!("withdrawn")), ("reason", json!("unsigned"))]).await;
    platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
    platform.result(&[("number", json!(1)), ("outcome", json!("done"))]).await;
    assert!(!corridor.happened().contains(&Happened::Gate(true)));
    platform.retain(Withdrawn, &platform.signer.withdrawn(1, &[])).await;
    rig.caught_up().await;
    assert_eq!(rig.stop().await.refused_for(Reason::Unsigned), 1);
}

#[tokio::test]
async fn a_retained_version_beyond_ours_asks_for_a_snapshot() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        platform.retain(Version, &platform.signer.version(500)).await;
        let corridor = Corridor::default();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        let wanted = platform.result(&[("outcome", json!("wanted"))]).await;
        assert_eq!((&wanted["have"], &wanted["need"]), (&json!(0), &json!(500)));
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_broker_that_does_not_let_us_publish_leaves_the_gate_closed_and_is_told_about() {
    let (journal, _guard) = Journal::start();
    let dir = tempfile::TempDir::new().unwrap();
    let rules = dir.path().join("acl");
    std::fs::write(&rules, "topic read beacon/#\n").unwrap();
    let mosquitto = Mosquitto::start(&format!("acl_file {}", rules.display()));
    let platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    let told = || journal.text().contains("The broker refuses what this gateway says");
    eventually("an error that says what to change", told).await;
    assert!(journal.text().contains("beacon/v1/acme/berlin-03/gw1/command/fence"));
    assert!(!rig.gate());
    rig.stop().await;
}

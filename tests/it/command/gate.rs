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
use crate::support::{
    eventually,
    fake_broker::{FakeBroker, Packet, Say, puback, publish, suback, well_behaved},
    mosquitto::Mosquitto,
    rig::topics,
    signer::Signer,
};

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

/// The packet identifier with which the fake brings a fence back.
const FENCE: u16 = 7;

/// Does what a broker does, fences included.
fn obliging(packet: &Packet) -> Vec<Say> {
    match packet {
        Packet::Publish { packet_id, topic, payload } if topic.ends_with("/command/fence") => {
            vec![puback(*packet_id), publish(FENCE, topic, payload.as_bytes())]
        }
        packet => well_behaved(packet),
    }
}

#[tokio::test]
async fn a_refused_subscription_leaves_the_gate_closed_and_names_what_to_allow() {
    let (journal, _guard) = Journal::start();
    let broker = FakeBroker::start(|_, packet| match packet {
        Packet::Subscribe { packet_id, filters } => {
            let reason = |filter: &String| if filter.ends_with("/withdraw") { 0x87 } else { 1 };
            vec![suback(*packet_id, &filters.iter().map(reason).collect::<Vec<_>>())]
        }
        packet => obliging(packet),
    })
    .await;
    let signer = Signer::new("platform-1", 1);
    let rig = Rig::start(PROTOCOLS[0], broker.port(), &signer, &Corridor::default());
    let fenced = (1, Packet::Acknowledge { packet_id: FENCE });
    eventually("a fence that was noticed", || broker.heard().contains(&fenced)).await;
    let log = journal.text();
    assert!(log.contains("The broker refuses this subscription"), "{log}");
    assert!(log.contains("beacon/v1/acme/berlin-03/registry/withdraw") && log.contains("0x87"));
    assert!(!rig.gate());
    rig.stop().await;
}

#[tokio::test]
async fn a_list_that_the_broker_sends_behind_the_fence_is_waited_for() {
    let signer = Signer::new("platform-1", 1);
    let list = signer.withdrawn(1, &["ann"]);
    let topic = topics().spell_registry(Withdrawn);
    let broker = FakeBroker::start(move |_, packet| match packet {
        Packet::Acknowledge { packet_id: FENCE } => vec![publish(8, &topic, &list)],
        packet => obliging(packet),
    })
    .await;
    let corridor = Corridor::with(Standing { list: Some(1), last: 1, ..Standing::default() });
    let rig = Rig::start(PROTOCOLS[0], broker.port(), &signer, &corridor);
    rig.mood.send_replace(Mood::Slow);
    rig.ordered(1).await;
    // Not acknowledged before it was carried out.
    let acknowledged = (1, Packet::Acknowledge { packet_id: 8 });
    assert!(!broker.heard().contains(&acknowledged));
    rig.mood.send_replace(Mood::Willing);
    rig.caught_up().await;
    eventually("an acknowledgement", || broker.heard().contains(&acknowledged)).await;
    let list = Happened::Ordered(1, "withdrawn ann".to_owned());
    assert_eq!(corridor.happened(), [list, Happened::Gate(true)]);
    rig.stop().await;
}

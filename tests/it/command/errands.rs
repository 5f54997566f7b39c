//! Commands to one gateway about its outbox: answered, numbered for themselves, and in nobody's way.

use beacon_gateway::{
    command::{Reason, Standing},
    uplink::RegistryTopic::Upsert,
};
use serde_json::json;

use super::rig::{Corridor, Happened, Mood, PROTOCOLS, Platform, Rig, result_topic};
use crate::support::{eventually, mosquitto::Mosquitto};

#[tokio::test]
async fn what_is_asked_of_the_outbox_is_answered() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        platform.ask("replay", 5, &json!({"epoch": 3, "from": "7", "to": 9})).await;
        platform.ask("retry_dead_letters", 6, &json!({})).await;
        platform.ask("resync", 1_795_256_102_417, &json!({"from": 2})).await;
        let answer = platform.result(&[("command", json!("resync"))]).await;
        assert_eq!((&answer["outcome"], &answer["epoch"]), (&json!("done"), &json!(3)));
        let span = ["from", "to", "last"].map(|name| answer[name].clone());
        assert_eq!(span, ["2", "18446744073709551615", "998"].map(|text| json!(text)));
        let held = &answer["held"];
        assert_eq!((&held["count"], &held["cut"]), (&json!(500), &json!(true)));
        let ranges = held["ranges"].as_array().unwrap();
        assert_eq!(ranges.len(), 250, "the lowest of many");
        assert_eq!((&ranges[0], &ranges[249]), (&json!(["0", "0"]), &json!(["498", "498"])));
        let retried = platform.result(&[("command", json!("retry_dead_letters"))]).await;
        assert_eq!((&retried["brought_back"], &retried["have"]), (&json!(7), &json!(6)));
        assert_eq!(
            corridor.orders(),
            [
                "replay 7 9",
                "retry_dead_letters 1 18446744073709551615",
                "resync 2 18446744073709551615"
            ]
        );
        let topics = ["replay", "retry_dead_letters", "resync"].map(result_topic);
        assert_eq!(platform.topics(), topics);
        assert_eq!(rig.stop().await.carried, 3);
    }
}

#[tokio::test]
async fn the_gate_stays_open_and_the_registry_counts_for_itself() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    let before = corridor.happened().len();
    rig.mood.send_replace(Mood::Slow);
    platform.ask("resync", 900, &json!({})).await;
    rig.ordered(1).await;
    platform.ask("resync", 901, &json!({})).await;
    assert!(rig.gate(), "nobody's consent is in question");
    // What may be a withdrawal waits behind it: that closes the gate.
    platform.tell(Upsert, &platform.signer.upsert(1, &["ann"])).await;
    eventually("a closed gate", || !rig.gate()).await;
    rig.mood.send_replace(Mood::Willing);
    platform.result(&[("command", json!("upsert")), ("have", json!(1))]).await;
    assert_eq!(corridor.standing(), Standing { last: 1, gateway: 901, ..Standing::default() });
    let happened = corridor.happened().split_off(before);
    let resync = format!("resync 1 {}", u64::MAX);
    assert_eq!(happened[0], Happened::Ordered(900, resync), "and the gate was not touched");
    // The numbers only grow.
    platform.ask("resync", 899, &json!({})).await;
    let refused = platform.result(&[("number", json!(899))]).await;
    assert_eq!((&refused["outcome"], &refused["reason"]), (&json!("refused"), &json!("replayed")));
    assert_eq!(refused["have"], 901);
    assert_eq!(rig.stop().await.refused_for(Reason::Replayed), 1);
}

#[tokio::test]
async fn what_cannot_be_done_now_is_refused_and_its_number_stays_free() {
    for protocol in PROTOCOLS {
        let mosquitto = Mosquitto::start("");
        let mut platform = Platform::at(mosquitto.port()).await;
        let corridor = Corridor::default();
        let rig = Rig::start(protocol, mosquitto.port(), &platform.signer, &corridor);
        rig.caught_up().await;
        rig.mood.send_replace(Mood::Failing);
        platform.ask("resync", 1, &json!({})).await;
        let refused = platform.result(&[("outcome", json!("refused"))]).await;
        assert_eq!((&refused["reason"], &refused["number"]), (&json!("unavailable"), &json!(1)));
        rig.mood.send_replace(Mood::Willing);
        platform.ask("resync", 1, &json!({})).await;
        platform.result(&[("outcome", json!("done")), ("number", json!(1))]).await;
        let totals = rig.stop().await;
        assert_eq!((totals.carried, totals.refused_for(Reason::Unavailable)), (1, 1));
        assert_eq!((totals.connections, totals.faults), (1, 0), "the line does not break for it");
    }
}

#[tokio::test]
async fn an_errand_whose_acknowledgement_was_lost_is_not_run_twice() {
    let mosquitto = Mosquitto::start("");
    let mut platform = Platform::at(mosquitto.port()).await;
    let corridor = Corridor::default();
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    rig.caught_up().await;
    rig.mood.send_replace(Mood::Slow);
    platform.ask("retry_dead_letters", 5, &json!({})).await;
    rig.ordered(1).await;
    rig.crash().await;
    // It was durable, and nobody could say so any more.
    let corridor = Corridor::with(Standing { gateway: 5, ..Standing::default() });
    let rig = Rig::start(PROTOCOLS[0], mosquitto.port(), &platform.signer, &corridor);
    let done = platform.result(&[("number", json!(5)), ("outcome", json!("done"))]).await;
    assert_eq!((&done["again"], &done["have"]), (&json!(true), &json!(5)));
    assert!(corridor.orders().is_empty());
    rig.stop().await;
}

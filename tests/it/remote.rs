//! Remote receivers: the real gateway without a radio, real brokers, and what foreign gateways publish.

mod daemon;
mod foreign;

use serde_json::Value;

use self::{
    daemon::Shop,
    foreign::{FOREIGN, Foreign, NEEDLES},
};
use crate::support::{eventually, mosquitto::Mosquitto, publisher::Publisher};

#[tokio::test]
async fn members_heard_by_others_start_visits_where_they_were_heard_and_strangers_leave_no_trace() {
    let (platform, broker) = (Mosquitto::start(""), Mosquitto::start(""));
    let shop = Shop::new(platform.port(), broker.port());
    let daemon = shop.start().await;
    daemon.linked().await;
    let mut there = Publisher::new(broker.port());
    let mut at_the_platform = Publisher::new(platform.port());
    for foreign in FOREIGN {
        let publisher = if foreign.own_broker { &mut there } else { &mut at_the_platform };
        for _ in 0..2 {
            foreign.publish_stranger(publisher).await;
            foreign.publish_member(publisher).await;
        }
        publisher.publish(foreign.topic, b"\xff not what it should be \x00").await;
    }
    for Foreign { name, .. } in FOREIGN {
        let subject = format!("member-{name}");
        daemon.until_event("visit/started", &subject, |_| true).await;
        let zone = format!("zone-{name}");
        daemon.until_event("zone/entered", &subject, |it| it["data"]["zone"] == *zone).await;
        let heard = || daemon.remote(name).is_some_and(|it| it["heard"].as_u64() >= Some(4));
        eventually("what it heard is counted", heard).await;
        let refused = || daemon.remote(name).is_some_and(|it| refusals(&it) == 1);
        eventually("what it could not read is counted", refused).await;
        let standing = || daemon.standing(name).is_some_and(|it| it["last_heard_s"].is_u64());
        eventually("it is said when it was heard", standing).await;
    }
    let (log, said) = daemon.stop().await;
    assert!(log.contains("Listening to remote receivers."), "{log}");
    assert!(log.contains("reason=\"not_json\"") || log.contains("reason=not_json"), "{log}");
    for needle in NEEDLES {
        assert!(!log.to_lowercase().contains(needle), "the log has {needle}");
        assert!(!said.to_lowercase().contains(needle), "an event or a document has {needle}");
    }
    // Every one of them was looked at in the rooms behind, and known for what it is.
    let counts = shop.counters();
    let engine = &counts["engine"];
    let of = |name: &str| engine[name].as_u64().unwrap();
    assert_eq!(of("received"), of("malformed") + of("unknown") + of("decoded"), "{engine}");
    assert_eq!(of("subject"), 2 * FOREIGN.len() as u64, "{engine}");
    assert_eq!(of("received"), 4 * FOREIGN.len() as u64, "{engine}");
}

#[tokio::test]
async fn a_broker_that_restarts_is_found_again_and_nobody_leaves_meanwhile() {
    let (platform, mut broker) = (Mosquitto::start(""), Mosquitto::start(""));
    let shop = Shop::new(platform.port(), broker.port());
    let daemon = shop.start().await;
    daemon.linked().await;
    let [first, second] = ["minew", "espresense"].map(foreign::named);
    first.publish_member(&mut Publisher::new(broker.port())).await;
    let who = format!("member-{}", first.name);
    daemon.until_event("visit/started", &who, |_| true).await;

    broker.kill();
    let offline = || {
        let standing = daemon.standing(first.name);
        standing.is_some_and(|it| it["broker"] == "offline" && it["radio"] == "suspect")
    };
    eventually("the receiver is doubted", offline).await;
    assert!(broker.start_again());
    daemon.linked().await;
    let mut publisher = Publisher::new(broker.port());
    first.publish_member(&mut publisher).await;
    second.publish_member(&mut publisher).await;
    daemon.until_event("visit/started", &format!("member-{}", second.name), |_| true).await;
    let (_, said) = daemon.stop().await;
    assert!(!said.contains("visit.ended"), "nobody has left");
    assert_eq!(said.matches("io.beacon-gateway.visit.started.v1").count(), 2);
}

#[tokio::test]
async fn a_flood_of_strangers_is_accounted_for_and_a_member_is_still_noticed() {
    /// Messages and entries of each: a hundred times what fits between the rooms.
    const MESSAGES: u64 = 60;
    const ENTRIES: u64 = 500;
    let (platform, broker) = (Mosquitto::start(""), Mosquitto::start(""));
    let shop = Shop::new(platform.port(), broker.port());
    let daemon = shop.start().await;
    daemon.linked().await;
    let minew = foreign::named("minew");
    let mut publisher = Publisher::new(broker.port());
    let list = foreign::strangers(ENTRIES);
    for _ in 0..MESSAGES {
        publisher.publish(minew.topic, list.as_bytes()).await;
    }
    minew.publish_member(&mut publisher).await;
    daemon.until_event("visit/started", "member-minew", |_| true).await;
    let accounted = || {
        daemon.remote(minew.name).is_some_and(|it| {
            let of = |name: &str| it[name].as_u64().unwrap();
            // The stranger's message and the member's have two entries each.
            of("messages") == MESSAGES + 1 && of("heard") + of("dropped") == MESSAGES * ENTRIES + 1
        })
    };
    eventually("every advertisement is handed on or dropped, and counted", accounted).await;
    daemon.stop().await;
}

fn refusals(remote: &Value) -> u64 {
    let refused = remote.get("refused").and_then(Value::as_object).unwrap();
    refused.values().filter_map(Value::as_u64).sum()
}

//! A receiver and its lead: two real gateways without a radio, real brokers, and everything that passes
//! the broker between them.

pub(crate) mod recorder;
pub(crate) mod shop;

use std::time::Duration;

use beacon_gateway::{
    engine::{Pseudonym, Rssi, Whose},
    relay::{Batch, Bond, Run, Seen, load_key},
    seal::{KeyRing, Sealer},
};

use self::{
    recorder::Recorder,
    shop::{CORNER, Shop, TOPIC},
};
use crate::support::{eventually, mosquitto::Mosquitto, publisher::Publisher};

#[tokio::test]
async fn a_member_heard_by_a_receiver_alone_visits_at_the_lead_and_strangers_stay_in_their_corner()
{
    let (platform, corner) = (Mosquitto::start(""), Mosquitto::start(""));
    let recorder = Recorder::start(platform.port()).await;
    let shop = Shop::new(platform.port(), corner.port());
    let (lead, receiver) = (shop.lead(), shop.receiver());
    shop.linked(&recorder).await;
    let mut air = Publisher::new(corner.port());
    for _ in 0..3 {
        shop::stranger(&mut air).await;
        shop::member(&mut air).await;
    }
    let started = || !recorder.events("gw1", "visit/started", "member").is_empty();
    eventually("the lead tells of the visit", started).await;
    let entered = || recorder.events("gw1", "zone/entered", "member");
    eventually("and of the zone", || !entered().is_empty()).await;
    assert_eq!(entered()[0]["data"]["zone"], "wine");
    let counted = || {
        let at = |name: &str| recorder.metrics(name);
        at("gw1").is_some_and(|it| it["engine"]["subject"].as_u64() >= Some(3))
            && at("gw2").is_some_and(|it| it["engine"]["unknown"].as_u64() >= Some(3))
    };
    eventually("what was heard is counted at both ends", counted).await;
    let lost = recorder.metrics("gw1").unwrap()["scan"]["remotes"][0].clone();
    assert_eq!((lost["missed"].as_u64(), lost["dropped"].as_u64()), (Some(0), Some(0)), "{lost}");

    // Whoever withdraws at the lead is nobody there, although the receiver still knows them.
    shop.enrol("lead", &[]);
    lead.reload();
    let closed = || {
        let state = recorder.state("gw1");
        state.is_some_and(|it| it["subjects_enrolled"] == 0 && it["visits_open"] == 0)
    };
    eventually("the visit closes", closed).await;
    let before = recorder.metrics("gw1").unwrap()["engine"]["subject"].as_u64();
    shop::member(&mut air).await;
    let nobody = || {
        let engine = recorder.metrics("gw1").map(|it| it["engine"].clone());
        engine.is_some_and(|it| it["anonymous"].as_u64() >= Some(1))
    };
    eventually("what comes of them is nobody's", nobody).await;
    assert_eq!(recorder.metrics("gw1").unwrap()["engine"]["subject"].as_u64(), before);

    // And at the receiver, it tells nothing of them any more.
    shop.enrol("receiver", &[]);
    receiver.reload();
    let gone = || recorder.state("gw2").is_some_and(|it| it["subjects_enrolled"] == 0);
    eventually("the receiver has forgotten them", gone).await;
    let told = recorder.metrics("gw2").unwrap()["relay"]["sightings"].as_u64();
    let nobody = recorder.metrics("gw2").unwrap()["engine"]["anonymous"].as_u64();
    shop::member(&mut air).await;
    let heard = || recorder.metrics("gw2").unwrap()["engine"]["anonymous"].as_u64() > nobody;
    eventually("it hears them as anybody", heard).await;
    assert_eq!(recorder.metrics("gw2").unwrap()["relay"]["sightings"].as_u64(), told);

    let logs = [lead.stop().await, receiver.stop().await];
    assert!(recorder.events("gw2", "visit/", "").is_empty(), "a receiver makes no visits");
    assert!(recorder.count(TOPIC) > 3);
    for needle in shop::NEEDLES {
        for log in &logs {
            assert!(!log.to_lowercase().contains(needle), "a log has {needle}");
        }
    }
    recorder.has_none_of(&shop::needles());
    // Nor does whoever reads along learn which member it was.
    recorder.has_none_of_on(TOPIC, &[b"member".to_vec()]);
}

#[tokio::test]
async fn a_receiver_that_is_killed_freezes_its_corner_and_goes_on_when_it_is_back() {
    let (platform, corner) = (Mosquitto::start(""), Mosquitto::start(""));
    let recorder = Recorder::start(platform.port()).await;
    let shop = Shop::new(platform.port(), corner.port());
    let (lead, receiver) = (shop.lead(), shop.receiver());
    shop.linked(&recorder).await;
    let mut air = Publisher::new(corner.port());
    shop::member(&mut air).await;
    eventually("the visit", || recorder.events("gw1", "visit/started", "member").len() == 1).await;
    receiver.kill();
    let doubted = || recorder.receiver("gw1", CORNER).is_some_and(|it| it["radio"] == "suspect");
    eventually("the corner is doubted", doubted).await;
    // Longer than the timeout of 5 s: metrics are published ten times a second at the most.
    let metrics = recorder.count("beacon/v1/t/s/gw1/metrics");
    let later = || recorder.count("beacon/v1/t/s/gw1/metrics") > metrics + 60;
    eventually("time passes", later).await;
    assert_eq!(recorder.events("gw1", "visit/ended", "member").len(), 0, "nobody leaves by it");

    let receiver = shop.receiver();
    let ended = || recorder.events("gw1", "visit/ended", "member").len() == 1;
    let strangers = async {
        let mut often = tokio::time::interval(Duration::from_millis(100));
        loop {
            often.tick().await;
            shop::stranger(&mut air).await;
        }
    };
    tokio::select! {
        () = eventually("who is not heard any more has left", ended) => {}
        () = strangers => {}
    }
    assert_eq!(recorder.events("gw1", "visit/started", "member").len(), 1);
    receiver.stop().await;
    // It said goodbye: that is no silence that has to be waited for.
    let gone = || {
        let standing = recorder.receiver("gw1", CORNER);
        standing.is_some_and(|it| it["radio"] == "deaf" && it["cause"] == "unreachable")
    };
    eventually("its goodbye is heard", gone).await;
    lead.stop().await;
}

#[tokio::test]
async fn what_is_tampered_with_replayed_stale_or_of_another_place_is_refused_and_counted() {
    let platform = Mosquitto::start("");
    let recorder = Recorder::start(platform.port()).await;
    let shop = Shop::new(platform.port(), platform.port());
    let lead = shop.lead();
    let online = || recorder.receiver("gw1", CORNER).is_some_and(|it| it["broker"] == "online");
    eventually("the lead listens", online).await;
    let mut broker = Publisher::new(platform.port());
    let (sealer, bond) = (load_key(&shop.key()).unwrap(), Bond::of(TOPIC).unwrap());
    let other_key =
        Sealer::new(KeyRing::parse(format!("7:{}", "e".repeat(64)).as_bytes()).unwrap());
    let same_number =
        Sealer::new(KeyRing::parse(format!("1:{}", "e".repeat(64)).as_bytes()).unwrap());
    let elsewhere = Bond::of("beacon/v1/t/other/gw2/sighting/corner").unwrap();

    let old = Batch { sent_us: shop::now_us() - 600_000_000, ..batch(1) }.seal(&sealer, &bond);
    let too_loud = Batch { sightings: vec![seen("member", 100)], ..batch(2) };
    let nameless = Batch { sightings: vec![seen("", -50)], ..batch(2) };
    let good = batch(3).seal(&sealer, &bond).unwrap();
    let mut tampered = good.clone();
    tampered[40] ^= 0x20;
    let messages = [
        b"{\"rssi\":-50}".to_vec(),
        tampered,
        batch(9).seal(&sealer, &elsewhere).unwrap(),
        batch(9).seal(&same_number, &bond).unwrap(),
        batch(9).seal(&other_key, &bond).unwrap(),
        old.unwrap(),
        too_loud.seal(&sealer, &bond).unwrap(),
        nameless.seal(&sealer, &bond).unwrap(),
        vec![1; 17 * 1024],
    ];
    for message in &messages {
        broker.publish(TOPIC, message).await;
    }
    let refused = |reason: &str| {
        let remote = recorder.metrics("gw1")?["scan"]["remotes"][0].clone();
        remote["refused"][reason].as_u64()
    };
    let counted = || {
        refused("sealed") == Some(3)
            && refused("not_sealed") == Some(1)
            && refused("no_key") == Some(1)
            && refused("stale") == Some(1)
            && refused("shape") == Some(2)
            && refused("too_large") == Some(1)
    };
    eventually("each is refused for its reason", counted).await;
    assert_eq!(recorder.events("gw1", "visit/started", "").len(), 0, "and nobody has come by it");

    // The good one is taken once, however often it comes; then one is missing.
    for _ in 0..3 {
        broker.publish(TOPIC, &good).await;
    }
    broker.publish(TOPIC, &batch(5).seal(&sealer, &bond).unwrap()).await;
    eventually("replays are counted", || refused("replayed") == Some(2)).await;
    let missed = || recorder.metrics("gw1").unwrap()["scan"]["remotes"][0]["missed"].as_u64();
    eventually("what is missing is counted", || missed() == Some(1)).await;
    eventually("the visit", || recorder.events("gw1", "visit/started", "member").len() == 1).await;
    // Somebody that the lead does not know is nobody, whoever sealed it.
    let unknown = Batch { sightings: vec![seen("unknown", -50)], ..batch(6) };
    broker.publish(TOPIC, &unknown.seal(&sealer, &bond).unwrap()).await;
    let nobody = || recorder.metrics("gw1").unwrap()["engine"]["anonymous"] == 1;
    eventually("is nobody", nobody).await;
    let log = lead.stop().await;
    assert!(log.contains("replayed") && log.contains("no_key"), "{log}");
}

fn batch(counter: u64) -> Batch {
    Batch {
        run: Run { epoch: 1, sequence: 1, mark: 1 },
        counter,
        sent_us: shop::now_us(),
        error_us: Some(1000),
        vouches: true,
        leaving: false,
        sightings: vec![seen("member", -50)],
    }
}

fn seen(name: &str, dbm: i8) -> Seen {
    Seen {
        whose: Whose::Subject(Pseudonym::new(name)),
        tag: 0,
        rssi: Some(Rssi(dbm)),
        age: Duration::ZERO,
        wide_window: false,
    }
}

//! A lead and its standby: two real gateways without a radio, a real broker, and a lead that is killed.
#![expect(clippy::indexing_slicing, reason = "a JSON value has a null wherever it has nothing")]

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use crate::{
    receiver::{
        recorder::Recorder,
        shop::{self, Daemon, UUID},
    },
    support::{eventually, mosquitto::Mosquitto, publisher::Publisher},
};

const LEAD_TOLD: &str = "beacon/v1/t/s/gw1/handover";
const STANDBY_TOLD: &str = "beacon/v1/t/s/gw2/handover";

/// The files of both: each hears the same Ruuvi gateway, by a broker in the shop.
fn files(platform: u16, corner: u16) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (role, name, peer) in [("gateway", "gw1", "gw2"), ("standby", "gw2", "gw1")] {
        let text = format!(
            "[gateway]\ntenant = \"t\"\nstore = \"s\"\nname = \"{name}\"\nrole = \"{role}\"\n\
             state_dir = {:?}\nclock = \"always\"\n[scan]\nbackend = \"none\"\n\
             [identity]\nregistry = {:?}\n[presence]\nexit_timeout = \"5s\"\n\
             exit_timeout_max = \"5s\"\nmerge_gap = \"0s\"\n[outbox]\ncommit_interval = \"5ms\"\n\
             [standby]\npeer = \"{peer}\"\nseal_key_file = {:?}\ntakeover_after = \"3s\"\n\
             return_after = \"2s\"\n[log]\nlevel = \"trace\"\n\
             [health]\nmetrics_interval = \"100ms\"\nstate_interval = \"100ms\"\n\
             [uplink]\nbroker = \"mqtt://127.0.0.1:{platform}\"\nbackoff_min = \"10ms\"\n\
             backoff_max = \"50ms\"\n[[remote]]\nid = \"corner\"\nformat = \"ruuvi\"\n\
             topics = [\"ruuvi/gw/+\"]\nbroker = \"mqtt://127.0.0.1:{corner}\"\n\
             [[zone]]\nid = \"wine\"\nreceivers = [\"corner\"]\nloitering = [\"2s\", \"12s\"]\n",
            path(&format!("{name}-state")),
            path("registry.jsonl"),
            path("key"),
        );
        fs::write(path(&format!("{name}.toml")), text).unwrap();
    }
    let member = format!(
        "{{\"subject\":\"member\",\"kind\":\"customer\",\"identifiers\":[{{\"ibeacon\":\
         {{\"uuid\":\"{UUID}\",\"major\":1,\"minor\":2}}}}],\"consent\":{{\"purposes\":\
         [\"presence\",\"journey\"],\"from\":\"2020-01-01T00:00:00Z\",\"proof\":\"p\"}}}}\n"
    );
    fs::write(path("registry.jsonl"), member).unwrap();
    fs::write(path("key"), format!("1:{}\n", "5a".repeat(32))).unwrap();
    fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

/// Who a gateway says is on duty.
fn on_duty(recorder: &Recorder, gateway: &str) -> String {
    let state = recorder.state(gateway);
    state.map(|it| it["standby"]["on_duty"].to_string()).unwrap_or_default()
}

fn is_followed(recorder: &Recorder, gateway: &str) -> bool {
    recorder.state(gateway).is_some_and(|it| it["standby"]["followed"] == true)
}

/// Has somebody be heard, often, until something is so.
async fn meanwhile(air: &mut Publisher, with_member: bool, what: &str, is: impl FnMut() -> bool) {
    let heard = async {
        let mut often = tokio::time::interval(Duration::from_millis(200));
        loop {
            often.tick().await;
            shop::stranger(air).await;
            if with_member {
                shop::member(air).await;
            }
        }
    };
    tokio::select! {
        () = eventually(what, is) => {}
        () = heard => {}
    }
}

#[tokio::test]
async fn when_the_lead_is_killed_the_visit_goes_on_at_the_standby_and_again_at_the_lead_under_one_name()
 {
    let (platform, corner) = (Mosquitto::start(""), Mosquitto::start(""));
    let recorder = Recorder::start(platform.port()).await;
    let files = files(platform.port(), corner.port());
    let lead = Daemon::start(files.path(), "gw1");
    let standby = Daemon::start(files.path(), "gw2");
    let paired = || {
        on_duty(&recorder, "gw1") == "\"this\""
            && on_duty(&recorder, "gw2") == "\"peer\""
            && ["gw1", "gw2"].iter().all(|it| is_followed(&recorder, it))
            && ["gw1", "gw2"].iter().all(|it| {
                recorder.receiver(it, "corner").is_some_and(|it| it["broker"] == "online")
            })
    };
    eventually("the lead is on duty, and its standby follows", paired).await;
    let mut air = Publisher::new(corner.port());
    let dwelled = |gateway| recorder.events(gateway, "zone/dwelled", "member");
    meanwhile(&mut air, true, "the visit", || dwelled("gw1").len() == 1).await;
    let visit = dwelled("gw1")[0]["data"]["visit"].clone();
    assert!(visit.as_str().unwrap().starts_with("s-gw1-"), "{visit}");

    lead.kill();
    let taken_over = || on_duty(&recorder, "gw2") == "\"this\"";
    meanwhile(&mut air, true, "the standby takes over", taken_over).await;
    meanwhile(&mut air, true, "what happens next", || dwelled("gw2").len() == 1).await;
    let next = dwelled("gw2")[0].clone();
    assert_eq!((&next["data"]["visit"], &next["data"]["delay_s"]), (&visit, &12.into()), "{next}");
    assert_eq!(next["source"], "/t/s/gw2", "the event is the standby's");
    assert!(next["id"].as_str().unwrap().starts_with("s-gw2-"));

    let lead = Daemon::start(files.path(), "gw1");
    let handed_back =
        || on_duty(&recorder, "gw1") == "\"this\"" && on_duty(&recorder, "gw2") == "\"peer\"";
    meanwhile(&mut air, true, "the lead is on duty again", handed_back).await;
    let ended = |gateway| recorder.events(gateway, "visit/ended", "member");
    meanwhile(&mut air, false, "the visit ends", || ended("gw1").len() == 1).await;
    assert_eq!(ended("gw1")[0]["data"]["visit"], visit);
    assert_eq!(ended("gw1")[0]["data"]["reason"], "silent");
    let total = |kind| ["gw1", "gw2"].map(|it| recorder.events(it, kind, "member").len());
    assert_eq!((total("visit/started"), total("visit/ended")), ([1, 0], [1, 0]));
    assert_eq!((total("zone/entered"), total("zone/exited")), ([1, 0], [1, 0]));

    let logs = [lead.stop().await, standby.stop().await];
    assert!(logs[1].contains("The other gateway is gone"), "{}", logs[1]);
    for needle in shop::NEEDLES {
        assert!(logs.iter().all(|log| !log.to_lowercase().contains(needle)), "a log has {needle}");
    }
    recorder.has_none_of(&shop::needles());
    for topic in [LEAD_TOLD, STANDBY_TOLD] {
        recorder.has_none_of_on(topic, &[b"member".to_vec(), b"wine".to_vec()]);
    }
}

#[tokio::test]
async fn what_is_not_the_other_gateways_word_is_refused_and_counted() {
    let (platform, corner) = (Mosquitto::start(""), Mosquitto::start(""));
    let recorder = Recorder::start(platform.port()).await;
    let files = files(platform.port(), corner.port());
    let lead = Daemon::start(files.path(), "gw1");
    let standby = Daemon::start(files.path(), "gw2");
    eventually("the standby follows", || is_followed(&recorder, "gw2")).await;
    let mut broker = Publisher::new(platform.port());
    let words = recorder.payloads(LEAD_TOLD);
    let mut tampered = words[0].clone();
    tampered[40] ^= 0x20;
    let mut other_key = words[0].clone();
    other_key[4] = 9;
    for message in [&words[0], &tampered, &other_key, &b"{}".to_vec(), &vec![1; 65 * 1024]] {
        broker.publish(LEAD_TOLD, message).await;
    }
    // What the standby itself told is not the lead's word.
    broker.publish(LEAD_TOLD, &recorder.payloads(STANDBY_TOLD)[0]).await;
    broker.retain(LEAD_TOLD, &words[0]).await;
    let refused = |reason: &str| {
        recorder.metrics("gw2").and_then(|it| it["standby"]["refused"][reason].as_u64())
    };
    let counted = || {
        // The broker sends what is retained to those who subscribed before as any other message.
        refused("replayed") == Some(2)
            && refused("sealed") == Some(2)
            && refused("no_key") == Some(1)
            && refused("not_sealed") == Some(1)
            && refused("too_large") == Some(1)
    };
    eventually("each is refused for its reason", counted).await;
    assert_eq!(on_duty(&recorder, "gw2"), "\"peer\"");
    // A lead that stops in good order is succeeded to as one that is killed.
    lead.stop().await;
    let taken_over = || on_duty(&recorder, "gw2") == "\"this\"";
    eventually("the standby takes over", taken_over).await;
    let log = standby.stop().await;
    assert!(log.contains("replayed") && log.contains("no_key"), "{log}");
}

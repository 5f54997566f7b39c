//! Every reason to refuse, and every way of the numbers.

mod claims;
mod lists;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::command::{LARGEST_COMMAND, Settings, TrustedKey};

const NOW: i64 = 1_800_000_000;
const KID: &str = "k1";

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn topics() -> Topics {
    Topics::new("acme".parse().unwrap(), "berlin-03".parse().unwrap(), "gw1".parse().unwrap())
}

fn keyring() -> Keyring {
    let key = |id: &str, seed| TrustedKey {
        id: id.to_owned(),
        key: hex::encode(pair(seed).public_key().as_ref()),
    };
    let trusted_keys = vec![key(KID, 1), key("k2", 2)];
    Settings { trusted_keys, ..Settings::default() }.validate().unwrap()
}

fn desk(standing: Standing) -> Desk {
    Desk::new(keyring(), topics(), standing)
}

fn at(last: u64) -> Desk {
    desk(Standing { last, ..Standing::default() })
}

fn synced() -> Moment {
    Moment { unix: UnixTime::from_millis(NOW * 1000), quality: ClockQuality::Synced }
}

fn unsynced() -> Moment {
    Moment { quality: ClockQuality::Unsynced, ..synced() }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sign(header: &Value, payload: &[u8], seed: u8) -> Vec<u8> {
    let message = format!("{}.{}", b64(header.to_string()), b64(payload));
    let signature = pair(seed).sign(message.as_bytes());
    format!("{message}.{}", b64(signature)).into_bytes()
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": KID, "typ": "JWT"})
}

#[expect(clippy::needless_pass_by_value, reason = "a body is written where it is used")]
fn claims(cmd: &str, num: u64, body: Value) -> Value {
    json!({"iss": "platform", "aud": "acme/berlin-03", "iat": NOW - 10, "exp": NOW + 3600,
           "num": num, "cmd": cmd, "body": body})
}

fn token(cmd: &str, num: u64, body: Value) -> Vec<u8> {
    sign(&header(), claims(cmd, num, body).to_string().as_bytes(), 1)
}

fn subject(name: &str) -> Value {
    json!({"subject": name, "kind": "customer", "identifiers": [{"address": "C0:11:22:33:44:55"}],
           "consent": {"purposes": ["presence"], "from": "2026-01-01T00:00:00Z", "proof": "f-1"}})
}

fn subjects(names: &[&str]) -> Value {
    json!({"subjects": names.iter().map(|name| subject(name)).collect::<Vec<_>>()})
}

fn names(names: &[&str]) -> Value {
    json!({ "subjects": names })
}

fn part(part: u32, parts: u32, names: &[&str]) -> Value {
    let mut body = subjects(names);
    body["snapshot"] = "s1".into();
    body["part"] = part.into();
    body["parts"] = parts.into();
    body
}

fn list(number: u64, names: &[&str]) -> Value {
    let entry = |name: &&str| json!({"subject": name, "since": "2026-06-01T00:00:00Z"});
    json!({"withdrawn": names.iter().map(entry).collect::<Vec<_>>(), "number": number})
}

fn judge_at(desk: &mut Desk, command: RegistryTopic, token: &[u8], now: Moment) -> Decision {
    desk.judge(&topics().spell_registry(command), token, now)
}

fn judge(desk: &mut Desk, command: RegistryTopic, token: &[u8]) -> Decision {
    judge_at(desk, command, token, synced())
}

/// What became of it, in few words; an order is carried out at once.
fn obey_at(desk: &mut Desk, command: RegistryTopic, token: &[u8], now: Moment) -> String {
    match judge_at(desk, command, token, now) {
        Decision::Accept(accepted) => {
            assert_eq!(accepted.command, command.into());
            let before = desk.standing();
            assert!(before.last <= accepted.standing.last, "numbers go forward");
            desk.carried(command.into(), accepted.standing);
            describe(&accepted)
        }
        Decision::Noted(noted) => format!("{noted:?}"),
        Decision::Refuse(refusal) => refusal.reason.to_string(),
    }
}

fn obey(desk: &mut Desk, command: RegistryTopic, token: &[u8]) -> String {
    obey_at(desk, command, token, synced())
}

fn describe(accepted: &Accepted) -> String {
    let join = |names: Vec<&Pseudonym>| {
        names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let of = |subjects: &[crate::engine::Subject]| {
        subjects.iter().map(|it| it.pseudonym.to_string()).collect::<Vec<_>>().join(" ")
    };
    let Task::Change(change) = &accepted.task else { panic!("{accepted:?}") };
    let what = match change {
        Change::Upsert(subjects) => format!("upsert {}", of(subjects)),
        Change::Withdraw(names) => format!("withdraw {}", join(names.iter().collect())),
        Change::Replace { subjects, number } => format!("replace {number} {}", of(subjects)),
        Change::Withdrawn(list) => {
            format!("withdrawn {}", join(list.iter().map(|it| &it.subject).collect()))
        }
    };
    let refused: Vec<String> = accepted
        .refused
        .iter()
        .map(|it| {
            let subject = it.subject.as_ref().map_or("?", Pseudonym::as_str);
            format!(" !{subject}:{}", it.reason)
        })
        .collect();
    what + &refused.concat()
}

use RegistryTopic::{Snapshot, Upsert, Version, Withdraw};

use crate::engine::Pseudonym;

#[test]
fn what_is_signed_for_us_in_time_and_in_order_is_accepted() {
    let token = token("upsert", 5, subjects(&["a", "b"]));
    assert_eq!(obey(&mut at(4), Upsert, &token), "upsert a b");
    // Any of the trusted keys, and any of several addresses.
    let mut claims = claims("upsert", 5, subjects(&["a"]));
    for aud in [json!("acme/berlin-03/gw1"), json!(["x/y", "acme/berlin-03"])] {
        claims["aud"] = aud;
        let header = json!({"alg": "EdDSA", "kid": "k2"});
        let token = sign(&header, claims.to_string().as_bytes(), 2);
        assert_eq!(obey(&mut at(4), Upsert, &token), "upsert a");
    }
    // Times may have a fraction (RFC 7519, 2).
    claims["iat"] = json!(1_799_999_990.75);
    let token = sign(&header(), claims.to_string().as_bytes(), 1);
    assert_eq!(obey(&mut at(4), Upsert, &token), "upsert a");
}

#[test]
fn what_was_carried_out_is_not_carried_out_again() {
    let mut desk = at(4);
    let fifth = token("upsert", 5, subjects(&["a"]));
    assert_eq!(obey(&mut desk, Upsert, &fifth), "upsert a");
    assert_eq!(obey(&mut desk, Upsert, &fifth), "replayed");
    for (command, word, body) in [
        (Upsert, "upsert", subjects(&["a"])),
        (Withdraw, "withdraw", names(&["a"])),
        (Snapshot, "snapshot", part(1, 1, &["a"])),
    ] {
        assert_eq!(obey(&mut desk, command, &token(word, 3, body)), "replayed", "{word}");
    }
    assert_eq!((desk.standing().last, desk.wanted()), (5, None));
}

#[test]
fn an_order_that_was_not_carried_out_does_not_count() {
    let mut desk = at(4);
    let fifth = token("upsert", 5, subjects(&["a"]));
    assert!(matches!(judge(&mut desk, Upsert, &fifth), Decision::Accept(_)));
    assert_eq!(desk.standing().last, 4);
    assert!(matches!(judge(&mut desk, Upsert, &fifth), Decision::Accept(_)));
}

#[test]
fn behind_a_gap_nobody_is_enrolled_and_a_snapshot_closes_it() {
    let mut desk = at(4);
    assert_eq!(obey(&mut desk, Upsert, &token("upsert", 6, subjects(&["a"]))), "gap");
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 6 }));
    let old = token("snapshot", 4, part(1, 1, &["a"]));
    assert_eq!(obey(&mut desk, Snapshot, &old), "outdated");
    let snapshot = token("snapshot", 6, part(1, 1, &["a", "b"]));
    assert_eq!(obey(&mut desk, Snapshot, &snapshot), "replace 6 a b");
    assert_eq!(desk.wanted(), None);
    assert_eq!(obey(&mut desk, Snapshot, &snapshot), "Known", "it was for another gateway");
    assert_eq!(obey(&mut desk, Upsert, &token("upsert", 7, subjects(&["c"]))), "upsert c");
}

#[test]
fn what_comes_out_of_order_is_carried_out_when_its_turn_comes() {
    let mut desk = at(4);
    assert_eq!(obey(&mut desk, Upsert, &token("upsert", 6, subjects(&["b"]))), "gap");
    assert_eq!(obey(&mut desk, Upsert, &token("upsert", 5, subjects(&["a"]))), "upsert a");
    assert_eq!(obey(&mut desk, Upsert, &token("upsert", 6, subjects(&["b"]))), "upsert b");
    assert_eq!(desk.wanted(), None);
}

#[test]
fn a_withdrawal_beyond_a_gap_is_carried_out_at_once_and_cannot_be_undone_by_what_is_older() {
    let mut desk = at(4);
    assert_eq!(obey(&mut desk, Withdraw, &token("withdraw", 8, names(&["a"]))), "withdraw a");
    assert_eq!(desk.standing(), Standing { last: 4, floor: 8, ..Standing::default() });
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 8 }));
    // The fifth enrolled her; the eighth took it back.
    assert_eq!(obey(&mut desk, Upsert, &token("upsert", 5, subjects(&["a"]))), "gap");
    let old = token("snapshot", 7, part(1, 1, &["a"]));
    assert_eq!(obey(&mut desk, Snapshot, &old), "outdated");
    // A restart remembers.
    let mut desk = self::desk(desk.standing());
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 8 }));
    assert_eq!(obey(&mut desk, Snapshot, &old), "outdated");
    assert_eq!(obey(&mut desk, Withdraw, &token("withdraw", 7, names(&["b"]))), "withdraw b");
    let whole = token("snapshot", 8, part(1, 1, &["c"]));
    assert_eq!(obey(&mut desk, Snapshot, &whole), "replace 8 c");
    assert_eq!(desk.wanted(), None);
    assert_eq!(obey(&mut desk, Upsert, &token("upsert", 9, subjects(&["d"]))), "upsert d");
}

#[test]
fn what_is_refused_for_its_time_leaves_a_gap_that_is_noticed() {
    let mut claims = claims("upsert", 5, subjects(&["a"]));
    claims["exp"] = 1.into();
    let mut desk = at(4);
    let token = sign(&header(), claims.to_string().as_bytes(), 1);
    assert_eq!(obey(&mut desk, Upsert, &token), "expired");
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 5 }));
}

#[test]
fn nobody_untrusted_can_make_us_ask() {
    let mut desk = at(4);
    let claims = claims("upsert", 99, subjects(&["a"])).to_string();
    assert_eq!(obey(&mut desk, Upsert, &sign(&header(), claims.as_bytes(), 9)), "signature");
    assert_eq!(desk.wanted(), None);
}

#[test]
fn the_version_shows_a_gap_and_changes_nothing() {
    let mut desk = at(4);
    let version = |number: u64| token("version", number, json!({ "number": number }));
    assert_eq!(obey(&mut desk, Version, &version(4)), "Known");
    assert_eq!(obey(&mut desk, Version, &version(2)), "Known");
    assert_eq!(desk.wanted(), None);
    assert_eq!(obey(&mut desk, Version, &version(9)), "Behind");
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 9 }));
    let odd = token("version", 5, json!({"number": 6}));
    assert_eq!(obey(&mut desk, Version, &odd), "body");
    assert_eq!(desk.standing().last, 4);
}

#[test]
fn a_body_in_another_form_is_refused_and_a_wrong_entry_alone() {
    for (command, word, body) in [
        (Upsert, "upsert", json!({})),
        (Upsert, "upsert", json!({"subjects": [], "more": 1})),
        (Upsert, "upsert", json!([])),
        (Withdraw, "withdraw", json!({"subjects": [1]})),
        (Withdraw, "withdraw", json!({"subjects": "a"})),
        (Snapshot, "snapshot", part(0, 1, &[])),
        (Snapshot, "snapshot", part(2, 1, &[])),
        (Snapshot, "snapshot", part(1, 10_001, &[])),
        (Snapshot, "snapshot", subjects(&["a"])),
        (RegistryTopic::Withdrawn, "withdrawn", json!({"withdrawn": []})),
        (Version, "version", json!({"number": -5})),
    ] {
        let mut desk = at(4);
        let token = token(word, 5, body.clone());
        assert_eq!(obey(&mut desk, command, &token), "body", "{body}");
        assert_eq!(desk.standing().last, 4);
    }
    let mut body = subjects(&["a", "b", "c", "b"]);
    body["subjects"][0]["consent"]["purposes"] = json!(["profit"]);
    body["subjects"][2] = json!({"subject": "c", "kind": "customer", "secret": "0011"});
    body["subjects"].as_array_mut().unwrap().push(json!(7));
    assert_eq!(
        obey(&mut at(4), Upsert, &token("upsert", 5, body)),
        "upsert b !a:unknown_purpose !c:form !b:named_twice !?:form"
    );
    let body = names(&["a", "", "two words"]);
    assert_eq!(
        obey(&mut at(4), Withdraw, &token("withdraw", 5, body)),
        "withdraw a !?:name !?:name"
    );
}

#[test]
fn a_command_to_the_gateway_is_judged_like_the_others() {
    let mut desk = desk(Standing { gateway: 4, last: 9, ..Standing::default() });
    let mut judge = |name: &str, aud: &str, num: u64, seed, body: Value, now| {
        let mut claims = claims(name, num, body);
        claims["aud"] = aud.into();
        let token = sign(&header(), claims.to_string().as_bytes(), seed);
        desk.judge(&topics().spell(Topic::Command(name)), &token, now)
    };
    let to_us = "acme/berlin-03/gw1";
    let span = || json!({"from": 1, "to": 5});
    for (name, aud, num, seed, body, reason) in [
        ("replay", to_us, 5, 9, span(), Reason::Signature),
        ("replay", to_us, 4, 1, span(), Reason::Replayed),
        ("replay", "acme/berlin-03", 5, 1, span(), Reason::Audience),
        ("replay", to_us, 5, 1, json!({}), Reason::Body),
        ("resync", to_us, 5, 1, json!({"what": 1}), Reason::Body),
        ("reboot", to_us, 5, 1, json!({}), Reason::UnknownCommand),
    ] {
        let decision = judge(name, aud, num, seed, body, synced());
        let Decision::Refuse(refusal) = decision else { panic!("{decision:?}") };
        assert_eq!(refusal.reason, reason, "{name}");
        let known = ErrandName::from_word(name).map(CommandName::from);
        assert_eq!(refusal.command, known);
    }
    // Numbers need not follow each other, nor those of the registry, nor a clock.
    for (name, num, now) in [("replay", 7, synced()), ("resync", 5, unsynced())] {
        let decision = judge(name, to_us, num, 1, span(), now);
        let Decision::Accept(accepted) = decision else { panic!("{decision:?}") };
        assert_eq!(accepted.standing, Standing { gateway: num, last: 9, ..Standing::default() });
        let Task::Errand(errand) = accepted.task else { panic!("another task") };
        assert_eq!((errand.name.word(), errand.from.0, errand.to.0), (name, 1, 5));
    }
    for topic in
        ["beacon/v1/acme/berlin-03/gw2/command/replay", "beacon/v1/x/y/registry/upsert", ""]
    {
        let decision = desk.judge(topic, &token("upsert", 1, subjects(&[])), synced());
        assert!(matches!(
            decision,
            Decision::Refuse(Refusal { reason: Reason::UnknownCommand, .. })
        ));
    }
}

#[test]
fn nothing_of_a_command_shows_in_what_is_said_about_it() {
    let mut desk = at(4);
    let decision = judge(&mut desk, Upsert, &token("upsert", 5, subjects(&["a"])));
    let shown = format!("{decision:?}");
    assert!(!shown.contains("C0:11") && !shown.contains("192, 17"), "{shown}");
    let shown = format!("{:?}", keyring());
    assert_eq!(shown, r#"{"k1", "k2"}"#);
}

#[test]
fn the_last_number_of_all_does_no_harm() {
    let mut desk = at(u64::MAX);
    assert_eq!(obey(&mut desk, Upsert, &token("upsert", u64::MAX, subjects(&["a"]))), "replayed");
    let mut desk = at(4);
    let last = token("upsert", u64::MAX, subjects(&["a"]));
    assert_eq!(obey(&mut desk, Upsert, &last), "gap");
    let snapshot = token("snapshot", u64::MAX, part(1, 1, &["a"]));
    assert_eq!(obey(&mut desk, Snapshot, &snapshot), format!("replace {} a", u64::MAX));
}

//! Every reason to refuse, and every way of the numbers.

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

/// Judged on the topic of `upsert`, by a gateway that has come to 4: refused, why, and nothing has
/// changed.
fn refused(token: &[u8]) -> Reason {
    let mut desk = at(4);
    let Decision::Refuse(refusal) = judge(&mut desk, Upsert, token) else {
        panic!("it was not refused")
    };
    assert_eq!(refusal.command, Some(Upsert.into()));
    assert_eq!(desk.standing(), Standing { last: 4, ..Standing::default() });
    refusal.reason
}

fn refused_with(change: impl FnOnce(&mut Value)) -> Reason {
    let mut claims = claims("upsert", 5, subjects(&["a"]));
    change(&mut claims);
    refused(&sign(&header(), claims.to_string().as_bytes(), 1))
}

fn refused_header(header: &Value) -> Reason {
    refused(&sign(header, claims("upsert", 5, subjects(&["a"])).to_string().as_bytes(), 1))
}

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
fn what_is_not_signed_is_refused() {
    let plain = claims("upsert", 5, subjects(&["a"])).to_string();
    let token = String::from_utf8(token("upsert", 5, subjects(&["a"]))).unwrap();
    let (message, _) = token.rsplit_once('.').unwrap();
    for unsigned in [
        "",
        "{}",
        ".",
        "..",
        "a.b",
        "\u{1F5DD}",
        &plain,
        message,
        &format!("{message}."),
        &format!("{token}.x"),
    ] {
        assert_eq!(refused(unsigned.as_bytes()), Reason::Unsigned, "{unsigned}");
    }
    assert_eq!(refused(b"\xFF\xFE.a.b"), Reason::Unsigned);
}

#[test]
fn a_forged_signature_or_a_changed_word_is_refused() {
    let payload = claims("upsert", 5, subjects(&["a"])).to_string();
    assert_eq!(refused(&sign(&header(), payload.as_bytes(), 9)), Reason::Signature);
    assert_eq!(refused(&sign(&header(), payload.as_bytes(), 2)), Reason::Signature);
    let token = String::from_utf8(token("upsert", 5, subjects(&["a"]))).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let changed = b64(payload.replace("\"num\":5", "\"num\":6"));
    let forged = format!("{}.{changed}.{}", parts[0], parts[2]);
    assert_eq!(refused(forged.as_bytes()), Reason::Signature);
    let short = format!("{}.{}.{}", parts[0], parts[1], &parts[2][..84]);
    assert_eq!(refused(short.as_bytes()), Reason::Signature);
}

#[test]
fn no_octet_can_be_changed_or_cut_off() {
    let token = token("upsert", 5, subjects(&["a"]));
    for end in 0..token.len() {
        refused(&token[..end]);
    }
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed[at] ^= 1;
        refused(&changed);
    }
}

#[test]
fn another_algorithm_is_refused_whatever_signs_it() {
    for alg in ["none", "None", "HS256", "ES256", "RS256", "Ed25519", "eddsa", ""] {
        let reason = refused_header(&json!({"alg": alg, "kid": KID}));
        assert_eq!(reason, Reason::Algorithm, "{alg}");
    }
    // The public key as the secret of an HMAC, the oldest trick (RFC 8725, 2.1).
    let payload = claims("upsert", 5, subjects(&["a"])).to_string();
    let message = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"k1"}"#), b64(payload));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, pair(1).public_key().as_ref());
    let tag = ring::hmac::sign(&key, message.as_bytes());
    assert_eq!(refused(format!("{message}.{}", b64(tag)).as_bytes()), Reason::Algorithm);
}

#[test]
fn a_header_chooses_among_our_keys_and_nothing_else() {
    assert_eq!(refused_header(&json!({"alg": "EdDSA"})), Reason::UnknownKey);
    assert_eq!(refused_header(&json!({"alg": "EdDSA", "kid": "k9"})), Reason::UnknownKey);
    let x = b64(pair(9).public_key());
    let own = json!({"alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}});
    assert_eq!(refused_header(&own), Reason::UnknownKey);
    let critical = json!({"alg": "EdDSA", "kid": KID, "crit": ["b64"], "b64": false});
    assert_eq!(refused_header(&critical), Reason::CriticalHeader);
    assert_eq!(refused_header(&json!({"alg": "EdDSA", "kid": 7})), Reason::Malformed);
    assert_eq!(refused_header(&json!(["EdDSA"])), Reason::Malformed);
    assert_eq!(refused(b"e30.e30.e30"), Reason::Malformed, "a header without an algorithm");
    assert_eq!(refused(b"!.e30.e30"), Reason::Malformed);
    // What it says besides does no harm.
    let more = json!({"alg": "EdDSA", "kid": KID, "x": {"y": 1}, "cty": "json"});
    let token = sign(&more, claims("upsert", 5, subjects(&["a"])).to_string().as_bytes(), 1);
    assert_eq!(obey(&mut at(4), Upsert, &token), "upsert a");
}

#[test]
fn claims_that_are_missing_or_odd_are_refused() {
    for claim in ["aud", "iat", "exp", "num", "cmd", "body"] {
        let reason = refused_with(|claims| {
            claims.as_object_mut().unwrap().remove(claim);
        });
        assert_eq!(reason, Reason::Claims, "{claim}");
        assert_eq!(
            refused_with(|claims| claims[claim] = json!(null)),
            if claim == "body" { Reason::Body } else { Reason::Claims }
        );
    }
    for (claim, value) in [
        ("num", json!(-1)),
        ("num", json!(1.5)),
        ("num", json!("5")),
        ("exp", json!("tomorrow")),
        ("iat", json!([1])),
        ("aud", json!({})),
        ("cmd", json!(1)),
    ] {
        assert_eq!(refused_with(|claims| claims[claim] = value), Reason::Claims, "{claim}");
    }
    assert_eq!(refused(&sign(&header(), b"no json", 1)), Reason::Claims);
    assert_eq!(refused(&sign(&header(), br#"{"num":1,"num":2}"#, 1)), Reason::Claims);
}

#[test]
fn a_command_for_somebody_else_or_of_another_name_is_refused() {
    for aud in [
        json!("acme/berlin-04"),
        json!("acme"),
        json!("acme/berlin-03/"),
        json!("acme/berlin-03/gw2"),
        json!(["acme/berlin-04", "x"]),
        json!([]),
    ] {
        assert_eq!(refused_with(|claims| claims["aud"] = aud), Reason::Audience);
    }
    assert_eq!(refused_with(|claims| claims["cmd"] = "withdraw".into()), Reason::WrongTopic);
    let mut desk = at(4);
    let token = token("upsert", 5, subjects(&["a"]));
    assert_eq!(obey(&mut desk, Withdraw, &token), "wrong_topic");
}

#[test]
fn a_command_is_obeyed_in_its_time_only() {
    assert_eq!(refused_with(|claims| claims["exp"] = NOW.into()), Reason::Expired);
    assert_eq!(refused_with(|claims| claims["exp"] = json!(-1e300)), Reason::Expired);
    assert_eq!(refused_with(|claims| claims["iat"] = (NOW + 301).into()), Reason::Future);
    assert_eq!(refused_with(|claims| claims["iat"] = json!(1e300)), Reason::Future);
    let mut claims = claims("upsert", 5, subjects(&["a"]));
    claims["exp"] = (NOW + 1).into();
    claims["iat"] = (NOW + 300).into();
    let token = sign(&header(), claims.to_string().as_bytes(), 1);
    assert_eq!(obey(&mut at(4), Upsert, &token), "upsert a", "a clock may be a little ahead");
}

#[test]
fn while_the_clock_is_not_set_withdrawals_are_obeyed_and_nobody_is_enrolled() {
    let mut desk = at(4);
    let expired = |cmd: &str, num, body| {
        let mut claims = claims(cmd, num, body);
        claims["exp"] = 1.into();
        sign(&header(), claims.to_string().as_bytes(), 1)
    };
    let upsert = token("upsert", 5, subjects(&["a"]));
    assert_eq!(obey_at(&mut desk, Upsert, &upsert, unsynced()), "clock_unsynced");
    let snapshot = token("snapshot", 5, part(1, 1, &["a"]));
    assert_eq!(obey_at(&mut desk, Snapshot, &snapshot, unsynced()), "clock_unsynced");
    // The same command is accepted once the clock is set.
    assert_eq!(obey(&mut desk, Upsert, &upsert), "upsert a");
    let withdraw = expired("withdraw", 6, names(&["a"]));
    assert_eq!(obey(&mut desk, Withdraw, &withdraw), "expired");
    assert_eq!(obey_at(&mut desk, Withdraw, &withdraw, unsynced()), "withdraw a");
    let withdrawn = expired("withdrawn", 6, list(6, &["b"]));
    assert_eq!(obey_at(&mut desk, RegistryTopic::Withdrawn, &withdrawn, unsynced()), "withdrawn b");
    // Signature, address and number are judged all the same.
    assert_eq!(obey_at(&mut desk, Withdraw, &withdraw, unsynced()), "replayed");
    assert_eq!(obey_at(&mut desk, Withdraw, b"a.b.c", unsynced()), "malformed");
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
fn the_withdrawal_list_is_taken_once_and_never_goes_back() {
    use RegistryTopic::Withdrawn;
    let mut desk = at(4);
    let list = |number, names: &[&str]| token("withdrawn", number, list(number, names));
    assert_eq!(obey(&mut desk, Withdrawn, &list(4, &["a"])), "withdrawn a");
    assert_eq!(desk.standing().list, Some(4));
    assert_eq!(obey(&mut desk, Withdrawn, &list(4, &["a"])), "Known");
    assert_eq!(obey(&mut desk, Withdrawn, &list(3, &[])), "replayed");
    assert_eq!(desk.wanted(), None);
    assert_eq!(obey(&mut desk, Withdrawn, &list(7, &["a", "b"])), "withdrawn a b");
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 7 }), "as of 7 there is more");
    // After a start it is looked at again: somebody may have enrolled by hand who is on it.
    let mut desk = self::desk(desk.standing());
    assert_eq!(obey(&mut desk, Withdraw, &token("withdraw", 5, names(&["c"]))), "withdraw c");
    assert_eq!(obey(&mut desk, Withdrawn, &list(7, &["a", "b"])), "withdrawn a b");
    assert_eq!(obey(&mut desk, Withdrawn, &list(7, &["a", "b"])), "Known");
    let odd = token("withdrawn", 9, self::list(8, &["a"]));
    assert_eq!(obey(&mut desk, Withdrawn, &odd), "body");
}

#[test]
fn an_old_list_that_was_carried_out_may_be_over_its_time() {
    let mut desk = desk(Standing { list: Some(4), last: 4, ..Standing::default() });
    let mut claims = claims("withdrawn", 4, list(4, &["a"]));
    claims["exp"] = 1.into();
    let token = sign(&header(), claims.to_string().as_bytes(), 1);
    assert_eq!(obey(&mut desk, RegistryTopic::Withdrawn, &token), "Known");
    claims["num"] = 5.into();
    claims["body"]["number"] = 5.into();
    let token = sign(&header(), claims.to_string().as_bytes(), 1);
    assert_eq!(obey(&mut desk, RegistryTopic::Withdrawn, &token), "expired");
}

#[test]
fn an_entry_of_the_list_without_a_readable_time_is_withdrawn_for_good() {
    let body = json!({"withdrawn": [{"subject": "a", "since": "2026-06-01T00:00:00Z"},
                                    {"subject": "b", "since": "once"},
                                    {"subject": "", "since": "2026-06-01T00:00:00Z"}], "number": 4});
    let mut desk = at(4);
    let decision = judge(&mut desk, RegistryTopic::Withdrawn, &token("withdrawn", 4, body));
    let Decision::Accept(accepted) = decision else { panic!("{decision:?}") };
    assert_eq!(describe(&accepted), "withdrawn a b !b:time !?:name");
    let Task::Change(Change::Withdrawn(list)) = accepted.task else { panic!("another task") };
    assert_eq!(list[0].since, UnixTime::from_millis(1_780_272_000_000));
    assert_eq!(list[1].since, UnixTime::from_millis(i64::MAX));
}

#[test]
fn a_snapshot_in_parts_is_applied_as_a_whole() {
    let mut desk = at(4);
    let token = |n, names: &[&str]| token("snapshot", 9, part(n, 3, names));
    assert_eq!(obey(&mut desk, Snapshot, &token(2, &["b"])), "Part { missing: 2 }");
    assert_eq!(obey(&mut desk, Snapshot, &token(3, &["c", "a"])), "Part { missing: 1 }");
    assert_eq!(desk.standing().last, 4);
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 9 }));
    assert_eq!(obey(&mut desk, Snapshot, &token(1, &["a"])), "replace 9 a b c !a:named_twice");
    assert_eq!((desk.standing().last, desk.wanted()), (9, None));
}

#[test]
fn a_snapshot_that_is_overtaken_by_a_withdrawal_is_not_taken() {
    let mut desk = at(4);
    let first = token("snapshot", 9, part(1, 2, &["a"]));
    assert_eq!(obey(&mut desk, Snapshot, &first), "Part { missing: 1 }");
    assert_eq!(obey(&mut desk, Withdraw, &token("withdraw", 10, names(&["a"]))), "withdraw a");
    let second = token("snapshot", 9, part(2, 2, &["b"]));
    assert_eq!(obey(&mut desk, Snapshot, &second), "outdated");
    assert_eq!(desk.wanted(), Some(Wanted { have: 4, need: 10 }));
}

#[test]
fn parts_that_are_given_up_do_not_complete_a_snapshot() {
    let mut desk = at(4);
    obey(&mut desk, Snapshot, &token("snapshot", 9, part(1, 2, &["a"])));
    desk.give_snapshots_up();
    let second = token("snapshot", 9, part(2, 2, &["b"]));
    assert_eq!(obey(&mut desk, Snapshot, &second), "Part { missing: 1 }");
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
fn what_is_too_large_is_not_even_read() {
    let mut huge = token("upsert", 5, subjects(&["a"]));
    huge.resize(LARGEST_COMMAND + 1, b'A');
    assert_eq!(refused(&huge), Reason::TooLarge);
    assert_eq!(refused(&vec![b'.'; 10_000_000]), Reason::TooLarge);
    // And a thousand subjects are not too large.
    let many: Vec<String> = (0..1000).map(|n| format!("member-{n:08}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let token = token("upsert", 5, subjects(&many));
    assert!(token.len() < LARGEST_COMMAND / 3, "{}", token.len());
    assert!(obey(&mut at(4), Upsert, &token).starts_with("upsert member-00000000 "));
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

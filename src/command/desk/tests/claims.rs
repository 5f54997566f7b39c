//! Who signed it, for whom, and when: what is refused before anybody looks at its body.

use super::*;

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

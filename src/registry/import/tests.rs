use super::*;

const CONSENT: &str =
    r#""consent":{"purposes":["presence"],"from":"2026-01-01T00:00:00Z","proof":"form-1"}"#;

fn json(subject: &str, identifier: &str) -> String {
    format!(r#"{{"subject":"{subject}","kind":"customer","identifiers":[{identifier}],{CONSENT}}}"#)
        + "\n"
}

fn read(format: Format, text: &str) -> Parsed {
    parse(format, text.as_bytes(), &mut |_| ())
}

fn problems(format: Format, text: &str) -> Vec<(usize, String)> {
    read(format, text).problems.told().to_vec()
}

#[test]
fn csv_says_the_same_as_json_lines() {
    let csv = "\u{feff}Subject,kind,purposes,from,until,proof,address,ibeacon,altbeacon,\
        eddystone_uid,eddystone_eid,irk,service_token,rolling_uuid\r\n\
        # one of each\r\n\
        a,,presence journey,2026-01-01T00:00:00Z,,form-1,C0:11:22:33:44:55 C0:11:22:33:44:56,,,,,,,\r\n\
        b,staff,presence,2026-01-01T00:00:00Z,2027-01-01T00:00:00Z,\"form,2\",,\
        e2c56db5-dffb-48d2-b060-d0f5a71096e0/1/65535,,,,,,\r\n\
        \r\n\
        c,asset,,,,,,,00112233445566778899aabbccddeeff00010007,\
        00112233445566778899/aabbccddeeff,,,,\r\n\
        d,customer,presence,2026-01-01T00:00:00Z,,form-4,,,,,\
        0102030405060708090a111213141516/10/2026-01-01T00:00:00Z 0102030405060708090a111213141517/0,\
        ec0234a357c8ad05341010a60a397d9b,\
        000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f,\
        202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\r\n";
    let parsed = read(Format::Csv, csv);
    assert_eq!(parsed.problems.told(), []);
    let mut lines = Vec::new();
    for (_, subject) in &parsed.entries {
        crate::registry::form::write(subject, &mut lines);
        lines.push(b'\n');
    }
    let lines = String::from_utf8(lines).unwrap();
    let expected = [
        r#"{"subject":"a","kind":"customer","identifiers":[{"address":"C0:11:22:33:44:55"},{"address":"C0:11:22:33:44:56"}],"consent":{"purposes":["presence","journey"],"from":"2026-01-01T00:00:00Z","proof":"form-1"}}"#,
        r#"{"subject":"b","kind":"staff","identifiers":[{"ibeacon":{"uuid":"e2c56db5-dffb-48d2-b060-d0f5a71096e0","major":1,"minor":65535}}],"consent":{"purposes":["presence"],"from":"2026-01-01T00:00:00Z","until":"2027-01-01T00:00:00Z","proof":"form,2"}}"#,
        r#"{"subject":"c","kind":"asset","identifiers":[{"altbeacon":"00112233445566778899aabbccddeeff00010007"},{"eddystone_uid":{"namespace":"00112233445566778899","instance":"aabbccddeeff"}}]}"#,
        r#"{"subject":"d","kind":"customer","identifiers":[{"eddystone_eid":{"identity_key":"0102030405060708090a111213141516","rotation_exponent":10,"clock_zero":"2026-01-01T00:00:00Z"}},{"eddystone_eid":{"identity_key":"0102030405060708090a111213141517","rotation_exponent":0,"clock_zero":"1970-01-01T00:00:00Z"}},{"irk":"ec0234a357c8ad05341010a60a397d9b"},{"service_token":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"},{"rolling_uuid":"202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"}],"consent":{"purposes":["presence"],"from":"2026-01-01T00:00:00Z","proof":"form-4"}}"#,
    ];
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    assert_eq!(parsed.entries.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 6, 7]);
    assert_eq!(read(Format::JsonLines, &lines).entries.len(), 4);
}

#[test]
fn every_problem_of_a_file_is_told_with_its_line() {
    let good = json("a", r#"{"address":"C0:11:22:33:44:55"}"#);
    let text = format!(
        "# a comment\n{good}{{}}\n\nnonsense\n{}{}{}",
        json("a", r#"{"address":"C0:11:22:33:44:56"}"#),
        json("b", r#"{"address":"c0-11-22-33-44-55"}"#),
        json("c", r#"{"irk":"short"}"#),
    );
    let parsed = read(Format::JsonLines, &text);
    assert_eq!((parsed.problems.count(), parsed.entries.len()), (5, 3));
    let told = parsed.problems.told();
    for ((line, problem), (expected, words)) in told.iter().zip([
        (3, "missing field"),
        (5, "the line is not JSON: expected"),
        (6, "subject `a` is in line 2 already"),
        (7, "its address belongs to `a` in line 2"),
        (8, "32 hexadecimal digits"),
    ]) {
        assert_eq!(*line, expected, "{problem}");
        assert!(problem.contains(words), "{problem}");
    }
    let many = read(Format::JsonLines, &"{}\n".repeat(50)).problems;
    assert_eq!((many.count(), many.told().len()), (50, MOST_PROBLEMS));
    assert_eq!(many.told()[19].0, 20, "the first ones are told");
}

#[test]
fn problems_of_csv_are_told_in_words_to_act_on() {
    let header =
        "subject,kind,purposes,from,until,proof,address,ibeacon,eddystone_uid,eddystone_eid";
    let consent = "presence,2026-01-01T00:00:00Z,,form-1";
    for (row, words) in [
        (format!("a,customer,{consent},nonsense,,,"), "like `C0:11:22:33:44:55`"),
        (format!("a,customer,{consent},,x/1/2,,"), "like `e2c56db5-dffb-48d2-b060-d0f5a71096e0`"),
        (format!("a,customer,{consent},,e2c56db5,,"), "`uuid/major/minor`"),
        (format!("a,customer,{consent},,x/1/65536,,"), "minor must be a number from 0 to 65535"),
        (format!("a,customer,{consent},,,0011,"), "`namespace/instance`"),
        (format!("a,customer,{consent},,,,0011/16"), "rotation exponent must be a number"),
        (format!("a,customer,{consent},,,"), "9 cells and 10 columns"),
        (format!("a,customer,{consent},,,,"), "at least one"),
        (format!("a,guest,{consent},C0:11:22:33:44:55,,,"), "unknown variant `guest`"),
        ("a,customer,,,,,C0:11:22:33:44:55,,,".to_owned(), "`consent` is missing"),
        ("a,customer,presence,,,f,C0:11:22:33:44:55,,,".to_owned(), "like `2026-01-31T00:00:00Z`"),
        (format!("a b,customer,{consent},C0:11:22:33:44:55,,,"), "without spaces"),
    ] {
        let told = problems(Format::Csv, &format!("{header}\n{row}\n"));
        assert_eq!((told.len(), told[0].0), (1, 2), "{row}");
        assert!(told[0].1.contains(words), "{}", told[0].1);
    }
    for (header, words) in [
        ("", "no header line"),
        ("kind,address", "`subject` is missing"),
        ("subject,adress", "no column `adress`"),
        ("subject;kind;address", "separate columns by commas"),
        ("subject,irk,IRK", "`irk` stands twice"),
        ("subject,ec0234a357c8ad05341010a60a397d9b", "no column `…`"),
    ] {
        let told = problems(Format::Csv, header);
        assert!(told[0].1.contains(words), "{}", told[0].1);
    }
}

#[test]
fn no_problem_repeats_what_could_be_a_key() {
    let secret = "ec0234a357c8ad05341010a60a397d9b";
    let address = r#"{"address":"C0:11:22:33:44:55"}"#;
    let texts = [
        json(secret, address) + &json(secret, address),
        json("a", &format!(r#"{{"{secret}":1}}"#)),
        json("a", &format!(r#"{{"irk":"{secret}0"}}"#)),
        json("a", address).replace("presence", secret),
        json("a", address).replace("\"kind\"", &format!("\"{secret}\"")),
        json("a", address).replace("customer", secret),
        json("a", address).replace("2026-01-01T00:00:00Z", secret),
        format!("{{\"subject\":{secret}"),
        secret.to_owned(),
    ];
    for text in texts {
        let told = problems(Format::JsonLines, &text);
        assert!(!told.is_empty(), "{text}");
        for (_, problem) in told {
            assert!(!problem.contains(&secret[..8]), "{problem}");
        }
    }
}

#[test]
fn only_what_could_be_a_key_is_left_out() {
    for (text, expected) in [
        ("expected value", "expected value"),
        ("`deadbeef` is", "`…` is"),
        ("C0:11:22:33:44:55", "…"),
        ("a e2c56db5-dffb-48d2-b060-d0f5a71096e0, b", "… b"),
        ("subject `cust_0001` is in line 2", "subject `cust_0001` is in line 2"),
        ("00 11 22 33", "…"),
        ("größer", "größer"),
    ] {
        let clean = harmless(text);
        let same = clean == expected || clean == expected.replace("… b", "…, b");
        assert!(same, "{text}: {clean}");
    }
}

#[test]
fn identifiers_of_those_who_stay_and_of_fixtures_are_taken() {
    let mut parsed = read(
        Format::JsonLines,
        &(json("a", r#"{"address":"C0:11:22:33:44:55"}"#)
            + &json("b", r#"{"irk":"ec0234a357c8ad05341010a60a397d9b"}"#)),
    );
    let others = crate::registry::parse(&json("z", r#"{"address":"C0:11:22:33:44:55"}"#)).unwrap();
    let fixture = Fixture {
        id: "fridge".to_owned(),
        zone: None,
        hangs: None,
        identifier: parsed.entries[1].1.identifiers[0].into(),
        key: None,
        canary: false,
        report: crate::engine::ReportPolicy::default(),
    };
    find_conflicts(&mut parsed, &others, &[fixture]);
    let told = parsed.problems.told();
    assert!(told[0].1.contains("its address belongs to `z`;"), "{}", told[0].1);
    assert!(told[1].1.contains("its irk belongs to `fixture fridge`;"), "{}", told[1].1);
}

#[test]
fn any_bytes_are_read_to_their_end() {
    for format in [Format::JsonLines, Format::Csv] {
        for bytes in [&b"\xff\xfe\0"[..], b"\"", b"subject\n\"", b"subject,irk\n\xff,\xff\n", b"\n"]
        {
            let parsed = parse(format, bytes, &mut |_| ());
            assert!(parsed.entries.is_empty());
        }
        let long = "x".repeat(200_000);
        assert!(read(format, &long).problems.count() > 0);
        assert!(read(format, &format!("subject\n{long}\n")).problems.count() > 0);
    }
}

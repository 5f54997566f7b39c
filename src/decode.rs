//! What the `decode` command does: lines in, one JSON object a line out, in order.
//!
//! A line is advertising data as hex, or a JSON object; what a JSON object may hold is said in
//! `input`. Every line has an answer, whatever is in it: a frame, `{"unknown":true}`, or
//! `{"malformed":"why, and what is allowed"}`. Decoding is an explicit act of a technician on data
//! they supplied, so identifiers are printed in full here; the address never is.

mod answer;
mod input;
mod report;

use std::io::{self, BufRead, Read, Write};

use crate::engine::frame::sensor::OwnDecoders;
use answer::Answer;

/// The longest line that is read, in octets.
///
/// Advertising data has 1,650 octets at most (Core Specification 5.4, Vol 4 Part E 7.8.54); this
/// leaves room for the rest of a JSON object. Longer lines are skipped and said to be malformed.
const MAX_LINE: u64 = 64 * 1024;

/// How many lines there were, and what became of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Lines read.
    pub lines: u64,
    /// Lines that hold a frame.
    pub decoded: u64,
    /// Lines that hold no frame in a format we speak.
    pub unknown: u64,
    /// Lines that are no advertising data, or whose frame breaks the rules of its format.
    pub malformed: u64,
}

/// Decodes one line: advertising data as hex or a JSON object. The answer is one JSON object,
/// without a line end.
pub fn decode_line(line: &str) -> String {
    let data = input::read(line);
    let answer = Answer::of(&data, OwnDecoders::default());
    serde_json::to_string(&answer).unwrap_or_else(|error| {
        // The answer's keys are strings and its numbers are finite, so this is never reached; if
        // it were, the line would still have its one answer.
        serde_json::json!({ "malformed": error.to_string() }).to_string()
    })
}

/// Decodes every line of the input, writing one JSON object a line, in order.
///
/// Wants a buffered output; flushes it at the end.
pub fn run(input: impl BufRead, output: impl Write) -> io::Result<Counts> {
    run_with(OwnDecoders::default(), input, output)
}

/// [`run`], with an operator's own decoders.
pub fn run_with(
    own: OwnDecoders,
    mut input: impl BufRead,
    mut output: impl Write,
) -> io::Result<Counts> {
    let mut counts = Counts::default();
    let mut line = Vec::new();
    let mut answer_line = Vec::new();
    loop {
        line.clear();
        if input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let too_long = !line.ends_with(b"\n") && !ends_here(&mut input)?;
        let data = match str::from_utf8(&line) {
            _ if too_long => {
                input.skip_until(b'\n')?;
                Err(input::Rejected::TooLong)
            }
            Ok(line) => input::read(line),
            Err(_) => Err(input::Rejected::NotText),
        };
        let answer = Answer::of(&data, own);
        counts.lines += 1;
        *match answer {
            Answer::Decoded(_) => &mut counts.decoded,
            Answer::Unknown | Answer::Encrypted(..) | Answer::MaybeRolling(_) => {
                &mut counts.unknown
            }
            Answer::Malformed(_) => &mut counts.malformed,
        } += 1;
        answer_line.clear();
        serde_json::to_writer(&mut answer_line, &answer)?;
        answer_line.push(b'\n');
        output.write_all(&answer_line)?;
    }
    output.flush()?;
    Ok(counts)
}

fn ends_here(input: &mut impl BufRead) -> io::Result<bool> {
    Ok(input.fill_buf()?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(line: &str) -> serde_json::Value {
        serde_json::from_str(&decode_line(line)).unwrap()
    }

    #[test]
    fn a_sensor_is_answered_with_its_readings() {
        assert_eq!(
            decode_line("0201060B16D2FC40000102CA09200C"),
            r#"{"family":"bthome","readings":[{"quantity":"temperature_c","value":25.06,"unit":"°C"},{"quantity":"leak","value":1,"unit":""}],"packet_id":1,"trigger_based":false}"#
        );
        assert_eq!(
            decode_line("02010611FF990403291A1ECE1EFC18F94202CA0B53"),
            concat!(
                r#"{"family":"ruuvi","model":"RuuviTag","readings":["#,
                r#"{"quantity":"temperature_c","value":26.3,"unit":"°C"},"#,
                r#"{"quantity":"humidity_percent","value":20.5,"unit":"%"},"#,
                r#"{"quantity":"pressure_pa","value":102766,"unit":"Pa"},"#,
                r#"{"quantity":"acceleration_x_m_s2","value":-9.80665,"unit":"m/s²"},"#,
                r#"{"quantity":"acceleration_y_m_s2","value":-16.9262779,"unit":"m/s²"},"#,
                r#"{"quantity":"acceleration_z_m_s2","value":7.0019481,"unit":"m/s²"},"#,
                r#"{"quantity":"battery_v","value":2.899,"unit":"V"}],"data_format":"3"}"#
            )
        );
    }

    #[test]
    fn beacons_are_answered_with_their_identifiers_in_the_usual_forms() {
        for (line, answer) in [
            (
                "0201061AFF4C000215000102030405060708090A0B0C0D0E0F0102FFFEC5",
                r#"{"family":"ibeacon","readings":[],"uuid":"00010203-0405-0607-0809-0a0b0c0d0e0f","major":258,"minor":65534,"measured_power":-59}"#,
            ),
            (
                "1BFF1801BEAC0102030405060708090A0B0C0D0E0F1011121314C542",
                r#"{"family":"altbeacon","readings":[],"company":"0118","id":"0102030405060708090a0b0c0d0e0f1011121314","reference_rssi":-59,"manufacturer_reserved":66}"#,
            ),
            (
                "1716AAFE00FC00112233445566778899AABBCCDDEEFF0000",
                r#"{"family":"eddystone_uid","readings":[],"namespace":"00112233445566778899","instance":"aabbccddeeff","tx_power":-4}"#,
            ),
            (
                "1016AAFE10000367657470617265746F07",
                r#"{"family":"eddystone_url","readings":[],"url":"https://getpareto.com","tx_power":0}"#,
            ),
            (
                "0D16AAFE30FC0011223344556677",
                r#"{"family":"eddystone_eid","readings":[],"eid":"0011223344556677","tx_power":-4}"#,
            ),
        ] {
            assert_eq!(decode_line(line), answer);
        }
    }

    #[test]
    fn several_frames_are_listed_and_the_first_stands_at_the_top() {
        let answer = decoded("0816D2FC4001612100 1016AAFE10000367657470617265746F07");
        assert_eq!(answer["family"], "bthome");
        assert_eq!(answer["frames"][0]["family"], "bthome");
        assert_eq!(answer["frames"][1]["url"], "https://getpareto.com");
        assert_eq!(answer["frames"].as_array().unwrap().len(), 2);
        assert!(decoded("0616D2FC400161")["frames"].is_null());
    }

    #[test]
    fn repeated_quantities_are_numbered_and_events_named() {
        let answer = decoded("0D16D2FC443A003A043C01033A01");
        assert_eq!(
            answer["readings"],
            serde_json::json!([
                {"quantity": "button", "value": 4, "unit": "", "instance": 1, "event": "long_press"},
                {"quantity": "dimmer_steps", "value": -3, "unit": "", "event": "rotate_left"},
                {"quantity": "button", "value": 1, "unit": "", "instance": 2, "event": "press"},
            ])
        );
        assert_eq!(answer["trigger_based"], true);
    }

    #[test]
    fn all_that_a_bthome_device_tells_is_answered() {
        let answer = decoded("1316D2FC405302486954 0287A5F00100F2000106");
        assert_eq!(answer["text"], serde_json::json!(["Hi"]));
        assert_eq!(answer["raw"], serde_json::json!(["87a5"]));
        assert_eq!(answer["device_type"], 1);
        assert_eq!(answer["firmware"], "6.1.0");
    }

    #[test]
    fn what_is_not_spoken_is_unknown_and_encryption_is_told() {
        assert_eq!(decode_line("020106"), r#"{"unknown":true}"#);
        assert_eq!(
            decode_line("0616D2FC41A472"),
            r#"{"unknown":true,"family":"bthome","encrypted":true,"why":"no key"}"#
        );
        assert_eq!(
            decoded("0516AAFE2001"),
            serde_json::json!({
                "unknown": true,
                "family": "eddystone_tlm",
                "encrypted": true,
                "why": "no key",
            })
        );
    }

    /// Made by another program (`PyCryptodome`) of what Nordic's firmware has to try it with.
    #[test]
    fn a_beacons_encrypted_telemetry_is_opened_with_its_key_and_what_its_clock_read() {
        let with = |more: &str| {
            let sealed = "2001d5d89979ae79ebee4e385fa5f6830efb";
            decoded(&format!(r#"{{"service_data":{{"feaa":"{sealed}"}}{more}}}"#))
        };
        let key = r#","key":"589417b0324b1b71d7a6751852867ae8""#;
        let opened = with(&format!(r#"{key},"beacon_time":66559,"rotation_exponent":10"#));
        let readings = serde_json::json!([
            {"quantity": "temperature_c", "value": 28.25, "unit": "°C"},
            {"quantity": "advertisement_count", "value": 72, "unit": ""},
            {"quantity": "uptime_s", "value": 11.5, "unit": "s"},
        ]);
        assert_eq!((&opened["readings"], &opened["sealed"]), (&readings, &true.into()));
        assert_eq!(with(&format!(r#"{key},"beacon_time":65536"#))["readings"], readings);
        for (more, why) in [
            (r#","beacon_time":65536"#.to_owned(), "no key"),
            (key.to_owned(), "no clock"),
            (format!(r#"{key},"beacon_time":65537"#), "the key does not fit"),
            (
                format!(r#"{key},"beacon_time":66560,"rotation_exponent":10"#),
                "the key does not fit",
            ),
            (format!(r#"{},"beacon_time":65536"#, key.replace("58", "59")), "the key does not fit"),
        ] {
            let answer = with(&more);
            assert_eq!(
                (&answer["encrypted"], &answer["why"]),
                (&true.into(), &why.into()),
                "{more}"
            );
        }
        let wrong = with(&format!(r#"{key},"beacon_time":1,"rotation_exponent":16"#));
        assert!(wrong["malformed"].as_str().unwrap().contains("0 to 15"), "{wrong}");
        let wrong = with(r#","beacon_time":"now""#);
        assert!(wrong["malformed"].as_str().unwrap().contains("whole numbers"), "{wrong}");
    }

    /// The example of bthome.io/encryption.
    #[test]
    fn a_key_opens_what_is_encrypted_and_is_not_repeated() {
        const KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";
        let with = |more: &str, frame: &str| {
            decoded(&format!(r#"{{"service_data":{{"fcd2":"{frame}"}}{more}}}"#))
        };
        let frame = "41a47266c95f730011223378237214";
        let key = format!(r#","key":"{KEY}""#);
        let address = r#","address":"54:48:E6:8F:80:A5""#;
        let opened = with(&format!("{key}{address}"), frame);
        assert_eq!(opened["readings"][0]["value"], 25.06);
        assert_eq!(opened["readings"][1]["value"], 50.55);
        assert_eq!((&opened["sealed"], &opened["freshness"]), (&true.into(), &0x3322_1100.into()));
        let other = key.replace("231d", "241d");
        for (more, frame, why) in [
            (address, frame, "no key"),
            (&key, frame, "no address"),
            (&format!("{other}{address}"), frame, "the key does not fit"),
            (&format!("{key}{address}"), &frame[..14], "the frame is cut off"),
        ] {
            let answer = with(more, frame);
            assert_eq!((&answer["encrypted"], &answer["why"]), (&true.into(), &why.into()));
            assert!(answer["readings"].is_null());
        }
        for wrong in [&KEY[..30], &KEY.replace('9', "g")] {
            let answer = with(&format!(r#","key":"{wrong}""#), frame).to_string();
            assert!(answer.contains("16 octets") && !answer.contains(&wrong[..8]), "{answer}");
        }
        assert!(!opened.to_string().contains(&KEY[..8]));
    }

    #[test]
    fn what_is_never_processed_is_unknown_and_nothing_more() {
        for line in [
            "03036FFD0616D2FC400161",
            "03036FFD0616D2FC41A472",
            "0616D2FC4001610616091800FFFF",
            r#"{"service_data":{"fcd2":"400161","0000181f-0000-1000-8000-00805f9b34fb":"00"}}"#,
            r#"{"service_data":{"fcd2":"400161"},"service_uuids":["1808"]}"#,
        ] {
            assert_eq!(decode_line(line), r#"{"unknown":true}"#, "{line}");
        }
    }

    #[test]
    fn a_malformed_frame_is_told_with_the_rule_it_broke() {
        let answer = decoded("0616D2FC4002CA");
        assert!(answer["malformed"].as_str().unwrap().starts_with("BTHome: "), "{answer}");
        let answer = decoded("06FF4C00021500");
        assert!(answer["malformed"].as_str().unwrap().starts_with("iBeacon: "), "{answer}");
    }

    #[test]
    fn every_line_has_its_answer_in_order() {
        let long = "0".repeat(usize::try_from(MAX_LINE).unwrap() + 10);
        let lines: [&[u8]; 7] = [
            b"0616D2FC400161\r\n",
            b"\n",
            b"\xff\xfe\n",
            format!("{long}\n").into_bytes().leak(),
            b"020106\n",
            b"nonsense\n",
            b"0616D2FC400162",
        ];
        let mut output = Vec::new();
        let counts = run(&lines.concat()[..], &mut output).unwrap();
        assert_eq!(counts, Counts { lines: 7, decoded: 2, unknown: 1, malformed: 4 });
        let output = String::from_utf8(output).unwrap();
        let answers: Vec<serde_json::Value> =
            output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), 7);
        assert_eq!(answers[0]["readings"][0]["value"], 97);
        for (n, why) in [(1, "empty"), (2, "UTF-8"), (3, "long"), (5, "hex")] {
            assert!(answers[n]["malformed"].as_str().unwrap().contains(why), "{}", answers[n]);
        }
        assert_eq!(answers[4]["unknown"], true);
        assert_eq!(answers[6]["readings"][0]["value"], 98);
    }

    #[test]
    fn the_last_line_may_be_as_long_as_any_and_need_no_end() {
        let longest = "0".repeat(usize::try_from(MAX_LINE).unwrap());
        let mut output = Vec::new();
        let counts = run(longest.as_bytes(), &mut output).unwrap();
        assert_eq!(counts, Counts { lines: 1, unknown: 1, ..Counts::default() });
    }

    #[test]
    fn arbitrary_lines_have_one_answer_each() {
        let mut random = fastrand::Rng::with_seed(0x5eed);
        let alphabet: Vec<char> =
            r#"{}[]":,0123456789abcdefF adv_service manufacturer\ué"#.chars().collect();
        for _ in 0..20_000 {
            let length = random.usize(..80);
            let line: String = std::iter::repeat_with(|| *random.choice(&alphabet).unwrap())
                .take(length)
                .collect();
            let answer = decoded(&line);
            let kinds = ["family", "unknown", "malformed"];
            assert!(kinds.iter().any(|kind| !answer[kind].is_null()), "{line}");
        }
    }
}

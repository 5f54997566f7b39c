//! Encrypted and signed frames that somebody published with their keys: what the key opens, and that
//! nothing else does.

use std::hint::black_box;

use ccm::{
    AeadInPlace, Ccm, KeyInit,
    consts::{U4, U13},
};

use super::{BindKey, Carrier, Refusal, totality::advertisement};
use crate::{
    engine::frame::{Context, Frame, Undecoded, decode_in},
    forget::{
        self,
        debugger::{Debugger, Sought},
    },
};

/// One frame, its key and its sender, and what it says.
struct Published {
    source: &'static str,
    carrier: Carrier,
    data: &'static str,
    key: &'static str,
    address: &'static str,
    says: &'static str,
    freshness: Option<u32>,
    /// Read without a key as well: it is only signed.
    signed: bool,
}

const BTHOME: Carrier = Carrier::Service(0xfcd2);
const BTHOME_1: Carrier = Carrier::Service(0x181e);
const ENVIRONMENT: Carrier = Carrier::Service(0x181a);
const MIBEACON: Carrier = Carrier::Service(0xfe95);
const ENOCEAN: Carrier = Carrier::Company(0x03da);

const BTHOME_KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";
const ATC_KEY: &str = "b9ea895fac7eea6d30532432a516f3a3";

const fn published(
    source: &'static str,
    carrier: Carrier,
    [data, key, address]: [&'static str; 3],
    says: &'static str,
) -> Published {
    Published { source, carrier, data, key, address, says, freshness: None, signed: false }
}

fn all() -> Vec<Published> {
    vec![
        Published {
            freshness: Some(0x3322_1100),
            ..published(
                "bthome.io/encryption",
                BTHOME,
                ["41a47266c95f730011223378237214", BTHOME_KEY, "5448e68f80a5"],
                "bthome -, temperature_c 25.06, humidity_percent 50.55",
            )
        },
        Published {
            freshness: Some(0x3322_1100),
            ..published(
                "bthome-ble, with the address in the frame",
                BTHOME,
                ["43a5808fe64854f196c06ffb4900112233f08ecbde", BTHOME_KEY, "5448e68f80a5"],
                "bthome -, temperature_c 25.06, humidity_percent 50.55",
            )
        },
        Published {
            freshness: Some(442),
            ..published(
                "bthome-ble, Shelly BLU Button1",
                BTHOME,
                [
                    "450aeb84467f85ba0100003188788c",
                    "90bffd73cb6b26ef58a7a8eba9232036",
                    "b43522f53da4",
                ],
                "bthome -, battery_percent 100, button 1",
            )
        },
        Published {
            freshness: Some(0x3322_1100),
            ..published(
                "bthome-ble, version 1",
                BTHOME_1,
                ["fba435e4d3c312fb0011223357d90a99", BTHOME_KEY, "5448e68f80a5"],
                "bthome_v1 -, temperature_c 25.06, humidity_percent 50.55",
            )
        },
        published(
            "ble_monitor, test_atc_parser.py",
            ENVIRONMENT,
            ["11d603fbfa7b6dfb1e26fd", ATC_KEY, "a4c1388d18b2"],
            "atc pvvx, temperature_c 23.45, humidity_percent 41.73, battery_percent 61, on 0, open 0",
        ),
        // Nobody published one: encrypted as custom_beacon.c of pvvx does, by another program.
        published(
            "made",
            ENVIRONMENT,
            ["129f974067356125", ATC_KEY, "a4c1388d18b2"],
            "atc atc1441, temperature_c 23.5, humidity_percent 42, battery_percent 61, on 1",
        ),
        Published {
            freshness: Some(0x2650),
            ..published(
                "xiaomi-ble, test_Xiaomi_LYWSD03MMC_encrypted",
                MIBEACON,
                [
                    "58585b0550f4830238c1a495ef58763c26000097e2abb5",
                    "e9ea895fac7cca6d30532432a516f3a8",
                    "a4c1380283f4",
                ],
                "xiaomi LYWSD03MMC, humidity_percent 46",
            )
        },
        published(
            "xiaomi-ble, test_Xiaomi_CGDK2",
            MIBEACON,
            [
                "58586f0607892012342d585f176dd54f0200002fa453fa",
                "a3bfe9853dd85a620debe3620caaa351",
                "582d34122089",
            ],
            "xiaomi CGDK2, temperature_c 22.6",
        ),
        published(
            "xiaomi-ble, test_Xiaomi_LYWSD02MMC_v2_temperature, without the address",
            MIBEACON,
            [
                "4858422529202d8c7a76b756a82a0078b8224e",
                "19b1c678ab0a8bc3dc77765f059188d4",
                "a4c1380efd78",
            ],
            "xiaomi LYWSD02MMC, temperature_c 26.1",
        ),
        published(
            "xiaomi-ble, test_Xiaomi_JTYJGD03MI_smoke",
            MIBEACON,
            [
                "5859970966bc9ce344ef5401081205000000715ebe90",
                "5b51a7c91cde6707c9ef18dfda143a58",
                "54ef44e39cbc",
            ],
            "xiaomi JTYJGD03MI, smoke 1",
        ),
        published(
            "xiaomi-ble, test_Xiaomi_YLKG07YL_press, version 3",
            MIBEACON,
            [
                "5830b603d28b98c54124f8c3491476757e00000099",
                "b853075158487ca39a5b5ea9",
                "f82441c5988b",
            ],
            "xiaomi YLKG07YL/YLKG08YL, button 1",
        ),
        published(
            "Home Assistant, test_event.py, version 3",
            MIBEACON,
            [
                "5830b603368b98c54124f88bb8f2661351000000d6",
                "b853075158487ca39a5b5ea9",
                "f82441c5988b",
            ],
            "xiaomi YLKG07YL/YLKG08YL, dimmer_steps -1",
        ),
        Published {
            freshness: Some(0x045d),
            signed: true,
            ..published(
                "EnOcean, PTM 215B user manual, C.3.1",
                ENOCEAN,
                ["5d04000011b2fa88ff", "3dda31ad44767ae3ce56dce2b3ce2abb", "e215000019b8"],
                "enocean PTM 215B, button 1",
            )
        },
        Published {
            freshness: Some(0x27fb),
            signed: true,
            ..published(
                "EnOcean, STM 550B user manual, A.1 with the key of A.2",
                ENOCEAN,
                [
                    "fb2700000268458d0140420906578af791e65e23010f0157d3",
                    "4db34db3070efc6713fe39e13cf3c939",
                    "e50077010000",
                ],
                "enocean STM 550B, EMDCB, battery_percent 52, illuminance_lx 397, temperature_c 23.7, \
                 humidity_percent 43.5, acceleration_x_m_s2 -0.8825985, acceleration_y_m_s2 -9.022118, \
                 acceleration_z_m_s2 -1.765197, moving 0, open 1",
            )
        },
    ]
}

impl Published {
    fn data(&self) -> Vec<u8> {
        hex::decode(self.data).unwrap()
    }

    fn key(&self) -> Vec<u8> {
        hex::decode(self.key).unwrap()
    }

    fn address(&self) -> [u8; 6] {
        hex::decode(self.address).unwrap().try_into().unwrap()
    }

    fn advertised(&self, data: &[u8]) -> Vec<u8> {
        advertisement(self.carrier, "", data)
    }
}

/// What an advertisement of a sender is with a key: its sealed frame in words, or why there is none.
fn opened(
    data: &[u8],
    address: Option<[u8; 6]>,
    key: Option<&[u8]>,
) -> Result<Option<String>, Undecoded> {
    let key = key.map(|key| BindKey::new(key).unwrap());
    let frames = decode_in(data, Context { address, key: key.as_ref(), ..Context::default() })?;
    let Some(frame) = frames.iter().find(|frame| frame.is_sealed()) else { return Ok(None) };
    let mut words = vec![format!("{} {}", frame.family(), frame.model().unwrap_or("-"))];
    words.extend(frame.readings().map(|r| format!("{} {}", r.quantity.name(), r.value)));
    Ok(Some(words.join(", ")))
}

fn why(answer: Result<Option<String>, Undecoded>) -> Option<Refusal> {
    match answer {
        Err(Undecoded::Encrypted { why, .. }) => Some(why),
        _ => None,
    }
}

#[test]
fn the_right_key_opens_what_is_published() {
    for case in all() {
        let data = case.advertised(&case.data());
        let answer = opened(&data, Some(case.address()), Some(&case.key()));
        assert_eq!(answer, Ok(Some(case.says.to_owned())), "{}", case.source);
        let key = BindKey::new(&case.key()).unwrap();
        let address = Some(case.address());
        let context = Context { address, key: Some(&key), ..Context::default() };
        let frames = decode_in(&data, context).unwrap();
        assert_eq!(frames[0].freshness(), case.freshness, "{}", case.source);
        assert!(frames[0].number().is_some(), "{} tells repetitions", case.source);
    }
}

#[test]
fn without_a_key_or_an_address_it_stays_closed() {
    for case in all() {
        let data = case.advertised(&case.data());
        let without_key = opened(&data, Some(case.address()), None);
        if case.signed {
            assert_eq!(without_key, Ok(None), "{} is read, and not sealed", case.source);
        } else {
            assert_eq!(why(without_key), Some(Refusal::NoKey), "{}", case.source);
        }
        let without_address = opened(&data, None, Some(&case.key()));
        let mut reversed = case.address();
        reversed.reverse();
        if case.data().windows(6).any(|part| part == reversed) {
            assert_eq!(without_address, Ok(Some(case.says.to_owned())), "{}", case.source);
        } else {
            assert_eq!(why(without_address), Some(Refusal::NoKey), "{}", case.source);
        }
    }
}

#[test]
fn a_wrong_key_opens_nothing() {
    for case in all() {
        let data = case.advertised(&case.data());
        for bit in 0..case.key().len() * 8 {
            let mut key = case.key();
            key[bit / 8] ^= 1 << (bit % 8);
            let answer = opened(&data, Some(case.address()), Some(&key));
            assert_eq!(why(answer), Some(Refusal::WrongKey), "{}, bit {bit}", case.source);
        }
        let other_length = &case.key().repeat(2)[..if case.key().len() == 16 { 12 } else { 16 }];
        let answer = opened(&data, Some(case.address()), Some(other_length));
        assert_eq!(why(answer), Some(Refusal::WrongKey), "{}", case.source);
    }
}

#[test]
fn a_frame_that_was_cut_or_changed_is_not_opened() {
    for case in all() {
        let whole = case.data();
        for end in 0..whole.len() {
            let data = case.advertised(&whole[..end]);
            let answer = opened(&data, Some(case.address()), Some(&case.key()));
            assert!(!matches!(answer, Ok(Some(_))), "{} with {end} octets", case.source);
        }
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let data = case.advertised(&changed);
            let answer = opened(&data, Some(case.address()), Some(&case.key()));
            // MiBeacon's frame control is not part of what is authenticated; the content is.
            let control = case.carrier == MIBEACON && bit < 16;
            let same = control && answer == Ok(Some(case.says.to_owned()));
            let opened = matches!(answer, Ok(Some(_)));
            assert!(same || !opened, "{}, bit {bit}: {answer:?}", case.source);
        }
        for octet in 0..6 {
            let mut address = case.address();
            address[octet] ^= 1;
            let data = case.advertised(&whole);
            // A frame that repeats its address is another sender's then.
            let answer = opened(&data, Some(address), Some(&case.key()));
            let repeats = case.source.contains("address in the frame");
            // The last octet of the address is not in the nonce of version 3, but in its frame.
            assert!(repeats || !matches!(answer, Ok(Some(_))), "{}: {answer:?}", case.source);
        }
    }
}

#[test]
fn what_ends_before_its_tag_is_said_to_be_cut_off() {
    for (carrier, data) in [
        (BTHOME, "41"),
        (BTHOME, "4100112233aabbcc"),
        (BTHOME, "43a5808f"),
        (BTHOME_1, "00112233aabbcc"),
        (MIBEACON, "58585b0550f4830238c1a40011223344"),
        (MIBEACON, "5830b603d28b98c54124f8001122"),
    ] {
        let data = advertisement(carrier, "", &hex::decode(data).unwrap());
        // The address that both frames of MiBeacon repeat is the first's; the second repeats its own.
        for address in ["a4c1380283f4", "f82441c5988b"] {
            let address = hex::decode(address).unwrap().try_into().unwrap();
            let answer = opened(&data, Some(address), Some(&[7; 16]));
            assert!(
                matches!(why(answer.clone()), Some(Refusal::Truncated))
                    || answer == Err(Undecoded::Unknown),
                "{answer:?}"
            );
        }
        assert_eq!(why(opened(&data, None, Some(&[7; 16]))).is_some(), true);
    }
}

/// Whatever is behind a tag that fits: a sensor may be as mistaken as it likes.
#[test]
fn arbitrary_content_with_a_tag_that_fits_tells_only_what_can_be() {
    let (key, address) = ([0x42; 16], [0x54, 0x48, 0xe6, 0x8f, 0x80, 0xa5]);
    let cipher = Ccm::<aes::Aes128, U4, U13>::new(&key.into());
    let bind_key = BindKey::new(&key).unwrap();
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let (mut opened, mut malformed) = (0, 0);
    for counter in 0..20_000_u32 {
        let length = random.usize(..40);
        let mut content: Vec<u8> =
            std::iter::repeat_with(|| random.u8(..0x65)).take(length).collect();
        let counter = counter.to_le_bytes();
        let nonce = [&address[..], &[0xd2, 0xfc, 0x45], &counter].concat();
        let nonce: [u8; 13] = nonce.try_into().unwrap();
        let tag = cipher.encrypt_in_place_detached(&nonce.into(), &[], &mut content).unwrap();
        let data = advertisement(BTHOME, "", &[&[0x45], &content[..], &counter, &tag].concat());
        let context =
            Context { address: Some(address), key: Some(&bind_key), ..Context::default() };
        match decode_in(&data, context) {
            Ok(frames) => {
                opened += 1;
                let [Frame::Sensor(sensor)] = frames.as_slice() else { panic!("one frame") };
                assert!(sensor.measured().sealed);
                for reading in frames[0].readings() {
                    assert!(reading.quantity.is_plausible(reading.value));
                }
            }
            Err(why) => {
                malformed += 1;
                assert_eq!(why, Undecoded::Malformed { format: "bthome" });
            }
        }
    }
    assert!(opened > 1000 && malformed > 1000, "{opened} opened, {malformed} malformed");
}

#[test]
fn no_octet_of_a_key_is_left_behind() {
    #[inline(never)]
    fn boxed() -> Box<BindKey> {
        let octets: Vec<u8> = (0..16).map(|n| black_box(0x3d_u8).wrapping_mul(n * 2 + 1)).collect();
        Box::new(BindKey::new(&octets).unwrap())
    }
    let debugger = Debugger::new();
    let key = boxed();
    forget::burn_stack();
    let mut sought = Sought::default();
    sought.add(key.octets());
    assert!(debugger.everywhere(&sought) >= 2, "the test looks elsewhere");
    for case in all() {
        let data = case.advertised(&case.data());
        let context =
            Context { address: Some(case.address()), key: Some(&key), ..Context::default() };
        let answer = decode_in(&data, context);
        assert!(matches!(answer, Err(Undecoded::Encrypted { why: Refusal::WrongKey, .. })));
    }
    let itself = 2;
    assert_eq!(debugger.everywhere(&sought), itself, "something is left behind");
}

//! Encrypted and signed frames with their keys: what the key opens, and that nothing else does.

mod published;

use std::hint::black_box;

use ccm::{
    AeadInPlace, Ccm, KeyInit,
    consts::{U4, U13},
};

use super::{BindKey, Refusal, totality::advertisement};
use crate::{
    engine::frame::{Context, Frame, Undecoded, decode_in},
    forget::{
        self,
        debugger::{Debugger, Sought},
    },
};
use published::{BTHOME, BTHOME_1, MIBEACON, PUBLISHED};

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

fn why(answer: &Result<Option<String>, Undecoded>) -> Option<Refusal> {
    match answer {
        Err(Undecoded::Encrypted { why, .. }) => Some(*why),
        _ => None,
    }
}

#[test]
fn the_right_key_opens_what_is_published() {
    for case in PUBLISHED {
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
    for case in PUBLISHED {
        let data = case.advertised(&case.data());
        let without_key = opened(&data, Some(case.address()), None);
        if case.signed {
            assert_eq!(without_key, Ok(None), "{} is read, and not sealed", case.source);
        } else {
            assert_eq!(why(&without_key), Some(Refusal::NoKey), "{}", case.source);
        }
        let without_address = opened(&data, None, Some(&case.key()));
        let mut reversed = case.address();
        reversed.reverse();
        if case.data().windows(6).any(|part| part == reversed) {
            assert_eq!(without_address, Ok(Some(case.says.to_owned())), "{}", case.source);
        } else {
            assert_eq!(why(&without_address), Some(Refusal::NoKey), "{}", case.source);
        }
    }
}

#[test]
fn a_wrong_key_opens_nothing() {
    for case in PUBLISHED {
        let data = case.advertised(&case.data());
        for bit in 0..case.key().len() * 8 {
            let mut key = case.key();
            key[bit / 8] ^= 1 << (bit % 8);
            let answer = opened(&data, Some(case.address()), Some(&key));
            assert_eq!(why(&answer), Some(Refusal::WrongKey), "{}, bit {bit}", case.source);
        }
        let other_length = &case.key().repeat(2)[..if case.key().len() == 16 { 12 } else { 16 }];
        let answer = opened(&data, Some(case.address()), Some(other_length));
        assert_eq!(why(&answer), Some(Refusal::WrongKey), "{}", case.source);
    }
}

#[test]
fn a_frame_that_was_cut_or_changed_is_not_opened() {
    for case in PUBLISHED {
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
    for (carrier, data, address) in [
        (BTHOME, "41", "5448e68f80a5"),
        (BTHOME, "4100112233aabbcc", "5448e68f80a5"),
        (BTHOME, "43a5808f", "5448e68f80a5"),
        (BTHOME_1, "00112233aabbcc", "5448e68f80a5"),
        (MIBEACON, "58585b0550f4830238c1a4001122334455", "a4c1380283f4"),
        (MIBEACON, "5830b603d28b98c54124f8001122", "f82441c5988b"),
    ] {
        let data = advertisement(carrier, "", &hex::decode(data).unwrap());
        let address = hex::decode(address).unwrap().try_into().unwrap();
        let answer = opened(&data, Some(address), Some(&[7; 16]));
        assert_eq!(why(&answer), Some(Refusal::Truncated), "{answer:?}");
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
        let known = Context { address: Some(address), key: Some(&bind_key), ..Context::default() };
        match decode_in(&data, known) {
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
    for case in PUBLISHED {
        let data = case.advertised(&case.data());
        let context =
            Context { address: Some(case.address()), key: Some(&key), ..Context::default() };
        let answer = decode_in(&data, context);
        assert!(matches!(answer, Err(Undecoded::Encrypted { why: Refusal::WrongKey, .. })));
    }
    let itself = 2;
    assert_eq!(debugger.everywhere(&sought), itself, "something is left behind");
}

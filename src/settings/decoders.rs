//! Decoders of an operator's own: a folder of TOML files in, a table in the engine's language out.
//!
//! Every mistake is told with the file, the decoder, the field and what is allowed. Decoders live as long
//! as the program; they are read once.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use config::{Config, File, FileFormat};
use serde::Deserialize;
use thiserror::Error;
use uuid::Uuid;

use crate::engine::frame::{
    Quantity,
    sensor::{Bits, Carrier, Decoder, Field, Model, OwnDecoders, Read, Sign, Test, Value},
};

/// Why decoders cannot be used.
#[derive(Debug, Error)]
pub enum DecoderError {
    /// The folder or a file in it could not be read.
    #[error("failed to read decoders from `{}`; check its name and permissions", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not TOML, or has a key that does not exist or a value that does not fit.
    #[error("{}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        problem: String,
    },
    /// A value makes no sense.
    #[error("{}: decoder `{decoder}`{}: {problem}", path.display(), field.map(|n| format!(", field {n}")).unwrap_or_default())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The decoder, by its family.
        decoder: String,
        /// The field, from 1, where it is about one.
        field: Option<usize>,
        /// What was found and what is allowed.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    decoder: Vec<DecoderText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecoderText {
    family: String,
    company: Option<u16>,
    service: Option<u16>,
    long_service: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    length: Option<usize>,
    min_length: Option<usize>,
    lists: Option<u16>,
    #[serde(default)]
    when: Vec<TestText>,
    model: Option<String>,
    counter: Option<BitsText>,
    #[serde(default)]
    field: Vec<FieldText>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestText {
    at: usize,
    #[serde(default = "all_bits")]
    mask: u8,
    is: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BitsText {
    at: usize,
    #[serde(default = "one")]
    octets: usize,
    #[serde(default)]
    big_endian: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldText {
    quantity: String,
    at: usize,
    #[serde(default = "one")]
    octets: usize,
    #[serde(default)]
    big_endian: bool,
    sign: Option<String>,
    #[serde(default)]
    shift: u32,
    #[serde(default)]
    width: u32,
    times: Option<i64>,
    plus: Option<i64>,
    per: Option<i64>,
    #[serde(default)]
    one_of: Vec<i64>,
    #[serde(default)]
    map: Vec<(i64, f64)>,
    #[serde(default)]
    invalid: Vec<i64>,
    #[serde(default)]
    when: Vec<TestText>,
    instance: Option<u8>,
}

const fn all_bits() -> u8 {
    0xff
}

const fn one() -> usize {
    1
}

/// A field of which one is wrong, from 1, and what.
type Problem = (Option<usize>, String);

/// Reads every `*.toml` of a folder, in the order of their names.
pub fn read_decoders(folder: &Path) -> Result<OwnDecoders, DecoderError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| DecoderError::Unreadable { path, source }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut decoders = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
        decoders.extend(parse(&path, &text)?);
    }
    Ok(OwnDecoders::new(decoders.leak()))
}

/// Reads the text of one file.
fn parse(path: &Path, text: &str) -> Result<Vec<Decoder>, DecoderError> {
    let syntax = |problem: String| DecoderError::Syntax { path: path.to_owned(), problem };
    let built = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build();
    let built = built.map_err(|error| syntax(error.to_string()))?;
    let document: Document = serde_path_to_error::deserialize(built)
        .map_err(|error| syntax(format!("`{}`: {}", error.path(), error.inner())))?;
    if document.decoder.is_empty() {
        return Err(syntax("there is no decoder; begin one with `[[decoder]]`".to_owned()));
    }
    document
        .decoder
        .into_iter()
        .map(|text| {
            let name = text.family.clone();
            text.checked().map_err(|(field, problem)| DecoderError::Invalid {
                path: path.to_owned(),
                decoder: name,
                field,
                problem,
            })
        })
        .collect()
}

impl DecoderText {
    fn checked(self) -> Result<Decoder, Problem> {
        let here = |problem: &str| Err((None, problem.to_owned()));
        let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if self.family.is_empty() || !self.family.chars().all(fit) {
            return here("`family` is what payloads call it: lower-case letters, digits and `_`");
        }
        let carrier = match (self.company, self.service, &self.long_service) {
            (Some(company), None, None) => Carrier::Company(company),
            (None, Some(service), None) => Carrier::Service(service),
            (None, None, Some(uuid)) => match Uuid::try_parse(uuid) {
                Ok(uuid) => Carrier::LongService(uuid.as_u128()),
                Err(_) => {
                    return here(
                        "`long_service` is a UUID, like `ef090000-11d6-42ba-93b8-9dd7ec090ab0`",
                    );
                }
            },
            (None, None, None) if !self.names.is_empty() => Carrier::Named,
            _ => {
                return here(
                    "one of `company` (0x0499), `service` (0xfcd2) and `long_service` says where its \
                     data stands, or `names` alone where the company identifier is part of the data",
                );
            }
        };
        if self.names.iter().any(String::is_empty) {
            return here("each of `names` is the beginning of a local name, and none is empty");
        }
        let length = match (self.length, self.min_length) {
            (Some(exact), None) => (exact, exact),
            (None, Some(least)) => (least, usize::MAX),
            _ => return here("either `length` or `min_length` says how many octets its data has"),
        };
        if self.field.is_empty() {
            return here("there is no field; begin one with `[[decoder.field]]`");
        }
        let (least, _) = length;
        let counter = match self.counter {
            None => None,
            Some(text) if text.octets == 0 || text.octets > 4 || text.at + text.octets > least => {
                return here("`counter` has 1 to 4 octets and ends before the data does");
            }
            Some(BitsText { at, octets, big_endian: false }) => Some(Bits::le(at, octets)),
            Some(BitsText { at, octets, big_endian: true }) => Some(Bits::be(at, octets)),
        };
        let mut fields = Vec::new();
        for (n, field) in self.field.into_iter().enumerate() {
            fields.push(field.checked(least).map_err(|problem| (Some(n + 1), problem))?);
        }
        let leak = |text: String| -> &'static str { text.leak() };
        Ok(Decoder {
            length,
            when: tests(&self.when, least).map_err(|problem| (None, problem))?,
            names: self.names.into_iter().map(leak).collect::<Vec<_>>().leak(),
            lists: self.lists,
            model: self.model.map_or(Model::Unknown, |model| Model::Is(leak(model))),
            counter,
            read: Read::Fields(fields.leak()),
            ..Decoder::new(leak(self.family), carrier)
        })
    }
}

impl FieldText {
    fn checked(self, least: usize) -> Result<Field, String> {
        let Some(quantity) = Quantity::from_name(&self.quantity) else {
            let found = &self.quantity;
            return Err(format!(
                "`quantity` is `{found}`, which is none of ours; docs/sensors.md lists them, like \
                 `temperature_c`"
            ));
        };
        if !(1..=8).contains(&self.octets) {
            return Err(format!("`octets` is {}; 1 to 8 are allowed", self.octets));
        }
        if self.at.checked_add(self.octets).is_none_or(|end| end > least) {
            return Err(format!("it ends behind the {least} octets that the data surely has"));
        }
        let bits = u32::try_from(self.octets * 8).unwrap_or(64);
        if self.shift >= bits || self.width > bits - self.shift {
            return Err(format!("`shift` and `width` leave the {bits} bits that it has"));
        }
        let sign = match self.sign.as_deref() {
            None => Sign::None,
            Some("twos") => Sign::Twos,
            Some("magnitude") => Sign::Magnitude,
            Some(other) => {
                return Err(format!(
                    "`sign` is `{other}`; `twos` and `magnitude` are allowed, or none at all"
                ));
            }
        };
        let scaled = self.times.is_some() || self.plus.is_some() || self.per.is_some();
        let value = match (scaled, self.one_of.is_empty(), self.map.is_empty()) {
            (_, true, true) => Value::Scaled {
                times: self.times.unwrap_or(1),
                plus: self.plus.unwrap_or(0),
                per: self.per.unwrap_or(1),
            },
            (false, false, true) => Value::OneOf(self.one_of.leak()),
            (false, true, false) => Value::Map(self.map.leak()),
            _ => {
                return Err("only one of `times`/`plus`/`per`, `one_of` and `map` says what the \
                            number means"
                    .to_owned());
            }
        };
        if matches!(value, Value::Scaled { per: 0, .. }) {
            return Err("`per` divides and is not 0".to_owned());
        }
        Ok(Field {
            quantity,
            instance: self.instance,
            bits: Bits {
                at: self.at,
                octets: self.octets,
                big: self.big_endian,
                shift: self.shift,
                width: self.width,
                sign,
            },
            value,
            invalid: self.invalid.leak(),
            when: tests(&self.when, least)?,
        })
    }
}

fn tests(texts: &[TestText], least: usize) -> Result<&'static [Test], String> {
    let mut checked = Vec::new();
    for TestText { at, mask, is } in texts.iter().copied() {
        if at >= least {
            return Err(format!("`when` looks at octet {at}; the data surely has {least}, from 0"));
        }
        if is & mask != is {
            return Err(format!(
                "`when` can never be true: {is:#04x} has bits that {mask:#04x} has not"
            ));
        }
        checked.push(Test { at, mask, is });
    }
    Ok(checked.leak())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::frame::{Context, decode_in};

    const FRIDGE: &str = r#"
        [[decoder]]
        family = "shop_fridge"
        company = 0xfff0
        length = 6
        when = [{ at = 0, is = 0x07 }]
        model = "F2"
        counter = { at = 1 }

        [[decoder.field]]
        quantity = "temperature_c"
        at = 2
        octets = 2
        big_endian = true
        sign = "twos"
        per = 100
        invalid = [-32768]

        [[decoder.field]]
        quantity = "door_open"
        at = 4
        width = 1

        [[decoder.field]]
        quantity = "battery_percent"
        at = 5
        map = [[1, 100.0], [0, 10.0]]
    "#;

    #[test]
    fn a_decoder_of_an_operator_reads_what_it_says() {
        let own = OwnDecoders::new(parse(Path::new("f.toml"), FRIDGE).unwrap().leak());
        let data = [9, 0xff, 0xf0, 0xff, 0x07, 42, 0xff, 0x9c, 0x01, 0x01];
        let frames = decode_in(&data, Context { own, ..Context::default() }).unwrap();
        assert_eq!((frames[0].family(), frames[0].model()), ("shop_fridge", Some("F2")));
        let told: Vec<_> = frames[0].readings().map(|r| (r.quantity.name(), r.value)).collect();
        assert_eq!(told, [("temperature_c", -1.0), ("door_open", 1.0), ("battery_percent", 100.0)]);
        assert!(decode_in(&data, Context::default()).is_err(), "nobody else knows it");
    }

    #[test]
    fn a_mistake_is_told_with_its_file_decoder_and_field() {
        for (found, instead, words) in [
            ("company = 0xfff0", "", &["f.toml", "shop_fridge", "`service`"][..]),
            ("company = 0xfff0", "company = 70000", &["f.toml", "company"]),
            ("length = 6", "", &["`length` or `min_length`"]),
            ("length = 6", "lenght = 6", &["f.toml", "lenght"]),
            ("at = 2", "at = 5", &["field 1", "6 octets"]),
            ("\"door_open\"", "\"door\"", &["field 2", "`door`", "temperature_c"]),
            ("width = 1", "width = 9", &["field 2", "8 bits"]),
            ("per = 100", "per = 0", &["field 1", "not 0"]),
            ("per = 100", "per = 100\none_of = [1]", &["field 1", "only one of"]),
            ("is = 0x07", "is = 0x07, mask = 0x01", &["never be true"]),
            ("\"shop_fridge\"", "\"Shop fridge\"", &["lower-case"]),
            ("\"twos\"", "\"two\"", &["f.toml", "field 1", "`two`", "magnitude"]),
        ] {
            let text = FRIDGE.replacen(found, instead, 1);
            let error = parse(Path::new("f.toml"), &text).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{instead}: {error}");
            }
        }
        let error = parse(Path::new("f.toml"), "").unwrap_err().to_string();
        assert!(error.contains("[[decoder]]"), "{error}");
    }
}

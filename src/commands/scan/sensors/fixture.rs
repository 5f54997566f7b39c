//! The lines by which a new sensor becomes a fixture.

use super::{Found, Key, Shop};

/// How loud a sensor must have been heard to be taken for the one that the technician holds, in dBm:
/// within a metre or so of the antenna.
pub(super) const NEAR: i8 = -60;

/// So many new ones are all told, however loud they are.
pub(super) const FEW: usize = 3;

/// Where keys are looked for by custom.
const FOLDER: &str = "/etc/beacon-gateway";

/// The lines of a fixture that is listed in none; `None` when it is listed, or cannot be known again.
/// `taken` are ids that were given to others just now.
pub(super) fn lines(
    (key, found): (&Key, &Found),
    shop: &Shop,
    taken: &mut Vec<String>,
) -> Option<String> {
    if matches!(key, Key::Fixture(_)) {
        return None;
    }
    let name = found.name.as_deref();
    let known_by = match (&found.address, name) {
        _ if found.encrypted.is_some() && found.families == ["eddystone_tlm"] => {
            "# Its telemetry is encrypted: an Eddystone-EID beacon is known by its identity key, as it was\n\
             # registered. Say how its identifier changes, and when its clock read zero:\n\
             eddystone_eid = { rotation_exponent = 10, clock_zero = \"2026-01-01T00:00:00Z\" }\n"
                .to_owned()
        }
        _ if let Key::Numbered(family, serial) = key => {
            format!("sensor = {{ family = \"{family}\", serial = \"{serial}\" }}\n")
        }
        (Some(address), _) if address.lasting().is_lasting() => {
            format!("address = \"{}\"\n", address.as_str())
        }
        (_, Some(name)) if found.name_is_complete => format!("name = {}\n", quoted(name)),
        (Some(address), _) => format!(
            "# Such an address may change, and the sensor tells no whole name: look again in an hour.\n\
             address = \"{}\"\n",
            address.as_str()
        ),
        (None, _) => return None,
    };
    let id = shop.free_id(found, taken);
    let zone = match shop.zones.as_slice() {
        [] => String::new(),
        [only] => format!("zone = {}\n", quoted(only)),
        [first, ..] => {
            format!("# zone = {}  # one of: {}\n", quoted(first), shop.zones.join(", "))
        }
    };
    let sent = name.map(|name| format!(", \"{name}\"")).unwrap_or_default();
    let key = match found.encrypted {
        None => String::new(),
        Some(_) => format!(
            "# Its frames are encrypted. Put its key, 32 hexadecimal digits, into a file of mode 0600,\n\
             # or into the systemd credential `fixture-key-{id}`:\n\
             # bind_key_file = \"{FOLDER}/{id}.key\"\n"
        ),
    };
    let kind = found.kind();
    taken.push(id.clone());
    Some(format!("# {kind}{sent}\n[[fixture]]\nid = \"{id}\"\n{zone}{known_by}{key}"))
}

impl Shop {
    /// Family, model and the first number that is free.
    fn free_id(&self, found: &Found, taken: &[String]) -> String {
        let kind = found.kind().to_lowercase();
        let words: Vec<&str> =
            kind.split(|c: char| !c.is_ascii_alphanumeric()).filter(|it| !it.is_empty()).collect();
        let stem: String = words.join("-").chars().take(48).collect();
        let is_free = |id: &String| !self.ids.contains(id) && !taken.contains(id);
        let mut ids = (1..=u32::MAX).map(|n| format!("{stem}-{n}"));
        ids.find(is_free).unwrap_or(stem)
    }
}

/// A TOML string. What JSON escapes, TOML reads; there are no controls in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

//! Which device a fixture is, in eight octets: its identifier and key in, a mark out.
//!
//! The mark is kept on disk beside what is remembered of the fixture, so it tells nothing of the key: the first
//! eight octets of a SHA-256 (FIPS 180-4).

use std::fmt;

use ring::digest;

use super::{Fixture, FixtureIdentifier, Identifier};
use crate::forget;

/// Tells a device and its key from others under the same name.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct DeviceMark([u8; 8]);

impl DeviceMark {
    /// Wraps what [`Self::octets`] gave.
    pub const fn new(octets: [u8; 8]) -> Self {
        Self(octets)
    }

    /// The octets, to be kept with what is remembered of the device.
    pub const fn octets(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Debug for DeviceMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceMark(redacted)")
    }
}

impl Fixture {
    /// What tells whether it is the same device with the same key as when something was remembered of it.
    pub fn mark(&self) -> DeviceMark {
        let mark = mark(self);
        forget::burn_stack();
        mark
    }
}

#[inline(never)]
fn mark(fixture: &Fixture) -> DeviceMark {
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut part = |octets: &[u8]| {
        // With its length, so that no two lists of parts are the same octets.
        sum.update(&u64::try_from(octets.len()).unwrap_or(u64::MAX).to_be_bytes());
        sum.update(octets);
    };
    part(b"beacon-gateway/fixture/1");
    part(fixture.identifier.kind().as_bytes());
    match &fixture.identifier {
        FixtureIdentifier::Name(name) => part(name.as_bytes()),
        FixtureIdentifier::Serial(number) => {
            part(number.family.as_bytes());
            part(number.serial.octets());
        }
        FixtureIdentifier::Device(identifier) => match identifier {
            Identifier::Address(octets) => part(octets),
            Identifier::IBeacon { proximity_uuid, major, minor } => {
                part(proximity_uuid);
                part(&major.to_be_bytes());
                part(&minor.to_be_bytes());
            }
            Identifier::AltBeacon(id) => part(id),
            Identifier::EddystoneUid { namespace, instance } => {
                part(namespace);
                part(instance);
            }
            Identifier::EddystoneEid { identity_key: key, .. } | Identifier::Irk(key) => {
                part(key.expose());
            }
            Identifier::ServiceToken(key) | Identifier::RollingUuid(key) => part(key.expose()),
        },
        // It is not recognised, so there is nothing to remember.
        FixtureIdentifier::Unkeyed { .. } => {}
    }
    if let Some(key) = &fixture.key {
        part(key.octets());
    }
    let mut octets = [0; 8];
    octets.iter_mut().zip(sum.finish().as_ref()).for_each(|(to, from)| *to = *from);
    DeviceMark(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ReportPolicy, frame::sensor::BindKey};

    #[test]
    fn another_device_or_another_key_has_another_mark_and_nobody_sees_it() {
        let fixture = |identifier: FixtureIdentifier, key: Option<u8>| Fixture {
            id: "fridge".to_owned(),
            zone: None,
            hangs: None,
            identifier,
            key: key.and_then(|key| BindKey::new(&[key; 16])),
            canary: false,
            report: ReportPolicy::default(),
        };
        let address = |last| FixtureIdentifier::from(Identifier::Address([0, 0, 0, 0, 0, last]));
        let marks = [
            fixture(address(1), None).mark(),
            fixture(address(2), None).mark(),
            fixture(address(1), Some(1)).mark(),
            fixture(address(1), Some(2)).mark(),
            fixture(FixtureIdentifier::Name("T1".into()), Some(1)).mark(),
        ];
        for (place, mark) in marks.iter().enumerate() {
            assert_eq!(marks.iter().filter(|it| *it == mark).count(), 1, "{place}");
        }
        let moved = Fixture { id: "other".to_owned(), ..fixture(address(1), Some(1)) };
        assert_eq!(moved.mark(), marks[2]);
        assert_eq!(format!("{:?}", marks[0]), "DeviceMark(redacted)");
    }
}

//! A key, a tenant and an epoch in, the value that an app sends out (`docs/app-identity.md`).
//!
//! HMAC-SHA256 (RFC 2104, FIPS 180-4) over label, tenant and epoch. The two labels are of one form
//! each, neither begins the other, and the epoch has a fixed length: no two inputs read the same.

use std::fmt;

use arrayvec::{ArrayString, ArrayVec};
use ring::hmac;

use super::super::{MemberKey, UnixTime};

/// How long an app sends one value, in seconds of the wall clock since 1970-01-01T00:00:00Z.
///
/// As long as phones keep a resolvable address (Core Specification 5.4, Vol 3 Part C, App. A:
/// `T_GAP(private_addr_int)`), so that neither outlives the other by much.
pub const EPOCH_SECONDS: i64 = 900;

/// Which of the two values an app sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RollingForm {
    /// Twelve octets of service data.
    ServiceToken,
    /// A UUID of version 8 among the services.
    RollingUuid,
}

/// The operator whose apps these are: the same key makes other values for another tenant.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Tenant(ArrayString<{ Tenant::LONGEST }>);

/// What is hashed for one epoch, whoever's key it is.
pub(super) struct Message {
    form: RollingForm,
    octets: ArrayVec<u8, { RollingForm::LONGEST_LABEL + Tenant::LONGEST + 4 }>,
}

// === impl RollingForm ===

impl RollingForm {
    const LONGEST_LABEL: usize = 30;

    const fn label(self) -> &'static str {
        match self {
            Self::ServiceToken => "beacon-gateway/service-token/1",
            Self::RollingUuid => "beacon-gateway/rolling-uuid/1",
        }
    }
}

// === impl Tenant ===

impl Tenant {
    /// The longest name of a tenant, in octets of UTF-8.
    pub const LONGEST: usize = 160;

    /// Wraps a tenant's name, `gateway.tenant` of the configuration; `None` when it is too long.
    pub fn new(name: &str) -> Option<Self> {
        ArrayString::from(name).ok().map(Self)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({})", self.0)
    }
}

// === impl Message ===

impl Message {
    pub(super) fn new(form: RollingForm, tenant: &Tenant, epoch: u32) -> Self {
        let mut octets = ArrayVec::new();
        octets.extend(form.label().bytes());
        octets.extend(tenant.0.bytes());
        octets.extend(epoch.to_be_bytes());
        Self { form, octets }
    }

    /// What a key makes of it: a UUID's 128 bits, or a token's 96 with 32 zeros behind them.
    pub(super) fn value(&self, key: &MemberKey) -> u128 {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key.0);
        let made = hmac::sign(&key, &self.octets);
        let first = made.as_ref().first_chunk().copied().unwrap_or_default();
        let first = u128::from_be_bytes(first);
        match self.form {
            RollingForm::ServiceToken => first >> 32 << 32,
            // RFC 9562, 5.8: octet 6 begins with version 8, octet 8 with the variant, binary 10.
            RollingForm::RollingUuid => first & !(0xf << 76 | 0b11 << 62) | 0x8 << 76 | 0b10 << 62,
        }
    }
}

/// The epoch of a wall time: whole times 900 s since 1970-01-01T00:00:00Z, as 32 bits.
pub(super) fn epoch_of(unix: UnixTime) -> u32 {
    let epoch = unix.as_millis().div_euclid(EPOCH_SECONDS * 1000);
    u32::try_from(epoch.max(0)).unwrap_or(u32::MAX)
}

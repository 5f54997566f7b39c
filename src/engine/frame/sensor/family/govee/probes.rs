//! Govee's probes for meat: temperatures from the ninth octet on, in hundredths; a negative one is a probe
//! that is not plugged in. What is beside them are the limits of an alarm, which nobody measured.

use super::FAMILY;
use crate::engine::frame::{
    Quantity as Q,
    reading::exact,
    sensor::{Bits, Carrier, Decoder, Field, Heard, Measured, Stop},
};

/// One product: its name, how many octets it sends, the services that it lists, the identifiers that were
/// seen where a company's should be, and where its probes stand.
#[derive(Clone, Copy)]
struct Product {
    model: &'static str,
    octets: usize,
    service: u16,
    companies: &'static [u16],
    probes: &'static [usize],
    /// Whether its frames tell of two probes at a time, and which.
    pairs: bool,
}

const fn product(
    model: &'static str,
    octets: usize,
    service: u16,
    companies: &'static [u16],
    probes: &'static [usize],
) -> Product {
    Product { model, octets, service, companies, probes, pairs: false }
}

const PRODUCTS: &[Product] = &[
    product("H5181", 14, 0x8151, &[0xf861, 0x388a, 0xea42, 0xaaa2, 0xd14b], &[8]),
    product("H5182", 17, 0x8251, &[0x2730], &[8, 13]),
    product("H5183", 14, 0x8351, &[0x67dd, 0xe02f, 0xf79f], &[8]),
    Product { pairs: true, ..product("H5184", 17, 0x8451, &[0x1b36], &[8, 13]) },
    product("H5185", 20, 0x8551, &[0x4a32, 0x0332, 0x4c32], &[8, 14]),
    product("H5191", 20, 0x9151, &[0xac63], &[8, 14]),
    Product { pairs: true, ..product("H5198", 20, 0x9851, &[0x3022], &[8, 14]) },
];

/// The product with six probes.
const SIX: &str = "H5055";
const SIX_SERVICE: u16 = 0x5550;
const SIX_COMPANY: u16 = 0xea1c;

/// How many decoders: one for each product's service, one for each identifier.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which stops at a panic")]
const COUNT: usize = {
    let (mut count, mut n) = (2, 0);
    while n < PRODUCTS.len() {
        count += 1 + PRODUCTS[n].companies.len();
        n += 1;
    }
    count
};

/// All products, by what they list and by their identifiers.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which stops at a panic")]
pub(super) const TABLE: [Decoder; COUNT] = {
    let mut table = [by_service(SIX_SERVICE); COUNT];
    table[1] = by_company(SIX_COMPANY, 20);
    let (mut count, mut n) = (2, 0);
    while n < PRODUCTS.len() {
        let Product { octets, service, companies, .. } = PRODUCTS[n];
        table[count] = by_service(service);
        count += 1;
        let mut company = 0;
        while company < companies.len() {
            table[count] = by_company(companies[company], octets);
            count += 1;
            company += 1;
        }
        n += 1;
    }
    table
};

const fn by_service(service: u16) -> Decoder {
    Decoder::new(FAMILY, Carrier::Listed(service)).at_least(16).code(super::named)
}

const fn by_company(company: u16, octets: usize) -> Decoder {
    Decoder::company(FAMILY, company).at_least(octets).code(alone)
}

/// Asked for what its identifier may be; which one it was is in the advertisement.
fn alone(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let (company, _) =
        heard.manufacturers().find(|(_, whole)| *whole == data).ok_or(Stop::NotMine)?;
    super::govee(heard, company, data, measured)
}

pub(super) fn read(
    heard: &Heard<'_>,
    company: u16,
    length: usize,
    data: &[u8],
    measured: &mut Measured,
) -> Result<&'static str, Stop> {
    let name = heard.name();
    let named = |model: &str| name.windows(model.len()).any(|part| part == model.as_bytes());
    if length == 20 && (named(SIX) || heard.lists(SIX_SERVICE) || company == SIX_COMPANY) {
        return six(data, measured);
    }
    let product = PRODUCTS.iter().find(|product| {
        product.octets == length
            && (named(product.model)
                || product.companies.contains(&company)
                || heard.lists(product.service))
    });
    let product = product.ok_or(Stop::NotMine)?;
    // The box tells which pair it means.
    let first = match data.get(6).map(|octet| octet & 0x3f) {
        _ if !product.pairs => 0,
        Some(1) => 0,
        Some(2) => 2,
        _ => return Err(Stop::Malformed),
    };
    for (probe, at) in (first..).zip(product.probes) {
        if let Some(hundredths @ 0..) = Bits::be(*at, 2).signed().number(data) {
            measured.push_at(Q::TemperatureC, probe, exact(hundredths) / 100.0);
        }
    }
    Ok(product.model)
}

/// Two of six probes at a time, whole degrees; six bits say which of them are plugged in, and the two above
/// which pair it is.
fn six(data: &[u8], measured: &mut Measured) -> Result<&'static str, Stop> {
    let probes = data.get(3).copied().ok_or(Stop::Malformed)?;
    let first = match probes >> 6 {
        pair @ 0..=2 => 2 * pair,
        _ => return Err(Stop::Malformed),
    };
    for (probe, at) in [(first, 5), (first + 1, 12)] {
        if probes >> probe & 1 != 0 {
            Field::le(Q::TemperatureC, at, 2).signed().instance(probe).read(data, measured);
        }
    }
    Field::octet(Q::BatteryPercent, 2).part(0, 7).read(data, measured);
    Ok(SIX)
}

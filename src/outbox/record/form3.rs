//! Records of form 3, which an earlier version of this program wrote and has not sent: bytes in, a
//! record out.
//!
//! Only what is said of lost records has changed since: it was not said exactly which they were.

use serde::Deserialize;

use super::{Body, Counted, DroppedRecords, Presence, Receipt, Record, RunId, Started};

/// The form that is read here.
pub(super) const VERSION: u8 = 3;

#[derive(Deserialize)]
struct Record3 {
    run: RunId,
    uptime_us: i64,
    unix_ms: i64,
    synced: bool,
    body: Body3,
}

#[derive(Deserialize)]
enum Body3 {
    Presence(Box<Presence>),
    Measured { fixture: String, zone: Option<String>, readings: Vec<(String, u8, f64)> },
    Started(Started),
    RadioDeaf { receiver: String, cause: String },
    RadioRecovered { receiver: String, cause: String, deaf_ms: u64 },
    RecordsDropped(DroppedRecords3),
    ConsentWithdrawn(Receipt),
    Counted(Counted),
}

#[derive(Deserialize)]
struct DroppedRecords3 {
    count: u64,
    first: u64,
    last: u64,
    why: String,
    first_made_ms: Option<i64>,
    last_made_ms: Option<i64>,
}

/// Reads what follows the version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, postcard::Error> {
    let Record3 { run, uptime_us, unix_ms, synced, body } = postcard::from_bytes(bytes)?;
    Ok(Record { run, uptime_us, unix_ms, synced, body: body.into() })
}

impl From<Body3> for Body {
    fn from(body: Body3) -> Self {
        match body {
            Body3::Presence(presence) => Self::Presence(presence),
            Body3::Measured { fixture, zone, readings } => {
                Self::Measured { fixture, zone, readings }
            }
            Body3::Started(started) => Self::Started(started),
            Body3::RadioDeaf { receiver, cause } => Self::RadioDeaf { receiver, cause },
            Body3::RadioRecovered { receiver, cause, deaf_ms } => {
                Self::RadioRecovered { receiver, cause, deaf_ms }
            }
            Body3::RecordsDropped(dropped) => Self::RecordsDropped(dropped.into()),
            Body3::ConsentWithdrawn(receipt) => Self::ConsentWithdrawn(receipt),
            Body3::Counted(counted) => Self::Counted(counted),
        }
    }
}

impl From<DroppedRecords3> for DroppedRecords {
    fn from(dropped: DroppedRecords3) -> Self {
        let DroppedRecords3 { count, first, last, why, first_made_ms, last_made_ms } = dropped;
        // Only where they lay without a gap is it known which they were.
        let without_gap = last.checked_sub(first).and_then(|more| more.checked_add(1));
        let ranges = if without_gap == Some(count) { vec![(first, last)] } else { Vec::new() };
        Self { why: why_now(&why), count, ranges, first_made_ms, last_made_ms }
    }
}

/// The reason by its present name; form 3 wrote it as for people.
fn why_now(why: &str) -> String {
    match why {
        "too old" => "too_old".to_owned(),
        too_big if too_big.starts_with("too big") => "too_big".to_owned(),
        _ => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_form_3_said_of_lost_records_is_said_as_far_as_it_was_known() {
        // Run, uptime, time, synced, the sixth kind of body; count, first, last, why, no times.
        let read = |count: u8| {
            let bytes = [[7, 2, 4, 1, 5].as_slice(), &[count, 3, 6, 7], b"too old", &[0, 0]];
            decode(&bytes.concat()).unwrap()
        };
        let record = read(4);
        assert_eq!((record.run, record.uptime_us, record.unix_ms), (RunId(7), 1, 2));
        let Body::RecordsDropped(dropped) = record.body else { panic!("another body") };
        assert_eq!((dropped.why.as_str(), dropped.count), ("too_old", 4));
        assert_eq!(dropped.ranges, [(3, 6)]);
        let Body::RecordsDropped(dropped) = read(3).body else { panic!("another body") };
        assert_eq!((dropped.count, dropped.ranges), (3, vec![]), "one between them was not lost");
    }
}

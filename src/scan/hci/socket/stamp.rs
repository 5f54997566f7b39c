//! When the kernel took a packet in. Control messages of a packet in, time since 1970 out. Total: no
//! input panics.

use std::time::Duration;

/// Finds the time in the control messages of a packet, as time since 1970.
///
/// Each message is a `struct cmsghdr` (length with header, level, kind) and data, padded to the
/// size of a word. The time is a `struct timeval` of two words; on 32-bit systems with 64-bit time
/// of twice that.
pub(super) fn stamp(mut control: &[u8]) -> Option<Duration> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    while let Some((length, rest)) = control.split_first_chunk::<WORD>() {
        let (level, rest) = rest.split_first_chunk::<4>()?;
        let (kind, _) = rest.split_first_chunk::<4>()?;
        let length = usize::from_ne_bytes(*length);
        let data = control.get(HEADER..length)?;
        let wanted = i32::from_ne_bytes(*level) == libc::SOL_SOCKET
            && i32::from_ne_bytes(*kind) == libc::SCM_TIMESTAMP;
        if wanted {
            return time(data);
        }
        control = control.get(length.checked_next_multiple_of(WORD)?..)?;
    }
    None
}

fn time(data: &[u8]) -> Option<Duration> {
    let (seconds, micros) = if let Ok(whole) = <[u8; 16]>::try_from(data) {
        let [s0, s1, s2, s3, s4, s5, s6, s7, m0, m1, m2, m3, m4, m5, m6, m7] = whole;
        (
            i64::from_ne_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            i64::from_ne_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
        )
    } else {
        let [s0, s1, s2, s3, m0, m1, m2, m3] = <[u8; 8]>::try_from(data).ok()?;
        (
            i64::from(i32::from_ne_bytes([s0, s1, s2, s3])),
            i64::from(i32::from_ne_bytes([m0, m1, m2, m3])),
        )
    };
    let micros = u32::try_from(micros).ok().filter(|micros| *micros < 1_000_000)?;
    Some(Duration::new(u64::try_from(seconds).ok()?, micros * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let length = size_of::<usize>() + 8 + data.len();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
        bytes
    }

    fn timeval(seconds: i64, micros: i64) -> Vec<u8> {
        [seconds.to_ne_bytes(), micros.to_ne_bytes()].concat()
    }

    #[test]
    fn the_time_is_found_behind_other_messages() {
        let mut control = message(0, 1, &[1, 0, 0, 0]);
        control.extend(message(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &timeval(1_700_000_000, 7)));
        assert_eq!(stamp(&control), Some(Duration::new(1_700_000_000, 7000)));
    }

    #[test]
    fn a_time_of_32_bits_is_read_too() {
        let data = [5_i32.to_ne_bytes(), 6_i32.to_ne_bytes()].concat();
        let control = message(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &data);
        assert_eq!(stamp(&control), Some(Duration::new(5, 6000)));
    }

    #[test]
    fn a_time_that_makes_no_sense_is_none() {
        for data in [timeval(-1, 0), timeval(0, 1_000_000), timeval(0, -1), vec![0; 7]] {
            assert_eq!(stamp(&message(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &data)), None);
        }
    }

    #[test]
    fn control_messages_of_any_bytes_do_no_harm() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bytes = vec![0; random.usize(0..64)];
            bytes.fill_with(|| random.u8(..));
            // Lengths that could be true, too.
            if random.bool()
                && let Some(first) = bytes.first_chunk_mut::<8>()
            {
                *first = random.u64(0..40).to_ne_bytes();
            }
            stamp(&bytes);
        }
    }
}

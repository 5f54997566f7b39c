//! Plays a script of bytes to the deciders of management, monitor and user channel, without a
//! socket. For fuzzing: whatever the kernel or a controller says, none of them may panic.

use super::{
    mgmt, monitor,
    settings::{Phy, Settings},
    user,
};

/// Plays a script and returns how much was understood. A script is a row of packets, each behind a
/// byte that tells its length.
pub fn play(script: &[u8]) -> usize {
    let settings =
        Settings { active: true, phys: vec![Phy::OneM, Phy::Coded], ..Settings::default() };
    packets(script).for_each(mgmt::rehearse);
    monitor::rehearse(packets(script)) + user::rehearse(&settings, packets(script))
}

fn packets(mut script: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = script.split_first()?;
        let (packet, rest) = rest.split_at_checked(usize::from(*length)).unwrap_or((rest, &[]));
        script = rest;
        Some(packet)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_cut_into_packets() {
        let found: Vec<_> = packets(&[2, 7, 8, 0, 3, 9]).collect();
        assert_eq!(found, [&[7, 8][..], &[], &[9]]);
    }

    #[test]
    fn a_controller_that_is_played_is_understood() {
        let mut script = Vec::new();
        // Eleven answers of success; the fourth one has LE among its features.
        for place in 0..11 {
            let features = if place == 3 { 0x40 } else { 0 };
            let answer = [3, 0, 0, 0, 0, 0, features, 0, 0, 0];
            script.push(u8::try_from(answer.len()).unwrap());
            script.extend(answer);
        }
        let report = [4, 0x3e, 14, 2, 1, 3, 1, 1, 2, 3, 4, 5, 0xc6, 2, 0x01, 0xff, 0xc4];
        script.push(u8::try_from(report.len()).unwrap());
        script.extend(report);
        assert_eq!(play(&script), 1);
    }

    #[test]
    fn scripts_at_random_do_no_harm() {
        let mut random = fastrand::Rng::with_seed(23);
        for _ in 0..5_000 {
            let mut script = vec![0; random.usize(0..300)];
            script.fill_with(|| if random.bool() { random.u8(0..20) } else { random.u8(..) });
            play(&script);
        }
    }
}

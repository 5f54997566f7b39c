//! Signal strengths, losses and rates against the stated model.

use beacon_gateway::scan::simulate::{Plan, Propagation, Reception, Settings, Shop};

use super::{clear_air, heard_s, of, receptions, rssi, settings};

#[test]
fn the_mean_signal_strength_falls_with_distance_as_the_model_says() {
    for exponent in [1.8, 2.2, 3.0] {
        let radio = Propagation { exponent, ..clear_air() };
        let mut shop = Shop::new(4, &Settings { radio, ..settings(120) });
        let heard = receptions(&mut shop);
        let points: Vec<(f64, f64)> = of(&heard, "cust_ibeacon")
            .into_iter()
            .map(|one| (one.from.distance(Plan::default().receivers[0].at).log10(), rssi(one)))
            .collect();
        let (at_1_m, slope, deviation) = regression(&points);
        assert!((slope + 10.0 * exponent).abs() < 0.3, "slope {slope} for n = {exponent}");
        assert!((at_1_m + 59.0).abs() < 0.3, "{at_1_m} dBm at 1 m");
        // What is left is rounding to whole dBm: 1 / sqrt(12).
        assert!((0.2..0.35).contains(&deviation), "deviation {deviation} dB");
    }
}

/// Intercept, slope and residual standard deviation of a least-squares line.
fn regression(points: &[(f64, f64)]) -> (f64, f64, f64) {
    let count = f64::from(u32::try_from(points.len()).unwrap());
    let mean = |value: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (mx, my) = (mean(&|point| point.0), mean(&|point| point.1));
    let covariance = mean(&|point| (point.0 - mx) * (point.1 - my));
    let slope = covariance / mean(&|point| (point.0 - mx).powi(2));
    let intercept = my - slope * mx;
    let deviation = mean(&|point| (point.1 - intercept - slope * point.0).powi(2)).sqrt();
    (intercept, slope, deviation)
}

#[test]
fn shadows_deviate_by_as_much_as_was_asked_for() {
    let expected =
        |one: &Reception| -59.0 - 22.0 * one.from.distance(Plan::default().receivers[0].at).log10();
    for (shelf_shadow_db, crowd_shadow_db) in [(4.0, 0.0), (3.0, 2.0)] {
        let radio = Propagation { shelf_shadow_db, crowd_shadow_db, ..clear_air() };
        let wanted = (shelf_shadow_db.powi(2) + crowd_shadow_db.powi(2)).sqrt();
        // One shop is one draw of the field: the deviation shows over many shops.
        let mut residuals = Vec::new();
        for seed in 0..40 {
            let settings = Settings { radio: radio.clone(), strangers: 0, ..settings(30) };
            let heard = receptions(&mut Shop::new(seed, &settings));
            residuals
                .extend(of(&heard, "cust_ibeacon").iter().map(|one| rssi(one) - expected(one)));
        }
        let count = f64::from(u32::try_from(residuals.len()).unwrap());
        let mean = residuals.iter().sum::<f64>() / count;
        let deviation = (residuals.iter().map(|x| x * x).sum::<f64>() / count).sqrt();
        assert!(mean.abs() < 0.5, "mean {mean} dB");
        assert!((deviation / wanted - 1.0).abs() < 0.1, "{deviation} dB instead of {wanted} dB");
    }
}

#[test]
fn shadows_change_slowly_while_fading_changes_from_packet_to_packet() {
    // How much two successive packets differ, against how much any two packets differ.
    let roughness = |radio: Propagation| {
        let mut step = 0.0;
        let mut spread = 0.0;
        for seed in 0..10 {
            let settings = Settings { radio: radio.clone(), strangers: 0, ..settings(40) };
            let heard = receptions(&mut Shop::new(seed, &settings));
            let excess: Vec<f64> = of(&heard, "asset_trolley")
                .iter()
                .map(|one| {
                    rssi(one) + 22.0 * one.from.distance(Plan::default().receivers[0].at).log10()
                })
                .collect();
            step += excess.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum::<f64>();
            spread +=
                excess.iter().zip(excess.iter().rev()).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        }
        step / spread
    };
    let crowd = roughness(Propagation { crowd_shadow_db: 5.0, ..clear_air() });
    let fading = roughness(Propagation { rice_db: Some(3.0), ..clear_air() });
    assert!(crowd < 0.4, "crowd {crowd}");
    assert!(0.6 < fading, "fading {fading}");
}

#[test]
fn packets_get_lost_where_the_signal_is_weak() {
    // A receiver as sensitive as a sensor is loud to it hears every other packet.
    let share_of = |sensitivity_dbm| {
        let radio = Propagation { sensitivity_dbm, ..clear_air() };
        let settings = Settings { radio, strangers: 0, ..settings(120) };
        let heard = receptions(&mut Shop::new(5, &settings));
        let climate = of(&heard, "climate-1");
        let expected = 120.0 / 1.290;
        (f64::from(u32::try_from(climate.len()).unwrap()) / expected, rssi(climate[0]))
    };
    let (all, dbm) = share_of(-200.0);
    assert!((0.8..1.02).contains(&all), "{all} of the packets at {dbm} dBm");
    let (half, _) = share_of(dbm);
    assert!((0.3..0.7).contains(&half), "{half} at the sensitivity");
}

#[test]
fn advertisements_are_as_far_apart_as_the_interval_and_the_random_delay_make_them() {
    let settings = Settings { radio: clear_air(), ..settings(120) };
    let heard = receptions(&mut Shop::new(6, &settings));
    for (name, interval_ms) in [("climate-1", 1285.0), ("fridge-1", 1000.0), ("staff_badge", 500.0)]
    {
        let times: Vec<f64> =
            of(&heard, name).into_iter().map(|one| heard_s(one) * 1000.0).collect();
        let mut whole = 0_usize;
        for pair in times.windows(2) {
            // Now and then one collides; the gap is then that of two or three. The channel of the
            // moment moves a packet within its event by up to 2 ms.
            let events = ((pair[1] - pair[0]) / (interval_ms + 5.0)).round().max(1.0);
            let least = events * interval_ms - 2.0;
            let most = events * (interval_ms + 10.0) + 2.0;
            assert!((least..most).contains(&(pair[1] - pair[0])), "{name}: {pair:?}");
            whole += usize::from(events < 1.5);
        }
        assert!(times.len() * 8 / 10 < whole, "{name}: {whole} of {}", times.len());
    }
    let rate = f64::from(u32::try_from(heard.len()).unwrap()) / 120.0;
    assert!((40.0..250.0).contains(&rate), "{rate} advertisements a second");
}

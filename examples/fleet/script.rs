//! What happens in a shop, as records: the simulated shop through the project's own engine, written
//! down once, to be played by every gateway.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use beacon_gateway::{
    clock::Clock,
    engine::{ClockQuality, Engine, Uptime, VisitId, WallClock},
    gateway,
    outbox::record::{Body, Record, RunId},
    scan::simulate::{Settings as ShopSettings, Shop},
    settings::Loader,
};

/// How long is played before it begins again.
const LENGTH: Duration = Duration::from_mins(20);

/// One radio in a small shop, as in the demo.
const CONFIG: &str = r#"
[gateway]
tenant = "fleet"
store = "shop"
name = "gateway"
clock = "always"

[presence]
smoothing = "2s"
exit_delay = "2s"
exit_timeout = "10s"
loitering = ["30s"]

[[zone]]
id = "shop"
enter_rssi = -83.0
exit_rssi = -87.0

[[zone]]
id = "checkout"
enter_rssi = -72.0
exit_rssi = -78.0
"#;

/// Everything that happens, in order, each with its time since the beginning.
#[derive(Debug)]
pub(crate) struct Script(Vec<(Duration, Body)>);

impl Script {
    /// Plays a shop and writes down what the engine makes of it.
    pub(crate) fn write(seed: u64, clock: Clock) -> anyhow::Result<Self> {
        let started = clock.wall().unix;
        let seconds = Duration::from_secs;
        let mut shop = Shop::new(
            seed,
            &ShopSettings {
                started,
                length: Some(LENGTH),
                stay: seconds(60)..=seconds(180),
                away: seconds(20)..=seconds(60),
                // Nothing is made of them.
                strangers: 0,
                ..ShopSettings::default()
            },
        );
        let mut engine = Self::engine(&shop, clock)?;
        let wall = WallClock { at: Uptime::ZERO, unix: started, quality: ClockQuality::Synced };
        engine.handle_clock(wall);
        engine.handle_recording(Uptime::ZERO);
        let mut lines = Vec::new();
        let mut write_down = |engine: &mut Engine| {
            while engine.poll_checkpoint().is_some() {}
            while let Some(situation) = engine.poll_event() {
                let at = situation.at.since(Uptime::ZERO);
                lines.push((at, Record::of(&situation, RunId(0), &wall).body));
            }
        };
        while let Some(reception) = shop.next_reception() {
            let heard = reception.advertisement.heard;
            while let Some(due) = engine.poll_timeout().filter(|due| *due <= heard) {
                engine.handle_timeout(due);
                write_down(&mut engine);
            }
            engine.handle_advertisement(heard, &reception.advertisement);
            write_down(&mut engine);
        }
        anyhow::ensure!(!lines.is_empty(), "nothing happened in the shop");
        // What is told late is dated to when it was true.
        lines.sort_by_key(|(at, _)| *at);
        Ok(Self(lines))
    }

    fn engine(shop: &Shop, clock: Clock) -> anyhow::Result<Engine> {
        let place = Place::new()?;
        let registry = place.write("registry.jsonl", &shop.registry_jsonl())?;
        let fixtures = shop.fixtures().iter().map(|fixture| fixture.zone.clone());
        let fixtures = fixtures.fold(shop.fixtures_toml(), |toml, zone| {
            let told_apart = if zone == "checkout" { "checkout" } else { "shop" };
            toml.replace(&format!("zone = \"{zone}\""), &format!("zone = \"{told_apart}\""))
        });
        let config = place.write("gateway.toml", &(CONFIG.to_owned() + &fixtures))?;
        let settings = Loader::files([config])
            .set("identity.registry", &registry.display().to_string())
            .set("gateway.state_dir", &place.0.join("state").display().to_string())
            .load()?;
        let registry = gateway::load_registry(&settings, clock)?;
        let first = VisitId { epoch: 1, run: 0, number: 1 };
        Ok(Engine::new(gateway::identity(&settings, registry), settings.presence(), first))
    }

    /// Events a second.
    pub(crate) fn rate(&self) -> f64 {
        // Far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let many = self.0.len() as f64;
        many / LENGTH.as_secs_f64()
    }

    /// Where to begin, so that a number from 0 to 1 chooses any place.
    pub(crate) fn place(&self, chance: f64) -> usize {
        let many = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        // Not negative, and at most as large as the number it came from.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let place = (f64::from(many) * chance) as u32;
        place.min(many.saturating_sub(1)) as usize
    }

    /// What happens at a place, and how long after that the next thing happens. Behind the last comes
    /// the first, of the next time. `None` when nothing ever happens.
    pub(crate) fn line(&self, place: usize) -> Option<(&Body, Duration)> {
        let (first, _) = self.0.first()?;
        let place = place % self.0.len();
        let (now, body) = self.0.get(place)?;
        let next = self.0.get(place + 1).map_or(LENGTH + *first, |(next, _)| *next);
        Some((body, next.saturating_sub(*now)))
    }
}

/// A directory that is removed with the value.
struct Place(PathBuf);

impl Place {
    fn new() -> anyhow::Result<Self> {
        let name = format!("beacon-gateway-fleet-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays behind is a few kilobytes among the temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}

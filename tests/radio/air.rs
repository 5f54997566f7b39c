//! What is in the air: devices that advertise, each at its own pace, as long as they are switched
//! on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use beacon_gateway::{
    clock::Clock,
    engine::{UnixTime, Uptime},
};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    antenna::Antenna,
    controller::{Kind, Report},
    process::Outcome,
};

/// The air around one antenna. Falls silent when dropped.
pub(crate) struct Air {
    clock: Clock,
    cast: Arc<Mutex<Cast>>,
    sending: JoinHandle<()>,
}

#[derive(Default)]
struct Cast {
    devices: Vec<Device>,
    heard: BTreeMap<[u8; 6], u32>,
    responses: u32,
    missed: u32,
    trouble: Option<String>,
}

/// A device that advertises.
pub(crate) struct Device {
    name: String,
    period: Duration,
    due: Uptime,
    on: bool,
    last_heard: Option<UnixTime>,
    speech: Speech,
}

/// What a device sends at a moment: one report, or one and its scan response.
pub(crate) type Speech = Box<dyn FnMut(UnixTime) -> Vec<Report> + Send>;

/// How often the air is looked at: when the next device is due, but not more often than this, which
/// is shorter than the shortest pace of a device.
const STEP: Duration = Duration::from_millis(20);

/// At least this often, since a device may be switched on meanwhile.
const LONGEST_STEP: Duration = Duration::from_millis(100);

impl Air {
    pub(crate) fn around(antenna: Antenna) -> Self {
        let clock = Clock::start();
        let cast = Arc::new(Mutex::new(Cast::default()));
        let sending = tokio::spawn({
            let cast = Arc::clone(&cast);
            async move {
                loop {
                    let mut pause = LONGEST_STEP;
                    if let Ok(mut cast) = cast.lock() {
                        cast.send(clock, &antenna);
                        pause = cast.next_due().map_or(pause, |due| due.since(clock.now()));
                    }
                    sleep(pause.clamp(STEP, LONGEST_STEP)).await;
                }
            }
        });
        Self { clock, cast, sending }
    }

    /// Adds a device that is switched off.
    pub(crate) fn add(&self, name: &str, period: Duration, speech: Speech) {
        let device = Device {
            name: name.to_owned(),
            period,
            due: Uptime::ZERO,
            on: false,
            last_heard: None,
            speech,
        };
        if let Ok(mut cast) = self.cast.lock() {
            cast.devices.push(device);
        }
    }

    /// Switches devices on whose names begin like this, spread over their period.
    pub(crate) fn on(&self, name: &str) {
        let now = self.clock.now();
        self.each(name, |device, share| {
            device.on = true;
            device.due = now + device.period.mul_f64(share);
        });
    }

    /// Switches devices off.
    pub(crate) fn off(&self, name: &str) {
        self.each(name, |device, _| device.on = false);
    }

    /// When the controller last heard a device.
    pub(crate) fn last_heard(&self, name: &str) -> Outcome<UnixTime> {
        let mut last = None;
        self.each(name, |device, _| last = device.last_heard.max(last));
        last.ok_or_else(|| format!("`{name}` was never heard"))
    }

    /// How many advertisements the controller heard, by address.
    pub(crate) fn heard(&self) -> Outcome<BTreeMap<[u8; 6], u32>> {
        let cast = self.cast.lock().map_err(|_| "the air's task panicked".to_owned())?;
        match &cast.trouble {
            None => Ok(cast.heard.clone()),
            Some(trouble) => Err(trouble.clone()),
        }
    }

    /// How many scan responses the controller heard.
    pub(crate) fn responses(&self) -> u32 {
        self.cast.lock().map(|cast| cast.responses).unwrap_or_default()
    }

    /// How many advertisements the controller missed because it did not scan.
    pub(crate) fn missed(&self) -> u32 {
        self.cast.lock().map(|cast| cast.missed).unwrap_or_default()
    }

    fn each(&self, name: &str, mut change: impl FnMut(&mut Device, f64)) {
        let Ok(mut cast) = self.cast.lock() else { return };
        let mut devices: Vec<_> =
            cast.devices.iter_mut().filter(|device| device.name.starts_with(name)).collect();
        let number = u32::try_from(devices.len()).unwrap_or(u32::MAX);
        for (index, device) in (0_u32..).zip(&mut devices) {
            change(device, f64::from(index) / f64::from(number));
        }
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl Cast {
    fn next_due(&self) -> Option<Uptime> {
        self.devices.iter().filter(|device| device.on).map(|device| device.due).min()
    }

    fn send(&mut self, clock: Clock, antenna: &Antenna) {
        let now = clock.now();
        let unix = clock.wall().unix;
        for device in self.devices.iter_mut().filter(|device| device.on && device.due <= now) {
            device.due = now + device.period;
            for report in (device.speech)(unix) {
                match antenna.hear(&report) {
                    // A scan response belongs to the advertisement before it.
                    Ok(heard) if report.kind == Kind::ScanResponse => {
                        self.responses += u32::from(heard);
                    }
                    Ok(true) => {
                        *self.heard.entry(report.address).or_default() += 1;
                        device.last_heard = Some(unix);
                    }
                    Ok(false) => self.missed += 1,
                    Err(trouble) => self.trouble = Some(trouble),
                }
            }
        }
    }
}

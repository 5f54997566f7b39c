//! A place for a controller, which can be pulled out and plugged in.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    controller::{Controller, Cure, Model, Report, Tally},
    process::{Outcome, until},
};

/// Where a controller can be plugged in, and what is heard there.
#[derive(Clone, Default)]
pub(crate) struct Antenna {
    pub(crate) model: Model,
    place: Arc<Mutex<Option<Controller>>>,
    tally: Arc<Mutex<Tally>>,
}

/// Where the kernel lists its controllers.
const CONTROLLERS: &str = "/sys/class/bluetooth";

impl Antenna {
    pub(crate) fn of(model: Model) -> Self {
        Self { model, ..Self::default() }
    }

    pub(crate) fn plug(&self) -> Outcome<()> {
        let plugged = Controller::plug(self.model, Arc::clone(&self.tally))
            .map_err(|error| format!("failed to plug in: {error}"))?;
        self.replace(Some(plugged));
        Ok(())
    }

    /// Pulls the controller out, and waits until the kernel has noticed.
    pub(crate) async fn unplug(&self) -> Outcome<()> {
        let path = Path::new(CONTROLLERS).join(self.name()?);
        self.replace(None);
        until("the controller is gone", Duration::from_secs(10), async || {
            (!path.exists()).then_some(())
        })
        .await
    }

    /// Lets the controller hear something; says whether it did.
    pub(crate) fn hear(&self, report: &Report) -> Outcome<bool> {
        let heard = self.with(|controller| controller.hear(report)).transpose();
        heard.map(Option::unwrap_or_default).map_err(|error| format!("the controller: {error}"))
    }

    /// Whether there is a controller that was told to scan.
    pub(crate) fn is_scanning(&self) -> bool {
        self.with(Controller::is_scanning).unwrap_or_default()
    }

    /// From now on the controller hears nothing, until it is cured.
    pub(crate) fn hang(&self, until: Cure) {
        self.with(|controller| controller.hang(until));
    }

    /// Whether the controller hangs.
    pub(crate) fn hangs(&self) -> bool {
        self.with(Controller::hangs).unwrap_or_default()
    }

    /// What the controller has done, over all the times that it was plugged in.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().map(|tally| *tally).unwrap_or_default()
    }

    /// The number that the kernel gave the controller.
    pub(crate) fn index(&self) -> Outcome<u16> {
        self.with(Controller::index).flatten().ok_or_else(|| "no controller is there".to_owned())
    }

    /// The kernel's name of the controller, like `hci0`.
    pub(crate) fn name(&self) -> Outcome<String> {
        self.index().map(|index| format!("hci{index}"))
    }

    /// Waits until the kernel has given the controller a number.
    pub(crate) async fn numbered(&self) -> Outcome<u16> {
        until("the kernel knows the controller", Duration::from_secs(10), async || {
            self.index().ok()
        })
        .await
    }

    fn with<T>(&self, ask: impl FnOnce(&Controller) -> T) -> Option<T> {
        self.place.lock().ok().and_then(|controller| controller.as_ref().map(ask))
    }

    fn replace(&self, controller: Option<Controller>) {
        if let Ok(mut place) = self.place.lock() {
            *place = controller;
        }
    }
}

/// Waits until the kernel knows no controller.
pub(crate) async fn nothing_plugged() -> Outcome<()> {
    until("the controllers are gone", Duration::from_secs(10), async || {
        let mut left = fs::read_dir(CONTROLLERS).ok()?;
        left.next().is_none().then_some(())
    })
    .await
}

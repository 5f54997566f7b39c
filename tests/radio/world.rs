//! The machine that the daemon runs on: message bus, Bluetooth daemon, controller; each can be
//! started, stopped and killed.

use std::{fs, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt as _, net::UnixStream, process::Child};

use crate::{
    antenna::{Antenna, nothing_plugged},
    controller::Model,
    process::{Outcome, kill, log_of, output, run, start, start_with, until},
};

/// The parts that can be there or not.
pub(crate) struct World {
    bus: Option<Child>,
    bluetoothd: Option<Child>,
    /// bluetoothd's configuration, if it is not the one of its package.
    configuration: Option<&'static str>,
    pub(crate) antenna: Antenna,
    /// A second controller; plugged in only where it is wanted.
    pub(crate) spare: Antenna,
}

const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";

/// How long a program may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(5);

impl World {
    /// A machine on which nothing runs.
    pub(crate) fn new() -> Self {
        Self {
            bus: None,
            bluetoothd: None,
            configuration: None,
            antenna: Antenna::default(),
            spare: Antenna::of(Model::plain(0x77)),
        }
    }

    /// The same, with another controller to be plugged in.
    pub(crate) fn with(self, model: Model) -> Self {
        Self { antenna: Antenna::of(model), ..self }
    }

    /// The same, where bluetoothd leaves adapters off that it finds, for whoever else wants them.
    pub(crate) fn hands_off(self) -> Outcome<Self> {
        let path = "/run/bluetooth-hands-off.conf";
        fs::write(path, "[Policy]\nAutoEnable=false\n")
            .map_err(|error| format!("failed to write bluetoothd's configuration: {error}"))?;
        Ok(Self { configuration: Some(path), ..self })
    }

    /// A machine whose Bluetooth works.
    pub(crate) async fn working() -> Outcome<Self> {
        // What an earlier world left behind goes away by itself.
        nothing_plugged().await?;
        let mut world = Self::new();
        world.begin().await?;
        world.powered(true).await?;
        Ok(world)
    }

    /// Plugs the controller in and starts everything.
    pub(crate) async fn begin(&mut self) -> Outcome<()> {
        self.plug()?;
        self.start_bus().await?;
        self.start_bluetoothd()
    }

    pub(crate) async fn start_bus(&mut self) -> Outcome<()> {
        let failed = |error| format!("failed to prepare the bus's directory: {error}");
        fs::create_dir_all("/run/dbus").map_err(failed)?;
        match fs::remove_file(BUS_SOCKET) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        self.bus = Some(start("dbus-daemon", &["--system", "--nofork", "--nopidfile"])?);
        until("the bus accepts connections", Duration::from_secs(10), async || {
            UnixStream::connect(BUS_SOCKET).await.ok()
        })
        .await
        .map(drop)
    }

    pub(crate) fn start_bluetoothd(&mut self) -> Outcome<()> {
        let more = self.configuration.map(|path| ["-f", path]);
        let words = [&["-n"][..], more.as_ref().map_or(&[], |more| &more[..])].concat();
        self.bluetoothd = Some(start("bluetoothd", &words)?);
        Ok(())
    }

    pub(crate) async fn kill_bus(&mut self) -> Outcome<()> {
        kill(&mut self.bus).await
    }

    pub(crate) async fn kill_bluetoothd(&mut self) -> Outcome<()> {
        kill(&mut self.bluetoothd).await
    }

    /// Stops bluetoothd as a package upgrade would.
    pub(crate) async fn stop_bluetoothd(&mut self) -> Outcome<()> {
        let mut child = self.bluetoothd.take().ok_or("bluetoothd does not run")?;
        let pid = child.id().ok_or("bluetoothd has ended")?.to_string();
        run("kill", &["-TERM", &pid]).await?;
        child.wait().await.map(drop).map_err(|error| format!("failed to wait: {error}"))
    }

    /// Makes bluetoothd stand still, as a disk that does not answer would, or go on.
    pub(crate) async fn freeze_bluetoothd(&self, still: bool) -> Outcome<()> {
        let pid = self.pid_of_bluetoothd()?.to_string();
        run("kill", &[if still { "-STOP" } else { "-CONT" }, &pid]).await
    }

    pub(crate) fn pid_of_bluetoothd(&self) -> Outcome<u32> {
        pid(self.bluetoothd.as_ref(), "bluetoothd")
    }

    pub(crate) fn pid_of_bus(&self) -> Outcome<u32> {
        pid(self.bus.as_ref(), "the bus")
    }

    pub(crate) fn plug(&mut self) -> Outcome<()> {
        self.antenna.plug()
    }

    pub(crate) async fn unplug(&mut self) -> Outcome<()> {
        self.antenna.unplug().await
    }

    /// Switches the adapter on or off, as `bluetoothctl power` does.
    pub(crate) async fn power(&self, on: bool) -> Outcome<()> {
        let path = format!("/org/bluez/{}", self.antenna.name()?);
        let value = format!("variant:boolean:{on}");
        let set = "org.freedesktop.DBus.Properties.Set";
        let call = ["--system", "--print-reply", "--dest=org.bluez", &path, set];
        let words = ["string:org.bluez.Adapter1", "string:Powered", &value];
        run("dbus-send", &[&call[..], &words[..]].concat()).await
    }

    /// Stops the scan behind bluetoothd's back, as a client of the kernel's management socket may.
    pub(crate) async fn stop_discovery(&self) -> Outcome<()> {
        let index = self.antenna.index()?.to_string();
        let before = self.antenna.tally().scans;
        let said = output("btmgmt", &["--index", &index, "stop-find", "-l"]).await?;
        until(format!("the scan is stopped by btmgmt; it said `{said}`"), PATIENCE, async || {
            // Somebody may have started it anew by now.
            let stopped = !self.antenna.is_scanning() || self.antenna.tally().scans > before;
            stopped.then_some(())
        })
        .await
    }

    /// Another client of bluetoothd that scans with a filter of its own, until it is ended: only
    /// what is close, and each device once.
    pub(crate) async fn narrow(&self) -> Outcome<Child> {
        let log = log_of("bluetoothctl");
        let before = fs::read_to_string(&log).unwrap_or_default().len();
        let mut client = start_with("bluetoothctl", &[], Stdio::piped())?;
        let mut words = client.stdin.take().ok_or("bluetoothctl does not listen")?;
        let mut says = async |line: &str, answer: &str| {
            words
                .write_all(line.as_bytes())
                .await
                .map_err(|error| format!("failed to speak to bluetoothctl: {error}"))?;
            until(format!("bluetoothctl says `{answer}`"), Duration::from_secs(10), async || {
                let said = fs::read_to_string(&log).ok()?;
                said.get(before..)?.contains(answer).then_some(())
            })
            .await
        };
        let address = self.antenna.model.written();
        says("", "Agent registered").await?;
        says(&format!("select {address}\nmenu scan\n"), "Menu scan").await?;
        says("transport le\nrssi -40\nduplicate-data off\nback\n", "Menu main").await?;
        says("scan on\n", "Discovery started").await?;
        // It goes on for as long as somebody may still speak.
        client.stdin = Some(words);
        Ok(client)
    }

    /// Waits until the adapter is there, and on or off.
    pub(crate) async fn powered(&self, on: bool) -> Outcome<()> {
        let what = format!("the adapter is switched {}", if on { "on" } else { "off" });
        until(what, Duration::from_secs(20), async || {
            (self.is_powered().await == Some(on)).then_some(())
        })
        .await
    }

    /// Waits until bluetoothd has found the adapter.
    pub(crate) async fn found(&self) -> Outcome<()> {
        until("bluetoothd has found the adapter", PATIENCE, async || {
            self.is_powered().await.map(drop)
        })
        .await
    }

    /// Whether the adapter is on; nothing when bluetoothd knows none.
    pub(crate) async fn is_powered(&self) -> Option<bool> {
        let path = format!("/org/bluez/{}", self.antenna.name().ok()?);
        let get = "org.freedesktop.DBus.Properties.Get";
        let call = ["--system", "--print-reply", "--dest=org.bluez", &path, get];
        let words = ["string:org.bluez.Adapter1", "string:Powered"];
        let said = output("dbus-send", &[&call[..], &words[..]].concat()).await.ok()?;
        Some(said.contains("boolean true"))
    }

    /// Waits until the controller is told to scan.
    pub(crate) async fn scanning(&self) -> Outcome<()> {
        until("the controller scans", Duration::from_mins(1), async || {
            self.antenna.is_scanning().then_some(())
        })
        .await
    }
}

fn pid(child: Option<&Child>, what: &str) -> Outcome<u32> {
    child.and_then(Child::id).ok_or_else(|| format!("{what} does not run"))
}

/// How many programs are connected to the bus.
pub(crate) async fn connections() -> Outcome<usize> {
    let call = ["--system", "--print-reply", "--dest=org.freedesktop.DBus", "/"];
    let names = "org.freedesktop.DBus.ListNames";
    let said = output("dbus-send", &[&call[..], &[names]].concat()).await?;
    Ok(said.matches("\":").count())
}

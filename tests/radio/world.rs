//! The machine that the daemon runs on: message bus, Bluetooth daemon, controller; each can be
//! started, stopped and killed.

use std::{
    fmt::Display,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use beacon_gateway::{clock::Clock, scan::bluez};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    time::sleep,
};

use crate::{
    controller::{Controller, Report},
    guest::SHARE,
};

/// The reason why something did not work out.
pub(crate) type Outcome<T> = Result<T, String>;

/// The parts that can be there or not.
pub(crate) struct World {
    bus: Option<Child>,
    bluetoothd: Option<Child>,
    pub(crate) antenna: Antenna,
}

/// Where a controller can be plugged in, and what is heard there.
#[derive(Clone, Default)]
pub(crate) struct Antenna(Arc<Mutex<Option<Controller>>>);

const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";

/// Waits for a condition; the error names it. Looks at it often enough to be at most a little late,
/// at the scale of what is waited for.
pub(crate) async fn until<T>(
    what: impl Display,
    within: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Outcome<T> {
    let clock = Clock::start();
    let pause = (within / 500).clamp(Duration::from_millis(20), Duration::from_secs(1));
    loop {
        if let Some(seen) = look().await {
            return Ok(seen);
        }
        if clock.now().as_micros() >= i64::try_from(within.as_micros()).unwrap_or(i64::MAX) {
            return Err(format!("after {} s still not: {what}", within.as_secs()));
        }
        sleep(pause).await;
    }
}

/// Starts a program whose output goes to a file that the host can read.
pub(crate) fn start(program: &str, arguments: &[&str]) -> Outcome<Child> {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let log = log_of(&name);
    let open = || File::options().create(true).append(true).open(&log);
    let (output, errors) = open()
        .and_then(|output| open().map(|errors| (output, errors)))
        .map_err(|error| format!("failed to open {}: {error}", log.display()))?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("failed to start {program}: {error}"))
}

/// Where the output of a program is.
pub(crate) fn log_of(program: &str) -> PathBuf {
    Path::new(SHARE).join(format!("{program}.log"))
}

/// Ends a program as a power cut would.
pub(crate) async fn kill(child: &mut Option<Child>) -> Outcome<()> {
    match child.take() {
        Some(mut child) => child.kill().await.map_err(|error| format!("failed to kill: {error}")),
        None => Err("there is nothing to kill".to_owned()),
    }
}

impl World {
    /// A machine on which nothing runs.
    pub(crate) fn new() -> Self {
        Self { bus: None, bluetoothd: None, antenna: Antenna::default() }
    }

    /// A machine whose Bluetooth works.
    pub(crate) async fn working() -> Outcome<Self> {
        // What an earlier world left behind goes away by itself.
        unplugged().await?;
        let mut world = Self::new();
        world.plug()?;
        world.start_bus().await?;
        world.start_bluetoothd()?;
        world.powered(true).await?;
        Ok(world)
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
        self.bluetoothd = Some(start("bluetoothd", &["-n"])?);
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

    pub(crate) fn plug(&mut self) -> Outcome<()> {
        let plugged = Controller::plug().map_err(|error| format!("failed to plug in: {error}"))?;
        self.antenna.replace(Some(plugged));
        Ok(())
    }

    pub(crate) async fn unplug(&mut self) -> Outcome<()> {
        self.antenna.replace(None);
        unplugged().await
    }

    /// Switches the adapter on or off, as the administrator does.
    pub(crate) async fn power(&self, on: bool) -> Outcome<()> {
        let value = format!("variant:boolean:{on}");
        let set = "org.freedesktop.DBus.Properties.Set";
        let call = ["--system", "--print-reply", "--dest=org.bluez", "/org/bluez/hci0", set];
        let words = ["string:org.bluez.Adapter1", "string:Powered", &value];
        run("dbus-send", &[&call[..], &words[..]].concat()).await
    }

    /// Waits until the adapter is there, and on or off.
    pub(crate) async fn powered(&self, on: bool) -> Outcome<()> {
        let what = format!("hci0 is switched {}", if on { "on" } else { "off" });
        until(what, Duration::from_secs(20), async || {
            (is_powered().await == Some(on)).then_some(())
        })
        .await
    }

    /// Waits until the controller is told to scan.
    pub(crate) async fn scanning(&self) -> Outcome<()> {
        until("the controller scans", Duration::from_mins(1), async || {
            self.antenna.is_scanning().then_some(())
        })
        .await
    }
}

impl Antenna {
    /// Lets the controller hear something; says whether it did.
    pub(crate) fn hear(&self, report: &Report) -> Outcome<bool> {
        let heard = self.with(|controller| controller.hear(report)).transpose();
        heard.map(Option::unwrap_or_default).map_err(|error| format!("the controller: {error}"))
    }

    /// Whether there is a controller that was told to scan.
    pub(crate) fn is_scanning(&self) -> bool {
        self.with(Controller::is_scanning).unwrap_or_default()
    }

    fn with<T>(&self, ask: impl FnOnce(&Controller) -> T) -> Option<T> {
        self.0.lock().ok().and_then(|controller| controller.as_ref().map(ask))
    }

    fn replace(&self, controller: Option<Controller>) {
        if let Ok(mut place) = self.0.lock() {
            *place = controller;
        }
    }
}

/// Waits until the kernel knows no controller.
async fn unplugged() -> Outcome<()> {
    until("the controller is gone", Duration::from_secs(10), async || {
        let mut left = fs::read_dir("/sys/class/bluetooth").ok()?;
        left.next().is_none().then_some(())
    })
    .await
}

/// Whether the only adapter is on; nothing when there is none.
pub(crate) async fn is_powered() -> Option<bool> {
    let adapters = bluez::adapters(Duration::from_secs(5)).await.ok()?;
    adapters.first().map(|adapter| adapter.powered)
}

/// How many programs are connected to the bus.
pub(crate) async fn connections() -> Outcome<usize> {
    let output = Command::new("dbus-send")
        .args(["--system", "--print-reply", "--dest=org.freedesktop.DBus", "/"])
        .arg("org.freedesktop.DBus.ListNames")
        .output()
        .await
        .map_err(|error| format!("failed to ask the bus: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.matches("\":").count())
}

/// Runs a program to its end.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Outcome<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| format!("failed to start {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended with {}: {}", output.status, errors.trim()))
}

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

use beacon_gateway::clock::Clock;
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    controller::{Controller, Cure, Model, Report, Tally},
    guest::SHARE,
};

/// The reason why something did not work out.
pub(crate) type Outcome<T> = Result<T, String>;

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

/// Where a controller can be plugged in, and what is heard there.
#[derive(Clone, Default)]
pub(crate) struct Antenna {
    model: Model,
    place: Arc<Mutex<Option<Controller>>>,
    tally: Arc<Mutex<Tally>>,
}

const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";

/// Where the kernel lists its controllers.
const CONTROLLERS: &str = "/sys/class/bluetooth";

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
    start_with(program, arguments, Stdio::null())
}

/// The same, for a program that is spoken to.
fn start_with(program: &str, arguments: &[&str], input: Stdio) -> Outcome<Child> {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let log = log_of(&name);
    let open = || File::options().create(true).append(true).open(&log);
    let (output, errors) = open()
        .and_then(|output| open().map(|errors| (output, errors)))
        .map_err(|error| format!("failed to open {}: {error}", log.display()))?;
    Command::new(program)
        .args(arguments)
        .stdin(input)
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
        run("btmgmt", &["--index", &index, "stop-find", "-l"]).await
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

/// Runs a program to its end.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Outcome<()> {
    output(program, arguments).await.map(drop)
}

/// Runs a program to its end; gives what it said.
pub(crate) async fn output(program: &str, arguments: &[&str]) -> Outcome<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(Duration::from_secs(30), output)
        .await
        .map_err(|_| format!("{program} did not end within 30 s"))?
        .map_err(|error| format!("failed to start {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended with {}: {}", output.status, errors.trim()))
}

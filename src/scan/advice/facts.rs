//! This machine in, [`Facts`] out: sysfs, procfs, bluetoothd's configuration, and two programs that
//! are given little time. Nothing here fails: what cannot be read is not known.
//!
//! [`super::judge()`] decides what the facts mean.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{Block, BluezConfig, BluezVersion, Facts, Radio, Wanted, Wifi, parse};

// Paths stand without their first slash: they are looked up under the root of a machine.

/// Where distributions put bluetoothd.
const BLUETOOTHD: [&str; 4] = [
    "usr/libexec/bluetooth/bluetoothd",
    "usr/lib/bluetooth/bluetoothd",
    "usr/sbin/bluetoothd",
    "usr/libexec/bluetoothd",
];

/// Where systemd looks for units, the weakest first.
const UNIT_FOLDERS: [&str; 5] = [
    "lib/systemd/system",
    "usr/lib/systemd/system",
    "usr/local/lib/systemd/system",
    "run/systemd/system",
    "etc/systemd/system",
];

/// The file that bluetoothd reads when none is named.
const MAIN_CONF: &str = "etc/bluetooth/main.conf";

/// The first BlueZ that reads the folder `main.conf.d` beside `main.conf`.
const FRAGMENTS_SINCE: BluezVersion = BluezVersion { major: 5, minor: 86 };

/// A program that only prints is done in milliseconds; an old SD card may take a second to load it.
const PROGRAM_LIMIT: Duration = Duration::from_secs(3);

/// More than any of them prints.
const PROGRAM_OUTPUT_MAX: u64 = 64 * 1024;

/// Gathers what is known. Takes a few milliseconds, six seconds at worst.
///
/// Whether Classic is enabled on a radio and which configured addresses are absent is left to the
/// caller, who can ask the kernel's management socket.
pub fn gather(wanted: Wanted) -> Facts {
    Machine { root: Path::new("/") }.facts(wanted)
}

/// A machine, by the root of its file system.
struct Machine<'a> {
    root: &'a Path,
}

impl Machine<'_> {
    fn facts(&self, wanted: Wanted) -> Facts {
        let bluez = BLUETOOTHD
            .iter()
            .map(|path| self.root.join(path))
            .find(|path| path.exists())
            .and_then(|path| output(&path, &["--version"], PROGRAM_LIMIT))
            .and_then(|text| parse::bluez_version(&text));
        let (status, uid_map) = (self.read("proc/self/status"), self.read("proc/self/uid_map"));
        Facts {
            wanted,
            radios: self.radios(),
            absent: Vec::new(),
            bluez,
            bluez_config: self.bluez_config(bluez),
            wifi: self.wifi(),
            capabilities: parse::capabilities(&status, &uid_map),
            blocks: self.blocks(),
            board: self.board(),
        }
    }

    fn radios(&self) -> Vec<Radio> {
        let mut radios: Vec<Radio> = self
            .entries("sys/class/bluetooth")
            .into_iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.to_owned();
                // Connections stand in the same folder, as `hci0:64`.
                name.strip_prefix("hci")?.parse::<u16>().ok()?;
                let device = fs::canonicalize(&path).unwrap_or(path);
                Some(Radio { name, attachment: parse::attachment(&device), classic: None })
            })
            .collect();
        radios.sort_by(|a, b| a.name.cmp(&b.name));
        radios
    }

    fn wifi(&self) -> Vec<Wifi> {
        let mut names: Vec<String> = self
            .entries("sys/class/net")
            .into_iter()
            .filter(|path| path.join("wireless").exists() || path.join("phy80211").exists())
            .filter(|path| read(path.join("operstate")).trim() == "up")
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        let ask = || output(Path::new("iw"), &["dev"], PROGRAM_LIMIT);
        let iw = if names.is_empty() { None } else { ask() }.unwrap_or_default();
        names.into_iter().map(|name| Wifi { mhz: parse::frequency(&iw, &name), name }).collect()
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = self
            .entries("sys/class/rfkill")
            .into_iter()
            .filter(|path| read(path.join("type")).trim() == "bluetooth")
            .filter_map(|path| {
                let is_set = |file: &str| read(path.join(file)).trim() == "1";
                let (soft, hard) = (is_set("soft"), is_set("hard"));
                (soft || hard)
                    .then(|| Block { name: read(path.join("name")).trim().to_owned(), hard })
            })
            .collect();
        blocks.sort_by(|a, b| a.name.cmp(&b.name));
        blocks
    }

    fn board(&self) -> Option<String> {
        // `/proc/device-tree` is a link to this folder, and hidden in a sandbox with `ProcSubset=pid`.
        let model = self.read("sys/firmware/devicetree/base/model");
        let model = model.trim_matches(['\0', '\n', ' ']);
        (!model.is_empty()).then(|| model.to_owned())
    }

    fn bluez_config(&self, version: Option<BluezVersion>) -> Option<BluezConfig> {
        let file = self
            .running_config_file()
            .unwrap_or_else(|| self.installed_config_file())
            .unwrap_or_else(|| PathBuf::from("/").join(MAIN_CONF));
        let here = self.root.join(file.strip_prefix("/").unwrap_or(&file));
        let text = match fs::read_to_string(&here) {
            Ok(text) => text,
            // bluetoothd goes on without it, on its defaults.
            Err(error) if error.kind() == io::ErrorKind::NotFound && version.is_some() => {
                String::new()
            }
            Err(_) => return None,
        };
        let mut mode = parse::controller_mode(&text).unwrap_or_default();
        if version.is_some_and(|version| version >= FRAGMENTS_SINCE) {
            let mut folder = here.into_os_string();
            folder.push(".d");
            let mut fragments = entries(folder);
            fragments.retain(|path| parse::is_fragment(path));
            fragments.sort();
            // The last one that says something counts.
            fragments.reverse();
            mode = fragments
                .iter()
                .find_map(|path| parse::controller_mode(&read(path)))
                .unwrap_or(mode);
        }
        Some(BluezConfig { file, mode })
    }

    /// The file that the running bluetoothd was given; `None` when none is seen to run, which in a
    /// sandbox with `ProtectProc=invisible` does not say that none runs.
    #[expect(
        clippy::option_option,
        reason = "not running, running without a file, running with one"
    )]
    fn running_config_file(&self) -> Option<Option<PathBuf>> {
        let process = self
            .entries("proc")
            .into_iter()
            .find(|path| read(path.join("comm")).trim() == "bluetoothd")?;
        let command = read(process.join("cmdline"));
        // It has ended since, or may not be looked at.
        if command.is_empty() {
            return None;
        }
        Some(parse::config_file(command.split('\0').skip(1)))
    }

    /// The file that bluetoothd will be given by systemd.
    fn installed_config_file(&self) -> Option<PathBuf> {
        let unit = UNIT_FOLDERS
            .iter()
            .rev()
            .map(|folder| read(self.root.join(folder).join("bluetooth.service")));
        let unit = unit.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        // Drop-ins of one name replace each other; all are read in the order of their names.
        let mut drop_ins: Vec<PathBuf> = Vec::new();
        for folder in UNIT_FOLDERS {
            for path in entries(self.root.join(folder).join("bluetooth.service.d")) {
                drop_ins.retain(|other| other.file_name() != path.file_name());
                drop_ins.push(path);
            }
        }
        drop_ins.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
        let texts: Vec<String> =
            std::iter::once(unit).chain(drop_ins.into_iter().map(read)).collect();
        let command = parse::exec_start(texts.iter().map(String::as_str))?;
        parse::config_file(command.split_whitespace().skip(1))
    }

    fn read(&self, path: &str) -> String {
        read(self.root.join(path))
    }

    fn entries(&self, path: &str) -> Vec<PathBuf> {
        entries(self.root.join(path))
    }
}

/// What a program prints, unless it takes longer than the limit, or is not there.
fn output(program: &Path, arguments: &[&str], limit: Duration) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let (said, heard) = mpsc::sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut text = String::new();
            if stdout.take(PROGRAM_OUTPUT_MAX).read_to_string(&mut text).is_ok() {
                // Nobody waits any more: it came too late.
                drop(said.send(text));
            }
        });
    }
    let text = heard.recv_timeout(limit).ok();
    // What has closed its output has nothing more to do; what has not is stuck.
    drop(child.kill());
    drop(child.wait());
    text
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests;

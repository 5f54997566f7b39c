//! What is learnt from the files of a machine that is made up in a temporary folder.

use std::os::unix::fs::symlink;

use super::{
    super::{Attachment, Capabilities, ControllerMode, DataPlane},
    *,
};

const WANTED: Wanted = Wanted { bluez: Some(DataPlane::Auto), hci: false, reset: true };

const MAIN: &str = "/etc/bluetooth/main.conf";

struct Made(tempfile::TempDir);

impl Made {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A device in sysfs, and its entry in a class, which is a link to it as the kernel makes them.
    fn device(self, class: &str, device: &str) -> Self {
        let (class, device) = (self.0.path().join(class), self.0.path().join(device));
        fs::create_dir_all(&class).unwrap();
        fs::create_dir_all(&device).unwrap();
        symlink(&device, class.join(device.file_name().unwrap())).unwrap();
        self
    }

    fn facts(&self) -> Facts {
        Machine { root: self.0.path() }.facts(WANTED)
    }

    fn config(&self) -> (String, ControllerMode) {
        let config = self.facts().bluez_config.unwrap();
        (config.file.display().to_string(), config.mode)
    }
}

#[test]
fn a_raspberry_pi_is_seen_as_what_it_is() {
    let serial = "sys/devices/platform/soc/fe201000.serial/serial0/serial0-0/bluetooth/hci0";
    let wlan = "sys/devices/platform/soc/mmc1/mmc1:0001/net/wlanpi0";
    let made = Made::new()
        .device("sys/class/bluetooth", serial)
        .device("sys/class/bluetooth", &format!("{serial}/hci0:64"))
        .device("sys/class/net", wlan)
        .file(&format!("{wlan}/wireless/status"), "0\n")
        .file(&format!("{wlan}/operstate"), "up\n")
        .device("sys/class/net", "sys/devices/platform/eth0")
        .file("sys/devices/platform/eth0/operstate", "up\n")
        .file("sys/firmware/devicetree/base/model", "Raspberry Pi 4 Model B Rev 1.4\0")
        .file("sys/class/rfkill/rfkill0/type", "wlan\n")
        .file("sys/class/rfkill/rfkill0/soft", "1\n")
        .file("sys/class/rfkill/rfkill1/type", "bluetooth\n")
        .file("sys/class/rfkill/rfkill1/name", "hci0\n")
        .file("sys/class/rfkill/rfkill1/soft", "1\n")
        .file("sys/class/rfkill/rfkill1/hard", "0\n")
        .file("proc/self/status", "Name:\tx\nCapEff:\t0000000000002000\n")
        .file("proc/self/uid_map", "         0          0 4294967295\n")
        .file("etc/bluetooth/main.conf", "[General]\n#ControllerMode = dual\n");
    let expected = Facts {
        wanted: WANTED,
        radios: vec![Radio {
            name: "hci0".to_owned(),
            attachment: Attachment::Onboard,
            classic: None,
        }],
        absent: Vec::new(),
        bluez: None,
        bluez_config: Some(BluezConfig { file: MAIN.into(), mode: ControllerMode::Dual }),
        wifi: vec![Wifi { name: "wlanpi0".to_owned(), mhz: None }],
        capabilities: Capabilities { net_raw: true, net_admin: false, namespaced: false },
        blocks: vec![Block { name: "hci0".to_owned(), hard: false }],
        board: Some("Raspberry Pi 4 Model B Rev 1.4".to_owned()),
    };
    assert_eq!(made.facts(), expected);
}

#[test]
fn of_an_empty_machine_nothing_is_known() {
    let facts = Made::new().facts();
    assert!(facts.radios.is_empty() && facts.wifi.is_empty() && facts.blocks.is_empty());
    assert_eq!((facts.bluez, facts.bluez_config, facts.board), (None, None, None));
    assert!(!facts.capabilities.monitor() && !facts.capabilities.control());
}

#[test]
fn wifi_that_is_down_disturbs_nobody() {
    let made = Made::new()
        .device("sys/class/net", "sys/devices/x/wlanpi0")
        .file("sys/devices/x/wlanpi0/phy80211/index", "0\n")
        .file("sys/devices/x/wlanpi0/operstate", "down\n");
    assert_eq!(made.facts().wifi, []);
}

#[test]
fn the_file_that_counts_is_that_of_the_running_daemon_then_that_of_its_unit() {
    let unit = "[Service]\nExecStart=/usr/libexec/bluetooth/bluetoothd\n";
    let drop_in =
        "[Service]\nExecStart=\nExecStart=/usr/libexec/bluetooth/bluetoothd -f /etc/own.conf\n";
    let made = Made::new()
        .file("etc/bluetooth/main.conf", "[General]\nControllerMode = bredr\n")
        .file("etc/own.conf", "[General]\nControllerMode = le\n")
        .file("lib/systemd/system/bluetooth.service", unit);
    assert_eq!(made.config(), (MAIN.to_owned(), ControllerMode::Classic));

    let made = made.file("etc/systemd/system/bluetooth.service.d/beacon-gateway.conf", drop_in);
    assert_eq!(made.config(), ("/etc/own.conf".to_owned(), ControllerMode::LowEnergy));

    // Installed, but bluetoothd has not been restarted since.
    let made = made
        .file("proc/1/comm", "systemd\n")
        .file("proc/70/comm", "bluetoothd\n")
        .file("proc/70/cmdline", "/usr/libexec/bluetooth/bluetoothd\0");
    assert_eq!(made.config(), (MAIN.to_owned(), ControllerMode::Classic));

    let made = made.file("proc/70/cmdline", "bluetoothd\0--configfile\0/etc/own.conf\0");
    assert_eq!(made.config(), ("/etc/own.conf".to_owned(), ControllerMode::LowEnergy));
}

#[test]
fn a_program_is_heard_when_it_prints_and_not_waited_for_when_it_does_not() {
    let output = |program, arguments: &[&str], limit| output(Path::new(program), arguments, limit);
    assert_eq!(output("echo", &["5.66"], Duration::from_mins(1)).as_deref(), Some("5.66\n"));
    assert_eq!(output("sleep", &["600"], Duration::from_millis(20)), None);
    assert_eq!(output("/nowhere/bluetoothd", &[], Duration::from_mins(1)), None);
}

#[test]
fn this_machine_can_be_asked() {
    let facts = gather(WANTED);
    assert_eq!(facts.wanted, WANTED);
    assert!(facts.absent.is_empty() && facts.radios.iter().all(|radio| radio.classic.is_none()));
}

//! What is found on which machine, and what the texts of a machine say.

use std::path::Path;

use super::*;

/// A Raspberry Pi with everything as it should be: Low Energy alone, a cable, the shipped unit.
fn sound() -> Facts {
    Facts {
        wanted: Wanted { bluez: Some(DataPlane::Auto), hci: false, reset: false },
        radios: vec![Radio {
            name: "hci0".to_owned(),
            attachment: Attachment::Onboard,
            classic: Some(false),
        }],
        absent: Vec::new(),
        bluez: Some(BluezVersion { major: 5, minor: 66 }),
        bluez_config: Some(BluezConfig {
            file: "/etc/bluetooth/main.conf".into(),
            mode: ControllerMode::LowEnergy,
        }),
        wifi: Vec::new(),
        capabilities: Capabilities { net_raw: true, net_admin: false, namespaced: false },
        blocks: Vec::new(),
        board: Some("Raspberry Pi 4 Model B Rev 1.4".to_owned()),
    }
}

/// The only finding on a machine that is sound but for one thing.
fn only(spoil: impl FnOnce(&mut Facts)) -> Finding {
    let mut facts = sound();
    spoil(&mut facts);
    let mut found = judge(&facts);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn silent(change: impl FnOnce(&mut Facts)) {
    let mut facts = sound();
    change(&mut facts);
    assert_eq!(judge(&facts), []);
}

/// Checks the one finding: its word, its weight, words it must have, and that it is one line.
fn check(finding: &Finding, what: &str, weight: Weight, words: &[&str]) {
    assert_eq!((finding.what, finding.weight), (what, weight), "{}", finding.text);
    assert!(!finding.text.contains('\n') && !finding.text.contains("  "), "{}", finding.text);
    for word in words {
        assert!(finding.text.contains(word), "`{word}` is missing in: {}", finding.text);
    }
}

#[test]
fn a_sound_machine_gets_no_advice() {
    silent(|_| {});
}

#[test]
fn a_radio_that_speaks_classic_is_told_with_file_line_and_command() {
    let finding = only(|facts| {
        facts.radios[0].classic = Some(true);
        facts.bluez_config.as_mut().unwrap().mode = ControllerMode::Dual;
    });
    let words = [
        "hci0",
        "half",
        "`ControllerMode = le`",
        "`/etc/bluetooth/main.conf`",
        "systemctl restart bluetooth",
    ];
    check(&finding, "controller", Weight::Advice, &words);
}

#[test]
fn a_radio_that_does_not_follow_its_configuration_yet_asks_for_a_restart_only() {
    let finding = only(|facts| facts.radios[0].classic = Some(true));
    check(&finding, "controller", Weight::Advice, &["although", "`systemctl restart bluetooth`"]);
    assert!(!finding.text.contains("write"), "{}", finding.text);
}

#[test]
fn the_configuration_speaks_where_the_radio_could_not_be_asked() {
    let finding = only(|facts| {
        facts.radios[0].classic = None;
        facts.bluez_config =
            Some(BluezConfig { file: "/etc/x.conf".into(), mode: ControllerMode::Dual });
    });
    check(&finding, "controller", Weight::Advice, &["hci0: if it speaks", "`/etc/x.conf`"]);
    silent(|facts| facts.radios[0].classic = None);
    // Nothing at all is known: nothing is claimed.
    silent(|facts| {
        facts.radios[0].classic = None;
        facts.bluez_config = None;
    });
}

#[test]
fn a_radio_that_speaks_low_energy_alone_needs_no_configuration() {
    silent(|facts| facts.bluez_config.as_mut().unwrap().mode = ControllerMode::Dual);
}

#[test]
fn classic_alone_hears_no_beacon() {
    let finding = only(|facts| facts.bluez_config.as_mut().unwrap().mode = ControllerMode::Classic);
    check(&finding, "controller", Weight::Advice, &["no beacon is heard"]);
}

#[test]
fn without_a_scan_through_bluez_its_version_and_configuration_do_not_matter() {
    silent(|facts| {
        facts.wanted = Wanted { bluez: None, hci: true, reset: true };
        facts.capabilities.net_admin = true;
        facts.bluez = Some(BluezVersion { major: 5, minor: 50 });
        facts.bluez_config.as_mut().unwrap().mode = ControllerMode::Dual;
        facts.radios[0].classic = Some(true);
    });
}

#[test]
fn a_missing_capability_is_wrong_where_it_is_demanded_and_advice_where_there_is_another_way() {
    let plane = |plane| {
        move |facts: &mut Facts| {
            facts.capabilities.net_raw = false;
            facts.wanted.bluez = Some(plane);
        }
    };
    let words = ["CAP_NET_RAW is missing", "beacon-gateway.service.d/monitor.conf"];
    check(&only(plane(DataPlane::Auto)), "capabilities", Weight::Advice, &words);
    let finding = only(plane(DataPlane::Monitor));
    check(&finding, "capabilities", Weight::Wrong, &["CAP_NET_RAW", "`scan.data = \"auto\"`"]);
    silent(plane(DataPlane::Dbus));
}

#[test]
fn a_dedicated_adapter_and_a_reset_ask_for_more() {
    let finding = only(|facts| facts.wanted.hci = true);
    check(&finding, "capabilities", Weight::Wrong, &["CAP_NET_ADMIN", "dedicated-adapter.conf"]);
    let finding = only(|facts| facts.wanted.reset = true);
    let words = ["CAP_NET_ADMIN", "dedicated-adapter.conf", "`scan.recovery.reset = \"0s\"`"];
    check(&finding, "capabilities", Weight::Advice, &words);
    // One line is enough where both are missing for the same reason.
    let finding = only(|facts| (facts.wanted.hci, facts.wanted.reset) = (true, true));
    assert_eq!(finding.weight, Weight::Wrong);
}

#[test]
fn a_capability_inside_a_user_namespace_is_none() {
    let finding = only(|facts| facts.capabilities.namespaced = true);
    check(&finding, "capabilities", Weight::Advice, &["`PrivateUsers=no`"]);
}

#[test]
fn an_old_bluez_and_one_that_rounds_are_told_and_those_between_are_not() {
    let is = |minor| move |facts: &mut Facts| facts.bluez = Some(BluezVersion { major: 5, minor });
    check(&only(is(54)), "bluez", Weight::Advice, &["5.54", "CVE-2020-27153", "apt full-upgrade"]);
    for minor in [55, 66, 87, 88, 99] {
        silent(is(minor));
    }
    let on_the_bus = |minor| {
        move |facts: &mut Facts| {
            facts.bluez = Some(BluezVersion { major: 5, minor });
            facts.wanted.bluez = Some(DataPlane::Dbus);
        }
    };
    check(
        &only(on_the_bus(88)),
        "bluez",
        Weight::Advice,
        &["5.88", "8 dB", "`scan.data = \"monitor\"`"],
    );
    silent(on_the_bus(87));
    silent(|facts| facts.bluez = None);
}

#[test]
fn onboard_radio_beside_wifi_is_told_unless_the_wifi_is_known_to_be_elsewhere() {
    let wifi = |mhz| vec![Wifi { name: "wlan0".to_owned(), mhz }];
    let finding = only(|facts| facts.wifi = wifi(None));
    let words = ["hci0", "Raspberry Pi 4", "wlan0", "if it uses 2.4 GHz", "USB"];
    check(&finding, "wifi", Weight::Advice, &words);
    let finding = only(|facts| facts.wifi = wifi(Some(2437)));
    check(&finding, "wifi", Weight::Advice, &["2437 MHz"]);
    silent(|facts| facts.wifi = wifi(Some(5180)));
    silent(|facts| {
        facts.wifi = wifi(Some(2437));
        facts.radios[0].attachment = Attachment::Usb;
    });
    // The one that is known to disturb is named, not the one that may.
    let finding = only(|facts| {
        facts.wifi =
            [wifi(None), vec![Wifi { name: "wlan1".to_owned(), mhz: Some(2412) }]].concat();
    });
    check(&finding, "wifi", Weight::Advice, &["wlan1", "2412"]);
}

#[test]
fn switches_and_absent_adapters_come_first() {
    let blocked = |hard| {
        move |facts: &mut Facts| {
            facts.blocks = vec![Block { name: "hci0".to_owned(), hard }];
        }
    };
    check(&only(blocked(false)), "rfkill", Weight::Advice, &["`rfkill unblock bluetooth`"]);
    check(&only(blocked(true)), "rfkill", Weight::Advice, &["hardware"]);
    let finding = only(|facts| facts.absent = vec!["00:11:22:33:44:55".to_owned()]);
    check(&finding, "adapter", Weight::Advice, &["00:11:22:33:44:55", "`[[scan.adapters]]`"]);
    let mut facts = sound();
    blocked(false)(&mut facts);
    facts.radios[0].classic = Some(true);
    let order: Vec<_> = judge(&facts).into_iter().map(|finding| finding.what).collect();
    assert_eq!(order, ["rfkill", "controller"]);
}

#[test]
fn capabilities_are_read_from_the_effective_set() {
    let status = |set: &str| {
        format!("Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t{set}\nCapBnd:\tffffffff\n")
    };
    let whole = "         0          0 4294967295\n";
    let read = |set: &str, map: &str| {
        let Capabilities { net_raw, net_admin, namespaced } =
            parse::capabilities(&status(set), map);
        (net_raw, net_admin, namespaced)
    };
    assert_eq!(read("0000000000000000", whole), (false, false, false));
    assert_eq!(read("0000000000002000", whole), (true, false, false));
    assert_eq!(read("0000000000001000", whole), (false, true, false));
    assert_eq!(read("000001ffffffffff", whole), (true, true, false));
    assert_eq!(read("000001ffffffffff", "0 0 1\n 1000 1000 1\n"), (true, true, true));
    assert_eq!(
        parse::capabilities("", ""),
        Capabilities { net_raw: false, net_admin: false, namespaced: false }
    );
}

#[test]
fn versions_are_read_with_what_distributions_add() {
    let version = |text| parse::bluez_version(text).map(|it| (it.major, it.minor));
    assert_eq!(version("5.66\n"), Some((5, 66)));
    assert_eq!(version("bluetoothd 5.82-1.1\n"), Some((5, 82)));
    for text in ["", "5", "five.six", "5.", "99999999999.1"] {
        assert_eq!(version(text), None, "{text}");
    }
}

#[test]
fn the_controller_mode_is_that_of_the_general_section_and_the_last_one() {
    let cases = [
        ("[General]\n#ControllerMode = dual\n", None),
        ("[General]\nControllerMode = le\n", Some(ControllerMode::LowEnergy)),
        ("[General]\nControllerMode=bredr", Some(ControllerMode::Classic)),
        ("[Policy]\nControllerMode = le\n", None),
        ("[General]\nControllerMode = LE\n", Some(ControllerMode::Dual)),
        (
            "[General]\nControllerMode = le\nControllerMode = dual\n[LE]\n",
            Some(ControllerMode::Dual),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse::controller_mode(text), expected, "{text}");
    }
}

#[test]
fn only_numbered_fragments_are_read() {
    let read = |name: &str| parse::is_fragment(&Path::new("/etc/bluetooth/main.conf.d").join(name));
    assert!(read("50-beacon-gateway.conf") && read("00-.conf"));
    for name in ["beacon.conf", "5-a.conf", "50-a.conf.bak", "50-a b.conf", "50a.conf", ""] {
        assert!(!read(name), "{name}");
    }
}

#[test]
fn the_configuration_file_is_the_one_on_the_command_line() {
    let file =
        |line: &str| parse::config_file(line.split(' ')).map(|path| path.display().to_string());
    for line in ["-n -f /a", "-f/a -d", "--configfile /a", "--configfile=/a", "-f /b -f /a"] {
        assert_eq!(file(line).as_deref(), Some("/a"), "{line}");
    }
    for line in ["-n", "", "-f", "--noplugin=sap"] {
        assert_eq!(file(line), None, "{line}");
    }
}

#[test]
fn a_drop_in_replaces_the_command_of_the_unit() {
    let unit = "[Service]\nExecStart=/usr/libexec/bluetooth/bluetoothd\nNotifyAccess=main\n";
    let drop_in = "[Service]\nExecStart=\nExecStart=/usr/libexec/bluetooth/bluetoothd -f /a\n";
    assert_eq!(
        parse::exec_start([unit, drop_in].into_iter()),
        Some("/usr/libexec/bluetooth/bluetoothd -f /a")
    );
    assert_eq!(parse::exec_start([unit].into_iter()), Some("/usr/libexec/bluetooth/bluetoothd"));
    assert_eq!(parse::exec_start([unit, "[Service]\nExecStart=\n"].into_iter()), None);
}

#[test]
fn the_shipped_drop_in_names_the_shipped_file() {
    let drop_in = include_str!("../../../systemd/bluetooth.service.d/beacon-gateway.conf");
    let command = parse::exec_start([drop_in].into_iter()).unwrap();
    let file = parse::config_file(command.split(' ').skip(1)).unwrap();
    assert_eq!(file, Path::new("/etc/bluetooth/beacon-gateway.conf"));
    let shipped = include_str!("../../../config/bluetooth-le.conf");
    assert_eq!(parse::controller_mode(shipped), Some(ControllerMode::LowEnergy));
}

#[test]
fn controllers_are_onboard_or_on_usb_by_their_path() {
    let attachment = |path: &str| parse::attachment(Path::new(path));
    let onboard = [
        "/sys/devices/platform/soc/fe201000.serial/serial0/serial0-0/bluetooth/hci0",
        "/sys/devices/platform/soc/3f201000.serial/tty/ttyAMA0/hci0",
        "/sys/devices/platform/soc/mmc0/mmc0:0001/mmc0:0001:3/bluetooth/hci0",
    ];
    for path in onboard {
        assert_eq!(attachment(path), Attachment::Onboard, "{path}");
    }
    let usb = [
        "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-10/1-10:1.0/bluetooth/hci0",
        "/sys/devices/platform/scb/fd500000.pcie/usb3/3-1/3-1:1.0/ttyUSB0/tty/ttyUSB0/hci1",
    ];
    for path in usb {
        assert_eq!(attachment(path), Attachment::Usb, "{path}");
    }
    assert_eq!(attachment("/sys/devices/virtual/misc/vhci/hci0"), Attachment::Other);
}

#[test]
fn the_frequency_is_that_of_the_interface() {
    let iw = "phy#1\n\tInterface wlan1\n\t\ttype managed\n\t\tchannel 36 (5180 MHz), width: 80 MHz\n\
              phy#0\n\tInterface wlan0\n\t\ttype managed\n\t\tchannel 6 (2437 MHz), width: 20 MHz\n\
              \tInterface p2p0\n\t\ttype P2P-device\n";
    let frequency = |interface| parse::frequency(iw, interface);
    assert_eq!((frequency("wlan0"), frequency("wlan1")), (Some(2437), Some(5180)));
    assert_eq!(
        (frequency("p2p0"), frequency("wlan"), parse::frequency("", "wlan0")),
        (None, None, None)
    );
}

//! Resetting a controller that no longer listens. An adapter's number in, a controller out that
//! starts from the beginning: as if it had been pulled out and plugged in.
//!
//! A USB device is shut out and let in again (`authorized` in sysfs). Any other one, such as that
//! on a Pi's serial line, is taken from its driver and given back (`unbind` and `bind`). Both take
//! the right to write to sysfs: root, or a udev rule. The adapter may return under another number.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::error::{HciError, OsError};

/// Where the kernel shows the adapters.
const CLASS: &str = "/sys/class/bluetooth";

/// The way to make a controller start from the beginning.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Way {
    /// A USB device: the directory that holds its `authorized`.
    Usb(PathBuf),
    /// The directory of a driver, and what it calls the device.
    Driver(PathBuf, String),
}

/// Letting the device in again is tried so often: whatever happens in between, it must not stay out.
const ATTEMPTS: u32 = 3;

/// Resets the hardware of an adapter. Takes as long as its driver needs to let go of it, at most
/// `patience`; after that it goes on by itself.
pub async fn reset(index: u16, patience: Duration) -> Result<(), HciError> {
    let doing = "reset the hardware of a Bluetooth adapter";
    let done = tokio::task::spawn_blocking(move || reset_in(Path::new(CLASS), index));
    match tokio::time::timeout(patience, done).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(HciError::Silent { doing }),
    }
}

fn reset_in(class: &Path, index: u16) -> Result<(), HciError> {
    let name = format!("hci{index}");
    let adapter = class.join(&name);
    if !adapter.exists() {
        return Err(HciError::NoAdapter(name));
    }
    // One that is made of software has no device behind it.
    let way = fs::canonicalize(adapter.join("device")).and_then(|device| Way::to(&device));
    way.map_err(|error| failed("find what drives a Bluetooth adapter", &error))?.take()
}

impl Way {
    /// A USB adapter's device is one interface of the USB device, which is the directory above.
    fn to(device: &Path) -> io::Result<Self> {
        for directory in [Some(device), device.parent()].into_iter().flatten() {
            // The bus itself has an `authorized_default`, but only a device has both of these.
            if directory.join("authorized").exists() && directory.join("idVendor").exists() {
                return Ok(Self::Usb(directory.to_owned()));
            }
        }
        let driver = fs::canonicalize(device.join("driver"))?;
        let name = device.file_name().and_then(|name| name.to_str());
        let name = name.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self::Driver(driver, name.to_owned()))
    }

    /// What is written where: first to shut the device out, then to let it in again.
    fn steps(&self) -> [(PathBuf, &str); 2] {
        match self {
            Self::Usb(directory) => {
                let authorized = directory.join("authorized");
                [(authorized.clone(), "0"), (authorized, "1")]
            }
            Self::Driver(driver, name) => {
                [(driver.join("unbind"), name), (driver.join("bind"), name)]
            }
        }
    }

    fn take(&self) -> Result<(), HciError> {
        let [out, back] = self.steps();
        write(&out).map_err(|error| failed("take a Bluetooth adapter from its driver", &error))?;
        let mut result = write(&back);
        for _ in 1..ATTEMPTS {
            if result.is_ok() {
                break;
            }
            result = write(&back);
        }
        result.map_err(|error| failed("give a Bluetooth adapter back to its driver", &error))
    }
}

/// Writes to a file that must be there already, as those of sysfs are.
fn write((path, text): &(PathBuf, &str)) -> io::Result<()> {
    io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(path)?, text.as_bytes())
}

fn failed(doing: &'static str, error: &io::Error) -> HciError {
    HciError::Reset { doing, cause: OsError::of(error) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory laid out like sysfs, with one adapter hci0.
    fn sysfs(device: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let device = home.path().join(device);
        let class = home.path().join("class");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(class.join("hci0")).unwrap();
        symlink(&device, class.join("hci0/device")).unwrap();
        (home, class, device)
    }

    #[test]
    fn a_usb_device_is_shut_out_and_let_in_again() {
        let (_home, class, interface) = sysfs("usb1/1-2/1-2:1.0");
        let device = interface.parent().unwrap();
        fs::write(device.join("authorized"), "").unwrap();
        fs::write(device.join("idVendor"), "0a12").unwrap();
        let way = Way::to(&fs::canonicalize(device.join("1-2:1.0")).unwrap()).unwrap();
        assert_eq!(way.steps().map(|(_, text)| text), ["0", "1"]);
        assert_eq!(reset_in(&class, 0), Ok(()));
        assert_eq!(fs::read_to_string(device.join("authorized")).unwrap(), "1");
    }

    #[test]
    fn another_device_is_taken_from_its_driver_and_given_back() {
        let (home, class, device) = sysfs("serial0/serial0-0");
        let driver = home.path().join("drivers/hci_uart_bcm");
        fs::create_dir_all(&driver).unwrap();
        fs::write(driver.join("unbind"), "").unwrap();
        fs::write(driver.join("bind"), "").unwrap();
        symlink(&driver, device.join("driver")).unwrap();
        assert_eq!(reset_in(&class, 0), Ok(()));
        assert_eq!(fs::read_to_string(driver.join("unbind")).unwrap(), "serial0-0");
        assert_eq!(fs::read_to_string(driver.join("bind")).unwrap(), "serial0-0");
    }

    #[test]
    fn an_adapter_that_is_not_there_or_has_no_driver_is_told_apart() {
        let (_home, class, _device) = sysfs("virtual/hci");
        assert_eq!(reset_in(&class, 1), Err(HciError::NoAdapter("hci1".to_owned())));
        assert!(matches!(
            reset_in(&class, 0),
            Err(HciError::Reset { cause: OsError(libc::ENOENT), .. })
        ));
    }
}

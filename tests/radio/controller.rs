//! A Bluetooth LE controller made of software: `/dev/vhci` turns whoever opens it into one. It
//! answers the kernel's commands as a controller without BR/EDR does, and hears what the test wants
//! it to hear while it is told to scan (Core Specification 5.4, Vol 4 Part E).

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{io::unix::AsyncFd, task::JoinHandle};

/// A controller that is plugged in until it is dropped.
pub(crate) struct Controller {
    port: Arc<AsyncFd<File>>,
    state: Arc<State>,
    answering: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    scanning: AtomicBool,
}

/// What an advertiser sends.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Most significant octet first.
    pub(crate) address: [u8; 6],
    pub(crate) random: bool,
    pub(crate) rssi: i8,
    pub(crate) kind: Kind,
    /// At most 31 octets.
    pub(crate) data: Vec<u8>,
}

/// The event types of an advertising report (7.7.65.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Connectable and scannable. The kernel holds it back until a scan response, or another
    /// device's report, follows.
    Connectable = 0,
    /// Neither: delivered at once.
    NonConnectable = 3,
    /// What follows a connectable one when it was asked for more.
    ScanResponse = 4,
}

// Packet types of the HCI transport (Vol 4 Part A 2), and the virtual one that makes a controller.
const COMMAND: u8 = 0x01;
const EVENT: u8 = 0x04;
const VENDOR: u8 = 0xff;

const COMMAND_COMPLETE: u8 = 0x0e;
const LE_META: u8 = 0x3e;
const LE_ADVERTISING_REPORT: u8 = 0x02;

const RESET: u16 = 0x0c03;
const LE_SET_SCAN_ENABLE: u16 = 0x200c;

impl Controller {
    /// Plugs a controller in.
    pub(crate) fn plug() -> io::Result<Self> {
        let mut port = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/vhci")?;
        port.write_all(&[VENDOR, 0])?;
        #[expect(deprecated, reason = "its successor is unsafe; a `File` closes only when dropped")]
        let port = Arc::new(AsyncFd::new(port)?);
        let state = Arc::new(State::default());
        let answering = tokio::spawn({
            let (port, state) = (Arc::clone(&port), Arc::clone(&state));
            async move {
                if let Err(error) = answer(&port, &state).await {
                    eprintln!("the controller was torn away: {error}");
                }
            }
        });
        Ok(Self { port, state, answering })
    }

    /// Hears a report, if it scans; says whether it did.
    pub(crate) fn hear(&self, report: &Report) -> io::Result<bool> {
        if !self.is_scanning() {
            return Ok(false);
        }
        let length = u8::try_from(report.data.len()).ok().filter(|length| *length <= 31);
        let length = length.ok_or_else(|| io::Error::other("advertising data over 31 octets"))?;
        let mut event = vec![LE_ADVERTISING_REPORT, 1, report.kind as u8, report.random.into()];
        event.extend(report.address.iter().rev());
        event.push(length);
        event.extend_from_slice(&report.data);
        event.extend(report.rssi.to_le_bytes());
        self.port.get_ref().write_all(&packet(LE_META, &event)).map(|()| true)
    }

    /// Whether it was told to scan.
    pub(crate) fn is_scanning(&self) -> bool {
        self.state.scanning.load(Ordering::Relaxed)
    }
}

impl Drop for Controller {
    /// Pulls the controller out: the task lets go of the port, and the kernel of the controller.
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn answer(port: &AsyncFd<File>, state: &State) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let mut ready = port.readable().await?;
        let Ok(read) = ready.try_io(|port| port.get_ref().read(&mut buffer)) else { continue };
        let length = read?;
        let Some([COMMAND, low, high, _, parameters @ ..]) = buffer.get(..length) else { continue };
        let opcode = u16::from_le_bytes([*low, *high]);
        match (opcode, parameters) {
            (RESET, _) => state.scanning.store(false, Ordering::Relaxed),
            (LE_SET_SCAN_ENABLE, [enable, ..]) => {
                state.scanning.store(*enable == 1, Ordering::Relaxed);
            }
            _ => {}
        }
        // One command at a time, and what it returns.
        let mut event = vec![1, *low, *high, 0];
        event.extend(returned(opcode, parameters));
        port.get_ref().write_all(&packet(COMMAND_COMPLETE, &event))?;
    }
}

pub(crate) fn packet(event: u8, parameters: &[u8]) -> Vec<u8> {
    let length = u8::try_from(parameters.len()).unwrap_or(u8::MAX);
    let mut packet = vec![EVENT, event, length];
    packet.extend_from_slice(parameters);
    packet
}

/// What a command returns behind its status of 0; most return nothing.
pub(crate) fn returned(opcode: u16, parameters: &[u8]) -> Vec<u8> {
    match opcode {
        // Read Local Version: Core Specification 5.0, made by the Linux Foundation.
        0x1001 => vec![9, 0, 0, 9, 0xf1, 0x05, 0, 0],
        // Read Local Supported Commands: by octet, those that the kernel may use.
        0x1002 => {
            let used = |octet| match octet {
                0 => 0x20,
                5 => 0xc0,
                14 => 0xa8,
                24 => 0x60,
                25..=27 => 0xff,
                28 => 0x07,
                _ => 0,
            };
            (0..64).map(used).collect()
        }
        // Read Local Supported Features: LE, and no BR/EDR.
        0x1003 => vec![0, 0, 0, 0, 0x60, 0, 0, 0],
        // Read Local Extended Features: the page that was asked for, of one.
        0x1004 => [&[parameters.first().copied().unwrap_or(0), 0][..], &[0; 8]].concat(),
        // Read Buffer Size.
        0x1005 => vec![0xff, 0x03, 0x40, 8, 0, 8, 0],
        // Read BD_ADDR, least significant octet first.
        0x1009 => vec![0x42, 0x00, 0x00, 0x01, 0xaa, 0x00],
        // LE Read Buffer Size.
        0x2002 => vec![0xfb, 0, 16],
        // LE Read Local Supported Features: encryption.
        0x2003 => vec![1, 0, 0, 0, 0, 0, 0, 0],
        // LE Read Advertising Physical Channel Tx Power.
        0x2007 => vec![0],
        // LE Read Filter Accept List Size and LE Read Resolving List Size.
        0x200f | 0x202a => vec![32],
        // LE Rand.
        0x2018 => vec![7; 8],
        // LE Read Supported States: all.
        0x201c => vec![0xff, 0xff, 0xff, 0xff, 0xff, 0x03, 0, 0],
        // LE Read Suggested Default Data Length.
        0x2023 => vec![27, 0, 0x48, 1],
        // LE Read Maximum Data Length.
        0x202f => vec![0xfb, 0, 0x48, 0x08, 0xfb, 0, 0x48, 0x08],
        _ => Vec::new(),
    }
}

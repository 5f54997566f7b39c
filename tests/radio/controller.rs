//! A Bluetooth LE controller made of software: `/dev/vhci` turns whoever opens it into one. It
//! answers the kernel's commands as its [`Model`] does, hears what the test wants it to hear while
//! it is told to scan, counts both, and can be made to hang (Core Specification 5.4, Vol 4 Part E).

mod answer;
mod model;
mod report;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::Uptime};
use tokio::{io::unix::AsyncFd, task::JoinHandle, time::sleep_until};

use self::answer::Reply;
pub(crate) use self::{
    model::Model,
    report::{Kind, Phy, Report},
};

/// A controller that is plugged in until it is dropped.
pub(crate) struct Controller {
    model: Model,
    port: Arc<AsyncFd<File>>,
    state: Arc<Mutex<State>>,
    tally: Arc<Mutex<Tally>>,
    answering: JoinHandle<()>,
}

/// What a controller has done, over all the times that it was plugged in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Commands answered.
    pub(crate) commands: u64,
    /// How often it was reset.
    pub(crate) resets: u64,
    /// How often it was told to scan.
    pub(crate) scans: u64,
    /// How often it was told to look for BR/EDR devices, which a dual-mode one does instead.
    pub(crate) inquiries: u64,
    /// Reports delivered.
    pub(crate) delivered: u64,
    /// Reports that it missed because it did not scan, or not on that PHY.
    pub(crate) missed: u64,
    /// Reports that it swallowed because it hung.
    pub(crate) swallowed: u64,
}

/// What makes a controller hear again that hangs: it answers every command and hears nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cure {
    /// The scan switched off and on.
    Rescan,
    /// The command HCI Reset, which the kernel sends whenever an adapter is powered on.
    Reset,
    /// Pulling it out.
    Replug,
}

/// What it was told, and how it is.
#[derive(Default)]
struct State {
    index: Option<u16>,
    /// The PHYs on which it scans, by their bits (7.8.64); none when it does not scan.
    scanning: u8,
    /// The PHYs that a scan would use.
    phys: u8,
    /// Which family of scan commands came first; a controller refuses the other one until it is
    /// reset (3.1.1).
    family: Option<Family>,
    inquiry_ends: Option<Uptime>,
    hangs: Option<Cure>,
}

/// Scan commands of version 4, or the extended ones of version 5.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    Legacy,
    Extended,
}

// Packet types of the HCI transport (Vol 4 Part A 2), and the virtual one that makes a controller.
const COMMAND: u8 = 0x01;
const EVENT: u8 = 0x04;
const VENDOR: u8 = 0xff;

const INQUIRY_COMPLETE: u8 = 0x01;
const COMMAND_COMPLETE: u8 = 0x0e;
const COMMAND_STATUS: u8 = 0x0f;
const LE_META: u8 = 0x3e;

impl Controller {
    /// Plugs a controller in that counts into `tally`.
    pub(crate) fn plug(model: Model, tally: Arc<Mutex<Tally>>) -> io::Result<Self> {
        let mut port = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/vhci")?;
        port.write_all(&[VENDOR, 0])?;
        #[expect(deprecated, reason = "its successor is unsafe; a `File` closes only when dropped")]
        let port = Arc::new(AsyncFd::new(port)?);
        let state = Arc::new(Mutex::new(State::default()));
        let answering = tokio::spawn({
            let (port, state, tally) = (Arc::clone(&port), Arc::clone(&state), Arc::clone(&tally));
            async move {
                if let Err(error) = serve(model, &port, &state, &tally).await {
                    eprintln!("the controller was torn away: {error}");
                }
            }
        });
        Ok(Self { model, port, state, tally, answering })
    }

    /// Hears a report, if it can; says whether it did.
    pub(crate) fn hear(&self, report: &Report) -> io::Result<bool> {
        let heard = {
            let state = locked(&self.state);
            let mut tally = locked(&self.tally);
            let counter = if state.scanning & report.phy as u8 == 0 {
                &mut tally.missed
            } else if state.hangs.is_some() {
                &mut tally.swallowed
            } else {
                &mut tally.delivered
            };
            *counter += 1;
            state.scanning & report.phy as u8 != 0 && state.hangs.is_none()
        };
        if heard {
            for event in report.events(self.model.extended)? {
                self.port.get_ref().write_all(&packet(LE_META, &event))?;
            }
        }
        Ok(heard)
    }

    /// Whether it was told to scan.
    pub(crate) fn is_scanning(&self) -> bool {
        locked(&self.state).scanning != 0
    }

    /// From now on it hears nothing, until it is cured.
    pub(crate) fn hang(&self, until: Cure) {
        locked(&self.state).hangs = Some(until);
    }

    /// Whether it hangs.
    pub(crate) fn hangs(&self) -> bool {
        locked(&self.state).hangs.is_some()
    }

    /// The number that the kernel gave it: 0 for `hci0`. Nothing until the kernel has answered.
    pub(crate) fn index(&self) -> Option<u16> {
        locked(&self.state).index
    }
}

impl Drop for Controller {
    /// Pulls the controller out: the task lets go of the port, and the kernel of the controller.
    fn drop(&mut self) {
        self.answering.abort();
    }
}

impl State {
    /// Takes a command in; the error is the code with which it is refused.
    fn command(
        &mut self,
        model: Model,
        opcode: u16,
        parameters: &[u8],
        now: Uptime,
        tally: &mut Tally,
    ) -> Result<(), u8> {
        use answer::opcode::{
            INQUIRY, INQUIRY_CANCEL, LE_EXTENDED_SCAN_ENABLE, LE_EXTENDED_SCAN_PARAMETERS,
            LE_SCAN_ENABLE, LE_SCAN_PARAMETERS, RESET,
        };
        tally.commands += 1;
        match (opcode, parameters) {
            (RESET, _) => {
                tally.resets += 1;
                let hangs = self.hangs.filter(|cure| *cure == Cure::Replug);
                *self = Self { index: self.index, hangs, ..Self::default() };
            }
            (LE_SCAN_PARAMETERS, _) => {
                self.family_is(Family::Legacy)?;
                self.phys = Phy::OneMegabit as u8;
            }
            (LE_SCAN_ENABLE, [enable, ..]) => {
                self.family_is(Family::Legacy)?;
                self.phys = Phy::OneMegabit as u8;
                self.scan(*enable == 1, tally);
            }
            (LE_EXTENDED_SCAN_PARAMETERS, [_, _, phys, ..]) if model.extended => {
                self.family_is(Family::Extended)?;
                if *phys & Phy::Coded as u8 != 0 && !model.coded {
                    return Err(answer::UNSUPPORTED_PARAMETER);
                }
                self.phys = *phys;
            }
            (LE_EXTENDED_SCAN_ENABLE, [enable, ..]) if model.extended => {
                self.family_is(Family::Extended)?;
                self.scan(*enable == 1, tally);
            }
            (INQUIRY, [_, _, _, length, ..]) if model.dual => {
                tally.inquiries += 1;
                // In units of 1.28 s (7.1.1).
                self.inquiry_ends = Some(now + Duration::from_millis(1280) * u32::from(*length));
            }
            (INQUIRY_CANCEL, _) => self.inquiry_ends = None,
            (INQUIRY | LE_EXTENDED_SCAN_PARAMETERS | LE_EXTENDED_SCAN_ENABLE, _) => {
                return Err(answer::UNKNOWN_COMMAND);
            }
            _ => {}
        }
        Ok(())
    }

    fn family_is(&mut self, family: Family) -> Result<(), u8> {
        if *self.family.get_or_insert(family) == family {
            Ok(())
        } else {
            Err(answer::COMMAND_DISALLOWED)
        }
    }

    fn scan(&mut self, on: bool, tally: &mut Tally) {
        if on && self.scanning == 0 {
            tally.scans += 1;
            if self.hangs == Some(Cure::Rescan) {
                self.hangs = None;
            }
        }
        self.scanning = if on { self.phys } else { 0 };
    }
}

/// Answers the kernel until the controller is pulled out.
async fn serve(
    model: Model,
    port: &AsyncFd<File>,
    state: &Mutex<State>,
    tally: &Mutex<Tally>,
) -> io::Result<()> {
    let clock = Clock::start();
    let mut buffer = [0; 1024];
    loop {
        let inquiry_ends = locked(state).inquiry_ends;
        let mut ready = tokio::select! {
            ready = port.readable() => ready?,
            () = sleep_until(clock.instant(inquiry_ends.unwrap_or_default())),
                if inquiry_ends.is_some() =>
            {
                locked(state).inquiry_ends = None;
                port.get_ref().write_all(&packet(INQUIRY_COMPLETE, &[0]))?;
                continue;
            }
        };
        let Ok(read) = ready.try_io(|port| port.get_ref().read(&mut buffer)) else { continue };
        let length = read?;
        match buffer.get(..length) {
            Some([VENDOR, 0, low, high, ..]) => {
                locked(state).index = Some(u16::from_le_bytes([*low, *high]));
            }
            Some([COMMAND, low, high, _, parameters @ ..]) => {
                let opcode = u16::from_le_bytes([*low, *high]);
                let taken = {
                    let (mut state, mut tally) = (locked(state), locked(tally));
                    state.command(model, opcode, parameters, clock.now(), &mut tally)
                };
                // Whoever sends commands may always send one more.
                let answer = match answer::to(model, opcode, parameters, taken) {
                    Reply::Status(status) => packet(COMMAND_STATUS, &[status, 1, *low, *high]),
                    Reply::Complete(returned) => {
                        packet(COMMAND_COMPLETE, &[&[1, *low, *high][..], &returned].concat())
                    }
                };
                port.get_ref().write_all(&answer)?;
            }
            _ => {}
        }
    }
}

/// What a plain controller returns behind its status of 0, for those that are made up on top of it.
pub(crate) fn returned(opcode: u16, parameters: &[u8]) -> Vec<u8> {
    answer::returned(Model::default(), opcode, parameters)
}

pub(crate) fn packet(event: u8, parameters: &[u8]) -> Vec<u8> {
    let length = u8::try_from(parameters.len()).unwrap_or(u8::MAX);
    let mut packet = vec![EVENT, event, length];
    packet.extend_from_slice(parameters);
    packet
}

/// Whoever panicked while holding it has changed a number at most.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

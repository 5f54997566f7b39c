//! A controller made of software that has extended advertising and the Coded PHY, can break, and can
//! fall silent. It keeps what it was told.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{io::unix::AsyncFd, task::JoinHandle};

use crate::controller;

/// Plugged in until it is dropped.
pub(super) struct Extended {
    port: Arc<AsyncFd<File>>,
    state: Arc<State>,
    answering: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    mute: AtomicBool,
    commands: Mutex<Vec<(u16, Vec<u8>)>>,
}

const HARDWARE_ERROR: u8 = 0x10;
const COMMAND_COMPLETE: u8 = 0x0e;
const LE_META: u8 = 0x3e;

impl Extended {
    pub(super) fn plug() -> io::Result<Self> {
        let mut port = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/vhci")?;
        port.write_all(&[0xff, 0])?;
        #[expect(deprecated, reason = "its successor is unsafe; a `File` closes only when dropped")]
        let port = Arc::new(AsyncFd::new(port)?);
        let state = Arc::new(State::default());
        let answering = tokio::spawn({
            let (port, state) = (Arc::clone(&port), Arc::clone(&state));
            async move {
                if let Err(error) = answer(&port, &state).await {
                    eprintln!("the extended controller was torn away: {error}");
                }
            }
        });
        Ok(Self { port, state, answering })
    }

    /// The parameters of each command of this kind that it was given.
    pub(super) fn told(&self, opcode: u16) -> Vec<Vec<u8>> {
        let commands = self.state.commands.lock().map(|all| all.clone()).unwrap_or_default();
        commands.into_iter().filter(|(other, _)| *other == opcode).map(|(_, told)| told).collect()
    }

    /// Hears an extended advertisement on the Coded PHY: whole (`more` false), or a part of it.
    pub(super) fn hear(
        &self,
        address: [u8; 6],
        rssi: i8,
        data: &[u8],
        more: bool,
    ) -> io::Result<()> {
        // One report: event type (2), random address, PHYs, set, power, RSSI, not periodic (2),
        // nobody in particular (7), data.
        let mut event = vec![0x0d, 1, u8::from(more) << 5, 0, 1];
        event.extend(address.iter().rev());
        event.extend([3, 3, 7, 0x7f, rssi.cast_unsigned(), 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        event.push(u8::try_from(data.len()).map_err(io::Error::other)?);
        event.extend_from_slice(data);
        self.port.get_ref().write_all(&controller::packet(LE_META, &event))
    }

    /// Breaks, and says so.
    pub(super) fn break_down(&self) -> io::Result<()> {
        self.port.get_ref().write_all(&controller::packet(HARDWARE_ERROR, &[0x42]))
    }

    /// Answers nothing any more, or answers again.
    pub(super) fn mute(&self, mute: bool) {
        self.state.mute.store(mute, Ordering::Relaxed);
    }
}

impl Drop for Extended {
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
        let Some([1, low, high, _, parameters @ ..]) = buffer.get(..length) else { continue };
        let opcode = u16::from_le_bytes([*low, *high]);
        if let Ok(mut commands) = state.commands.lock() {
            commands.push((opcode, parameters.to_vec()));
        }
        if state.mute.load(Ordering::Relaxed) {
            continue;
        }
        let mut event = vec![1, *low, *high, 0];
        event.extend(returned(opcode, parameters));
        port.get_ref().write_all(&controller::packet(COMMAND_COMPLETE, &event))?;
    }
}

/// As the plain controller, apart from what it has besides.
fn returned(opcode: u16, parameters: &[u8]) -> Vec<u8> {
    let mut returned = controller::returned(opcode, parameters);
    match opcode {
        // The commands of extended scanning.
        0x1002 => {
            if let Some(octet) = returned.get_mut(37) {
                *octet |= 0x60;
            }
        }
        // The Coded PHY and extended advertising.
        0x2003 => {
            if let Some(octet) = returned.get_mut(1) {
                *octet |= 0x18;
            }
        }
        // LE Read Maximum Advertising Data Length, LE Read Number of Supported Advertising Sets.
        0x203a => returned = vec![0x72, 0x06],
        0x203b => returned = vec![1],
        _ => {}
    }
    returned
}

//! HCI sockets of the Linux kernel. A channel in, whole packets with their time out.
//!
//! The only unsafe code of this room is here: the few system calls that have no safe binding. A
//! receiver that is slower than the radio loses nothing before the kernel's buffer is full; how
//! full it is, and what was lost, is asked with [`Socket::queue`]. Receiving may be cancelled: a
//! packet is either still in the buffer or handed over.

mod stamp;

use std::{
    fs::File,
    io::{self, Write as _},
    mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use tokio::io::{Interest, unix::AsyncFd};

use self::stamp::stamp;
use super::error::HciError;
use crate::{clock::Clock, engine::Uptime};

/// Which of the kernel's HCI channels to speak on (`net/bluetooth/hci_sock.h`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Channel {
    /// One adapter for this process alone, without the kernel's host stack; by its index.
    User(u16),
    /// What all adapters and the kernel say to each other.
    Monitor,
    /// The management protocol.
    Control,
}

/// An open channel.
#[derive(Debug)]
pub(super) struct Socket {
    fd: AsyncFd<File>,
    clock: Clock,
    /// The time of the last packet: that of the next one is not earlier.
    last: Uptime,
}

/// One packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Received {
    /// How many bytes of the buffer it fills; 0 says that the kernel closed the channel.
    pub(super) length: usize,
    /// When the kernel took it from the controller.
    pub(super) at: Uptime,
}

/// How much waits in a socket's buffer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Queue {
    /// Bytes that wait, as the kernel accounts for them: a small packet counts several hundred.
    pub bytes: u32,
    /// How many may wait before packets are dropped.
    pub bytes_allowed: u32,
    /// Packets dropped since the socket was opened; wraps at 2^32.
    pub dropped: u32,
}

/// One instruction of a classic BPF program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) value: u32,
}

/// The protocol number of HCI among the Bluetooth sockets (`net/bluetooth/bluetooth.h`).
const BTPROTO_HCI: libc::c_int = 1;

/// "No adapter in particular" (`net/bluetooth/hci_sock.h`).
const HCI_DEV_NONE: u16 = 0xffff;

/// `asm-generic/socket.h`; the same on every architecture that this daemon is built for.
const SO_MEMINFO: libc::c_int = 55;

/// The places of `SO_MEMINFO` (`linux/sock_diag.h`): received and waiting, allowed, and drops.
const MEMINFO_WORDS: usize = 9;

/// What may wait in the kernel. It allows twice as much, for its own needs: 8 MiB. An advertisement
/// counts 768 bytes on a 64-bit machine, so that nearly 11,000 of them may wait: five seconds at two
/// thousand a second.
const RECEIVE_BUFFER: libc::c_int = 4 * 1024 * 1024;

/// `struct sockaddr_hci` (`net/bluetooth/hci_sock.h`).
#[repr(C)]
struct Address {
    family: libc::sa_family_t,
    device: u16,
    channel: u16,
}

/// Room for one timestamp with its header, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

// === impl Channel ===

impl Channel {
    /// What opening it is, in a sentence that begins with "failed to".
    const fn opening(self) -> &'static str {
        match self {
            Self::User(_) => "take an adapter for this program alone",
            Self::Monitor => "listen on the kernel's Bluetooth monitor",
            Self::Control => "speak to the kernel's Bluetooth management",
        }
    }

    const fn capability(self) -> &'static str {
        match self {
            Self::Monitor => "CAP_NET_RAW",
            Self::User(_) | Self::Control => "CAP_NET_ADMIN",
        }
    }

    fn adapter(self) -> String {
        match self {
            Self::User(index) => format!("hci{index}"),
            Self::Monitor | Self::Control => "a Bluetooth adapter".to_owned(),
        }
    }

    fn error(self, doing: &'static str, error: &io::Error) -> HciError {
        HciError::of_socket(doing, &self.adapter(), self.capability(), error)
    }
}

// === impl Socket ===

impl Socket {
    /// Opens a channel. Must be called inside an event loop of tokio.
    pub(super) fn open(channel: Channel, clock: Clock) -> Result<Self, HciError> {
        let opening = channel.opening();
        let failed = |error: io::Error| channel.error(opening, &error);
        let fd = create().map_err(failed)?;
        // Before the channel is bound, so that not even the first packets lack it.
        set_option(&fd, libc::SO_TIMESTAMP, &1_i32).map_err(failed)?;
        if channel != Channel::Control {
            enlarge(&fd).map_err(failed)?;
        }
        bind(&fd, channel).map_err(failed)?;
        Ok(Self { fd: register(fd).map_err(failed)?, clock, last: Uptime::ZERO })
    }

    /// Hands over only what a program in the kernel lets through; packets that are already waiting
    /// are not asked.
    pub(super) fn filter(&self, program: &[Instruction]) -> io::Result<()> {
        let mut program: Vec<libc::sock_filter> = program
            .iter()
            .map(|&Instruction { code, jump_true, jump_false, value }| libc::sock_filter {
                code,
                jt: jump_true,
                jf: jump_false,
                k: value,
            })
            .collect();
        let len = u16::try_from(program.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
        set_option(self.fd.get_ref(), libc::SO_ATTACH_FILTER, &program)
    }

    /// Waits for a packet. What does not fit into the buffer is cut off.
    pub(super) async fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            // A controller that is pulled out shows as an error, without anything to read.
            let mut ready = self.fd.ready(Interest::READABLE | Interest::ERROR).await?;
            match ready.try_io(|fd| receive(fd.get_ref(), buffer)) {
                Ok(Ok((length, stamp))) => return Ok(self.received(length, stamp)),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_nothing_yet) => {}
            }
        }
    }

    /// Takes a packet that is there already; nothing when there is none.
    pub(super) fn try_recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        match receive(self.fd.get_ref(), buffer) {
            Ok((length, stamp)) => Ok(Some(self.received(length, stamp))),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn received(&mut self, length: usize, stamp: Option<Duration>) -> Received {
        let now = self.clock.now();
        let at = stamp.map_or(now, |stamp| self.clock.uptime_of(stamp));
        // When the wall clock is set, one stamp may seem older than the one before it.
        self.last = at.max(self.last).min(now);
        Received { length, at: self.last }
    }

    /// Sends one packet.
    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        loop {
            let mut ready = self.fd.ready(Interest::WRITABLE | Interest::ERROR).await?;
            match ready.try_io(|fd| fd.get_ref().write(packet)) {
                // A packet is taken whole or not at all, whatever the length that is returned: it
                // is 0 for a request that the management refused, and answered with the reason.
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_full) => {}
            }
        }
    }

    /// Asks how much waits.
    pub(super) fn queue(&self) -> io::Result<Queue> {
        let [bytes, bytes_allowed, .., dropped] = memory(self.fd.get_ref())?;
        Ok(Queue { bytes, bytes_allowed, dropped })
    }
}

/// Asks for a large receive buffer. Without `CAP_NET_ADMIN` it is at most twice
/// `net.core.rmem_max`, whose default leaves room for some 550 advertisements.
fn enlarge(fd: &File) -> io::Result<()> {
    set_option(fd, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER)
        .or_else(|_| set_option(fd, libc::SO_RCVBUF, &RECEIVE_BUFFER))
}

// === The system calls ===

#[expect(unsafe_code, reason = "the standard library makes no Bluetooth sockets")]
fn create() -> io::Result<File> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointer, and a descriptor that it returns belongs to nobody else.
    let fd = unsafe {
        let fd = libc::socket(libc::AF_BLUETOOTH, kind, BTPROTO_HCI);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    Ok(File::from(fd))
}

#[expect(unsafe_code, reason = "the standard library knows no Bluetooth addresses")]
fn bind(fd: &File, channel: Channel) -> io::Result<()> {
    let (device, channel) = match channel {
        Channel::User(index) => (index, 1),
        Channel::Monitor => (HCI_DEV_NONE, 2),
        Channel::Control => (HCI_DEV_NONE, 3),
    };
    let family = libc::sa_family_t::try_from(libc::AF_BLUETOOTH).map_err(io::Error::other)?;
    let address = Address { family, device, channel };
    let length = length_of::<Address>()?;
    // SAFETY: the pointer is to a whole address of the length given, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })
}

#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]
fn register(fd: File) -> io::Result<AsyncFd<File>> {
    let interest = Interest::READABLE | Interest::WRITABLE | Interest::ERROR;
    // SAFETY: a `File` keeps one descriptor open until it is dropped, and nothing replaces it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// Sets an option of the socket level. Only for a `T` that is the C type of that option.
#[expect(unsafe_code, reason = "the standard library has no binding for these options")]
fn set_option<T>(fd: &File, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = length_of::<T>()?;
    let value: *const T = value;
    // SAFETY: the pointer is to a value of the length given, which outlives the call; the kernel
    // only reads it, and a filter's instructions behind it, which outlive the call as well.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, value.cast(), length) })
}

#[expect(unsafe_code, reason = "the standard library has no binding for this option")]
fn memory(fd: &File) -> io::Result<[u32; MEMINFO_WORDS]> {
    let mut words = [0; MEMINFO_WORDS];
    let mut length = length_of::<[u32; MEMINFO_WORDS]>()?;
    // SAFETY: both pointers are to variables of ours; the kernel writes at most `length` bytes.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    Ok(words)
}

#[expect(unsafe_code, reason = "the standard library receives no control messages")]
fn receive(fd: &File, buffer: &mut [u8]) -> io::Result<(usize, Option<Duration>)> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero `msghdr` is a valid value. Its pointers are to variables that outlive the
    // call, with their true lengths; the kernel writes within these.
    let (received, message) = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        (libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0), message)
    };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let filled = message.msg_controllen;
    Ok((length.min(buffer.len()), control.0.get(..filled).and_then(stamp)))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn length_of<T>() -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)
}

//! The kernel's Bluetooth management. Questions in, adapters and changes out.
//!
//! Listing needs no capability; switching needs `CAP_NET_ADMIN`, and the error says so. Every question
//! is answered or given up in time, whatever else the kernel says meanwhile. What the messages look
//! like is in `message`; how hardware is reset that no longer listens, in [`super::hardware`].

mod message;

use std::{collections::VecDeque, time::Duration};

use tokio::time::timeout;

pub use self::message::Change;
use self::message::{Message, Request};
use super::{
    adapter::{Adapter, Bus, Wanted},
    error::HciError,
    socket::{Channel, Socket},
};
use crate::clock::Clock;

/// An open line to the kernel's management.
#[derive(Debug)]
pub struct Management {
    socket: Socket,
    patience: Duration,
    buffer: Vec<u8>,
    /// Changes that came while an answer was waited for.
    changes: VecDeque<Change>,
}

/// The parameters of an answer.
type Answer = Result<Vec<u8>, u8>;

/// Larger than the longest message: a header of 6 bytes and 65,535 of parameters are possible, but
/// what is read here has at most 280, and a list 2 + 4 for each adapter.
const BUFFER: usize = 4096;

/// Changes that are kept for [`Management::changed`]; of more, the oldest are forgotten.
const MOST_CHANGES: usize = 64;

/// How often a request is repeated that came while the kernel was busy with another one for the
/// same adapter, and the pause before each.
const BUSY_ATTEMPTS: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

impl Management {
    /// Opens a line. Each question may take as long as `patience`. Must be called inside an event
    /// loop of tokio.
    pub fn open(clock: Clock, patience: Duration) -> Result<Self, HciError> {
        Ok(Self {
            socket: Socket::open(Channel::Control, clock)?,
            patience,
            buffer: vec![0; BUFFER],
            changes: VecDeque::new(),
        })
    }

    /// Lists the adapters, by number. One that a program has taken for itself alone is not listed.
    pub async fn adapters(&mut self) -> Result<Vec<Adapter>, HciError> {
        let mut adapters = Vec::new();
        for (index, bus) in self.indexes().await? {
            match self.info(index, bus).await {
                Ok(adapter) => adapters.push(adapter),
                // It was pulled out in between.
                Err(HciError::NoAdapter(_)) => {}
                Err(error) => return Err(error),
            }
        }
        adapters.sort_by_key(|adapter| adapter.index);
        Ok(adapters)
    }

    /// Finds one adapter.
    pub async fn adapter(&mut self, wanted: &Wanted) -> Result<Adapter, HciError> {
        let adapters = self.adapters().await?;
        wanted.choose(&adapters).copied()
    }

    /// Switches an adapter on or off. It does no harm if it is already. Takes `CAP_NET_ADMIN`.
    pub async fn power(&mut self, index: u16, on: bool) -> Result<(), HciError> {
        let request = Request::SetPowered(index, on);
        for _ in 1..BUSY_ATTEMPTS {
            match self.ask(request).await? {
                Err(message::BUSY) => tokio::time::sleep(BUSY_PAUSE).await,
                answer => return answer.map(|_| ()).map_err(|status| error(request, status)),
            }
        }
        self.ask(request).await?.map(|_| ()).map_err(|status| error(request, status))
    }

    /// Switches an adapter off and on: its controller is reset and set up again by the kernel.
    /// A controller that does not answer keeps the kernel waiting for some seconds.
    pub async fn power_cycle(&mut self, index: u16) -> Result<(), HciError> {
        self.power(index, false).await?;
        self.power(index, true).await
    }

    /// Waits for the next change among the adapters. Loses nothing when it is given up.
    pub async fn changed(&mut self) -> Result<Change, HciError> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            self.receive("watch the Bluetooth adapters", |_| None::<()>).await?;
        }
    }

    async fn indexes(&mut self) -> Result<Vec<(u16, Option<Bus>)>, HciError> {
        let request = Request::ReadExtendedIndexList;
        let (request, listed) = match self.ask(request).await? {
            Ok(parameters) => (request, message::extended_index_list(&parameters)),
            Err(message::UNKNOWN_COMMAND) => {
                let request = Request::ReadIndexList;
                let parameters =
                    self.ask(request).await?.map_err(|status| error(request, status))?;
                (request, message::index_list(&parameters))
            }
            Err(status) => return Err(error(request, status)),
        };
        listed.ok_or_else(|| error(request, MALFORMED))
    }

    async fn info(&mut self, index: u16, bus: Option<Bus>) -> Result<Adapter, HciError> {
        let request = Request::ReadInfo(index);
        let parameters = self.ask(request).await?.map_err(|status| error(request, status))?;
        message::info(index, bus, &parameters).ok_or_else(|| error(request, MALFORMED))
    }

    async fn ask(&mut self, request: Request) -> Result<Answer, HciError> {
        let (doing, patience) = (request.doing(), self.patience);
        let asked = async {
            self.socket.send(&request.packet()).await.map_err(|error| {
                HciError::of_socket(doing, "a Bluetooth adapter", "CAP_NET_ADMIN", &error)
            })?;
            loop {
                let answer = self.receive(doing, |message| match message {
                    Message::Answer { code, index, status, parameters }
                        if (code, index) == (request.code(), request.index()) =>
                    {
                        Some(match status {
                            message::SUCCESS => Ok(parameters.to_vec()),
                            status => Err(status),
                        })
                    }
                    _ => None,
                });
                if let Some(answer) = answer.await? {
                    return Ok(answer);
                }
            }
        };
        timeout(patience, asked).await.unwrap_or(Err(HciError::Silent { doing }))
    }

    /// Takes one message in. A change is kept; of anything else `pick` says what it is worth.
    async fn receive<T>(
        &mut self,
        doing: &'static str,
        pick: impl FnOnce(Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, HciError> {
        let received = self.socket.recv(&mut self.buffer).await.map_err(|error| {
            HciError::of_socket(doing, "a Bluetooth adapter", "CAP_NET_ADMIN", &error)
        })?;
        if received.length == 0 {
            return Err(HciError::Lost);
        }
        let packet = self.buffer.get(..received.length).unwrap_or_default();
        Ok(match Message::read(packet) {
            Some(Message::Change(change)) => {
                if self.changes.len() >= MOST_CHANGES {
                    self.changes.pop_front();
                }
                self.changes.push_back(change);
                None
            }
            Some(message) => pick(message),
            None => None,
        })
    }
}

/// Reads one packet in every way that there is, without a socket.
pub(super) fn rehearse(packet: &[u8]) {
    drop(message::index_list(packet));
    drop(message::extended_index_list(packet));
    let _adapter = message::info(0, None, packet);
    let _message = Message::read(packet);
}

/// Stands for an answer that cannot be read: "Invalid Parameters".
const MALFORMED: u8 = 0x0d;

fn error(request: Request, status: u8) -> HciError {
    let doing = request.doing();
    let adapter = || format!("hci{}", request.index());
    match status {
        message::PERMISSION_DENIED => HciError::Forbidden { doing, capability: "CAP_NET_ADMIN" },
        message::INVALID_INDEX => HciError::NoAdapter(adapter()),
        message::RFKILLED => HciError::Blocked(adapter()),
        message::BUSY => HciError::InUse(adapter()),
        status => HciError::Declined { doing, status },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_declines_is_told_by_what_helps() {
        let request = Request::SetPowered(1, true);
        assert_eq!(
            error(request, message::PERMISSION_DENIED),
            HciError::Forbidden { doing: request.doing(), capability: "CAP_NET_ADMIN" }
        );
        assert_eq!(error(request, message::RFKILLED), HciError::Blocked("hci1".to_owned()));
        assert_eq!(error(request, message::INVALID_INDEX), HciError::NoAdapter("hci1".to_owned()));
        assert_eq!(error(request, 0x03), HciError::Declined { doing: request.doing(), status: 3 });
    }
}

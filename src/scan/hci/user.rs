//! An adapter that this program has for itself: the HCI user channel. Its advertisements out, each as
//! the controller gave it; no bluetoothd, no bus, no sharing of the air time.
//!
//! Takes `CAP_NET_ADMIN`. While a session lives, no other program sees the adapter; when it ends, the
//! kernel gets it back, switched off. The decider is `Dialogue`; here is its doer.

mod command;
mod dialogue;
mod plan;

use std::{collections::VecDeque, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

pub use self::command::Ability;
use self::dialogue::{Dialogue, Event};
use super::{
    adapter::{Adapter, Wanted},
    error::{HciError, OsError},
    item::{Item, News},
    mgmt::Management,
    settings::Settings,
    socket::{Channel, Queue, Received, Socket},
};
use crate::{
    clock::Clock,
    engine::{ReceiverId, Uptime},
};

/// A session with one controller.
#[derive(Debug)]
pub struct UserSession {
    socket: Socket,
    clock: Clock,
    adapter: Adapter,
    receiver: ReceiverId,
    patience: Duration,
    dialogue: Dialogue,
    /// A packet that has not been sent yet.
    unsent: Option<Vec<u8>>,
    buffer: Vec<u8>,
    ready: VecDeque<Item>,
    /// Why nothing more will come.
    over: Option<HciError>,
}

/// Longer than any packet that is meant for a scanner: 1 byte of kind, 2 and 255 of an event. Data
/// of connections, which nobody here makes, would be cut off.
const BUFFER: usize = 1024;

/// So many packets are read together at the most: some milliseconds' worth of a flood.
const TOGETHER: usize = 32;

/// How often an adapter is tried that was busy, and the pause between: bluetoothd switches on what
/// has just been plugged in.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

const CAPABILITY: &str = "CAP_NET_ADMIN";

impl UserSession {
    /// Takes an adapter, resets its controller and makes it scan. Each step may take as long as
    /// `patience`. Must be called inside an event loop of tokio.
    pub async fn open(
        wanted: &Wanted,
        settings: &Settings,
        receiver: ReceiverId,
        clock: Clock,
        patience: Duration,
    ) -> Result<Self, HciError> {
        let (adapter, socket) = take(wanted, clock, patience).await?;
        let mut random_address = [0; 6];
        random_address.fill_with(|| fastrand::u8(..));
        let name = adapter.name();
        let mut session = Self {
            socket,
            clock,
            adapter,
            receiver,
            patience,
            dialogue: Dialogue::new(settings.clone(), name, patience, random_address),
            unsent: None,
            buffer: vec![0; BUFFER],
            ready: VecDeque::new(),
            over: None,
        };
        session.reset().await?;
        Ok(session)
    }

    /// The adapter, as it was before it was taken, with the address that its controller told.
    pub fn adapter(&self) -> Adapter {
        let address = self.ability().address.unwrap_or(self.adapter.address);
        Adapter { address, ..self.adapter }
    }

    /// What the controller can.
    pub const fn ability(&self) -> &Ability {
        self.dialogue.ability()
    }

    /// Waits for what the controller says next. Loses nothing when it is given up. After an error
    /// only [`Self::reset`] helps, and after [`HciError::Lost`] only a new session.
    pub async fn next(&mut self) -> Result<Item, HciError> {
        loop {
            if let Some(item) = self.ready() {
                return Ok(item);
            }
            if let Some(error) = &self.over {
                return Err(error.clone());
            }
            self.step().await?;
        }
    }

    /// What the controller has said already: packets are read together, as many as there are.
    pub fn ready(&mut self) -> Option<Item> {
        self.ready.pop_front()
    }

    /// Ends the scan and starts it again, in some milliseconds. What is heard meanwhile is kept for
    /// [`Self::next`].
    pub async fn restart_scan(&mut self) -> Result<(), HciError> {
        self.gone()?;
        self.over = None;
        self.dialogue.restart_scan(self.clock.now());
        self.settle(&Event::Scanning).await
    }

    /// Resets the controller and makes it scan again.
    pub async fn reset(&mut self) -> Result<(), HciError> {
        self.gone()?;
        self.over = None;
        self.unsent = None;
        self.dialogue.reset(self.clock.now());
        self.settle(&Event::Scanning).await
    }

    /// Ends the scan and gives the adapter back, switched off.
    pub async fn close(mut self) {
        self.dialogue.end_scan(self.clock.now());
        let ended = timeout(self.patience, self.settle(&Event::Ended)).await;
        if !matches!(ended, Ok(Ok(()))) {
            debug!("The controller did not end its scan; the kernel switches it off.");
        }
    }

    /// Gives up on advertisements whose other parts are missing since the last call; says how many
    /// those were. For once a second: the parts come within milliseconds.
    pub fn forget(&mut self) -> u64 {
        if self.ready.is_empty() {
            // An item is moved in with the room of its other variants, and what lay there before.
            self.ready = VecDeque::new();
        }
        self.dialogue.forget()
    }

    /// Asks how much waits in the kernel, and how much it dropped.
    pub fn queue(&self) -> Result<Queue, HciError> {
        self.socket.queue().map_err(|error| HciError::System {
            doing: "ask how much waits on the user channel",
            cause: OsError::of(&error),
        })
    }

    /// Goes on until that has happened, or something went wrong.
    async fn settle(&mut self, until: &Event) -> Result<(), HciError> {
        loop {
            while let Some(event) = self.dialogue.poll_event() {
                let settled = event == *until;
                self.event(event);
                if settled {
                    return Ok(());
                }
            }
            if let Some(error) = &self.over {
                return Err(error.clone());
            }
            self.exchange().await?;
        }
    }

    async fn step(&mut self) -> Result<(), HciError> {
        self.exchange().await?;
        while let Some(event) = self.dialogue.poll_event() {
            self.event(event);
        }
        Ok(())
    }

    /// Sends what is to be sent, then takes one packet in or lets time pass.
    async fn exchange(&mut self) -> Result<(), HciError> {
        let exchanged = self.send_and_receive().await;
        if let Err(error) = &exchanged {
            self.over = Some(error.clone());
        }
        exchanged
    }

    async fn send_and_receive(&mut self) -> Result<(), HciError> {
        let name = self.adapter.name();
        let failed = |doing| {
            let name = name.clone();
            move |error: std::io::Error| HciError::of_socket(doing, &name, CAPABILITY, &error)
        };
        loop {
            if self.unsent.is_none() {
                self.unsent = self.dialogue.poll_packet();
            }
            let Some(packet) = &self.unsent else { break };
            let sent = timeout(self.patience, self.socket.send(packet)).await;
            let doing = "send a command to a Bluetooth controller";
            sent.map_err(|_| HciError::Silent { doing })?.map_err(failed(doing))?;
            self.unsent = None;
        }
        let due = self.dialogue.poll_timeout().map(|due| due.since(self.clock.now()));
        let received = tokio::select! {
            // An answer that is there counts, even if nobody looked for it in time.
            biased;
            received = self.socket.recv(&mut self.buffer) => received,
            () = sleep(due.unwrap_or_default()), if due.is_some() => {
                self.dialogue.handle_timeout(self.clock.now());
                return Ok(());
            }
        };
        let received = received.map_err(failed("listen to a Bluetooth controller"))?;
        let mut next = Some(received);
        for _ in 0..TOGETHER {
            let Some(received) = next else { break };
            self.take(&received)?;
            // What went wrong after the first packet shows when it is waited for.
            next = self.socket.try_recv(&mut self.buffer).unwrap_or_default();
        }
        // The last one was taken out of the kernel, so it counts.
        next.map_or(Ok(()), |received| self.take(&received))
    }

    /// Reads a packet and clears the buffer. Not part of its caller, so that what it leaves on the
    /// stack can be cleared from there.
    #[inline(never)]
    fn take(&mut self, received: &Received) -> Result<(), HciError> {
        if received.length == 0 {
            return Err(HciError::Lost);
        }
        let Self { dialogue, buffer, ready, receiver, clock, .. } = self;
        let packet = buffer.get(..received.length).unwrap_or_default();
        dialogue.handle_packet(clock.now(), packet, &mut |report| {
            ready.push_back(Item::of_report(receiver, received.at, report));
        });
        buffer.get_mut(..received.length).unwrap_or_default().fill(0);
        Ok(())
    }

    fn event(&mut self, event: Event) {
        let adapter = self.adapter.name();
        match event {
            Event::Scanning => self.ready.push_back(Item::News(News::Scan { on: true })),
            Event::Ended => self.ready.push_back(Item::News(News::Scan { on: false })),
            Event::HardwareError { code } => {
                self.ready.push_back(Item::News(News::Scan { on: false }));
                self.ready.push_back(Item::News(News::HardwareError { code }));
            }
            Event::NoCoded => {
                warn!(
                    adapter,
                    "The controller does not scan with the Coded PHY; it listens on 1M."
                );
            }
            Event::Failed(error) => self.over = Some(error),
        }
    }

    /// What is gone cannot be told anything.
    fn gone(&self) -> Result<(), HciError> {
        match &self.over {
            Some(HciError::Lost) => Err(HciError::Lost),
            _ => Ok(()),
        }
    }
}

/// Plays packets from a controller to the decider, without a socket, one each tenth of a second.
/// What begins with 0 to 3 is no packet from a controller (whose kinds begin at 4, an event): it
/// stands for a step of the recovery, or for the answer that is waited for. Returns how many reports
/// there were.
pub(super) fn rehearse<'a>(settings: &Settings, packets: impl Iterator<Item = &'a [u8]>) -> usize {
    let patience = Duration::from_secs(1);
    let mut dialogue = Dialogue::new(settings.clone(), "hci0".to_owned(), patience, [0; 6]);
    let mut now = Uptime::ZERO;
    let mut reports = 0;
    dialogue.reset(now);
    for packet in packets {
        now = now + Duration::from_millis(100);
        match packet {
            [0] => dialogue.reset(now),
            [1] => dialogue.restart_scan(now),
            [2] => dialogue.end_scan(now),
            // The answer that is waited for, with a status and parameters.
            [3, returned @ ..] => {
                if let Some(answer) = dialogue.answer_to(returned) {
                    dialogue.handle_packet(now, &answer, &mut |_| {});
                }
            }
            packet => dialogue.handle_packet(now, packet, &mut |_| reports += 1),
        }
        dialogue.handle_timeout(now);
        while dialogue.poll_packet().is_some() {}
        while dialogue.poll_event().is_some() {}
    }
    reports
}

/// Finds the adapter, switches it off, and takes it.
async fn take(
    wanted: &Wanted,
    clock: Clock,
    patience: Duration,
) -> Result<(Adapter, Socket), HciError> {
    let mut management = Management::open(clock, patience)?;
    let mut attempt = 1;
    loop {
        let adapter = management.adapter(wanted).await?;
        if adapter.powered {
            management.power(adapter.index, false).await?;
        }
        match Socket::open(Channel::User(adapter.index), clock) {
            Ok(socket) => return Ok((adapter, socket)),
            Err(HciError::InUse(_)) if attempt < ATTEMPTS => {
                attempt += 1;
                sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

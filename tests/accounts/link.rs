//! The line between the gateway and the broker: up, cut every few moments, or down.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

/// What the line does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// It carries.
    Up,
    /// Each connection lives for a few hundred milliseconds, and at its end carries only to the
    /// broker: what arrives there is acknowledged, and the acknowledgement never comes back.
    Cutting,
    /// Nobody is let through, and whoever was has been cut off.
    Down,
}

/// The line.
pub(crate) struct Link {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
}

impl Link {
    /// A line that leads to a port of this machine.
    pub(crate) async fn start(to: u16, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (mode, modes) = watch::channel(Mode::Up);
        tokio::spawn(serve(listener, to, modes, fastrand::Rng::with_seed(seed)));
        Ok(Self { port, mode })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(
    listener: TcpListener,
    to: u16,
    modes: watch::Receiver<Mode>,
    mut random: fastrand::Rng,
) {
    let mut cut = 0;
    while let Ok((gateway, _)) = listener.accept().await {
        let mode = *modes.borrow();
        // Each dozen of connections lives longer than the one before: on a machine that is busy with
        // other things something must get through in the end.
        cut = if mode == Mode::Cutting { cut + 1 } else { 0 };
        let patience = 1 + cut / 12;
        if mode == Mode::Down {
            continue;
        }
        let life =
            (mode == Mode::Cutting).then(|| Duration::from_millis(random.u64(30..400) * patience));
        let deaf = Duration::from_millis(random.u64(0..20));
        let modes = modes.clone();
        tokio::spawn(async move {
            // A broker that is away is a line that breaks.
            if let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await {
                carry(gateway, broker, life, deaf, modes).await;
            }
        });
    }
}

async fn carry(
    mut gateway: TcpStream,
    mut broker: TcpStream,
    life: Option<Duration>,
    deaf: Duration,
    mut modes: watch::Receiver<Mode>,
) {
    for stream in [&gateway, &broker] {
        stream.set_nodelay(true).ok();
    }
    let (from_gateway, to_gateway) = gateway.split();
    let (from_broker, to_broker) = broker.split();
    let mut there = std::pin::pin!(pass(from_gateway, to_broker));
    let both = async {
        tokio::select! {
            () = &mut there => {}
            () = pass(from_broker, to_gateway) => {}
        }
    };
    let over = async {
        let ended = modes.wait_for(|mode| *mode != Mode::Up || life.is_some());
        match life {
            Some(life) => drop(tokio::time::timeout(life, std::future::pending::<()>()).await),
            None => drop(ended.await),
        }
    };
    let cut = tokio::select! {
        () = both => false,
        () = over => true,
    };
    if cut {
        tokio::time::timeout(deaf, there).await.ok();
    }
}

async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let Some(bytes) = chunk.get(..count) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

//! A slow link that is cut every 30 to 400 ms, swallows the broker's last words before it is, and
//! delivers what was under way when it was long after, while the next connection is being made.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::Uptime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
};

/// How many chunks may be under way in one direction.
const UNDER_WAY: usize = 1024;

/// A running link.
pub(crate) struct Cutter {
    port: u16,
    cuts: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// How one connection over the link will fare.
#[derive(Clone, Copy)]
struct Fate {
    /// How long a byte is under way, at least.
    delay: Duration,
    /// How much longer, by chance.
    jitter: Duration,
    /// How long both directions work.
    life: Duration,
    /// How long only the way to the broker works after that: what arrives there is acknowledged,
    /// and the acknowledgement never comes back.
    deaf: Duration,
    /// How long what is under way to the broker then still arrives, though the client knows that
    /// the connection is gone.
    afterlife: Duration,
    seed: u64,
}

impl Cutter {
    /// Leads to a port of this machine, with a delay each way. `seed` decides when it is cut.
    pub(crate) async fn start(to: u16, delay: Duration, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&cuts);
        let mut random = fastrand::Rng::with_seed(seed);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(broker) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let fate = Fate {
                    delay,
                    jitter: delay / 2,
                    life: Duration::from_millis(random.u64(30..400)),
                    deaf: Duration::from_millis(random.u64(0..20)),
                    afterlife: Duration::from_millis(random.u64(0..100)),
                    seed: random.u64(..),
                };
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    carry(client, broker, fate).await;
                    counter.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, cuts, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries both ways for a life, then only to the broker, then only what is under way there.
async fn carry(client: TcpStream, broker: TcpStream, fate: Fate) {
    client.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let clock = Clock::start();
    let (there, arriving) = mpsc::channel(UNDER_WAY);
    let (back, returning) = mpsc::channel(UNDER_WAY);
    let arrivals = tokio::spawn(deliver(clock, arriving, to_broker));
    {
        let mut sent = std::pin::pin!(take(clock, from_client, there, fate));
        let answers = async {
            tokio::join!(
                take(clock, from_broker, back, fate),
                deliver(clock, returning, to_client)
            );
        };
        let both = async { tokio::join!(&mut sent, answers) };
        if tokio::time::timeout(fate.life, both).await.is_err() {
            tokio::time::timeout(fate.deaf, sent).await.ok();
        }
    }
    // The client's socket is closed; the broker's only once what was under way has arrived.
    let aborted = arrivals.abort_handle();
    if tokio::time::timeout(fate.afterlife, arrivals).await.is_err() {
        aborted.abort();
    }
}

/// Reads, and says when each chunk is to arrive.
async fn take(
    clock: Clock,
    mut from: OwnedReadHalf,
    sender: mpsc::Sender<(Uptime, Vec<u8>)>,
    fate: Fate,
) {
    let mut random = fastrand::Rng::with_seed(fate.seed);
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let bytes = chunk.iter().take(count).copied().collect();
        let due = clock.now() + fate.delay + fate.jitter.mul_f64(random.f64());
        if sender.send((due, bytes)).await.is_err() {
            return;
        }
    }
}

/// Writes each chunk when its time has come, in order.
async fn deliver(
    clock: Clock,
    mut chunks: mpsc::Receiver<(Uptime, Vec<u8>)>,
    mut to: OwnedWriteHalf,
) {
    while let Some((due, bytes)) = chunks.recv().await {
        tokio::time::sleep(due.since(clock.now())).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

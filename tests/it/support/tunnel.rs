//! A small HTTP proxy that knows `CONNECT` and nothing else, and does as it is told.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What it does with whoever asks.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// Opens a tunnel, for whoever shows these credentials if there are any.
    Serve(Option<&'static str>),
    /// Answers with these bytes and hangs up.
    Answer(&'static str),
    /// Says nothing.
    Silent,
}

/// A running proxy.
pub(crate) struct Tunnel {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    /// Bytes carried to the broker.
    sent: Arc<AtomicU64>,
    manner: watch::Sender<Manner>,
    /// Changes when all tunnels are to be cut.
    cut: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Tunnel {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, sent) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicU64>::default());
        let (manner, manners) = watch::channel(manner);
        let (cut, cuts) = watch::channel(());
        let (log, count) = (Arc::clone(&asked), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let manner = manners.borrow().clone();
                tokio::spawn(serve(
                    client,
                    manner,
                    Arc::clone(&log),
                    Arc::clone(&count),
                    cuts.clone(),
                ));
            }
        });
        Self { port, asked, sent, manner, cut, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was asked for, one request after the other.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How many bytes went to the broker.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What it does from now on.
    pub(crate) fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Cuts all tunnels that there are.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(());
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    manner: Manner,
    log: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicU64>,
    mut cuts: watch::Receiver<()>,
) {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        request.push(char::from(byte));
    }
    log.lock().unwrap().push(request.clone());
    let wanted = match manner {
        Manner::Answer(answer) => {
            client.write_all(answer.as_bytes()).await.ok();
            return;
        }
        // Until the client gives up.
        Manner::Silent => return drop(client.read_u8().await),
        Manner::Serve(wanted) => wanted,
    };
    let shown = request.lines().find_map(|it| it.strip_prefix("Proxy-Authorization: Basic "));
    if wanted.is_some() && shown != wanted {
        let refusal = b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
        client.write_all(refusal).await.ok();
        return;
    }
    let target = request.strip_prefix("CONNECT ").and_then(|it| it.split(' ').next()).unwrap();
    let Ok(mut broker) = TcpStream::connect(target.to_owned()).await else {
        client.write_all(b"HTTP/1.1 502 Nobody there\r\n\r\n").await.ok();
        return;
    };
    client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.ok();
    cuts.mark_unchanged();
    let (mut client_in, mut client_out) = client.split();
    let (mut broker_in, mut broker_out) = broker.split();
    let there = async {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = client_in.read(&mut bytes).await {
            count.fetch_add(u64::try_from(length).unwrap(), Ordering::Relaxed);
            if broker_out.write_all(bytes.get(..length).unwrap()).await.is_err() {
                break;
            }
        }
        broker_out.shutdown().await.ok();
    };
    let back = tokio::io::copy(&mut broker_in, &mut client_out);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = cuts.changed() => {}
    }
}

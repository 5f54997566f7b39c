//! A load balancer for TCP, as stands before a cluster: leads to the node with the fewest connections,
//! and to the next when that one does not answer. It looks at nothing that passes, and breaks no connection by
//! itself: a client whose node has fallen silent has to find that out.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    network::{self, NODES},
    node::PORT,
    support::{Outcome, text},
};

/// How long a node may take to accept a connection: the next one is not far.
const CONNECT: Duration = Duration::from_secs(1);

/// A running balancer.
pub(crate) struct Balancer {
    led: Arc<Mutex<Led>>,
    task: JoinHandle<()>,
}

/// Who was led where.
#[derive(Debug, Default)]
struct Led {
    /// The node of each client's latest connection.
    chosen: BTreeMap<IpAddr, u8>,
    /// The connections of each node, those that have died unnoticed included.
    connections: BTreeMap<u8, usize>,
}

impl Balancer {
    /// Starts to listen at the hub.
    pub(crate) async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind(Self::address()).await.map_err(text)?;
        let led = Arc::<Mutex<Led>>::default();
        let noted = Arc::clone(&led);
        let task = tokio::spawn(async move {
            loop {
                // An error is of one connection that came to nothing.
                let Ok((client, from)) = listener.accept().await else { continue };
                tokio::spawn(carry(client, from.ip(), Arc::clone(&noted)));
            }
        });
        Ok(Self { led, task })
    }

    /// Where clients connect.
    pub(crate) fn address() -> SocketAddr {
        (network::balancer(), PORT).into()
    }

    /// The node that a client was led to last.
    pub(crate) fn node_of(&self, client: IpAddr) -> Option<u8> {
        lock(&self.led).chosen.get(&client).copied()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Leads a client to the first node that accepts.
async fn carry(mut client: TcpStream, from: IpAddr, led: Arc<Mutex<Led>>) {
    let mut nodes = NODES;
    nodes.sort_by_key(|node| lock(&led).connections.get(node).copied());
    for node in nodes {
        let connect = TcpStream::connect((network::front(node), PORT));
        let Ok(Ok(mut broker)) = timeout(CONNECT, connect).await else { continue };
        {
            let mut led = lock(&led);
            led.chosen.insert(from, node);
            *led.connections.entry(node).or_default() += 1;
        }
        // Without it small packets wait for the acknowledgement of the one before.
        drop((client.set_nodelay(true), broker.set_nodelay(true)));
        // How it ends is the ends' affair.
        drop(tokio::io::copy_bidirectional(&mut client, &mut broker).await);
        *lock(&led).connections.entry(node).or_default() -= 1;
        return;
    }
}

fn lock(led: &Mutex<Led>) -> MutexGuard<'_, Led> {
    led.lock().expect("nobody panics holding it")
}

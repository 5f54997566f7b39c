//! A door between the gateways and the broker: passes everything on until it is shut, on everybody
//! at once.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// An open or shut door.
pub(crate) struct Door {
    address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    is_open: bool,
    /// How often it was shut: whoever came in before the last time is thrown out, even if it is open
    /// again before anybody looked.
    shut: u64,
}

impl Door {
    /// Leads to a broker.
    pub(crate) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, watched) = watch::channel(State { is_open: true, shut: 0 });
        let task = tokio::spawn(async move {
            loop {
                // An error is of one connection that came to nothing.
                let Ok((client, _)) = listener.accept().await else { continue };
                // Behind a shut door nobody answers: the connection is dropped.
                if watched.borrow().is_open {
                    tokio::spawn(pass(client, to, watched.clone()));
                }
            }
        });
        Ok(Self { address, state, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection, and lets nobody in.
    pub(crate) fn shut(&self) {
        self.state.send_modify(|state| {
            state.is_open = false;
            state.shut += 1;
        });
    }

    pub(crate) fn reopen(&self) {
        self.state.send_modify(|state| state.is_open = true);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, to: SocketAddr, mut state: watch::Receiver<State>) {
    let came_in = state.borrow().shut;
    let Ok(mut broker) = TcpStream::connect(to).await else { return };
    // Without it small packets wait for the acknowledgement of the one before.
    drop((client.set_nodelay(true), broker.set_nodelay(true)));
    tokio::select! {
        // Either way the connection is over.
        _ = tokio::io::copy_bidirectional(&mut client, &mut broker) => {}
        _ = state.wait_for(|state| state.shut != came_in) => {}
    }
}

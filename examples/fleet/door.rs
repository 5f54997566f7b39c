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
    is_open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Door {
    /// Leads to a broker.
    pub(crate) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (is_open, watched) = watch::channel(true);
        let task = tokio::spawn(async move {
            loop {
                // An error is of one connection that came to nothing.
                let Ok((client, _)) = listener.accept().await else { continue };
                // Behind a shut door nobody answers: the connection is dropped.
                if *watched.borrow() {
                    tokio::spawn(pass(client, to, watched.clone()));
                }
            }
        });
        Ok(Self { address, is_open, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection, and lets nobody in.
    pub(crate) fn shut(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn reopen(&self) {
        self.is_open.send_replace(true);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, to: SocketAddr, mut is_open: watch::Receiver<bool>) {
    let Ok(mut broker) = TcpStream::connect(to).await else { return };
    // Without it small packets wait for the acknowledgement of the one before.
    drop((client.set_nodelay(true), broker.set_nodelay(true)));
    tokio::select! {
        // Either way the connection is over.
        _ = tokio::io::copy_bidirectional(&mut client, &mut broker) => {}
        _ = is_open.wait_for(|is_open| !is_open) => {}
    }
}

//! A mosquitto of our own on loopback, with sessions that outlive its restart.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use beacon_gateway::{clock::Clock, engine::Uptime};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use super::watch::Usage;

const BINARY: &str = "/usr/sbin/mosquitto";

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running mosquitto, ended with the value.
pub(crate) struct Mosquitto {
    child: Option<Child>,
    dir: TempDir,
    address: SocketAddr,
}

impl Mosquitto {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        if !Path::new(BINARY).exists() {
            bail!("{BINARY} is not installed: `apt install mosquitto`, or name a --broker");
        }
        let dir = tempfile::tempdir()?;
        // The port may be taken in between; then it fails, and says so.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = format!(
            "user root\nlistener {} 127.0.0.1\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\nmax_queued_messages 0\nmax_inflight_messages 500\n\
             set_tcp_nodelay true\n",
            address.port(),
            dir.path().display()
        );
        fs::write(dir.path().join("conf"), config)?;
        let mut mosquitto = Self { child: None, dir, address };
        mosquitto.start_again().await?;
        Ok(mosquitto)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let pid = self.child.as_ref().and_then(Child::id).context("mosquitto does not run")?;
        Usage::of(&pid.to_string())
    }

    /// Stops it in good order: it writes its sessions down.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("it has ended")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        timeout(PATIENCE, child.wait()).await.context("mosquitto does not stop")??;
        Ok(())
    }

    /// Starts it on the same port and waits until it listens.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut child = Command::new(BINARY)
            .arg("-c")
            .arg(self.dir.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start mosquitto")?;
        let clock = Clock::start();
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while TcpStream::connect(self.address).await.is_err() {
            look.tick().await;
            if let Some(ended) = child.try_wait()? {
                bail!("mosquitto ended with {ended}");
            }
            if clock.now().since(Uptime::ZERO) > PATIENCE {
                bail!("mosquitto does not listen on {}", self.address);
            }
        }
        self.child = Some(child);
        Ok(())
    }
}

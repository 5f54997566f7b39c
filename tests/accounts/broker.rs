//! A real mosquitto that keeps sessions, and loses them when it is killed.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use beacon_gateway::clock::Clock;
use nix::sys::signal::{Signal, kill};

use crate::process::pid;

const BINARY: &str = "/usr/sbin/mosquitto";

/// How long it may take until it listens, or has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// The broker.
pub(crate) struct Broker {
    directory: PathBuf,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Broker {
    /// Starts one in a directory of its own.
    pub(crate) fn start(directory: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let mut broker = Self { directory, port: free_port()?, child: None };
        broker.start_with("")?;
        Ok(broker)
    }

    /// Starts it again on its port, with what it has saved.
    pub(crate) fn start_with(&mut self, extra: &str) -> Result<(), String> {
        let Self { directory, port, .. } = self;
        let config = format!(
            "user root\nper_listener_settings false\nlistener {port} 127.0.0.1\n\
             allow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nmax_inflight_messages 1000\nset_tcp_nodelay true\n{extra}\n",
            directory.display()
        );
        let path = directory.join("conf");
        fs::write(&path, config).map_err(|error| error.to_string())?;
        let child = Command::new(BINARY)
            .arg("-c")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{BINARY} (package `mosquitto`): {error}"))?;
        let child = self.child.insert(child);
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        let clock = Clock::start();
        let began = clock.now();
        while clock.now().since(began) < PATIENCE {
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("mosquitto ended with {status}"));
            }
            std::thread::yield_now();
        }
        Err("mosquitto does not listen".to_owned())
    }

    /// The end of a machine without power, as far as a broker notices it.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Ends it in good order: it saves what it has.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is only its status to be taken.
            kill(pid(child.id()), signal).ok();
            child.wait().ok();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> Result<u16, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| error.to_string())
}

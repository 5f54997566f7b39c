//! A real mosquitto on a port of its own, ended with the value.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::Uptime};
use tempfile::TempDir;

use super::free_port;

const BINARY: &str = "/usr/sbin/mosquitto";

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running (or stopped) mosquitto.
pub(crate) struct Mosquitto {
    child: Option<Child>,
    dir: TempDir,
    port: u16,
}

impl Mosquitto {
    /// Starts one that lets everybody in and drops nothing for a slow subscriber; `extra` is added
    /// to its configuration.
    pub(crate) fn start(extra: &str) -> Self {
        assert!(
            Path::new(BINARY).exists(),
            "{BINARY} is not installed; install the package `mosquitto`"
        );
        // Another process may take the port between the choice and the start.
        for _ in 0..10 {
            let port = free_port();
            let dir = TempDir::new().unwrap();
            let config = format!(
                "user root\nper_listener_settings false\nlistener {port} 127.0.0.1\n\
                 allow_anonymous true\npersistence false\nmax_queued_messages 0\n\
                 set_tcp_nodelay true\n{extra}\n"
            );
            fs::write(dir.path().join("conf"), config).unwrap();
            let mut mosquitto = Self { child: None, dir, port };
            if mosquitto.start_again() {
                return mosquitto;
            }
        }
        panic!("mosquitto did not start ten times over");
    }

    /// Starts it on the same port. Returns whether it listens.
    pub(crate) fn start_again(&mut self) -> bool {
        let mut child = Command::new(BINARY)
            .arg("-c")
            .arg(self.dir.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        let clock = Clock::start();
        loop {
            let late = clock.now() > Uptime::ZERO + PATIENCE;
            if late {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            if late || child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                self.child = Some(child);
                return true;
            }
            std::thread::yield_now();
        }
    }

    /// Ends it at once, without a word to its clients.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

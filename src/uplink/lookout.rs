//! What goes on beside a connection: files that may be renewed, certificates that end, and a
//! preferred broker that may be back, in; reasons to make the connection anew out.
//!
//! Files are looked at by their identity (device, inode, size, times), in a thread that may block,
//! and read only when that has changed and stayed the same for one more look: whoever renews a
//! certificate writes two files, one after the other. What cannot be used then is told once, and
//! the old is used on.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::{debug, info, warn};

use super::{
    access::{Access, CREDENTIAL},
    backoff::between,
    error::UplinkError,
    line::{self, Door},
    settings::Settings,
    tls::Daily,
};
use crate::{clock::Clock, engine::ClockQuality};

/// Why a connection is to be made anew, at a calm moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Leave {
    /// Certificates or keys were renewed.
    Renewed,
    /// The first broker can be reached again.
    Return,
}

/// Looks out.
pub(crate) struct Lookout {
    settings: Settings,
    credentials: Option<PathBuf>,
    clock: Clock,
    /// It says what it sees. One of the rooms does; the others see the same.
    speaks: bool,
    /// What was loaded last.
    access: Access,
    /// How the files were then; nothing before the first look.
    known: Option<Vec<Stamp>>,
    /// How they are now, if that is something else.
    changed: Option<Vec<Stamp>>,
    /// What was said last about files that cannot be used.
    told: Option<String>,
    daily: Daily,
}

/// What tells a file from the one that stood in its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of contents and of the inode.
    modified: (i64, i64),
    changed: (i64, i64),
}

// === impl Lookout ===

impl Lookout {
    pub(crate) fn new(
        settings: &Settings,
        credentials: Option<&Path>,
        access: &Access,
        clock: Clock,
        speaks: bool,
    ) -> Self {
        Self {
            settings: settings.clone(),
            credentials: credentials.map(Path::to_owned),
            clock,
            speaks,
            access: access.clone(),
            known: None,
            changed: None,
            told: None,
            daily: Daily::default(),
        }
    }

    /// Reads certificates and passwords again, for the next connection. Not in this thread, because
    /// it reads files.
    pub(crate) async fn reload(&mut self) -> Access {
        if let Some(loaded) = self.load().await {
            self.take(loaded);
        }
        self.access.clone()
    }

    /// Looks out beside a connection to the broker at `place`, until there is a reason to make it
    /// anew. May be cancelled. `chance` (0 to 1) spreads what a fleet would do at the same time.
    pub(crate) async fn beside(&mut self, place: usize, chance: f64) -> Leave {
        let pause = self.settings.return_to_first.0;
        let returns = place > 0 && !pause.is_zero();
        let pause = between(pause, pause + pause / 2, chance);
        // Certificates of a fleet are renewed at the same time, too.
        let interval = self.settings.renewal_check.0;
        let interval = between(interval, interval + interval / 2, chance);
        let mut looked = Box::pin(tokio::time::sleep(Duration::ZERO));
        let mut probed = Box::pin(tokio::time::sleep(pause));
        loop {
            tokio::select! {
                () = looked.as_mut() => {
                    if self.look().await {
                        return Leave::Renewed;
                    }
                    looked = Box::pin(tokio::time::sleep(interval));
                }
                () = probed.as_mut(), if returns => {
                    let door = Door { access: &self.access, settings: &self.settings, place: 0 };
                    match line::probe(door).await {
                        Ok(()) => return Leave::Return,
                        Err(fault) => {
                            let why = fault.to_string();
                            debug!(why, "The preferred broker cannot be reached yet.");
                        }
                    }
                    probed = Box::pin(tokio::time::sleep(pause));
                }
            }
        }
    }

    /// Looks once. Returns whether certificates or keys are others now, and loaded.
    async fn look(&mut self) -> bool {
        self.warn_of_expiry();
        let paths = self.paths();
        let stamps = tokio::task::spawn_blocking(move || stamps(&paths)).await;
        let Ok(stamps) = stamps else { return false };
        let Some(known) = &self.known else {
            self.known = Some(stamps);
            return false;
        };
        if *known == stamps {
            self.changed = None;
            return false;
        }
        if self.changed.as_ref() != Some(&stamps) {
            // Perhaps it is still being written.
            self.changed = Some(stamps);
            return false;
        }
        self.changed = None;
        self.known = Some(stamps);
        let Some(loaded) = self.load().await else { return false };
        self.take(loaded)
    }

    /// Loads everything anew; nothing if the runtime is shutting down.
    async fn load(&self) -> Option<Result<Access, UplinkError>> {
        let (settings, credentials) = (self.settings.clone(), self.credentials.clone());
        let load = move || Access::load(&settings, credentials.as_deref());
        tokio::task::spawn_blocking(load).await.ok()
    }

    /// Takes what was loaded, if it can be used. Returns whether certificates or keys are others.
    fn take(&mut self, loaded: Result<Access, UplinkError>) -> bool {
        match loaded {
            Ok(access) => {
                self.told = None;
                let renewed = !access.has_certificates_of(&self.access);
                self.access = access;
                if renewed && self.speaks {
                    info!("The certificates were renewed; they are used from now on.");
                }
                renewed
            }
            Err(error) => {
                let why = error.to_string();
                if self.speaks && self.told.as_ref() != Some(&why) {
                    let error: &dyn std::error::Error = &error;
                    warn!(error, "Failed to load the credentials anew; the old ones are used.");
                    self.told = Some(why);
                }
                false
            }
        }
    }

    fn warn_of_expiry(&mut self) {
        let wall = self.clock.wall();
        if !self.speaks || wall.quality != ClockQuality::Synced {
            return;
        }
        let warnings = self.access.expiries().warnings(wall.unix);
        if warnings.is_empty() || !self.daily.is_due(wall.unix) {
            return;
        }
        for warning in warnings {
            warn!("A certificate ends: {warning}.");
        }
    }

    /// The files that may be renewed.
    fn paths(&self) -> Vec<PathBuf> {
        let Settings { ca_file, certificate_file, key_file, password_file, .. } = &self.settings;
        let credential = self.credentials.as_ref().map(|dir| dir.join(CREDENTIAL));
        let named = [ca_file, certificate_file, key_file, password_file];
        let proxy = &self.settings.proxy_password_file;
        let named = named.into_iter().chain([proxy]).filter(|path| !path.as_os_str().is_empty());
        named.cloned().chain(credential).collect()
    }
}

/// Follows links: whoever renews by moving a link changes the file that is meant.
fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| path.metadata().map_or(Stamp::NONE, |it| Stamp::new(&it));
    paths.iter().map(stamp).collect()
}

impl Stamp {
    /// There is no file.
    const NONE: Self = Self { device: 0, inode: 0, size: 0, modified: (0, 0), changed: (0, 0) };

    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use tempfile::TempDir;

    use super::*;
    use crate::uplink::BrokerUrl;

    /// Makes the certificate of an authority.
    fn authority(path: &Path) {
        let key = path.with_extension("key");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(path)
            .output()
            .expect("openssl does not start; install the package `openssl`");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    #[tokio::test]
    async fn a_file_is_read_when_two_looks_have_found_the_same_change() {
        let dir = TempDir::new().unwrap();
        let [ca, one, other] = ["ca.pem", "one.pem", "other.pem"].map(|name| dir.path().join(name));
        authority(&one);
        authority(&other);
        fs::copy(&one, &ca).unwrap();
        let settings = Settings {
            broker: BrokerUrl::new("mqtts://broker.example.org"),
            ca_file: ca.clone(),
            ..Settings::default()
        };
        let access = Access::load(&settings, None).unwrap();
        let mut lookout = Lookout::new(&settings, None, &access, Clock::start(), true);
        assert!(!lookout.look().await, "the first look finds what there is");
        assert!(!lookout.look().await);
        // Half-written: looked at twice, told, and not used.
        fs::write(&ca, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
        assert!(!lookout.look().await && lookout.told.is_none());
        assert!(!lookout.look().await && lookout.told.is_some());
        assert!(lookout.access.has_certificates_of(&access));
        fs::copy(&other, &ca).unwrap();
        assert!(!lookout.look().await, "it may still be written");
        assert!(lookout.look().await && lookout.told.is_none());
        assert!(!lookout.access.has_certificates_of(&access));
        assert!(!lookout.look().await, "once");
        // The same in another file is no reason for anything.
        fs::copy(&other, &one).unwrap();
        fs::rename(&one, &ca).unwrap();
        assert!(!lookout.look().await);
        assert!(!lookout.look().await);
        fs::remove_file(&ca).unwrap();
        assert!(!lookout.look().await && !lookout.look().await);
        assert!(lookout.told.is_some(), "a file that is gone is told, and the old is used on");
    }
}

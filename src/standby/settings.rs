//! `[standby]`: the other gateway of a pair, of which one makes events and the other stands by.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    relay::key_path,
    settings::{Invalid, Span, between},
};

/// The name of systemd's credential that may hold the shared key.
pub const CREDENTIAL: &str = "standby-key";

/// `[standby]`: the other gateway of a pair. At the lead it names the standby, at the standby
/// (`gateway.role = "standby"`) the lead.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of the other gateway, in the same shop; empty when there is none.
    pub peer: String,
    /// The file with the key that both have. When empty, systemd's credential `standby-key`.
    pub seal_key_file: PathBuf,
    /// For how long nothing must come from the other one before it is given up, 3s to 10m.
    pub takeover_after: Span,
    /// For how long a lead that is back must be heard of without a break before it gets the duty back, 1s
    /// to 1h.
    pub return_after: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            peer: String::new(),
            seal_key_file: PathBuf::new(),
            takeover_after: Span::secs(5),
            return_after: Span::secs(10),
        }
    }
}

impl Settings {
    /// Whether there is another gateway.
    pub fn is_on(&self) -> bool {
        !self.peer.is_empty()
    }

    /// Checks the values of a gateway of this name.
    pub fn check(&self, name: &str) -> Result<(), Invalid> {
        if self.peer == name || self.peer == "registry" {
            let found = format!("`{}`", self.peer);
            return Err(Invalid::new("standby.peer", found, "name the other gateway of the pair"));
        }
        let (least, most) = (Span::secs(3), Span::secs(600));
        between("standby.takeover_after", self.takeover_after, least, most)?;
        between("standby.return_after", self.return_after, Span::secs(1), Span::secs(3600))
    }

    /// Where the shared key is; empty when nothing says so.
    pub fn key_path(&self, credentials: Option<&Path>) -> PathBuf {
        key_path(&self.seal_key_file, credentials, CREDENTIAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_does_not_stand_by_for_itself_and_times_have_bounds() {
        let settings = |peer: &str| Settings { peer: peer.to_owned(), ..Settings::default() };
        assert_eq!(settings("gw1").check("gw2"), Ok(()));
        for peer in ["gw2", "registry"] {
            let message = settings(peer).check("gw2").unwrap_err().to_string();
            assert!(message.contains("standby.peer") && message.contains(peer), "{message}");
        }
        let hasty = Settings { takeover_after: Span::secs(2), ..settings("gw1") };
        let message = hasty.check("gw2").unwrap_err().to_string();
        assert!(message.contains("standby.takeover_after") && message.contains("3s"), "{message}");
        assert!(!Settings::default().is_on());
    }

    #[test]
    fn the_named_file_wins_over_the_credential() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::default().key_path(Some(dir.path())), PathBuf::new());
        let credential = dir.path().join(CREDENTIAL);
        std::fs::write(&credential, "x").unwrap();
        assert_eq!(Settings::default().key_path(Some(dir.path())), credential);
        let named = Settings { seal_key_file: "/k".into(), ..Settings::default() };
        assert_eq!(named.key_path(Some(dir.path())), PathBuf::from("/k"));
    }
}

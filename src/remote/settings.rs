//! `[[remote]]`: receivers that are heard by way of a broker.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{desk::Receiver, ear::Patience, filter::Filter, format::Format, sealed::Opener};
use crate::{
    engine::ReceiverId,
    relay::{Bond, KeyError, key_path, load_key},
    settings::{Invalid, Span, between, check_id},
    uplink::{self, Access, BrokerUrl, Protocol, Topics, UplinkError},
};

/// How many remote receivers there may be: more than a shop has walls for.
const MOST_RECEIVERS: usize = 64;

/// How many topics one may have.
const MOST_TOPICS: usize = 8;

/// The name of systemd's credential that may hold the password for a receiver's own broker: this, and
/// the receiver's id.
const CREDENTIAL: &str = "remote-password-";

/// The name of systemd's credential that may hold the key of another gateway: this, and the receiver's
/// id.
const KEY_CREDENTIAL: &str = "remote-key-";

/// `[[remote]]`: one remote receiver.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name of the receiver in the events.
    pub id: String,
    /// Whose form its messages have. There is no default.
    pub format: Option<Format>,
    /// Where it publishes: topic filters, 1 to 8.
    pub topics: Vec<String>,
    /// What is added to every loudness, in dB, -40 to 40: receivers differ.
    pub rssi_offset: f64,
    /// What was heard longer ago, by the receiver's clock, is not taken, 1s to 60s.
    pub max_age: Span,
    /// How long it may be silent before that is told, 30s to 24h.
    pub silent_after: Span,
    /// The file with the key that another `beacon-gateway` has as well; for that format alone. When
    /// empty, systemd's credential `remote-key-ID`.
    pub seal_key_file: PathBuf,
    /// The broker; that of `[uplink]`, with all that belongs to it, when empty.
    pub broker: BrokerUrl,
    /// The version of the protocol that its own broker speaks.
    pub protocol: Protocol,
    /// The user name at its own broker.
    pub username: String,
    /// The file that holds the password, in one line. When empty, systemd's credential
    /// `remote-password-ID` is used if there is one.
    pub password_file: PathBuf,
    /// Who may vouch for the broker's certificate (PEM); what `uplink.ca_file` names when empty.
    pub ca_file: PathBuf,
    /// A client certificate and its key (PEM), if the broker wants them.
    pub certificate_file: PathBuf,
    /// The key of the certificate.
    pub key_file: PathBuf,
}

/// The receivers of one broker, and how to come to it.
#[derive(Clone, Debug)]
pub struct Group {
    /// As for the uplink.
    pub(super) line: uplink::Settings,
    /// Whether the uplink's credentials belong to it.
    pub(super) shares_login: bool,
    /// In the order of the configuration; at least one.
    pub(super) receivers: Vec<Receiver>,
}

impl Group {
    /// How to come to the broker.
    pub fn line(&self) -> &uplink::Settings {
        &self.line
    }

    /// Whether the broker is another one than the uplink's.
    pub fn has_own_broker(&self) -> bool {
        !self.shares_login
    }

    /// The names of the receivers.
    pub fn names(&self) -> Vec<&str> {
        self.receivers.iter().map(|receiver| receiver.id.as_str()).collect()
    }

    /// Where systemd's credentials are, if they belong to this broker: the one that has no receiver's
    /// name is the platform's.
    pub(super) fn credentials<'a>(&self, credentials: Option<&'a Path>) -> Option<&'a Path> {
        credentials.filter(|_| self.shares_login)
    }

    /// Reads what it takes to be let in.
    pub fn access(&self, credentials: Option<&Path>) -> Result<Access, UplinkError> {
        Access::load(&self.line, self.credentials(credentials))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            id: String::new(),
            format: None,
            topics: Vec::new(),
            rssi_offset: 0.0,
            max_age: Span::secs(10),
            silent_after: Span::secs(300),
            seal_key_file: PathBuf::new(),
            broker: BrokerUrl::default(),
            protocol: Protocol::default(),
            username: String::new(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
        }
    }
}

/// Checks all of them together. `taken` are the names of the other receivers.
pub fn check(
    remotes: &[Settings],
    uplink: &uplink::Settings,
    taken: &[ReceiverId],
) -> Result<(), Invalid> {
    if remotes.len() > MOST_RECEIVERS {
        let found = format!("given {} times", remotes.len());
        return Err(Invalid::new("remote", found, &format!("at most {MOST_RECEIVERS} times")));
    }
    let mut ids: Vec<&str> = taken.iter().map(ReceiverId::as_str).collect();
    let mut topics: Vec<(uplink::Settings, Filter)> = Vec::new();
    for (n, remote) in remotes.iter().enumerate() {
        let key = |key: &str| format!("remote[{n}].{key}");
        remote.check(n, uplink)?;
        if ids.contains(&remote.id.as_str()) {
            let found = format!("`{}`", remote.id);
            let allowed = "which is taken; give each receiver a name of its own";
            return Err(Invalid::new(&key("id"), found, allowed));
        }
        ids.push(&remote.id);
        let line = remote.line(uplink, None);
        for topic in remote.filters(n)? {
            if topics.iter().any(|(other, known)| *known == topic && *other == line) {
                let found = format!("a list with `{}`", topic.as_str());
                let allowed = "which another receiver has; each message belongs to one";
                return Err(Invalid::new(&key("topics"), found, allowed));
            }
            topics.push((line.clone(), topic));
        }
    }
    Ok(())
}

/// The receivers by their brokers. `credentials` is systemd's directory of them; `suspect_after` is
/// the longest silence on which presence may go on.
pub fn groups(
    remotes: &[Settings],
    uplink: &uplink::Settings,
    credentials: Option<&Path>,
    suspect_after: Duration,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (n, remote) in remotes.iter().enumerate() {
        // What makes no sense was refused when the configuration was read.
        let Some(receiver) = remote.receiver(n, suspect_after) else { continue };
        let line = remote.line(uplink, credentials);
        match groups.iter_mut().find(|group| group.line == line) {
            Some(group) => group.receivers.push(receiver),
            None => groups.push(Group {
                line,
                shares_login: remote.broker.is_empty(),
                receivers: vec![receiver],
            }),
        }
    }
    groups
}

impl Settings {
    /// The receiver's name.
    pub fn receiver_id(&self) -> ReceiverId {
        ReceiverId::new(&self.id)
    }

    fn receiver(&self, n: usize, suspect_after: Duration) -> Option<Receiver> {
        Some(Receiver {
            id: self.receiver_id(),
            format: self.format?,
            topics: self.filters(n).ok()?,
            rssi_offset: self.rssi_offset,
            max_age: self.max_age.0,
            patience: Patience { suspect_after, silent_after: self.silent_after.0 },
        })
    }

    /// What opens its messages, if it is another gateway of this program. `credentials` is systemd's
    /// directory of them.
    pub fn opener(&self, credentials: Option<&Path>) -> Result<Option<Opener>, KeyError> {
        // What makes no sense was refused when the configuration was read.
        let (Some(Format::BeaconGateway), [topic]) = (self.format, self.topics.as_slice()) else {
            return Ok(None);
        };
        let Some(bond) = Bond::of(topic) else { return Ok(None) };
        let sealer = load_key(&self.key_path(credentials))?;
        Ok(Some(Opener::new(sealer, bond, self.max_age.0)))
    }

    fn key_path(&self, credentials: Option<&Path>) -> PathBuf {
        key_path(&self.seal_key_file, credentials, &format!("{KEY_CREDENTIAL}{}", self.id))
    }

    /// Checks what only another gateway of this program needs: a topic of this store, and that it is not
    /// this gateway's own.
    pub fn check_bond(&self, n: usize, topics: &Topics) -> Result<(), Invalid> {
        if self.format != Some(Format::BeaconGateway) {
            return Ok(());
        }
        let bond = match self.topics.as_slice() {
            [topic] => Bond::of(topic).filter(|bond| bond.is_of_the_store_of(topics)),
            _ => None,
        };
        if bond.is_some_and(|bond| !bond.is_of(topics)) {
            return Ok(());
        }
        let found = format!("[{}]", self.topics.join(", "));
        let allowed = format!(
            "write the one topic of one radio of another gateway of this shop, without `+` and `#`, like              \"beacon/v1/{}/GATEWAY/sighting/RECEIVER\"",
            topics.store_address()
        );
        Err(Invalid::new(&format!("remote[{n}].topics"), found, &allowed))
    }

    /// How to come to its broker.
    pub(crate) fn line(
        &self,
        uplink: &uplink::Settings,
        credentials: Option<&Path>,
    ) -> uplink::Settings {
        if self.broker.is_empty() {
            return uplink.clone();
        }
        let credential = credentials.map(|dir| dir.join(format!("{CREDENTIAL}{}", self.id)));
        let credential = credential.filter(|path| path.exists() && !self.username.is_empty());
        let or = |own: &PathBuf, other: PathBuf| {
            if own.as_os_str().is_empty() { other } else { own.clone() }
        };
        uplink::Settings {
            broker: self.broker.clone(),
            protocol: self.protocol,
            username: self.username.clone(),
            password_file: or(&self.password_file, credential.unwrap_or_default()),
            ca_file: or(&self.ca_file, uplink.ca_file.clone()),
            certificate_file: self.certificate_file.clone(),
            key_file: self.key_file.clone(),
            renewal_check: uplink.renewal_check,
            keep_alive: uplink.keep_alive,
            connect_timeout: uplink.connect_timeout,
            backoff_min: uplink.backoff_min,
            backoff_max: uplink.backoff_max,
            spread: uplink.spread,
            ..uplink::Settings::default()
        }
    }

    fn filters(&self, n: usize) -> Result<Vec<Filter>, Invalid> {
        let key = format!("remote[{n}].topics");
        if !(1..=MOST_TOPICS).contains(&self.topics.len()) {
            let found = format!("a list of {}", self.topics.len());
            let allowed = format!("write 1 to {MOST_TOPICS} topic filters (docs/remote.md)");
            return Err(Invalid::new(&key, found, &allowed));
        }
        let filter = |text: &String| {
            Filter::new(text).map_err(|_| {
                let allowed = "write topic filters, like \"ruuvi/C8:25:2D:8E:9C:2C/+\"; `+` and \
                               `#` stand for whole levels, `#` for the last ones";
                Invalid::new(&key, format!("a list with `{text}`"), allowed)
            })
        };
        self.topics.iter().map(filter).collect()
    }

    fn check(&self, n: usize, uplink: &uplink::Settings) -> Result<(), Invalid> {
        let key = |key: &str| format!("remote[{n}].{key}");
        check_id(&key("id"), &self.id)?;
        if self.format.is_none() {
            let names: Vec<String> =
                Format::ALL.iter().map(|(name, _)| format!("`{name}`")).collect();
            return Err(Invalid::new(
                &key("format"),
                "missing",
                &format!("allowed are {}", names.join(", ")),
            ));
        }
        self.filters(n)?;
        if !(-40.0..=40.0).contains(&self.rssi_offset) {
            let found = self.rssi_offset.to_string();
            return Err(Invalid::new(&key("rssi_offset"), found, "allowed are -40 to 40 dB"));
        }
        between(&key("max_age"), self.max_age, Span::secs(1), Span::secs(60))?;
        between(&key("silent_after"), self.silent_after, Span::secs(30), Span::secs(86_400))?;
        let is_sealed = self.format == Some(Format::BeaconGateway);
        if !is_sealed && !self.seal_key_file.as_os_str().is_empty() {
            let allowed = "leave it out: only messages of another `beacon-gateway` are sealed";
            return Err(Invalid::new(&key("seal_key_file"), "set", allowed));
        }
        self.check_broker(uplink, &format!("remote[{n}]."))
    }

    /// Checks what belongs to a broker of its own; `section` stands before each key.
    pub(crate) fn check_broker(
        &self,
        uplink: &uplink::Settings,
        section: &str,
    ) -> Result<(), Invalid> {
        if !self.broker.is_empty() {
            // Its keys are named like those of the uplink, and stand here.
            return self.line(uplink, None).validate().map(drop).map_err(|error| Invalid {
                key: error.key.replace("uplink.", section),
                found: error.found,
                allowed: error.allowed.replace("uplink.", section),
            });
        }
        for (name, is_set) in [
            ("username", !self.username.is_empty()),
            ("password_file", !self.password_file.as_os_str().is_empty()),
            ("ca_file", !self.ca_file.as_os_str().is_empty()),
            ("certificate_file", !self.certificate_file.as_os_str().is_empty()),
            ("key_file", !self.key_file.as_os_str().is_empty()),
        ] {
            if is_set {
                let allowed = "leave it out: without a `broker` of its own the receiver is heard by \
                               way of `uplink.broker`, with the credentials of `[uplink]`";
                return Err(Invalid::new(&format!("{section}{name}"), "set", allowed));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink() -> uplink::Settings {
        uplink::Settings {
            broker: BrokerUrl::new("mqtts://platform.example.org"),
            username: "gateway".to_owned(),
            password_file: "/secret/of/the/platform".into(),
            ..uplink::Settings::default()
        }
    }

    fn remote(id: &str) -> Settings {
        Settings {
            id: id.to_owned(),
            format: Some(Format::Ruuvi),
            topics: vec![format!("ruuvi/{id}/+")],
            ..Settings::default()
        }
    }

    fn own(id: &str) -> Settings {
        Settings { broker: BrokerUrl::new("mqtt://192.168.1.2"), ..remote(id) }
    }

    fn refused(remotes: &[Settings]) -> String {
        check(remotes, &uplink(), &[ReceiverId::default()]).unwrap_err().to_string()
    }

    #[test]
    fn receivers_of_one_broker_share_a_line() {
        let remotes = [remote("a"), own("b"), remote("c"), own("d")];
        check(&remotes, &uplink(), &[ReceiverId::default()]).unwrap();
        let groups = groups(&remotes, &uplink(), None, Duration::from_secs(20));
        let ids = |group: &Group| -> Vec<String> {
            group.receivers.iter().map(|it| it.id.as_str().to_owned()).collect()
        };
        assert_eq!(groups.iter().map(ids).collect::<Vec<_>>(), [["a", "c"], ["b", "d"]]);
        assert_eq!(groups[0].line, uplink());
        assert_eq!((groups[0].shares_login, groups[1].shares_login), (true, false));
    }

    #[test]
    fn a_broker_of_its_own_never_gets_the_platforms_login() {
        let named = Settings { username: "shop".to_owned(), ..own("b") };
        let groups = groups(&[named], &uplink(), Some(Path::new("/nowhere")), Duration::ZERO);
        let line = &groups[0].line;
        assert_eq!((line.username.as_str(), line.password_file.as_path()), ("shop", Path::new("")));
        assert!(!groups[0].shares_login && line.proxy.is_empty());
    }

    #[test]
    fn a_credential_of_systemd_serves_when_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("remote-password-b"), "s3cret").unwrap();
        let named = Settings { username: "shop".to_owned(), ..own("b") };
        let groups = groups(&[named], &uplink(), Some(dir.path()), Duration::ZERO);
        assert_eq!(groups[0].line.password_file, dir.path().join("remote-password-b"));
    }

    #[test]
    fn every_refusal_names_key_found_and_allowed() {
        let start = |remotes: &[Settings], expected: &str| {
            let message = refused(remotes);
            assert!(message.starts_with(expected), "{message}");
        };
        start(&[remote("")], "`remote[0].id` is ``; write 1 to 64");
        start(&[remote("a"), remote("a")], "`remote[1].id` is `a`; which is taken");
        start(&[remote("local")], "`remote[0].id` is `local`; which is taken");
        start(
            &[Settings { format: None, ..remote("a") }],
            "`remote[0].format` is missing; allowed",
        );
        let topics = |topics: &[&str]| Settings {
            topics: topics.iter().map(|&it| it.to_owned()).collect(),
            ..remote("a")
        };
        start(&[topics(&[])], "`remote[0].topics` is a list of 0; write 1 to 8");
        start(&[topics(&["a/#/b"])], "`remote[0].topics` is a list with `a/#/b`; write topic");
        start(
            &[topics(&["x"]), Settings { topics: vec!["x".to_owned()], ..remote("b") }],
            "`remote[1].topics` is a list with `x`; which another",
        );
        start(
            &[Settings { rssi_offset: f64::NAN, ..remote("a") }],
            "`remote[0].rssi_offset` is NaN; allowed are -40 to 40 dB",
        );
        start(&[Settings { max_age: Span::secs(61), ..remote("a") }], "`remote[0].max_age` is");
        start(
            &[Settings { silent_after: Span::secs(1), ..remote("a") }],
            "`remote[0].silent_after` is",
        );
        let http = BrokerUrl::new("http://b");
        start(&[Settings { broker: http, ..remote("a") }], "`remote[0].broker` is \"http://b\";");
        start(
            &[Settings { password_file: "p".into(), ..own("a") }],
            "`remote[0].username` is empty",
        );
        start(
            &[Settings { username: "shop".to_owned(), ..remote("a") }],
            "`remote[0].username` is set; leave it out",
        );
        let many: Vec<Settings> = (0..65).map(|n| remote(&n.to_string())).collect();
        start(&many, "`remote` is given 65 times; at most 64");
    }

    #[test]
    fn what_the_same_topics_mean_depends_on_the_broker() {
        let topics = vec!["ruuvi/+/+".to_owned()];
        let a = Settings { topics: topics.clone(), ..remote("a") };
        let b = Settings { topics, ..own("b") };
        assert_eq!(check(&[a, b], &uplink(), &[]), Ok(()));
    }

    #[test]
    fn another_gateway_has_one_topic_of_this_store_and_it_is_not_our_own() {
        let topics = Topics::read("beacon/v1/t/s/g/state").unwrap().0;
        let with = |topic: &str| Settings {
            format: Some(Format::BeaconGateway),
            topics: vec![topic.to_owned()],
            ..remote("shelf")
        };
        assert_eq!(with("beacon/v1/t/s/gw2/sighting/local").check_bond(0, &topics), Ok(()));
        for topic in [
            "beacon/v1/t/s/gw2/sighting/+",
            "beacon/v1/t/s/gw2/state",
            "beacon/v1/t/other/gw2/sighting/local",
            "beacon/v1/other/s/gw2/sighting/local",
            "beacon/v1/t/s/g/sighting/local",
        ] {
            let message = with(topic).check_bond(3, &topics).unwrap_err().to_string();
            assert!(message.contains("remote[3].topics") && message.contains("t/s/"), "{message}");
        }
        let two = Settings { topics: vec!["a".to_owned(); 2], ..with("x") };
        assert!(two.check_bond(0, &topics).is_err());
        assert_eq!(remote("ruuvi").check_bond(0, &topics), Ok(()));
        // Its key is named, or a credential.
        let sealed = with("beacon/v1/t/s/gw2/sighting/local");
        assert!(matches!(sealed.opener(None), Err(KeyError::Unnamed)));
        let dir = tempfile::tempdir().unwrap();
        let credential = dir.path().join("remote-key-shelf");
        std::fs::write(&credential, "1:").unwrap();
        assert_eq!(sealed.key_path(Some(dir.path())), credential);
        assert!(remote("ruuvi").opener(None).unwrap().is_none());
        let message = Settings { seal_key_file: "/k".into(), ..remote("r") };
        assert!(refused(&[message]).contains("seal_key_file"));
    }
}

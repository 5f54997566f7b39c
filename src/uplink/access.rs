//! Settings and the files they name in; everything needed to knock at the broker's door out.
//!
//! Read anew before every connection, so that a renewed certificate or password counts without a
//! restart. No secret is shown by `Debug`.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::ClientConfig;

use super::{
    broker::Broker,
    error::{Advisory, UplinkError},
    line::{Credentials, Proxy},
    settings::{Settings, SettingsError},
    tls::{Expiries, Tls},
};

/// The name of systemd's credential that may hold the password.
pub(super) const CREDENTIAL: &str = "mqtt-password";

/// The longest password: a string of MQTT has a 16-bit length (MQTT 5.0, 1.5.4).
const LONGEST_PASSWORD: u64 = 65_535;

/// Where the broker is, and what it takes to be let in.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where the broker is, and behind it the others in order of preference.
    broker: Broker,
    fallbacks: Vec<Broker>,
    /// TLS, if an address asks for it.
    tls: Option<Tls>,
    /// What stands on the way.
    proxy: Option<Proxy>,
    /// The user name and password, if there is a user name.
    pub(super) login: Option<Login>,
    /// What works and yet should be changed.
    advisories: Vec<Advisory>,
}

/// Who we say we are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Login {
    /// The user name.
    pub(super) username: String,
    /// The password; empty when there is none.
    pub(super) password: Password,
}

/// A password. `Debug` does not show it.
#[derive(Clone, Default, Eq, PartialEq)]
pub(super) struct Password(String);

impl Access {
    /// Checks the settings and reads every file they name.
    ///
    /// `credentials` is the directory in which systemd puts what `LoadCredential=` loads (the
    /// variable `CREDENTIALS_DIRECTORY`).
    pub fn load(settings: &Settings, credentials: Option<&Path>) -> Result<Self, UplinkError> {
        let mut brokers = settings.brokers()?;
        let mut advisories = Vec::new();
        let tls = if brokers.iter().any(|broker| broker.tls) {
            let tls = Tls::load(settings)?;
            advise_on_permissions(&settings.key_file, &mut advisories);
            Some(tls)
        } else {
            None
        };
        let credential = credentials.map(|dir| dir.join(CREDENTIAL)).filter(|path| path.exists());
        let login = if settings.username.is_empty() {
            advisories.extend(credential.map(|_| Advisory::CredentialUnused));
            None
        } else {
            let password = match password_file(settings, credential) {
                Some(path) => {
                    advise_on_permissions(&path, &mut advisories);
                    read_password(path)?
                }
                None => Password::default(),
            };
            if !password.0.is_empty() {
                let in_the_clear = |broker: &&Broker| !broker.tls && !broker.is_loopback();
                let brokers = brokers.iter().filter(in_the_clear).cloned();
                advisories.extend(brokers.map(Advisory::PasswordInTheClear));
            }
            Some(Login { username: settings.username.clone(), password })
        };
        let proxy = proxy(settings, &mut advisories)?;
        let fallbacks = brokers.split_off(1);
        let Some(broker) = brokers.pop() else {
            // Not reached: there is at least one. A refusal is kinder than a panic.
            return Err(SettingsError::no_broker().into());
        };
        Ok(Self { broker, fallbacks, tls, proxy, login, advisories })
    }

    /// Where the broker is that is preferred.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// All brokers, in order of preference.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        std::iter::once(&self.broker).chain(&self.fallbacks)
    }

    /// The broker at a place of the list; the first one at a place that does not exist.
    pub(crate) fn broker_at(&self, place: usize) -> &Broker {
        self.brokers().nth(place).unwrap_or(&self.broker)
    }

    /// The TLS configuration for a broker, if its address asks for TLS.
    pub(super) fn tls_for(&self, broker: &Broker) -> Option<Arc<ClientConfig>> {
        let tls = self.tls.as_ref().filter(|_| broker.tls)?;
        Some(Arc::clone(if broker.path.is_some() { &tls.web } else { &tls.mqtt }))
    }

    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// The user name and the password, for the one packet that carries them.
    pub(super) fn login(&self) -> Option<(&str, &str)> {
        self.login.as_ref().map(|login| (login.username.as_str(), login.password.expose()))
    }

    /// When the certificates end that the connection depends on. The broker's is known after the
    /// first handshake with this access, or a clone of it.
    pub fn expiries(&self) -> Expiries {
        self.tls.as_ref().map(Tls::expiries).unwrap_or_default()
    }

    /// Certificates and keys are the same as there.
    pub(super) fn has_certificates_of(&self, other: &Self) -> bool {
        self.tls.as_ref().map(Tls::mark) == other.tls.as_ref().map(Tls::mark)
    }

    /// What works and yet should be changed.
    pub fn advisories(&self) -> &[Advisory] {
        &self.advisories
    }
}

/// Looks the broker's name up, for the `check` command; behind a proxy the proxy's, which looks up
/// the rest.
pub async fn check_broker_name(settings: &Settings) -> Result<Vec<SocketAddr>, UplinkError> {
    let broker = settings.validate()?;
    check_name(settings, broker).await
}

/// Looks the names of all brokers up, as [`check_broker_name`] does for the first.
pub async fn check_broker_names(
    settings: &Settings,
) -> Result<Vec<(Broker, Result<Vec<SocketAddr>, UplinkError>)>, UplinkError> {
    let mut found = Vec::new();
    for broker in settings.brokers()? {
        found.push((broker.clone(), check_name(settings, broker).await));
    }
    Ok(found)
}

async fn check_name(settings: &Settings, broker: Broker) -> Result<Vec<SocketAddr>, UplinkError> {
    let name = match settings.proxy.parse() {
        Ok(proxy) => proxy,
        Err(_) => (broker.host.clone(), broker.port),
    };
    let lookup = tokio::net::lookup_host(name);
    let found = match tokio::time::timeout(settings.connect_timeout.0, lookup).await {
        Ok(Ok(addresses)) => Ok(addresses.collect::<Vec<_>>()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match found {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        Ok(_) => Err(UplinkError::Resolve { broker, source: io::ErrorKind::NotFound.into() }),
        Err(source) => Err(UplinkError::Resolve { broker, source }),
    }
}

/// The configured file goes before the credential: it was written by hand.
fn password_file(settings: &Settings, credential: Option<PathBuf>) -> Option<PathBuf> {
    if settings.password_file.as_os_str().is_empty() {
        credential
    } else {
        Some(settings.password_file.clone())
    }
}

fn proxy(
    settings: &Settings,
    advisories: &mut Vec<Advisory>,
) -> Result<Option<Proxy>, UplinkError> {
    // That it can be read was checked with the rest.
    let Ok((host, port)) = settings.proxy.parse() else { return Ok(None) };
    if settings.proxy_username.is_empty() {
        return Ok(Some(Proxy { host, port, credentials: None }));
    }
    let path = &settings.proxy_password_file;
    let password = if path.as_os_str().is_empty() {
        Password::default()
    } else {
        advise_on_permissions(path, advisories);
        read_password(path.clone())?
    };
    let credentials = Some(Credentials::new(&settings.proxy_username, password.expose()));
    Ok(Some(Proxy { host, port, credentials }))
}

fn read_password(path: PathBuf) -> Result<Password, UplinkError> {
    let mut bytes = Vec::new();
    // Two bytes more for the line's end and one to notice that there is too much.
    let read =
        File::open(&path).and_then(|file| file.take(LONGEST_PASSWORD + 3).read_to_end(&mut bytes));
    if let Err(source) = read {
        return Err(UplinkError::ReadPassword { path, source });
    }
    match String::from_utf8(bytes) {
        Ok(text) => {
            let line = text.strip_suffix('\n').unwrap_or(&text);
            let line = line.strip_suffix('\r').unwrap_or(line);
            let fits = u64::try_from(line.len()).is_ok_and(|len| len <= LONGEST_PASSWORD);
            if line.is_empty() || line.chars().any(char::is_control) || !fits {
                return Err(UplinkError::NotAPassword { path });
            }
            Ok(Password(line.to_owned()))
        }
        Err(_) => Err(UplinkError::NotAPassword { path }),
    }
}

fn advise_on_permissions(path: &Path, advisories: &mut Vec<Advisory>) {
    let others_may_read =
        path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
    if others_may_read {
        advisories.push(Advisory::WorldReadable(path.to_owned()));
    }
}

// === impl Password ===

impl Password {
    /// The password, for the one place that sends it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::{
        super::{broker::BrokerUrl, line::ProxyUrl},
        *,
    };

    fn settings() -> Settings {
        Settings {
            broker: BrokerUrl::new("mqtt://broker.example.org"),
            username: "gateway".to_owned(),
            ..Settings::default()
        }
    }

    fn secret(dir: &TempDir, name: &str, contents: &[u8], mode: u32) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn the_password_comes_from_its_file_without_the_lines_end_and_is_never_shown() {
        let dir = TempDir::new().unwrap();
        for contents in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            let path = secret(&dir, "password", contents.as_bytes(), 0o600);
            let access =
                Access::load(&Settings { password_file: path, ..settings() }, None).unwrap();
            assert_eq!(access.login.as_ref().unwrap().password.expose(), "s3cret");
            assert!(!format!("{access:?}").contains("s3cret"));
        }
    }

    #[test]
    fn a_systemd_credential_serves_when_no_file_is_named() {
        let dir = TempDir::new().unwrap();
        secret(&dir, CREDENTIAL, b"from systemd\n", 0o400);
        let access = Access::load(&settings(), Some(dir.path())).unwrap();
        assert_eq!(access.login.unwrap().password.expose(), "from systemd");
        let path = secret(&dir, "own", b"from the file", 0o600);
        let named = Settings { password_file: path, ..settings() };
        let access = Access::load(&named, Some(dir.path())).unwrap();
        assert_eq!(access.login.unwrap().password.expose(), "from the file");
        let nobody = Settings { username: String::new(), ..settings() };
        let access = Access::load(&nobody, Some(dir.path())).unwrap();
        assert_eq!((access.login, access.advisories), (None, vec![Advisory::CredentialUnused]));
    }

    #[test]
    fn a_user_name_alone_will_do() {
        let login = Access::load(&settings(), None).unwrap().login.unwrap();
        assert_eq!((login.username.as_str(), login.password.expose()), ("gateway", ""));
    }

    #[test]
    fn a_password_file_that_is_missing_empty_or_something_else_is_named() {
        let dir = TempDir::new().unwrap();
        let missing = Settings { password_file: dir.path().join("nowhere"), ..settings() };
        let message = Access::load(&missing, None).unwrap_err().to_string();
        assert!(message.contains("nowhere") && message.contains("check that"), "{message}");
        let endless = vec![b'x'; 65_536];
        for contents in [&b""[..], b"\n", b"two\nlines\n", b"\xFF\xFE", &endless] {
            let path = secret(&dir, "odd", contents, 0o600);
            let odd = Settings { password_file: path, ..settings() };
            let message = Access::load(&odd, None).unwrap_err().to_string();
            assert!(message.contains("in one line"), "{message}");
        }
    }

    #[test]
    fn a_readable_or_unencrypted_password_is_advised_against() {
        let dir = TempDir::new().unwrap();
        let path = secret(&dir, "password", b"s3cret", 0o604);
        let mut settings = Settings { password_file: path.clone(), ..settings() };
        let access = Access::load(&settings, None).unwrap();
        let broker = settings.validate().unwrap();
        assert_eq!(
            access.advisories(),
            [Advisory::WorldReadable(path), Advisory::PasswordInTheClear(broker)]
        );
        assert!(access.advisories()[0].to_string().contains("chmod o= "));
        settings.broker = BrokerUrl::new("mqtt://127.0.0.1:1");
        settings.password_file = secret(&dir, "password", b"s3cret", 0o640);
        assert_eq!(Access::load(&settings, None).unwrap().advisories(), []);
    }

    #[test]
    fn a_proxy_is_used_with_its_own_password_and_every_broker_is_known() {
        let dir = TempDir::new().unwrap();
        let settings = Settings {
            fallback_brokers: vec![BrokerUrl::new("ws://127.0.0.1/x")],
            proxy: ProxyUrl::new("http://proxy:8080"),
            proxy_username: "joe".to_owned(),
            proxy_password_file: secret(&dir, "proxy", b"s3cret\n", 0o600),
            ..settings()
        };
        let access = Access::load(&settings, None).unwrap();
        let proxy = access.proxy().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy", 8080));
        assert_eq!(proxy.credentials, Some(Credentials::new("joe", "s3cret")));
        assert!(!format!("{access:?}").contains("s3cret"));
        assert_eq!(access.brokers().count(), 2);
        assert_eq!(access.broker_at(1).to_string(), "ws://127.0.0.1:80/x");
        assert_eq!(access.broker_at(2), access.broker());
        assert_eq!(access.expiries(), Expiries::default());
        let missing = Settings { proxy_password_file: dir.path().join("nowhere"), ..settings };
        let message = Access::load(&missing, None).unwrap_err().to_string();
        assert!(message.contains("nowhere"), "{message}");
    }

    #[tokio::test]
    async fn the_brokers_name_is_looked_up() {
        let named = |url: &str| Settings { broker: BrokerUrl::new(url), ..Settings::default() };
        let found = check_broker_name(&named("mqtt://localhost:7")).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
        // A label of more than 63 bytes (RFC 1035, 2.3.4) fails without asking a name server.
        let name = "x".repeat(64);
        let error = check_broker_name(&named(&format!("mqtt://{name}"))).await.unwrap_err();
        assert!(error.to_string().contains(&format!("mqtt://{name}:1883")), "{error}");
    }
}

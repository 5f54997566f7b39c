//! Certificate and key files in, a TLS configuration out; or the name of the file that is wrong.
//!
//! rustls with ring, named explicitly: nothing depends on a process-wide default provider.
//!
//! | file | what it holds |
//! |---|---|
//! | `validity` | when a certificate expires |
//! | `witness` | the broker's certificate, seen in the handshake |
//! | `expiry` | what is warned about, and when |

mod expiry;
mod validity;
mod witness;

use std::{fs, path::Path, sync::Arc};

use ring::digest;
use rustls::{
    ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    crypto::ring as provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

pub(crate) use self::expiry::Daily;
pub use self::expiry::{Expiries, ExpiryWarning};
use self::{
    validity::not_after,
    witness::{Seen, Witness},
};
use super::{error::UplinkError, settings::Settings};
use crate::engine::UnixTime;

/// The application protocol of a WebSocket's first request (RFC 7301, 6).
const HTTP: &[u8] = b"http/1.1";

/// TLS with what `[uplink]` names.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// For MQTT by itself.
    pub(super) mqtt: Arc<ClientConfig>,
    /// For MQTT in a WebSocket: it begins with HTTP, whatever `uplink.alpn` says.
    pub(super) web: Arc<ClientConfig>,
    client: Option<UnixTime>,
    authority: Option<UnixTime>,
    seen: Seen,
    mark: Mark,
}

/// What the files held that it was made of: a hash, to be compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mark([u8; digest::SHA256_OUTPUT_LEN]);

impl Tls {
    /// Reads the files and prepares TLS 1.2 and 1.3 with them.
    pub(super) fn load(settings: &Settings) -> Result<Self, UplinkError> {
        let mut hash = digest::Context::new(&digest::SHA256);
        let ring = Arc::new(provider::default_provider());
        let certificates = certificates("uplink.ca_file", &settings.ca_file, &mut hash)?;
        // One that can vouch for the broker is enough, so the last one to end counts.
        let authority = certificates.iter().filter_map(|it| not_after(it)).max();
        let roots = Arc::new(authorities(&settings.ca_file, certificates)?);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&ring))
                .build()
                .map_err(|error| {
                    UplinkError::SetUpTls(rustls::Error::General(error.to_string()))
                })?;
        let seen = Seen::default();
        let builder = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(UplinkError::SetUpTls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Witness::new(verifier, seen.clone())));
        let mut client = None;
        let mut mqtt = if settings.certificate_file.as_os_str().is_empty() {
            builder.with_no_client_auth()
        } else {
            let (certificate, key) = (&settings.certificate_file, &settings.key_file);
            let chain = self::certificates("uplink.certificate_file", certificate, &mut hash)?;
            client = chain.iter().filter_map(|it| not_after(it)).min();
            let paths = (certificate.clone(), key.clone());
            builder.with_client_auth_cert(chain, private_key(key, &mut hash)?).map_err(
                |source| {
                    let (certificate, key) = paths;
                    match source {
                        rustls::Error::InconsistentKeys(_) => {
                            UplinkError::KeyMismatch { certificate, key }
                        }
                        source => UplinkError::UnusableKey { certificate, key, source },
                    }
                },
            )?
        };
        let mut web = mqtt.clone();
        web.alpn_protocols = vec![HTTP.to_vec()];
        mqtt.alpn_protocols = settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        let (mqtt, web) = (Arc::new(mqtt), Arc::new(web));
        let mut mark = Mark([0; digest::SHA256_OUTPUT_LEN]);
        mark.0.copy_from_slice(hash.finish().as_ref());
        Ok(Self { mqtt, web, client, authority, seen, mark })
    }

    /// When what it depends on expires.
    pub(super) fn expiries(&self) -> Expiries {
        let Self { client, authority, seen, .. } = self;
        Expiries { client: *client, authority: *authority, broker: seen.expires() }
    }

    /// What the files held.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }
}

fn authorities(
    path: &Path,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, UplinkError> {
    let count = certificates.len();
    let mut store = RootCertStore::empty();
    // A system's collection may hold a relic that rustls cannot use; the others still count.
    let (usable, _) = store.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(UplinkError::NoUsableAuthority { path: path.to_owned(), count });
    }
    Ok(store)
}

fn certificates(
    key: &'static str,
    path: &Path,
    hash: &mut digest::Context,
) -> Result<Vec<CertificateDer<'static>>, UplinkError> {
    let text = read(key, path, hash)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found =
        found.map_err(|source| UplinkError::DamagedPem { key, path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(UplinkError::NoCertificate { key, path: path.to_owned() });
    }
    Ok(found)
}

fn private_key(
    path: &Path,
    hash: &mut digest::Context,
) -> Result<PrivateKeyDer<'static>, UplinkError> {
    let key = "uplink.key_file";
    let text = read(key, path, hash)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|source| {
        let path = path.to_owned();
        let encrypted = text.windows(9).any(|window| window == b"ENCRYPTED");
        match source {
            pem::Error::NoItemsFound if encrypted => UplinkError::EncryptedKey { path },
            pem::Error::NoItemsFound => UplinkError::NoKey { path },
            source => UplinkError::DamagedPem { key, path, source },
        }
    })
}

fn read(
    key: &'static str,
    path: &Path,
    hash: &mut digest::Context,
) -> Result<Vec<u8>, UplinkError> {
    let text = fs::read(path).map_err(|source| UplinkError::ReadPem {
        key,
        path: path.to_owned(),
        source,
    })?;
    hash.update(digest::digest(&digest::SHA256, &text).as_ref());
    Ok(text)
}

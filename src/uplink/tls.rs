//! Certificate and key files in, a TLS configuration out; or the name of the file that is wrong.
//!
//! rustls with ring, named explicitly: nothing depends on a process-wide default provider.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

use super::{error::UplinkError, settings::Settings};

/// Reads what `[uplink]` names and prepares TLS 1.2 and 1.3 with it.
pub(super) fn client_config(settings: &Settings) -> Result<Arc<ClientConfig>, UplinkError> {
    let authorities = authorities(&settings.ca_file)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(UplinkError::SetUpTls)?
        .with_root_certificates(authorities);
    let mut config = if settings.certificate_file.as_os_str().is_empty() {
        builder.with_no_client_auth()
    } else {
        let (certificate, key) = (&settings.certificate_file, &settings.key_file);
        let chain = certificates("uplink.certificate_file", certificate)?;
        let paths = (certificate.clone(), key.clone());
        builder.with_client_auth_cert(chain, private_key(key)?).map_err(|source| {
            let (certificate, key) = paths;
            match source {
                rustls::Error::InconsistentKeys(_) => UplinkError::KeyMismatch { certificate, key },
                source => UplinkError::UnusableKey { certificate, key, source },
            }
        })?
    };
    config.alpn_protocols = settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(Arc::new(config))
}

fn authorities(path: &Path) -> Result<RootCertStore, UplinkError> {
    let certificates = certificates("uplink.ca_file", path)?;
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
) -> Result<Vec<CertificateDer<'static>>, UplinkError> {
    let text = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found =
        found.map_err(|source| UplinkError::DamagedPem { key, path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(UplinkError::NoCertificate { key, path: path.to_owned() });
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, UplinkError> {
    let key = "uplink.key_file";
    let text = read(key, path)?;
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

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, UplinkError> {
    fs::read(path).map_err(|source| UplinkError::ReadPem { key, path: path.to_owned(), source })
}

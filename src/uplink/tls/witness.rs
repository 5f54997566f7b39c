//! Sees the broker's certificate in the handshake, and remembers when it expires. It decides
//! nothing: rustls's own verifier does, with everything it is asked.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime as TlsTime},
};

use super::validity::not_after;
use crate::engine::UnixTime;

/// When the certificate expires that the broker has shown last.
#[derive(Clone, Debug, Default)]
pub(in crate::uplink) struct Seen(Arc<Mutex<Option<UnixTime>>>);

/// rustls's verifier, watched.
#[derive(Debug)]
pub(super) struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    seen: Seen,
}

impl Seen {
    /// The moment, once there was a handshake.
    pub(in crate::uplink) fn expires(&self) -> Option<UnixTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, expires: Option<UnixTime>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = expires;
    }
}

impl Witness {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>, seen: Seen) -> Self {
        Self { inner, seen }
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: TlsTime,
    ) -> Result<ServerCertVerified, Error> {
        // Before it is judged: that it has expired is worth knowing, too.
        self.seen.note(not_after(end_entity));
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

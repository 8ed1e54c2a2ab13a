//! TLS by rustls: loading certificates and keys, and what is wrong with them.
//!
//! Reads files; does nothing else with the outside. TLS 1.2 is the oldest version spoken.

use crate::config;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why TLS cannot be set up: which file, what is wrong with it, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {error}; `{key}` names this file: it must be readable by the user that donetd runs as", path.display())]
    Unreadable { key: &'static str, path: PathBuf, error: String },
    #[error("{} holds no {what} in PEM form (a `-----BEGIN {begin}-----` block); `{key}` names this file", path.display())]
    Empty { key: &'static str, path: PathBuf, what: &'static str, begin: &'static str },
    #[error("{} is damaged: {error}; `{key}` names this file", path.display())]
    Damaged { key: &'static str, path: PathBuf, error: String },
    #[error(
        "the key in {} is not that of the first certificate in {}: give both of one pair \
         (`openssl x509 -noout -pubkey -in CERTIFICATE` and `openssl pkey -pubout -in KEY` print the same for one)",
        key.display(), certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("{}: {error}", certificate.display())]
    Refused { certificate: PathBuf, error: String },
}

/// Something that was loaded, and what is worth a warning about it.
#[derive(Debug)]
pub struct Loaded<T> {
    pub config: Arc<T>,
    pub warnings: Vec<String>,
}

/// The listening side. With a `cert_authority` only peers with a certificate of that authority are let in.
///
/// # Errors
/// [`TlsError`].
pub fn server(settings: &config::Tls) -> Result<Loaded<ServerConfig>, TlsError> {
    let pair = Pair::load(settings)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| pair.refused(&error))?;
    let builder = match &settings.cert_authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authority(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(|error| {
                TlsError::Damaged { key: "cert_authority", path: path.clone(), error: error.to_string() }
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let warnings = pair.warnings();
    let (chain, key) = (pair.chain.clone(), pair.key.clone_key());
    let mut config = builder.with_single_cert(chain, key).map_err(|error| pair.unusable(&error))?;
    // Some bytes for each session that could be resumed, bounded: game clients come back within minutes.
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(1024);
    Ok(Loaded { config: Arc::new(config), warnings })
}

/// The connecting side: shows its own certificate, and believes servers with one of `cert_authority`.
///
/// # Errors
/// [`TlsError`].
pub fn client(settings: &config::Tls) -> Result<Loaded<ClientConfig>, TlsError> {
    let pair = Pair::load(settings)?;
    let roots = match &settings.cert_authority {
        Some(path) => authority(path)?,
        None => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| pair.refused(&error))?
        .with_root_certificates(roots);
    let warnings = pair.warnings();
    let (chain, key) = (pair.chain.clone(), pair.key.clone_key());
    let config = builder.with_client_auth_cert(chain, key).map_err(|error| pair.unusable(&error))?;
    Ok(Loaded { config: Arc::new(config), warnings })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A certificate chain and its key.
struct Pair<'s> {
    settings: &'s config::Tls,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl<'s> Pair<'s> {
    fn load(settings: &'s config::Tls) -> Result<Self, TlsError> {
        let mut chain = certificates("certificate", &settings.certificate)?;
        if let Some(path) = &settings.chain_file {
            chain.extend(certificates("chain_file", path)?);
        }
        let path = &settings.key_file;
        let key = PrivateKeyDer::from_pem_slice(&read("key_file", path)?).map_err(|error| match error {
            PemError::NoItemsFound => {
                TlsError::Empty { key: "key_file", path: path.clone(), what: "private key", begin: "PRIVATE KEY" }
            }
            error => TlsError::Damaged { key: "key_file", path: path.clone(), error: error.to_string() },
        })?;
        Ok(Self { settings, chain, key })
    }

    fn refused(&self, error: &rustls::Error) -> TlsError {
        TlsError::Refused { certificate: self.settings.certificate.clone(), error: error.to_string() }
    }

    fn unusable(&self, error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                certificate: self.settings.certificate.clone(),
                key: self.settings.key_file.clone(),
            },
            rustls::Error::General(text) => {
                TlsError::Damaged { key: "key_file", path: self.settings.key_file.clone(), error: text.clone() }
            }
            error => self.refused(error),
        }
    }

    /// An expired certificate is served all the same: a game with a warning is better than none.
    fn warnings(&self) -> Vec<String> {
        let Some(expired) = self.chain.first().and_then(|certificate| validity(certificate)) else { return Vec::new() };
        let path = self.settings.certificate.display();
        vec![format!("TLS: the certificate in {path} {expired}; clients that check it will refuse it")]
    }
}

/// What is wrong with the time for which a certificate is valid. It is judged before its issuer, so none is needed.
fn validity(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let judged = rustls::client::verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &RootCertStore::empty(),
        &[],
        UnixTime::now(),
        algorithms,
    );
    let Err(rustls::Error::InvalidCertificate(error)) = judged else { return None };
    match error {
        CertificateError::Expired => Some("has expired".to_owned()),
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            Some(format!("expired {days} days ago"))
        }
        CertificateError::NotValidYet => Some("is not valid yet".to_owned()),
        CertificateError::NotValidYetContext { time, not_before } => {
            let days = not_before.as_secs().saturating_sub(time.as_secs()) / 86_400;
            Some(format!("is not valid for another {days} days"))
        }
        _ => None,
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Unreadable { key, path: path.into(), error: error.to_string() })
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| TlsError::Damaged { key, path: path.into(), error: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::Empty { key, path: path.into(), what: "certificate", begin: "CERTIFICATE" });
    }
    Ok(found)
}

fn authority(path: &Path) -> Result<RootCertStore, TlsError> {
    let key = "cert_authority";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| TlsError::Damaged {
            key,
            path: path.into(),
            error: error.to_string(),
        })?;
    }
    Ok(roots)
}

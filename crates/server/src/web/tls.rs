//! `tls_server_config`: read strictly, then made into what rustls serves with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostwatch_daemon::settings::{Located, Mistakes, Place, Table};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::client_certificates::{ClientCertificates, Policy};
use super::witness::Witness;

/// `cipher_suites`: what rustls has of TLS 1.2, under the names of Go, which are those of the IANA.
const CIPHER_SUITES: [(&str, SupportedCipherSuite); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", ring::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// `curve_preferences`, under Go's names.
const CURVES: [(&str, &dyn SupportedKxGroup); 3] = [
    ("X25519", ring::kx_group::X25519),
    ("CurveP256", ring::kx_group::SECP256R1),
    ("CurveP384", ring::kx_group::SECP384R1),
];

/// `min_version` and `max_version`.
const VERSIONS: [(&str, &SupportedProtocolVersion); 2] = [("TLS12", &TLS12), ("TLS13", &TLS13)];

/// `client_auth_type`. The second name of one policy is an old one, which exporter-toolkit still takes.
const POLICIES: [(&str, Option<Policy>); 6] = [
    ("NoClientCert", None),
    ("RequestClientCert", Some(Policy::Request)),
    ("RequireAnyClientCert", Some(Policy::RequireAny)),
    ("VerifyClientCertIfGiven", Some(Policy::VerifyIfGiven)),
    ("RequireAndVerifyClientCert", Some(Policy::RequireAndVerify)),
    ("RequireClientCert", Some(Policy::RequireAny)),
];

/// What stands in the file; the certificates have not been looked at.
#[derive(Debug)]
pub(super) struct TlsSettings {
    certificate: Located<PathBuf>,
    key: Located<PathBuf>,
    clients: Option<Clients>,
    versions: Vec<&'static SupportedProtocolVersion>,
    cipher_suites: Option<Vec<SupportedCipherSuite>>,
    prefers_own_order: bool,
    curves: Option<Vec<&'static dyn SupportedKxGroup>>,
}

/// What is asked of clients.
#[derive(Debug)]
struct Clients {
    policy: Policy,
    authorities: Option<Located<PathBuf>>,
    allowed_names: Option<Vec<String>>,
}

impl TlsSettings {
    /// Reads the table of `file`, in whose directory relative paths begin; `None` when a file is not named.
    pub(super) fn read(mut table: Table<'_>, file: &Path) -> Option<Self> {
        for (inline, key) in [("cert", "cert_file"), ("key", "key_file"), ("client_ca", "client_ca_file")] {
            table.refuse(inline, format_args!("is not read from here; put it into a file and name that in {key}"));
        }
        let directory = file.parent().unwrap_or(Path::new("."));
        let [certificate, key, authorities] = ["cert_file", "key_file", "client_ca_file"]
            .map(|key| table.string(key).map(|path| path.map(|path| directory.join(path))));
        table.require("cert_file", "write the path of the server's certificate, in PEM");
        table.require("key_file", "write the path of the certificate's private key, in PEM");
        let clients = read_clients(&mut table, authorities);
        let versions = read_versions(&mut table);
        let cipher_suites = names(&mut table, "cipher_suites", "cipher suite of TLS 1.2", &CIPHER_SUITES);
        let prefers_own_order = table.boolean("prefer_server_cipher_suites").is_none_or(|prefers| prefers.value);
        let curves = names(&mut table, "curve_preferences", "curve", &CURVES);
        table.finish();
        let (certificate, key) = certificate.zip(key)?;
        Some(Self { certificate, key, clients, versions, cipher_suites, prefers_own_order, curves })
    }

    /// Reads the files; `None` when there is a mistake in them.
    pub(super) fn build(&self, witness: &mut Witness, mistakes: &Mistakes) -> Option<ServerConfig> {
        let certificates = certificates(&self.certificate, witness, mistakes);
        let key = read(&self.key, witness, mistakes).and_then(|pem| {
            let key = PrivateKeyDer::from_pem_slice(&pem);
            let what = "holds no private key in PEM that can be read; one with a passphrase cannot";
            key.map_err(|_| mistakes.add(&self.key.place, format_args!("{} {what}", self.key.value.display()))).ok()
        });
        let provider = Arc::new(self.provider());
        let clients = match &self.clients {
            Some(clients) => Some(clients.build(&provider, witness, mistakes)?),
            None => None,
        };
        let (certificates, key) = certificates.zip(key)?;
        let wrong = |place: &Place, what: &dyn fmt::Display| mistakes.add(place, what);
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&self.versions);
        let builder = builder.map_err(|error| wrong(&self.certificate.place, &error)).ok()?;
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::new(clients)),
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(certificates, key).map_err(|error| {
            let (certificate, key) = (self.certificate.value.display(), self.key.value.display());
            wrong(&self.key.place, &format_args!("{certificate} and {key} cannot be used together: {error}"));
        });
        let mut config = config.ok()?;
        config.ignore_client_order = self.prefers_own_order;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Some(config)
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if let Some(suites) = &self.cipher_suites {
            // As in Go, the list is about TLS 1.2 only.
            provider.cipher_suites.retain(|suite| suite.version() == &TLS13);
            provider.cipher_suites.extend(suites);
        }
        if let Some(curves) = &self.curves {
            provider.kx_groups.clone_from(curves);
        }
        provider
    }
}

impl Clients {
    fn build(
        &self,
        provider: &Arc<CryptoProvider>,
        witness: &mut Witness,
        mistakes: &Mistakes,
    ) -> Option<ClientCertificates> {
        let authorities = match &self.authorities {
            Some(file) if self.policy.verifies() => Some(authorities(file, provider, witness, mistakes)?),
            _ => None,
        };
        Some(ClientCertificates::new(self.policy, authorities, self.allowed_names.clone(), provider))
    }
}

fn authorities(
    file: &Located<PathBuf>,
    provider: &Arc<CryptoProvider>,
    witness: &mut Witness,
    mistakes: &Mistakes,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    let wrong = |error: &dyn fmt::Display| mistakes.add(&file.place, format_args!("{}: {error}", file.value.display()));
    for certificate in certificates(file, witness, mistakes)? {
        roots.add(certificate).map_err(|error| wrong(&error)).ok()?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    verifier.map_err(|error| wrong(&error)).ok()
}

fn certificates(
    file: &Located<PathBuf>,
    witness: &mut Witness,
    mistakes: &Mistakes,
) -> Option<Vec<CertificateDer<'static>>> {
    let pem = read(file, witness, mistakes)?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        _ => {
            mistakes.add(&file.place, format_args!("{} holds no certificate in PEM", file.value.display()));
            None
        }
    }
}

fn read(file: &Located<PathBuf>, witness: &mut Witness, mistakes: &Mistakes) -> Option<Vec<u8>> {
    let name = file.value.display();
    let read = witness.read(&file.value);
    read.map_err(|error| mistakes.add(&file.place, format_args!("{name} cannot be read: {error}"))).ok()
}

fn read_clients(table: &mut Table<'_>, authorities: Option<Located<PathBuf>>) -> Option<Clients> {
    let allowed_names = table.strings("client_allowed_sans");
    let policy = match table.string("client_auth_type") {
        Some(name) => one_of(table, &name, "policy", &POLICIES)?,
        None => None,
    };
    let wrong = |key: &str, what: &str| table.mistakes().add(&table.place_of(key), what);
    match policy {
        None if authorities.is_some() => {
            wrong("client_ca_file", "is for client_auth_type VerifyClientCertIfGiven or RequireAndVerifyClientCert");
        }
        Some(policy) if policy.verifies() && !table.has("client_ca_file") => {
            wrong(
                "client_auth_type",
                "needs client_ca_file beside it: the certificates of the authorities that clients have",
            );
        }
        _ => {}
    }
    if allowed_names.is_some() && !policy.is_some_and(Policy::demands) {
        let what = "is for client_auth_type RequireAnyClientCert or RequireAndVerifyClientCert: with another one a client \
                    comes in without a certificate";
        wrong("client_allowed_sans", what);
    }
    let allowed_names = allowed_names.map(|names| names.value.into_iter().map(|name| name.value).collect());
    policy.map(|policy| Clients { policy, authorities, allowed_names })
}

fn read_versions(table: &mut Table<'_>) -> Vec<&'static SupportedProtocolVersion> {
    let [lowest, highest] = ["min_version", "max_version"]
        .map(|key| table.string(key).and_then(|name| one_of(table, &name, "version of TLS", &VERSIONS)));
    let number = |version: &SupportedProtocolVersion| u16::from(version.version);
    let (lowest, highest) = (lowest.unwrap_or(&TLS12), highest.unwrap_or(&TLS13));
    if number(lowest) > number(highest) {
        table.mistakes().add(&table.place_of("min_version"), "is above max_version, so that nobody could connect");
    }
    let versions = VERSIONS.iter().map(|(_, version)| *version);
    versions.filter(|version| (number(lowest)..=number(highest)).contains(&number(version))).collect()
}

/// The values of a list of names; `None` when it is not there.
fn names<T: Copy>(table: &mut Table<'_>, key: &str, what: &str, known: &[(&str, T)]) -> Option<Vec<T>> {
    let names = table.strings(key)?;
    if names.value.is_empty() {
        table.mistakes().add(&names.place, "is empty; leave it out for all that there are");
    }
    Some(names.value.iter().filter_map(|name| one_of(table, name, what, known)).collect())
}

fn one_of<T: Copy>(table: &Table<'_>, name: &Located<String>, what: &str, known: &[(&str, T)]) -> Option<T> {
    let found = known.iter().find(|(known, _)| *known == name.value);
    if found.is_none() {
        let known = known.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        let what = format_args!("{:?} is not a {what} that hostwatch knows; allowed here: {known}", name.value);
        table.mistakes().add(&name.place, what);
    }
    found.map(|(_, value)| *value)
}

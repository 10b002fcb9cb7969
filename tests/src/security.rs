//! Encrypted connections: a private authority, certificates of both sides, and what happens without them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Redis, RedisSetup, Server, ServerSetup, eventually, free_port, require};
use tempfile::TempDir;

use crate::fleet::{ANY_HOST, DEADLINE, files, is_up};

/// A private authority with what it has certified, in files.
struct Authority {
    directory: TempDir,
}

impl Authority {
    fn new() -> Result<Self> {
        let authority = Self { directory: tempfile::tempdir()? };
        let (key, certificate) = (authority.file("ca.key"), authority.file("ca.pem"));
        openssl(
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
            &[("-subj", Path::new("/CN=private authority")), ("-keyout", &key), ("-out", &certificate)],
        )?;
        for name in ["redis", "hostwatch"] {
            authority.certify(name)?;
        }
        Ok(authority)
    }

    /// `NAME.pem` and `NAME.key`, for 127.0.0.1.
    fn certify(&self, name: &str) -> Result<()> {
        let (key, request) = (self.file(&format!("{name}.key")), self.file(&format!("{name}.csr")));
        let (certificate, extensions) = (self.file(&format!("{name}.pem")), self.file("extensions"));
        std::fs::write(&extensions, "subjectAltName=IP:127.0.0.1\n")?;
        openssl(
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
            &[("-subj", Path::new(&format!("/CN={name}"))), ("-keyout", &key), ("-out", &request)],
        )?;
        openssl(
            &["x509", "-req", "-CAcreateserial", "-days", "2"],
            &[
                ("-in", &request),
                ("-CA", &self.file("ca.pem")),
                ("-CAkey", &self.file("ca.key")),
                ("-extfile", &extensions),
                ("-out", &certificate),
            ],
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The settings of a daemon; with a certificate of its own or without.
    fn settings(&self, certificate: bool) -> String {
        let file = |name: &str| self.file(name).display().to_string();
        let mut settings = format!("[redis.tls]\nca_file = \"{}\"\n", file("ca.pem"));
        if certificate {
            let (certificate, key) = (file("hostwatch.pem"), file("hostwatch.key"));
            settings.push_str(&format!("cert_file = \"{certificate}\"\nkey_file = \"{key}\"\n"));
        }
        settings
    }
}

fn openssl(arguments: &[&str], files: &[(&str, &Path)]) -> Result<()> {
    let mut command = Command::new(require("openssl")?);
    command.args(arguments);
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A Redis that speaks TLS on a port beside its others; the URL of it.
fn redis(authority: &Authority, demands_certificates: &str) -> Result<(Redis, String)> {
    let port = free_port()?;
    let file = |name: &str| authority.file(name).display().to_string();
    let config = vec![
        format!("tls-port {port}"),
        format!("tls-cert-file {}", file("redis.pem")),
        format!("tls-key-file {}", file("redis.key")),
        format!("tls-ca-cert-file {}", file("ca.pem")),
        format!("tls-auth-clients {demands_certificates}"),
    ];
    let redis = Redis::start_with(&RedisSetup { config, ..RedisSetup::default() })?;
    Ok((redis, format!("rediss://127.0.0.1:{port}")))
}

fn start(url: &str, settings: &str) -> Result<(Server, Client)> {
    let server = Server::start(&ServerSetup {
        redis_url: url.to_owned(),
        files: files(settings, ANY_HOST),
        ..ServerSetup::default()
    })?;
    let client = Client::start(&ClientSetup {
        host: Some("web".to_owned()),
        redis_url: url.to_owned(),
        toml: Some(settings.to_owned()),
        ..ClientSetup::default()
    })?;
    Ok((server, client))
}

#[test]
fn a_private_authority_and_certificates_of_both_sides() -> Result<()> {
    let authority = Authority::new()?;
    let (redis, url) = redis(&authority, "yes")?;
    let (mut server, _client) = start(&url, &authority.settings(true))?;
    server.eventually("the host is up over TLS", DEADLINE, |page| is_up(page, "web"))?;
    let clients = redis.cli(&["client", "list"])?;
    let addresses: Vec<&str> = clients.lines().filter(|line| line.contains("name=hostwatch-")).collect();
    ensure!(addresses.len() >= 2, "{clients}");
    Ok(())
}

#[test]
fn whoever_cannot_be_trusted_is_named_and_not_spoken_to() -> Result<()> {
    let authority = Authority::new()?;
    // Without the authority the certificate of Redis is worth nothing; without a certificate Redis refuses us.
    for (demands, settings, reason) in
        [("no", String::new(), "certificate"), ("yes", authority.settings(false), "ertificate")]
    {
        let (_redis, url) = redis(&authority, demands)?;
        let (server, client) = start(&url, &settings)?;
        for process in [&server.process, &client.process] {
            eventually("the reason is said", DEADLINE, || {
                let log = process.log();
                ensure!(log.contains("can not connect to Redis") && log.contains(reason), "{log}");
                Ok(())
            })?;
        }
        let (status, body) = server.get("/-/ready")?;
        assert_eq!(status, 503, "{body}");
    }
    Ok(())
}

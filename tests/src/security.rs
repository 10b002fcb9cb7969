//! Encrypted connections: a private authority, certificates of both sides, and what happens without them.

use anyhow::{Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Redis, RedisSetup, Server, ServerSetup, eventually, free_port};

use crate::authority::Authority;
use crate::fleet::{ANY_HOST, DEADLINE, files, is_up};

/// The settings of a daemon; with a certificate of its own or without.
fn settings(authority: &Authority, certificate: bool) -> String {
    let file = |name: &str| authority.file(name).display().to_string();
    let mut settings = format!("[redis.tls]\nca_file = \"{}\"\n", file("ca.pem"));
    if certificate {
        let (certificate, key) = (file("hostwatch.pem"), file("hostwatch.key"));
        settings.push_str(&format!("cert_file = \"{certificate}\"\nkey_file = \"{key}\"\n"));
    }
    settings
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

fn authority() -> Result<Authority> {
    let authority = Authority::new()?;
    for name in ["redis", "hostwatch"] {
        authority.certify(name, "IP:127.0.0.1")?;
    }
    Ok(authority)
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
    let authority = authority()?;
    let (redis, url) = redis(&authority, "yes")?;
    let (mut server, _client) = start(&url, &settings(&authority, true))?;
    server.eventually("the host is up over TLS", DEADLINE, |page| is_up(page, "web"))?;
    let clients = redis.cli(&["client", "list"])?;
    let addresses: Vec<&str> = clients.lines().filter(|line| line.contains("name=hostwatch-")).collect();
    ensure!(addresses.len() >= 2, "{clients}");
    Ok(())
}

#[test]
fn whoever_cannot_be_trusted_is_named_and_not_spoken_to() -> Result<()> {
    let authority = authority()?;
    // Without the authority the certificate of Redis is worth nothing; without a certificate Redis refuses us.
    for (demands, settings, reason) in
        [("no", String::new(), "certificate"), ("yes", settings(&authority, false), "ertificate")]
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

//! `web.yml`: who gets in over TLS and with a password, what changes without a restart, and what a mistake does not change.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Prometheus, Redis, Server, ServerSetup, eventually, programs, require};

use crate::authority::Authority;
use crate::client_cli::ask;
use crate::fleet::{ANY_HOST, DEADLINE, files, start_client};

/// What bcrypt makes of `first` and `second` at its lowest cost.
const FIRST: &str = "$2b$04$v62KeX.5E7mP1LkLcHjuZevaSidmd5QnpZPXcvmrhDmw2YEg9Du/C";
const SECOND: &str = "$2b$04$bpAklbEppCX8XSKp7hd8mOoRghDaiEmdnpcCWJDSJqQUtxBKkFgM2";
/// What it makes of `slow` at a cost that an unoptimized build takes long for.
const SLOW: &str = "$2b$08$M4XpmWYjzAq9.igWddFkt.wEjo7MR9IOMBujhDwtxq4Au0PjEXUqG";

/// Longer than a handshake may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(redis: &Redis, web_config: &str) -> Result<Server> {
    let mut files = files("[web]\nconfig_file = \"web.yml\"\n", ANY_HOST);
    files.push(("web.yml".to_owned(), web_config.to_owned()));
    Server::start(&ServerSetup { redis_url: redis.url(), files, ..ServerSetup::default() })
}

fn users(hash: &str) -> String {
    format!("basic_auth_users:\n  prometheus: {hash}\n")
}

/// The certificates of `server`, and what is asked of clients.
fn tls(authority: &Authority, clients: &str) -> String {
    let file = |name: &str| authority.file(name).display().to_string();
    let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let clients = clients.replace("CA", &ca);
    format!("tls_server_config:\n  cert_file: {certificate}\n  key_file: {key}\n{clients}")
}

const VERIFIED: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: CA\n";

/// An authority that has certified a server and a Prometheus.
fn authority() -> Result<Authority> {
    let authority = Authority::new()?;
    authority.certify("server", "IP:127.0.0.1")?;
    authority.certify("prometheus", "DNS:prometheus.example.net,IP:192.0.2.7")?;
    Ok(authority)
}

/// What curl gets: the status, and the head and body of the answer; or its complaint.
fn curl(url: &str, options: &[&str]) -> Result<(u16, String)> {
    let mut curl = Command::new(require("curl")?);
    // Not --fail: the answer to whoever is refused is looked at too.
    curl.args(["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "20"]).args(options).arg(url);
    let output = curl.output()?;
    ensure!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status: {answer}"))?, answer))
}

fn status(url: &str, options: &[&str]) -> Result<u16> {
    Ok(curl(url, options)?.0)
}

/// What makes curl trust `authority`, and show the certificate `name` of `of` if there is one.
fn as_client(authority: &Authority, of: Option<(&Authority, &str)>) -> Vec<String> {
    let file = |authority: &Authority, name: &str| authority.file(name).display().to_string();
    let mut options = vec!["--cacert".to_owned(), file(authority, "ca.pem")];
    if let Some((of, name)) = of {
        options.extend(["--cert".to_owned(), file(of, &format!("{name}.pem"))]);
        options.extend(["--key".to_owned(), file(of, &format!("{name}.key"))]);
    }
    options
}

/// Fails unless curl gets the page.
fn comes_in(server: &Server, options: &[String]) -> Result<()> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let status = status(&server.url("/-/healthy"), &options)?;
    ensure!(status == 200, "{status}");
    Ok(())
}

/// Fails unless the connection is refused before there is an answer.
fn stays_out(server: &Server, options: &[String]) -> Result<()> {
    ensure!(comes_in(server, options).is_err(), "{options:?} comes in");
    Ok(())
}

#[test]
fn every_path_asks_for_the_password_and_a_new_one_needs_no_restart() -> Result<()> {
    let redis = Redis::start()?;
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    let server = start(&redis, &format!("{}{headers}", users(FIRST)))?;
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/sd", "/api/v1/hosts", "/nothing"] {
        for options in [&[][..], &["--user", "prometheus:wrong"], &["--user", "nobody:first"]] {
            let (status, answer) = curl(&server.url(path), options)?;
            ensure!(status == 401, "{path} {options:?}: {answer}");
            let answer = answer.to_lowercase();
            ensure!(answer.contains("www-authenticate: basic realm=\"hostwatch\""), "{answer}");
            ensure!(answer.contains("x-frame-options: deny"), "{answer}");
        }
    }
    let metrics = server.url("/metrics");
    let (first, second) = (["--user", "prometheus:first"], ["--user", "prometheus:second"]);
    let (right, page) = curl(&metrics, &first)?;
    ensure!(right == 200 && page.contains("\nhostwatch_http_logins_refused_total 14\n"), "{page}");
    ensure!(status(&server.url("/nothing"), &first)? == 404);
    ensure!(status(&metrics, &second)? == 401);

    server.write("web.yml", &users(SECOND))?;
    eventually("the new password is right", DEADLINE, || {
        ensure!(status(&metrics, &second)? == 200);
        Ok(())
    })?;
    ensure!(status(&metrics, &first)? == 401, "and the old one is not");
    Ok(())
}

#[test]
fn a_mistake_keeps_what_is_in_force_and_is_said() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start(&redis, &users(FIRST))?;
    let (metrics, first) = (server.url("/metrics"), ["--user", "prometheus:first"]);
    let shows = |line: &str| -> Result<()> {
        let (status, page) = curl(&metrics, &first)?;
        ensure!(status == 200 && page.contains(&format!("\n{line}\n")), "{status}: no {line}");
        Ok(())
    };
    shows("hostwatch_web_config_last_reload_successful 1")?;
    // An emptied file would let everybody in.
    for wrong in ["basic_auth_users:\n  prometheus: second\n", "", "basic_auth_users: {\n"] {
        server.write("web.yml", wrong)?;
        eventually("the mistake is found", DEADLINE, || shows("hostwatch_web_config_last_reload_successful 0"))?;
        server.write("web.yml", &users(FIRST))?;
        eventually("it is mended", DEADLINE, || shows("hostwatch_web_config_last_reload_successful 1"))?;
    }
    let log = server.process.log();
    ensure!(log.contains("web.yml:2: basic_auth_users.prometheus: is not a bcrypt hash"), "{log}");
    ensure!(log.contains("web.yml: is empty"), "{log}");

    // A reload holds as a whole or not at all.
    server.write("web.yml", "basic_auth_user: {}\n")?;
    server.reload()?;
    eventually("the reload is refused", DEADLINE, || shows("hostwatch_config_last_reload_successful 0"))?;
    ensure!(status(&metrics, &[])? == 401);
    server.write("web.yml", &users(SECOND))?;
    server.reload()?;
    let second = ["--user", "prometheus:second"];
    eventually("the reload is applied", DEADLINE, || {
        ensure!(status(&metrics, &second)? == 200);
        Ok(())
    })?;

    server.write("web.yml", "basic_auth_user: {}\n")?;
    server.kill()?;
    let error = server.start_again().err().context("it has started with a mistake")?.to_string();
    ensure!(error.contains("exit status: 78") && error.contains("did you mean basic_auth_users?"), "{error}");
    Ok(())
}

#[test]
fn a_policy_decides_which_certificates_connect() -> Result<()> {
    let (ours, theirs) = (authority()?, authority()?);
    ours.certify("grafana", "DNS:grafana.example.net")?;
    let redis = Redis::start()?;
    let without = as_client(&ours, None);
    let known = as_client(&ours, Some((&ours, "prometheus")));
    let nameless = as_client(&ours, Some((&ours, "grafana")));
    let foreign = as_client(&ours, Some((&theirs, "prometheus")));
    let policy = |name: &str, more: &str| format!("  client_auth_type: {name}\n{more}");
    let (ca, names) = ("  client_ca_file: CA\n", "  client_allowed_sans: [prometheus.example.net]\n");
    let mut server = None;
    for (clients, who_comes_in) in [
        (String::new(), [true, true, true, true]),
        (policy("NoClientCert", ""), [true, true, true, true]),
        (policy("RequestClientCert", ""), [true, true, true, true]),
        (policy("RequireAnyClientCert", ""), [false, true, true, true]),
        (policy("RequireAnyClientCert", names), [false, true, false, true]),
        (policy("VerifyClientCertIfGiven", ca), [true, true, true, false]),
        (policy("RequireAndVerifyClientCert", ca), [false, true, true, false]),
        (policy("RequireAndVerifyClientCert", &format!("{ca}{names}")), [false, true, false, false]),
        (
            policy("RequireAndVerifyClientCert", &format!("{ca}  client_allowed_sans: [192.0.2.7]\n")),
            [false, true, false, false],
        ),
    ] {
        let server = server.insert(start(&redis, &tls(&ours, &clients))?);
        for (options, comes) in [&without, &known, &nameless, &foreign].into_iter().zip(who_comes_in) {
            let outcome = if comes { comes_in(server, options) } else { stays_out(server, options) };
            outcome.with_context(|| format!("{clients}{options:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn certificates_are_renewed_without_a_restart() -> Result<()> {
    let (ours, theirs) = (authority()?, authority()?);
    let redis = Redis::start()?;
    let server = start(&redis, &tls(&ours, VERIFIED))?;
    let before = as_client(&ours, Some((&ours, "prometheus")));
    comes_in(&server, &before)?;
    // Everything is of another authority now: what the server shows, and what it takes.
    for file in ["server.pem", "server.key", "ca.pem"] {
        std::fs::copy(theirs.file(file), ours.file(file))?;
    }
    let after = as_client(&theirs, Some((&theirs, "prometheus")));
    eventually("the new certificates are in force", DEADLINE, || comes_in(&server, &after))?;
    let old_key = as_client(&theirs, Some((&ours, "prometheus")));
    stays_out(&server, &old_key)?;
    Ok(())
}

#[test]
fn versions_and_cipher_suites_are_those_of_the_file() -> Result<()> {
    let ours = authority()?;
    let redis = Redis::start()?;
    let options = |more: &[&str]| -> Vec<String> {
        as_client(&ours, None).into_iter().chain(more.iter().map(|option| (*option).to_owned())).collect()
    };
    let (old, new) = (options(&["--tls-max", "1.2"]), options(&["--tlsv1.3"]));
    let server = start(&redis, &tls(&ours, "  min_version: TLS13\n"))?;
    comes_in(&server, &new)?;
    stays_out(&server, &old)?;
    let suite = "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n";
    let server = start(&redis, &tls(&ours, suite))?;
    stays_out(&server, &new)?;
    comes_in(&server, &old)?;
    let with = |suite: &str| options(&["--tls-max", "1.2", "--ciphers", suite]);
    comes_in(&server, &with("ECDHE-ECDSA-AES256-GCM-SHA384"))?;
    stays_out(&server, &with("ECDHE-ECDSA-AES128-GCM-SHA256"))
}

#[test]
fn whoever_is_slow_or_does_not_encrypt_is_sent_away_and_keeps_nobody_waiting() -> Result<()> {
    let ours = authority()?;
    let redis = Redis::start()?;
    let server = start(&redis, &tls(&ours, ""))?;
    let connect = |first: &[u8]| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(server.address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(first)?;
        Ok(stream)
    };
    let silent = (0..100).map(|_| connect(b"")).collect::<Result<Vec<_>>>()?;
    // The head of a record of 512 bytes that do not come.
    let slow = (0..100).map(|_| connect(&[22, 3, 1, 2, 0])).collect::<Result<Vec<_>>>()?;
    let mut plain = connect(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    plain.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("to an HTTPS server.\n"), "{answer}");
    comes_in(&server, &as_client(&ours, None))?;
    for mut stream in silent.into_iter().chain(slow) {
        // A reset is an end too.
        let end = stream.read(&mut [0; 64]);
        let is_over = !end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        ensure!(is_over, "it is still open after {PATIENCE:?}: {end:?}");
    }
    let (_, page) = curl(&server.url("/metrics"), &["--cacert", &ours.file("ca.pem").display().to_string()])?;
    ensure!(page.contains("\nhostwatch_http_handshakes_failed_total 200\n"), "{page}");
    Ok(())
}

#[test]
fn guesses_do_not_keep_out_whoever_is_known() -> Result<()> {
    const GUESSES: usize = 100;
    let redis = Redis::start()?;
    let server = start(&redis, &users(SLOW))?;
    let (metrics, right) = (server.url("/metrics"), ["--user", "prometheus:slow"]);
    ensure!(status(&metrics, &right)? == 200);
    // `prometheus:guess`
    let request =
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic cHJvbWV0aGV1czpndWVzcw==\r\n\r\n";
    let guess = |_| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(server.address())?;
        stream.set_read_timeout(Some(2 * DEADLINE))?;
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    };
    let guesses = (0..GUESSES).map(guess).collect::<Result<Vec<_>>>()?;
    let (known, page) = curl(&metrics, &right)?;
    ensure!(known == 200, "{page}");
    let mut statuses = Vec::new();
    for mut stream in guesses {
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        statuses.push(answer.split(' ').nth(1).context("no status")?.to_owned());
    }
    let count = |status: &str| statuses.iter().filter(|it| *it == status).count();
    // So many wait to be hashed; the others are told to come again.
    ensure!(count("401") + count("503") == GUESSES && count("401") >= 32 && count("503") > 0, "{statuses:?}");
    Ok(())
}

#[test]
fn health_needs_neither_a_password_nor_a_certificate() -> Result<()> {
    let ours = authority()?;
    let redis = Redis::start()?;
    let everything = format!("{}{}", tls(&ours, VERIFIED), users(FIRST));
    for web_config in [users(FIRST), everything, "http_server_config: {}\n".to_owned()] {
        let mut server = start(&redis, &web_config)?;
        let environment = [("HOSTWATCH_WEB_LISTEN_ADDRESS", server.address())];
        let arguments = ["health", "--config", "server.toml"];
        let answer = ask(&programs()?.server, &server.config_directory(), &arguments, &environment)?;
        ensure!(answer.code == Some(0) && answer.stdout.contains("answers on 127.0.0.1:"), "{answer:?}");
        let (directory, address) = (server.config_directory(), server.address().to_owned());
        server.kill()?;
        let environment = [("HOSTWATCH_WEB_LISTEN_ADDRESS", &*address)];
        let answer = ask(&programs()?.server, &directory, &arguments, &environment)?;
        ensure!(answer.code == Some(1) && answer.stderr.contains("no answer from 127.0.0.1:"), "{answer:?}");
    }
    Ok(())
}

#[test]
fn prometheus_scrapes_over_tls_with_a_certificate_and_a_password() -> Result<()> {
    let ours = authority()?;
    let redis = Redis::start()?;
    let server = start(&redis, &format!("{}{}", tls(&ours, VERIFIED), users(FIRST)))?;
    let _client = start_client(&redis, "web")?;
    let file = |name: &str| ours.file(name).display().to_string();
    let access = |indent: &str| {
        format!(
            "{indent}basic_auth: {{ username: prometheus, password: first }}\n{indent}tls_config:\n\
             {indent}  ca_file: {}\n{indent}  cert_file: {}\n{indent}  key_file: {}\n",
            file("ca.pem"),
            file("prometheus.pem"),
            file("prometheus.key")
        )
    };
    let prometheus = Prometheus::start(&format!(
        "- job_name: hostwatch\n  scheme: https\n  honor_labels: true\n{}  static_configs:\n  - targets: ['{}']\n\
         - job_name: each\n{}  http_sd_configs:\n  - url: '{}'\n    refresh_interval: 1s\n{}",
        access("  "),
        server.address(),
        access("  "),
        server.url("/sd"),
        access("    ")
    ))?;
    for expression in
        ["up{job=\"hostwatch\"} == 1", "node_load1{job=\"node\"}", "up{job=\"each\", instance=\"web\"} == 1"]
    {
        eventually(expression, DEADLINE, || {
            ensure!(prometheus.query(expression)?.len() == 1);
            Ok(())
        })?;
    }
    Ok(())
}

//! Configuration through the real programs' `--check`: `cases/config/{server,client}/{valid,invalid}/…`.
//!
//! A case of the server is a folder with its `server.toml` and, if it is invalid, `expected.txt`: what the program says. A
//! case of the client is `CASE.toml`, with `CASE.expected.txt`. UPDATE_EXPECTED=1 writes these texts instead of comparing.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Programs, Server, ServerSetup, programs, root};
use tempfile::TempDir;

use crate::client_cli::{Answer, ask};
use crate::fleet::DEADLINE;

/// What the cases write for a password. No message may repeat it.
const PASSWORD: [&str; 2] = ["must-never-be-printed", "must never be printed"];

/// `EX_CONFIG` of sysexits.h.
const WRONG: Option<i32> = Some(78);

#[test]
fn valid_configurations_of_the_server_are_accepted() -> Result<()> {
    all_are_accepted(&programs()?.server, &folders("server/valid")?)
}

#[test]
fn valid_settings_of_the_client_are_accepted() -> Result<()> {
    all_are_accepted(&programs()?.client, &client_files("client/valid")?)
}

#[test]
fn the_server_says_every_mistake_at_once() -> Result<()> {
    all_are_refused(&programs()?.server, &folders("server/invalid")?, |case| case.with_file_name("expected.txt"))
}

#[test]
fn the_client_says_every_mistake_at_once() -> Result<()> {
    all_are_refused(&programs()?.client, &client_files("client/invalid")?, |case| case.with_extension("expected.txt"))
}

#[test]
fn what_is_shipped_is_valid_and_every_file_of_it_is_read() -> Result<()> {
    let shipped = root()?.join("packaging/config");
    accepts_shipped(programs()?, &shipped)?;
    let files = files_below(&shipped)?;
    ensure!(!files.is_empty(), "no file in {}", shipped.display());
    for file in files {
        let copy = copy_of(&shipped)?;
        let name = file.strip_prefix(&shipped)?;
        let mut text = fs::read_to_string(&file)?;
        text.push_str("\n[nonsense]\n");
        let line = text.lines().count();
        fs::write(copy.path().join(name), text)?;
        let answers = [("server", &programs()?.server), ("client", &programs()?.client)]
            .map(|(program, path)| check(path, &copy.path().join(format!("{program}.toml")), &[]));
        let [server, client] = answers;
        let said = server?.stderr + &client?.stderr;
        ensure!(said.starts_with(&format!("{}:{line}: nonsense: unknown key; ", name.display())), "{said:?}");
        ensure!(said.lines().count() == 1, "{said:?}");
    }
    Ok(())
}

#[test]
fn what_the_shipped_files_show_in_comments_is_valid() -> Result<()> {
    let copy = copy_of(&root()?.join("packaging/config"))?;
    let mut shown = 0;
    for file in files_below(copy.path())? {
        let text = fs::read_to_string(&file)?;
        let lines = text.lines().map(|line| match line.strip_prefix('#') {
            // A file with a password is nothing that a test can have there.
            Some(setting) if !setting.starts_with([' ', '#']) && !setting.starts_with("password_file") => {
                shown += usize::from(!setting.is_empty());
                setting
            }
            _ => line,
        });
        fs::write(&file, lines.collect::<Vec<_>>().join("\n"))?;
    }
    ensure!(shown >= 20, "only {shown} settings are shown");
    accepts_shipped(programs()?, copy.path())
}

#[test]
fn a_mistake_of_the_environment_names_the_variable() -> Result<()> {
    let shipped = root()?.join("packaging/config");
    let environment = [
        ("HOSTWATCH_LIVENESS_HEARTBEAT", "10"),
        ("HOSTWATCH_REDIS_URL", "redis://:must-never-be-printed@127.0.0.1"),
        ("HOSTWATCH_WEB_LISTEN_ADDRESS", "127.0.0.1:10120, localhost:10121"),
        ("HOSTWATCH_WEB_JOB", ""),
    ];
    let answer = check(&programs()?.server, &shipped.join("server.toml"), &environment)?;
    let expected = concat!(
        "environment: HOSTWATCH_LIVENESS_HEARTBEAT: \"10\" is not a duration; write a number and a unit, such as \"10s\" ",
        "or \"5m\", from 1s to 5m\n",
        "environment: HOSTWATCH_REDIS_URL: a user name or password does not belong in the URL, use username and ",
        "password_file\n",
        "environment: HOSTWATCH_WEB_LISTEN_ADDRESS: \"localhost:10121\" is not an address; write IP:PORT, such as ",
        "\"127.0.0.1:10120\" or \"[::1]:10120\"\n",
    );
    assert_eq!(answer, Answer::failed(WRONG, expected));

    let environment = [("HOSTWATCH_HOST", "web 01"), ("HOSTWATCH_BUFFER_MAX_AGE", "1s")];
    let answer = check(&programs()?.client, &shipped.join("client.toml"), &environment)?;
    let expected = concat!(
        "environment: HOSTWATCH_BUFFER_MAX_AGE: \"1s\" is out of range; allowed is a duration from 1m to 1d\n",
        "environment: HOSTWATCH_HOST: \"web 01\" is not a valid name: 1 to 128 characters out of A-Z, a-z, 0-9, '.', ",
        "'_' and '-', the first a letter or a digit\n",
    );
    assert_eq!(answer, Answer::failed(WRONG, expected));
    Ok(())
}

#[test]
fn the_environment_wins_over_the_file() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (server, client) = (directory.path().join("server.toml"), directory.path().join("client.toml"));
    fs::write(&server, "[inventory]\nhosts = []\ntemplates = []\nservices = []\n[web]\nlisten_address = [\"x\"]\n")?;
    fs::write(&client, "host = \"web 01\"\n")?;
    for (program, file, variable, right) in [
        (&programs()?.server, server, "HOSTWATCH_WEB_LISTEN_ADDRESS", "127.0.0.1:10120,[::1]:10120"),
        (&programs()?.client, client, "HOSTWATCH_HOST", "web01"),
    ] {
        assert_eq!(check(program, &file, &[])?.code, WRONG);
        // An empty variable counts as none.
        assert_eq!(check(program, &file, &[(variable, "")])?.code, WRONG);
        assert_eq!(check(program, &file, &[(variable, right)])?, Answer::printed(""));
    }
    Ok(())
}

#[test]
fn a_file_that_was_named_has_to_be_there() -> Result<()> {
    let shipped = root()?.join("packaging/config");
    let missing = shipped.join("nowhere.toml");
    let programs = programs()?;
    for program in [&programs.server, &programs.client] {
        let answers = [
            check(program, &missing, &[])?,
            ask(program, &shipped, &["--check"], &[("HOSTWATCH_CONFIG", "nowhere.toml")])?,
        ];
        for Answer { code, stdout, stderr } in answers {
            assert_eq!((code, stdout.as_str(), stderr.lines().count()), (WRONG, "", 1), "{stderr}");
            assert!(stderr.starts_with("nowhere.toml: "), "{stderr}");
            assert!(stderr.ends_with("No such file or directory (os error 2)\n"), "{stderr}");
        }
    }
    Ok(())
}

#[test]
fn a_server_with_a_mistake_does_not_start() -> Result<()> {
    // A server that tried to listen would end for another reason.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let directory = tempfile::tempdir()?;
    let setup = ServerSetup {
        files: vec![("server.toml".to_owned(), "[inventory]\nhosts = []\n[web]\njob = 3\n".to_owned())],
        directory: Some(directory.path().to_owned()),
        listen_address: Some(taken.local_addr()?.to_string()),
        ..ServerSetup::default()
    };
    let error = Server::start(&setup).err().context("it has started")?.to_string();
    assert!(error.contains("has ended: exit status: 78"), "{error}");
    assert!(error.contains("config/server.toml:4: web.job: 3 is not a string"), "{error}");
    assert!(error.contains("there is no file") && error.contains("templates.toml"), "{error}");
    assert!(!error.contains("cannot listen"), "{error}");
    assert_eq!(files_below(&directory.path().join("state"))?, Vec::<PathBuf>::new());
    Ok(())
}

#[test]
fn a_client_with_a_mistake_does_not_start() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let setup = ClientSetup {
        redis_url: "valkey://127.0.0.1".to_owned(),
        toml: Some("host = 1\n".to_owned()),
        directory: Some(directory.path().to_owned()),
        ..ClientSetup::default()
    };
    let mut client = Client::start(&setup)?;
    assert_eq!(client.process.wait_exit(DEADLINE)?.code(), WRONG);
    let log = client.process.log();
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.contains("config/client.toml:1: host: 1 is not a string"), "{log}");
    assert!(log.contains("environment: HOSTWATCH_REDIS_URL: expected redis://"), "{log}");
    assert!(!client.status_file().exists());
    assert_eq!(files_below(&client.state_directory())?, Vec::<PathBuf>::new());
    Ok(())
}

fn all_are_accepted(program: &Path, cases: &[PathBuf]) -> Result<()> {
    for case in cases {
        let answer = check(program, case, &[])?;
        ensure!(answer == Answer::printed(""), "{}: {answer:?}", case.display());
    }
    Ok(())
}

fn all_are_refused(program: &Path, cases: &[PathBuf], expected: impl Fn(&Path) -> PathBuf) -> Result<()> {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for case in cases {
        let Answer { code, stdout, stderr } = check(program, case, &[])?;
        ensure!((code, stdout.as_str()) == (WRONG, ""), "{}: {code:?} {stdout}{stderr}", case.display());
        ensure!(!PASSWORD.iter().any(|password| stderr.contains(password)), "{}: {stderr}", case.display());
        let expected = expected(case);
        if update {
            fs::write(&expected, stderr)?;
        } else if fs::read_to_string(&expected).unwrap_or_default() != stderr {
            wrong.push(format!("{} is not:\n{stderr}", expected.display()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn accepts_shipped(programs: &Programs, directory: &Path) -> Result<()> {
    all_are_accepted(&programs.server, &[directory.join("server.toml")])?;
    all_are_accepted(&programs.client, &[directory.join("client.toml")])
}

/// Checks a file from within its directory, so that what is said does not depend on where that is.
fn check(program: &Path, file: &Path, environment: &[(&str, &str)]) -> Result<Answer> {
    let directory = file.parent().context("a file without a directory")?;
    let name = file.file_name().and_then(|name| name.to_str()).context("a file without a name")?;
    ask(program, directory, &["--check", "--config", name], environment)
}

fn cases(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/config").join(kind)
}

/// The `server.toml` of every case.
fn folders(kind: &str) -> Result<Vec<PathBuf>> {
    let folders = entries(&cases(kind))?;
    ensure!(!folders.is_empty(), "there is no case in {kind}");
    Ok(folders.iter().map(|folder| folder.join("server.toml")).collect())
}

/// Every file of settings.
fn client_files(kind: &str) -> Result<Vec<PathBuf>> {
    let mut files = entries(&cases(kind))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    ensure!(!files.is_empty(), "there is no case in {kind}");
    Ok(files)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

fn copy_of(directory: &Path) -> Result<TempDir> {
    let copy = tempfile::tempdir()?;
    for file in files_below(directory)? {
        let target = copy.path().join(file.strip_prefix(directory)?);
        fs::create_dir_all(target.parent().context("a file without a directory")?)?;
        fs::copy(&file, target)?;
    }
    Ok(copy)
}

//! Settings from texts, and every mistake with its line.

use super::*;

fn surroundings(environment: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        environment: Environment::new(environment.iter().copied()),
        hostname: "web01.example.net".to_owned(),
        ..Surroundings::default()
    }
}

fn parse(text: &str, surroundings: &Surroundings) -> Result<Settings, Vec<String>> {
    let mistakes = Mistakes::default();
    let settings = check(Path::new("client.toml"), text, surroundings, &mistakes);
    match mistakes.into_result() {
        Ok(()) => Ok(settings.unwrap()),
        Err(list) => Err(list.lines().map(str::to_owned).collect()),
    }
}

#[test]
fn nothing_is_enough() {
    let settings = parse("", &surroundings(&[])).unwrap();
    assert_eq!(settings.host.as_str(), "web01.example.net");
    assert_eq!(settings.redis.address.to_string(), "redis://127.0.0.1:6379");
    assert_eq!(settings.state_directory, Path::new("/var/lib/hostwatch-client"));
    assert_eq!(settings.status_file, Path::new("/run/hostwatch-client/status.json"));
    assert_eq!(settings.access.roots, Roots::default());
    assert_eq!(settings.buffer, Limits { max_age: Duration::from_secs(900), max_size: 16 << 20 });
    assert_eq!(settings.redis.names, Names::new("hostwatch").unwrap());
}

#[test]
fn the_shipped_file_is_valid_and_says_what_holds_without_it() {
    let text = include_str!("../../../../packaging/config/client.toml");
    let surroundings = surroundings(&[]);
    let parsed = |text| format!("{:?}", parse(text, &surroundings));
    assert_eq!(parsed(text), parsed(""));
    // Every setting stands there as a comment, with a value that is valid.
    let keys = [
        "host = ",
        "labels = ",
        "state_directory = ",
        "status_file = ",
        "[redis]",
        "url = ",
        "username = ",
        "password_file = ",
        "prefix = ",
        "[paths]",
        "procfs = ",
        "sysfs = ",
        "rootfs = ",
        "[allow.exec]",
        "[allow.scrape]",
        "[allow.textfile]",
        "[buffer]",
        "max_age = ",
        "max_size = ",
    ];
    let set: String = text
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).or(Some(line)))
        .map(|line| format!("{line}\n"))
        .collect();
    for key in keys {
        assert!(set.lines().any(|line| line.starts_with(key)), "{key} is not there");
    }
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "hidden\n").unwrap();
    let set = set.replace("/etc/hostwatch/client.redis-password", password.to_str().unwrap());
    let settings = parse(&set, &surroundings).unwrap();
    assert!(!format!("{settings:?}").contains("hidden"));
    assert_eq!(settings.redis.password.unwrap().expose(), "hidden");
}

#[test]
fn the_environment_wins() {
    let environment = [
        ("HOSTWATCH_HOST", "db1"),
        ("HOSTWATCH_REDIS_URL", "redis+unix:///run/redis.sock"),
        ("HOSTWATCH_REDIS_PASSWORD", "hidden"),
        ("HOSTWATCH_PATHS_ROOTFS", "/host"),
        ("HOSTWATCH_BUFFER_MAX_SIZE", "4MiB"),
    ];
    let settings = parse("host = \"a b\"\n[redis]\nurl = \"redis://x\"\n", &surroundings(&environment)).unwrap();
    assert_eq!(settings.host.as_str(), "db1");
    assert_eq!(settings.redis.address.to_string(), "redis+unix:///run/redis.sock");
    assert_eq!(settings.redis.password.unwrap().expose(), "hidden");
    assert_eq!((settings.access.roots.rootfs, settings.buffer.max_size), ("/host".into(), 4 << 20));
}

#[test]
fn directories_of_systemd_come_before_the_built_in_ones() {
    let surroundings = Surroundings {
        state_directory: Some("/var/lib/private/x".into()),
        runtime_directory: Some("/run/x".into()),
        ..surroundings(&[])
    };
    let settings = parse("", &surroundings).unwrap();
    assert_eq!(settings.state_directory, Path::new("/var/lib/private/x"));
    assert_eq!(settings.status_file, Path::new("/run/x/status.json"));
    let settings = parse("state_directory = \"/mine\"", &surroundings).unwrap();
    assert_eq!(settings.state_directory, Path::new("/mine"));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = r#"host = "web 01"
labels = { env = "prod", instance = "x", "a-b" = "y", role = 1 }
state_directory = "var"
colour = "blue"

[redis]
url = "http://redis"
password = "secret"
prefix = "a*"

[buffer]
max_age = "1s"
max_size = "1KiB"
"#;
    let mistakes = parse(text, &surroundings(&[])).unwrap_err();
    let expected = [
        "client.toml:1: host: ",
        "client.toml:2: labels.instance: ",
        "client.toml:2: labels.a-b: ",
        "client.toml:2: labels.role: ",
        "client.toml:3: state_directory: ",
        "client.toml:4: colour: unknown key",
        "client.toml:7: redis.url: ",
        "client.toml:8: redis.password: ",
        "client.toml:9: redis.prefix: ",
        "client.toml:12: buffer.max_age: ",
        "client.toml:13: buffer.max_size: ",
    ];
    for expected in expected {
        assert!(mistakes.iter().any(|line| line.starts_with(expected)), "{expected} is missing in {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    assert!(mistakes.iter().all(|line| !line.contains("secret\"")), "{mistakes:#?}");
}

#[test]
fn a_hostname_that_does_not_do_asks_for_a_setting() {
    let surroundings = Surroundings { hostname: "my_Häst".to_owned(), ..surroundings(&[]) };
    let mistakes = parse("", &surroundings).unwrap_err();
    assert!(mistakes[0].contains("host: set it") && mistakes[0].contains("Häst"), "{mistakes:?}");
    assert!(parse("host = \"web01\"", &surroundings).is_ok());
}

#[test]
fn too_many_labels_are_a_mistake() {
    let labels: String = (0..65).map(|number| format!("l{number} = \"x\"\n")).collect();
    let mistakes = parse(&format!("[labels]\n{labels}"), &surroundings(&[])).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].contains("65 labels"), "{mistakes:?}");
}

#[test]
fn only_the_default_file_may_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.toml");
    let load = |optional| super::load(&Source { file: file.clone(), optional }, &surroundings(&[]));
    assert!(load(true).is_ok());
    assert!(load(false).unwrap_err().to_string().contains("client.toml"));
    std::fs::write(&file, "[redis]\npassword_file = \"/nowhere/password\"\n").unwrap();
    assert!(load(true).unwrap_err().to_string().contains(":2: redis.password_file: cannot read the password"));
}

//! What an administrator is told about settings files, line by line, and what a daemon reads from sound ones.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::*;

/// Reads `text` as `f.toml` with `read`, finishes the root, and returns what was read and every mistake.
fn run<T>(text: &str, environment: &[(&str, &str)], read: impl FnOnce(&mut Table<'_>) -> T) -> (T, Vec<String>) {
    let mistakes = Mistakes::default();
    let document = Document::parse(Path::new("f.toml"), text, &mistakes);
    let environment = Environment::new(environment.iter().copied());
    let mut root = document.root(&environment, &mistakes);
    let value = read(&mut root);
    root.finish();
    (value, lines(mistakes))
}

fn lines(mistakes: Mistakes) -> Vec<String> {
    mistakes.into_result().err().map_or(Vec::new(), |list| list.lines().map(str::to_owned).collect())
}

fn seconds(first: u64, last: u64) -> std::ops::RangeInclusive<Duration> {
    Duration::from_secs(first)..=Duration::from_secs(last)
}

/// Reads one file as the server reads its services, with every kind of nesting.
fn read_services(root: &mut Table<'_>) {
    for (_, mut service) in root.entries("services") {
        service.require("plugin", "name a plugin, such as \"cpu\"");
        service.string("plugin");
        service.duration("interval", Duration::from_millis(100)..=Duration::from_secs(86_400));
        for mut trigger in service.tables("triggers") {
            trigger.string("alert");
            trigger.string_map("labels");
            trigger.finish();
        }
        service.finish();
    }
    for mut rule in root.tables("match") {
        rule.string("host");
        rule.strings("templates");
        rule.finish();
    }
}

#[test]
fn every_mistake_of_a_file_is_named_in_one_run() {
    let text = r#"
        [services.linux-cpu]
        plugin = "cpu"
        interval = "10"

        [[services.linux-cpu.triggers]]
        alert = true
        labels = { severity = "warning", level = 3 }

        [services."my disk"]
        intervall = "1m"
        services.x = 1

        [[match]]
        host = "a"
        [[match]]
        host = ["b"]
        templates = [
            "linux",
            5,
        ]
        [redis]
    "#;
    let ((), mistakes) = run(text, &[], read_services);
    assert_eq!(
        mistakes,
        [
            "f.toml:4: services.linux-cpu.interval: \"10\" is not a duration; write a number and a unit, such as \"10s\" or \
             \"5m\", from 100ms to 1d",
            "f.toml:7: services.linux-cpu.triggers[0].alert: true is not a string; put it in quotes: \"true\"",
            "f.toml:8: services.linux-cpu.triggers[0].labels.level: 3 is not a string; put it in quotes: \"3\"",
            "f.toml:10: services.\"my disk\".plugin: is missing; name a plugin, such as \"cpu\"",
            "f.toml:11: services.\"my disk\".intervall: unknown key; did you mean interval? allowed here: interval, plugin, \
             triggers",
            "f.toml:12: services.\"my disk\".services: unknown key; allowed here: interval, plugin, triggers; if a dot belongs to a name, put the name in quotes",
            "f.toml:17: match[1].host: a list is not a string; write one in quotes",
            "f.toml:20: match[1].templates[1]: 5 is not a string; put it in quotes: \"5\"",
            "f.toml:22: redis: unknown key; allowed here: match, services",
        ]
    );
}

#[test]
fn dotted_keys_and_inline_tables_have_the_lines_they_stand_on() {
    let text = "services.a.interval = 1\n\
                services.b = { interval = \"0s\", triggers = [{ alert = 1 }] }\n\
                match = [\n  { host = 1 },\n  { hots = \"b\" },\n  3,\n]\n";
    let read = |root: &mut Table<'_>| {
        for (_, mut service) in root.entries("services") {
            service.duration("interval", seconds(1, 120));
            for mut trigger in service.tables("triggers") {
                trigger.string("alert");
            }
        }
        for mut rule in root.tables("match") {
            rule.string("host");
            rule.finish();
        }
    };
    assert_eq!(
        run(text, &[], read).1,
        [
            "f.toml:1: services.a.interval: 1 is not a duration; write a number and a unit, such as \"10s\" or \"5m\", from 1s \
             to 2m",
            "f.toml:2: services.b.interval: \"0s\" is out of range; allowed is a duration from 1s to 2m",
            "f.toml:2: services.b.triggers[0].alert: 1 is not a string; put it in quotes: \"1\"",
            "f.toml:4: match[0].host: 1 is not a string; put it in quotes: \"1\"",
            "f.toml:5: match[1].hots: unknown key; did you mean host? allowed here: host",
            "f.toml:6: match[2]: 3 is not a table; write keys with their values",
        ]
    );
}

#[test]
fn what_is_not_toml_is_reported_beside_what_is_wrong() {
    let text = "host web01\n\
                [services.a]\n\
                plugin = \"cpu\n\
                interval = 10s\n\
                [services.b]\n\
                plugin = 1\n\
                plugin = 2\n\
                other = 1\n\
                [[match]\n\
                host = 1\n\
                [services.c\n\
                plugin = 1\n\
                [services.d]\n\
                plugin = 1\n";
    assert_eq!(
        run(text, &[], read_services).1,
        [
            "f.toml:1: key with no value, expected `=`",
            "f.toml:3: invalid basic string, expected `\"`",
            "f.toml:4: string values must be quoted, expected literal string",
            "f.toml:6: services.b.plugin: 1 is not a string; put it in quotes: \"1\"",
            "f.toml:7: duplicate key",
            "f.toml:8: services.b.other: unknown key; allowed here: interval, plugin, triggers",
            "f.toml:9: unclosed array table, expected `]`",
            "f.toml:11: unclosed table, expected `]`",
            "f.toml:14: services.d.plugin: 1 is not a string; put it in quotes: \"1\"",
        ]
    );
}

#[test]
fn an_open_bracket_is_one_mistake_however_much_it_swallows() {
    let text = "templates = [\"a\", \"b\"\nhost = \"x\"\n[redis]\nurl = \"y\"\nport = 1\n";
    let (_, mistakes) = run(text, &[], |root| root.strings("templates").map(|list| list.value.len()));
    assert_eq!(mistakes, ["f.toml:2: missing comma between array elements, expected `,`"]);
}

#[test]
fn every_getter_says_what_it_allows() {
    type Read = fn(&mut Table<'_>);
    const INTEGER: Read = |t| drop(t.integer("k", 1..=9));
    const DURATION: Read = |t| drop(t.duration("k", Duration::ZERO..=Duration::MAX));
    const SIZE: Read = |t| drop(t.size("k", 1 << 10..=3 << 29));
    const STRINGS: Read = |t| drop(t.strings("k"));
    const PARSED: Read = |t| drop(t.parsed::<std::net::IpAddr>("k"));
    const SCALARS: Read = |t| drop(t.scalars("k"));
    let cases: [(&str, Read, &str); 28] = [
        ("1.50", |t| drop(t.string("k")), "1.5 is not a string; put it in quotes: \"1.5\""),
        ("2020-01-01", |t| drop(t.string("k")), "2020-01-01 is not a string; put it in quotes: \"2020-01-01\""),
        ("{}", |t| drop(t.string("k")), "a table is not a string; write one in quotes"),
        ("\"yes\"", |t| drop(t.boolean("k")), "\"yes\" is not a boolean; write true or false, without quotes"),
        ("\"true\"", |t| drop(t.boolean("k")), "\"true\" is not a boolean; write true or false, without quotes"),
        ("\"5\"", INTEGER, "\"5\" is not a whole number; write one without quotes, from 1 to 9"),
        ("5.0", INTEGER, "5.0 is not a whole number; write one without quotes, from 1 to 9"),
        ("0", INTEGER, "0 is out of range; allowed is a whole number from 1 to 9"),
        ("0x10", INTEGER, "16 is out of range; allowed is a whole number from 1 to 9"),
        (
            "99999999999999999999",
            INTEGER,
            "99999999999999999999 is not a whole number; write one without quotes, from 1 to 9",
        ),
        ("-1", |t| drop(t.integer("k", 0..=i64::MAX)), "-1 is out of range; allowed is a whole number from 0"),
        (
            "\"-1s\"",
            DURATION,
            "\"-1s\" is not a duration; write a number and a unit, such as \"10s\" or \"5m\", from 0",
        ),
        ("\"\"", DURATION, "\"\" is not a duration; write a number and a unit, such as \"10s\" or \"5m\", from 0"),
        (
            "\"5s\"",
            |t| drop(t.duration("k", seconds(90, 7200))),
            "\"5s\" is out of range; allowed is a duration from 90s to 2h",
        ),
        (
            "16",
            SIZE,
            "16 is not a size; write a number and a unit, such as \"512KiB\" or \"16MiB\", from 1KiB to 1536MiB",
        ),
        (
            "\"16 apples\"",
            SIZE,
            "\"16 apples\" is not a size; write a number and a unit, such as \"512KiB\" or \"16MiB\", from 1KiB to 1536MiB",
        ),
        ("\"2GiB\"", SIZE, "\"2GiB\" is out of range; allowed is a size from 1KiB to 1536MiB"),
        ("\"a\"", STRINGS, "\"a\" is not a list; write it in brackets: [\"a\"]"),
        ("true", STRINGS, "true is not a list; write strings in brackets: [\"…\"]"),
        ("\"::g\"", PARSED, "invalid IP address syntax"),
        ("1", PARSED, "1 is not a string; put it in quotes: \"1\""),
        ("1", |t| assert!(t.table("k").is_none()), "1 is not a table; write [k] and its keys below it"),
        ("{}", |t| drop(t.tables("k")), "a table is not a list of tables; write [[k]], with two brackets"),
        ("[]", |t| drop(t.entries("k")), "a list is not a table; write keys with their values"),
        ("1", |t| drop(t.string_map("k")), "1 is not a table; write keys with their values"),
        ("1", SCALARS, "1 is not a table; write keys with their values"),
        ("1", |t| t.renamed("k", "key"), "this key is called key now; write key instead"),
        (
            "\"pw\"",
            |t| drop(t.secret("k")),
            "a secret does not stand in a settings file; put it into a file of its own, and its path into k_file",
        ),
    ];
    for (value, read, what) in cases {
        assert_eq!(run(&format!("\nk = {value}"), &[], read).1, [format!("f.toml:2: k: {what}")], "{value}");
    }
    let in_maps: [(&str, Read, &str); 5] = [
        ("[1]", |t| drop(t.string_map("k")), "a list is not a string; write one in quotes"),
        ("1", |t| drop(t.entries("k")), "1 is not a table; write keys with their values"),
        ("[\"a\", 1]", SCALARS, "1 is not allowed in this list; write strings, each in quotes"),
        ("{}", SCALARS, "a table is not allowed here; write a string, a number, true, false or a list of strings"),
        (
            "9223372036854775808",
            SCALARS,
            "9223372036854775808 is not allowed here; write a string, a number, true, false or a list of strings",
        ),
    ];
    for (value, read, what) in in_maps {
        assert_eq!(run(&format!("[k]\na = {value}"), &[], read).1, [format!("f.toml:2: k.a: {what}")], "{value}");
    }
}

#[test]
fn sound_values_are_read_with_their_places() {
    let text = r#"
        text = "a"
        flag = true
        number = 0x1f
        wait = "1m 30s"
        room = "16MiB"
        address = "::1"
        list = ["b", "c"]
        labels = { z = "1", a = "2" }
        parameters = { b = true, i = -1, f = 1.5, t = "x", l = ["y"] }
        [services.z]
        [services.a]
    "#;
    let ((), mistakes) = run(text, &[], |root| {
        let number = root.integer("number", 0..=i64::MAX).unwrap();
        assert_eq!((number.value, number.place.to_string()), (31, "f.toml:4: number".to_owned()));
        assert_eq!(root.string("text").unwrap().map(|text| text + "!").value, "a!");
        assert!(root.boolean("flag").unwrap().value);
        assert_eq!(root.duration("wait", seconds(90, 90)).unwrap().value, Duration::from_secs(90));
        assert_eq!(root.size("room", 0..=u64::MAX).unwrap().value, 16 << 20);
        assert!(root.parsed::<std::net::IpAddr>("address").unwrap().value.is_loopback());
        let list = root.strings("list").unwrap();
        assert_eq!(list.value.iter().map(|item| &*item.value).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(list.value[1].place.to_string(), "f.toml:8: list[1]");
        let labels = root.string_map("labels");
        let labels: Vec<_> = labels.iter().map(|(name, value)| (&*name.value, &*value.value)).collect();
        assert_eq!(labels, [("z", "1"), ("a", "2")]);
        let parameters: Vec<_> = root.scalars("parameters").into_iter().map(|(_, value)| value.value).collect();
        let list = Scalar::List(vec!["y".to_owned()]);
        let text = Scalar::Text("x".to_owned());
        assert_eq!(parameters, [Scalar::Boolean(true), Scalar::Integer(-1), Scalar::Float(1.5), text, list]);
        let services: Vec<_> = root.entries("services").into_iter().map(|(name, table)| (name.value, table)).collect();
        assert_eq!(services[0].0, "z");
        assert_eq!(services[1].1.place().to_string(), "f.toml:12: services.a");
        assert_eq!(root.string("absent").map(|text| text.value), None);
        assert!(root.tables("none").is_empty() && root.entries("nothing").is_empty());
    });
    assert!(mistakes.is_empty(), "{mistakes:?}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let environment = [
        ("HOSTWATCH_HOST", "web02"),
        ("HOSTWATCH_REDIS_URL", "redis://b"),
        ("HOSTWATCH_REDIS_TLS_CA_FILE", "/ca"),
        ("HOSTWATCH_WEB_LISTEN_ADDRESS", "a:1, b:2,"),
        ("HOSTWATCH_WEB_PORT", "80"),
        ("HOSTWATCH_WEB_OPEN", "true"),
        ("HOSTWATCH_WEB_NAME", ""),
        ("HOSTWATCH_SERVICES_CPU_PLUGIN", "no"),
        ("HOSTWATCH_LABELS_ROLE", "no"),
        ("OTHER_URL", "no"),
    ];
    let text = "host = \"web01\"\nlabels = { role = \"db\" }\nweb = { port = \"wrong\", name = \"n\" }\nservices = { cpu = { plugin = \"cpu\" } }";
    let ((), mistakes) = run(text, &environment, |root| {
        let host = root.string("host").unwrap();
        assert_eq!((&*host.value, &*host.place.to_string()), ("web02", "environment: HOSTWATCH_HOST"));
        assert_eq!(root.string_map("labels")[0].1.value, "db");
        let mut redis = root.table("redis").unwrap();
        assert!(redis.has("url") && !redis.has("username"));
        redis.require("url", "");
        assert_eq!(redis.string("url").unwrap().value, "redis://b");
        let mut tls = redis.table("tls").unwrap();
        assert_eq!(tls.string("ca_file").unwrap().value, "/ca");
        tls.finish();
        redis.finish();
        let mut web = root.table("web").unwrap();
        let addresses = web.strings("listen_address").unwrap().value;
        assert_eq!(addresses.iter().map(|address| &*address.value).collect::<Vec<_>>(), ["a:1", "b:2"]);
        assert_eq!(web.integer("port", 1..=65_535).unwrap().value, 80);
        assert!(web.boolean("open").unwrap().value);
        assert_eq!(web.string("name").unwrap().value, "n", "an empty variable counts as unset");
        web.finish();
        let (_, mut service) = root.entries("services").remove(0);
        assert_eq!(service.string("plugin").unwrap().value, "cpu");
    });
    assert!(mistakes.is_empty(), "{mistakes:?}");
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let environment = [("HOSTWATCH_WEB_PORT", "eighty"), ("HOSTWATCH_WEB_WAIT", "5"), ("HOSTWATCH_WEB_OPEN", "1")];
    let ((), mistakes) = run("", &environment, |root| {
        let mut web = root.table("web").unwrap();
        web.integer("port", 1..=9);
        web.duration("wait", seconds(1, 2));
        web.boolean("open");
        web.require("name", "write a name");
    });
    assert_eq!(
        mistakes,
        [
            "f.toml: web.name: is missing; write a name",
            "environment: HOSTWATCH_WEB_OPEN: \"1\" is not a boolean; write true or false, without quotes",
            "environment: HOSTWATCH_WEB_PORT: \"eighty\" is not a whole number; write one without quotes, from 1 to 9",
            "environment: HOSTWATCH_WEB_WAIT: \"5\" is not a duration; write a number and a unit, such as \"10s\" or \"5m\", \
             from 1s to 2s",
        ]
    );
}

#[test]
fn a_variable_that_is_not_utf8_is_a_mistake() {
    let mistakes = Mistakes::default();
    let document = Document::parse(Path::new("f.toml"), "", &mistakes);
    let environment = Environment::new([
        ("HOSTWATCH_HOST", OsStr::from_bytes(b"\xff")),
        ("HOSTWATCH_PASSWORD", OsStr::from_bytes(b"\xfe")),
    ]);
    let mut root = document.root(&environment, &mistakes);
    assert!(root.string("host").is_none() && root.secret("password").is_none());
    root.finish();
    let not_utf8 = "is not UTF-8; settings are UTF-8 text";
    assert_eq!(
        lines(mistakes),
        [format!("environment: HOSTWATCH_HOST: {not_utf8}"), format!("environment: HOSTWATCH_PASSWORD: {not_utf8}")]
    );
}

#[test]
fn a_secret_comes_from_a_file_or_from_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pw");
    std::fs::write(&path, "from-file\n").unwrap();
    let path = path.to_str().unwrap();
    let in_file = format!("[redis]\npassword_file = {path:?}");
    let by_value = ("HOSTWATCH_REDIS_PASSWORD", "from-variable");
    let by_path = ("HOSTWATCH_REDIS_PASSWORD_FILE", path);
    let cases = [
        ("", vec![], None),
        (&*in_file, vec![], Some("from-file")),
        (&*in_file, vec![by_value], Some("from-variable")),
        ("", vec![by_path], Some("from-file")),
    ];
    for (text, environment, expected) in cases {
        let (secret, mistakes) = run(text, &environment, |root| {
            let mut redis = root.table("redis").unwrap();
            let source = redis.secret("password");
            redis.finish();
            source.map(|source| source.read().unwrap().expose().to_owned())
        });
        assert_eq!(secret.as_deref(), expected);
        assert!(mistakes.is_empty(), "{mistakes:?}");
    }
}

#[test]
fn unknown_keys_are_answered_with_what_is_allowed() {
    let read = |root: &mut Table<'_>| {
        root.string("state_directory");
        root.secret("password");
        root.renamed("old", "new");
        root.string("new");
    };
    let allowed = "allowed here: new, password_file, state_directory";
    for (key, what) in [
        ("state-directory", format!("unknown key; did you mean state_directory? {allowed}")),
        ("passwordfile", format!("unknown key; did you mean password_file? {allowed}")),
        ("nwe", format!("unknown key; did you mean new? {allowed}")),
        ("x", format!("unknown key; {allowed}")),
    ] {
        assert_eq!(run(&format!("{key} = 1"), &[], read).1, [format!("f.toml:1: {key}: {what}")]);
    }
    assert_eq!(
        run("[x]\ny = 1", &[], |root| root.table("x").unwrap().finish()).1,
        ["f.toml:2: x.y: unknown key; allowed here: nothing"]
    );
}

#[test]
fn mistakes_are_sorted_by_file_and_line_and_each_is_one_line() {
    let mistakes = Mistakes::default();
    assert!(mistakes.is_empty());
    let environment = Environment::none();
    let b = Document::parse(Path::new("b.toml"), "\n\n\n\n\n\n\n\n\n\n\nlate = 1\n", &mistakes);
    b.root(&environment, &mistakes).finish();
    let a = Document::parse(Path::new("a.toml"), "expr = \"up\"\nsize = 1", &mistakes);
    let mut root = a.root(&environment, &mistakes);
    root.string("size");
    let expr = root.string("expr").unwrap();
    mistakes.add(&expr.place, "first\n   second\n");
    mistakes.add_file(Path::new("a.toml"), "is odd");
    root.finish();
    assert!(!mistakes.is_empty());
    let list = mistakes.into_result().unwrap_err();
    assert_eq!(
        list.to_string(),
        "a.toml: is odd\n\
         a.toml:1: expr: first second\n\
         a.toml:2: size: 1 is not a string; put it in quotes: \"1\"\n\
         b.toml:12: late: unknown key; allowed here: nothing"
    );
}

#[test]
fn no_text_makes_the_parser_panic_or_point_outside_the_file() {
    // Every prefix of a file with all constructs: what an editor's half-finished save looks like.
    let text = "a = 1\r\nb = \"é\\n\"\n[c.d]\ne = [1, {f = '''\nx'''}]\n[[g]]\nh.i = 1979-05-27\n# ü\n[[g]]\nj = inf\nk = 0x_1\n";
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let (_, mistakes) = run(&text[..end], &[], |root| root.tables("g").into_iter().for_each(Table::finish));
        for mistake in mistakes {
            let line: usize = mistake.split(':').nth(1).unwrap().parse().unwrap();
            assert!((1..=text[..end].lines().count() + 1).contains(&line), "{mistake}");
        }
    }
}

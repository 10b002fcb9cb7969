//! What goes over the wire, byte by byte: `golden/KIND.hex`, one for each kind of message.
//! With UPDATE_GOLDEN=1 the files are written instead of compared; that is a change of the protocol.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hostwatch_wire::*;

const EPOCH: Epoch = Epoch(0x0123_4567_89ab_cdef);
const SERVER: ServerId = ServerId(0xfeed_0000_0000_0001);

#[test]
fn every_message_of_a_host_is_what_it_was() {
    for (name, message) in host_messages() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        let golden = golden(&format!("host-{name}"), &bytes);
        assert_eq!(HostMessage::decode(&golden).unwrap(), message, "{name}");
    }
}

#[test]
fn every_message_of_a_server_is_what_it_was() {
    for (name, message) in server_messages() {
        let golden = golden(&format!("server-{name}"), &message.encode().unwrap());
        assert_eq!(ServerMessage::decode(&golden).unwrap(), message, "{name}");
    }
}

#[test]
fn a_digest_is_the_first_half_of_sha_256() {
    // The example of one block in FIPS 180-4: "abc".
    assert_eq!(LayoutId::of(b"abc").to_string(), "ba7816bf8f01cfea414140de5dae2223");
}

#[test]
fn every_file_belongs_to_a_message() {
    let names = host_messages().into_iter().map(|(name, _)| format!("host-{name}.hex"));
    let names = names.chain(server_messages().into_iter().map(|(name, _)| format!("server-{name}.hex")));
    let files = fs::read_dir(path("")).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), names.collect::<BTreeSet<_>>());
}

#[test]
fn a_field_of_a_later_version_is_ignored() {
    for (name, message) in host_messages() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        assert_eq!(HostMessage::decode(&with_a_field_more(bytes)).unwrap(), message, "{name}");
    }
    for (name, message) in server_messages() {
        let bytes = with_a_field_more(message.encode().unwrap());
        assert_eq!(ServerMessage::decode(&bytes).unwrap(), message, "{name}");
    }
    let inner = serde_json::json!({"host": "web1", "epoch": 1, "body": {"gone": {"up_to": 5, "since": [1, {"a": 2}]}}});
    let mut bytes = vec![PROTOCOL_VERSION];
    bytes.extend(rmp_serde::to_vec_named(&inner).unwrap());
    assert_eq!(HostMessage::decode(&bytes).unwrap().body, HostBody::Gone(Gone { up_to: 5 }));
}

#[test]
fn another_version_is_refused_and_named() {
    for (_, message) in server_messages() {
        let mut bytes = message.encode().unwrap();
        for version in [0, 2, 255] {
            bytes[0] = version;
            let refused = DecodeError::UnknownVersion(Some(version));
            assert_eq!(ServerMessage::decode(&bytes), Err(refused.clone()));
            assert_eq!(HostMessage::decode(&bytes), Err(refused));
        }
    }
    assert_eq!(HostMessage::decode(&[]), Err(DecodeError::UnknownVersion(None)));
    let text = DecodeError::UnknownVersion(Some(7)).to_string();
    assert_eq!(text, "unknown protocol version 7");
}

#[test]
fn another_kind_is_refused_and_named() {
    let message = serde_json::json!({"host": "web1", "epoch": 1, "server": 1, "life": 1, "body": {"dance": {}}});
    let mut bytes = vec![PROTOCOL_VERSION];
    bytes.extend(rmp_serde::to_vec_named(&message).unwrap());
    let errors = [HostMessage::decode(&bytes).unwrap_err(), ServerMessage::decode(&bytes).unwrap_err()];
    for error in errors {
        assert!(error.to_string().starts_with("malformed message: unknown variant `dance`"), "{error}");
    }
}

#[test]
fn a_message_that_was_cut_off_or_goes_on_is_refused() {
    for (name, message) in host_messages() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        for length in 1..bytes.len() {
            assert!(HostMessage::decode(&bytes[..length]).is_err(), "{length} bytes of {name}");
        }
        // Nothing, a value, a reserved marker, and the head of a value that does not come.
        for behind in [0xc0, 0x00, 0xc1, 0xd9] {
            bytes.push(behind);
            assert!(HostMessage::decode(&bytes).is_err(), "{behind:#x} behind {name}");
            bytes.pop();
        }
    }
}

/// The bytes in a golden file, which are compared with `bytes` or replaced by them.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let file = path(&format!("{name}.hex"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let digits = hex::encode(bytes);
        let lines = digits.as_bytes().chunks(100).map(|line| format!("{}\n", str::from_utf8(line).unwrap()));
        fs::write(&file, lines.collect::<String>()).unwrap();
    }
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let golden = hex::decode(text.replace('\n', "")).unwrap();
    assert_eq!(hex::encode(bytes), hex::encode(&golden), "{}", file.display());
    golden
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

/// The same message with another entry in its outermost map, which has three.
fn with_a_field_more(mut bytes: Vec<u8>) -> Vec<u8> {
    assert_eq!(bytes[1], 0x83);
    bytes[1] = 0x84;
    bytes.extend(rmp_serde::to_vec(&("later", [(1, "two"), (3, "four")])).unwrap().split_off(1));
    bytes
}

fn revision() -> Revision {
    Revision { number: 1_700_000_000_123, content: HostConfig::content_hash(&services()) }
}

fn services() -> Vec<ServiceConfig> {
    let parameters = BTreeMap::from([
        ("boolean".to_owned(), Parameter::Boolean(true)),
        ("float".to_owned(), Parameter::Float(0.25)),
        ("integer".to_owned(), Parameter::Integer(-7)),
        ("list".to_owned(), Parameter::List(vec!["a".to_owned(), "ü".to_owned()])),
        ("text".to_owned(), Parameter::Text("x y".to_owned())),
    ]);
    let service = |name: &str, plugin: &str, interval_ms, timeout_ms, parameters| ServiceConfig {
        name: name.parse().unwrap(),
        plugin: plugin.to_owned(),
        interval_ms,
        timeout_ms,
        parameters,
    };
    vec![
        service("linux-cpu", "cpu", 10_000, None, BTreeMap::new()),
        service("odd", "odd", 500, Some(2_000), parameters),
    ]
}

fn layout() -> Layout {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let plain = |labels| Series { suffix: Suffix::None, labels };
    let family =
        |name: &str, kind, help: &str, series| Family { name: name.to_owned(), kind, help: help.to_owned(), series };
    let bucket = |le: &str| Series { suffix: Suffix::Bucket, labels: vec![label("le", le)] };
    let end = |suffix| Series { suffix, labels: Vec::new() };
    let histogram = vec![bucket("0.1"), bucket("+Inf"), end(Suffix::Sum), end(Suffix::Count)];
    Layout {
        families: vec![
            family("node_load1", MetricType::Gauge, "Load.", vec![plain(Vec::new())]),
            family(
                "node_cpu_seconds_total",
                MetricType::Counter,
                "Time.",
                vec![
                    plain(vec![label("cpu", "0"), label("mode", "idle")]),
                    plain(vec![label("cpu", "0"), label("mode", "user")]),
                ],
            ),
            family("wait_seconds", MetricType::Histogram, "", histogram),
            family("size_bytes", MetricType::Summary, "", vec![end(Suffix::Sum), end(Suffix::Count)]),
            family("node_netstat_Ip_Forwarding", MetricType::Unknown, "", vec![plain(Vec::new())]),
        ],
    }
}

fn host_messages() -> Vec<(&'static str, HostMessage<'static>)> {
    let layout = EncodedLayout::new(&layout());
    let acked = vec![Acked { server: SERVER, up_to: 41 }];
    let hello = Hello {
        sent_at_ms: 1_700_000_000_456,
        client_version: "0.1.0".to_owned(),
        facts: Facts {
            os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            kernel: "6.1.0".to_owned(),
            architecture: "x86_64".to_owned(),
            cpus: 8,
            memory_bytes: 16_777_216_000,
            boot_time_seconds: 1_699_000_000,
        },
        labels: BTreeMap::from([("role".to_owned(), ClaimedValue("web".to_owned()))]),
        revision: Some(revision()),
        ring: vec![RingRange { epoch: EPOCH, first: 3, last: 42, acked: acked.clone() }],
    };
    let values = [0.25, 12_345.67, -0.0, f64::INFINITY, 1e300, f64::MIN_POSITIVE, 0.0, 3.0, 4.0];
    let measured = ServiceReport {
        service: "linux-cpu",
        status: Status::Ok,
        message: None,
        duration_us: 84,
        layout: Some(layout.id()),
        // Leaked, so that the message can be returned.
        values: Values::encode(&values, Box::leak(Box::default())),
    };
    let report = Report {
        seq: 42,
        oldest_seq: 3,
        acked,
        collected_at_ms: 1_700_000_010_000,
        revision: Some(revision()),
        layouts: vec![layout.clone()],
        services: vec![
            measured,
            ServiceReport::without_values("linux-load", Status::Failed, "no such file", 12),
            ServiceReport::without_values("linux-disk", Status::TimedOut, "still running", 5_000_000),
        ],
    };
    let heartbeat = Report {
        seq: 1,
        oldest_seq: 1,
        acked: Vec::new(),
        collected_at_ms: 1_700_000_000_000,
        revision: None,
        layouts: Vec::new(),
        services: Vec::new(),
    };
    let refused = Refusal::new("odd".parse().unwrap(), "there is no plugin \"odd\" here");
    let bodies = [
        ("hello", HostBody::Hello(Box::new(hello))),
        ("report", HostBody::Report(report)),
        ("heartbeat", HostBody::Report(heartbeat)),
        ("layouts", HostBody::Layouts(Layouts { layouts: vec![layout] })),
        ("applied", HostBody::Applied(Applied { revision: revision(), refused: vec![refused] })),
        ("gone", HostBody::Gone(Gone { up_to: 17 })),
        ("goodbye", HostBody::Goodbye(Goodbye { last_seq: 42 })),
    ];
    let message = |(name, body)| (name, HostMessage { host: "web-1.example.net".parse().unwrap(), epoch: EPOCH, body });
    bodies.into_iter().map(message).collect()
}

fn server_messages() -> Vec<(&'static str, ServerMessage)> {
    let welcome = Welcome {
        answers: Some(EPOCH),
        revision: Some(revision()),
        known: vec![Known { epoch: EPOCH, up_to: 41 }],
        heartbeat_ms: 10_000,
        ack_interval_ms: 30_000,
    };
    let announcement =
        Welcome { answers: None, revision: None, known: Vec::new(), heartbeat_ms: 10_000, ack_interval_ms: 30_000 };
    let ranges = vec![SeqRange { first: 5, last: 5 }, SeqRange { first: 9, last: 12 }];
    let wanted = WantLayout { layouts: vec![EncodedLayout::new(&layout()).id()] };
    let bodies = [
        ("welcome", ServerBody::Welcome(welcome)),
        ("announcement", ServerBody::Welcome(announcement)),
        ("config", ServerBody::Config(HostConfig { revision: revision(), services: services() })),
        ("ack", ServerBody::Ack(Ack { epoch: EPOCH, up_to: 42, goodbye: true })),
        ("resend", ServerBody::Resend(Resend { epoch: EPOCH, ranges })),
        ("want-layout", ServerBody::WantLayout(wanted)),
    ];
    let message = |(name, body)| (name, ServerMessage { server: SERVER, life: Life(7), body });
    bodies.into_iter().map(message).collect()
}

//! What decoders refuse: every length that is above its limit, claims that nothing follows, and names that break the
//! rules. Memory is counted: bytes that are no message cost next to nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use allocation_counter::measure;
use hostwatch_wire::*;
use serde_json::{Value, json};

/// What a refusal may allocate at once: its reason, and the few fields before the one that is wrong.
const LITTLE: u64 = 8 << 10;

/// MessagePack heads that claim 2^32 - 1 elements, entries or bytes.
const CLAIMS: [[u8; 5]; 5] = [
    [0xdd, 0xff, 0xff, 0xff, 0xff],
    [0xdf, 0xff, 0xff, 0xff, 0xff],
    [0xdb, 0xff, 0xff, 0xff, 0xff],
    [0xc6, 0xff, 0xff, 0xff, 0xff],
    [0xc9, 0xff, 0xff, 0xff, 0xff],
];

#[test]
fn a_length_without_content_allocates_nothing() {
    for message in messages() {
        assert_eq!(decode(&bytes_of(&message)), Ok(()), "{message}");
        for place in places(&message, "") {
            let mut message = message.clone();
            *message.pointer_mut(&place).unwrap() = json!("CLAIM");
            for claim in CLAIMS {
                refused_at_little_cost(&replaced(&message, "CLAIM", &claim));
            }
        }
    }
}

#[test]
fn a_length_without_content_in_a_layout_allocates_nothing() {
    let layouts = [
        json!("CLAIM"),
        json!({"families": "CLAIM"}),
        json!({"families": ["CLAIM"]}),
        json!({"families": [{"name": "CLAIM"}]}),
        json!({"families": [{"name": "a", "type": "CLAIM"}]}),
        json!({"families": [{"name": "a", "type": "gauge", "help": "CLAIM"}]}),
        json!({"families": [{"name": "a", "type": "gauge", "help": "", "series": "CLAIM"}]}),
        json!({"families": [{"name": "a", "type": "gauge", "help": "", "series": [{"suffix": "CLAIM"}]}]}),
        json!({"families": [{"name": "a", "type": "gauge", "help": "", "series": [{"labels": "CLAIM"}]}]}),
        json!({"families": [{"name": "a", "type": "gauge", "help": "", "series": [{"labels": [["CLAIM", ""]]}]}]}),
        json!({"families": [{"name": "a", "type": "gauge", "help": "", "series": [{"labels": [["a", "CLAIM"]]}]}]}),
    ];
    for layout in layouts {
        for claim in CLAIMS {
            let layout = encoded_layout(&replaced(&layout, "CLAIM", &claim)[1..]);
            let cost = measure(|| assert!(matches!(layout.decode(), Err(InvalidLayout::Malformed(_)))));
            assert!(cost.bytes_max <= LITTLE, "{cost:?}");
        }
    }
}

#[test]
fn every_length_has_a_limit() {
    let limits = [
        ("/body/hello/client_version", Of::Text, 128),
        ("/body/hello/facts/os", Of::Text, 256),
        ("/body/hello/facts/kernel", Of::Text, 256),
        ("/body/hello/facts/architecture", Of::Text, 256),
        ("/body/hello/labels", Of::Map, 64),
        ("/body/hello/labels", Of::Key, 200),
        ("/body/hello/labels/role", Of::Text, 1_024),
        ("/body/hello/ring", Of::List, 64),
        ("/body/hello/ring/0/acked", Of::List, 16),
        ("/body/report/acked", Of::List, 16),
        ("/body/report/layouts", Of::List, 1_000),
        ("/body/report/services", Of::List, 1_000),
        ("/body/report/services/0/service", Of::Text, 128),
        ("/body/report/services/0/message", Of::Text, 4_096),
        ("/body/layouts/layouts", Of::List, 1_000),
        ("/body/applied/refused", Of::List, 1_000),
        ("/body/applied/refused/0/reason", Of::Text, 1_024),
        ("/body/welcome/known", Of::List, 64),
        ("/body/resend/ranges", Of::List, 1_000),
        ("/body/want_layout/layouts", Of::List, 1_000),
        ("/body/config/services", Of::List, 1_000),
        ("/body/config/services/0/plugin", Of::Text, 128),
        ("/body/config/services/0/parameters", Of::Map, 64),
        ("/body/config/services/0/parameters", Of::Key, 200),
        ("/body/config/services/0/parameters/text", Of::Text, 4_096),
        ("/body/config/services/0/parameters/list", Of::List, 256),
        ("/body/config/services/0/parameters/list/0", Of::Text, 4_096),
    ];
    for (place, what, limit) in limits {
        let reason = format!("length {} is above the limit of {limit}", limit + 1);
        let make = |length| what.make(&message_with(place).pointer(place).unwrap().clone(), length);
        at_limit(place, make(limit), make(limit + 1), &reason);
    }
}

/// What has a length.
#[derive(Clone, Copy)]
enum Of {
    Text,
    List,
    Map,
    Key,
}

impl Of {
    /// Something like `sample` that has so many bytes, or of its first element or entry so many.
    fn make(self, sample: &Value, length: usize) -> Value {
        match self {
            Self::Text => "x".repeat(length).into(),
            Self::List => vec![sample[0].clone(); length].into(),
            Self::Map => {
                let first = sample.as_object().unwrap().values().next().unwrap();
                (0..length).map(|key| (key.to_string(), first.clone())).collect()
            }
            Self::Key => json!({"x".repeat(length): "y"}),
        }
    }
}

#[test]
fn every_number_that_has_to_be_exact_is() {
    let (largest, above) = (1_u64 << 53, (1_u64 << 53) + 1);
    let places = [
        "/body/hello/sent_at_ms",
        "/body/hello/revision/number",
        "/body/hello/ring/0/first",
        "/body/hello/ring/0/last",
        "/body/hello/ring/0/acked/0/up_to",
        "/body/report/seq",
        "/body/report/oldest_seq",
        "/body/report/collected_at_ms",
        "/body/report/services/0/duration_us",
        "/body/gone/up_to",
        "/body/goodbye/last_seq",
        "/body/welcome/heartbeat_ms",
        "/body/welcome/ack_interval_ms",
        "/body/welcome/known/0/up_to",
        "/body/ack/up_to",
        "/body/resend/ranges/0/last",
        "/body/config/services/0/interval_ms",
    ];
    for place in places {
        at_limit(place, json!(largest), json!(above), "9007199254740993 is above 2^53");
        at_limit(place, json!(largest), json!(-1), "");
    }
}

#[test]
fn ranges_of_reports_are_ranges() {
    at_limit(
        "/body/resend/ranges/0",
        json!({"first": 1, "last": 1}),
        json!({"first": 0, "last": 1}),
        "0 to 1 is no range",
    );
    at_limit(
        "/body/resend/ranges/0",
        json!({"first": 2, "last": 2}),
        json!({"first": 2, "last": 1}),
        "2 to 1 is no range",
    );
}

#[test]
fn host_ids_and_service_names_have_a_grammar() {
    for bad in ["", "-a", ".a", "a*", "a}", "{a}", "a b", "a/b", "a\n", "a\0", "ä", "a?", "[a]", &"x".repeat(129)] {
        for place in ["/host", "/body/applied/refused/0/service", "/body/config/services/0/name"] {
            at_limit(place, json!("x".repeat(128)), json!(bad), "is not a valid name");
        }
    }
    let error = refused_at_little_cost(&bytes_of(&json!({"host": "*".repeat(100_000), "epoch": 1, "body": {}})));
    assert!(error.len() < 1_000, "{error}");
}

#[test]
fn an_error_quotes_little() {
    let long = "x".repeat(1_000_000);
    let host = json!({"host": "a", "epoch": 1, "body": {&long: {}}});
    let server = json!({"server": 1, "life": 1, "body": {&long: {}}});
    for bytes in [bytes_of(&host), bytes_of(&server)] {
        let errors = [HostMessage::decode(&bytes).unwrap_err(), ServerMessage::decode(&bytes).unwrap_err()];
        assert!(errors.iter().all(|error| error.to_string().len() < 600));
    }
}

#[test]
fn a_key_that_comes_twice_is_refused() {
    // JSON has each key once, so the second one is renamed in the bytes.
    for place in ["/body/hello/labels", "/body/config/services/0/parameters"] {
        let message = message_where(place, json!({"first": "a", "again": "b"}));
        assert_eq!(decode(&bytes_of(&message)), Ok(()));
        let error = decode(&replaced(&message, "again", b"\xa5first")).unwrap_err();
        assert!(error.contains("key \"first\" comes twice"), "{error}");
    }
    let mut message = message_with("/body/gone");
    message["again"] = json!("web2");
    let error = decode(&replaced(&message, "again", b"\xa4host")).unwrap_err();
    assert!(error.contains("duplicate field `host`"), "{error}");
}

#[test]
fn a_message_above_one_mebibyte_is_refused_unread() {
    for length in [MAX_MESSAGE_BYTES + 1, 34 << 20] {
        let bytes = vec![PROTOCOL_VERSION; length];
        let cost = measure(|| {
            assert_eq!(HostMessage::decode(&bytes), Err(DecodeError::TooLong(length)));
            assert_eq!(ServerMessage::decode(&bytes), Err(DecodeError::TooLong(length)));
        });
        assert_eq!(cost.count_total, 0);
    }
    let layouts = vec![EncodedLayout::new(&Layout::default()); 999];
    let body = HostBody::Layouts(Layouts { layouts });
    let mut message = HostMessage { host: "a".parse().unwrap(), epoch: Epoch(1), body };
    assert_eq!(message.encode(&mut Vec::new()), Ok(()));
    let help = "x".repeat(1_024);
    let family =
        |index| Family { name: format!("a{index}"), kind: MetricType::Gauge, help: help.clone(), series: Vec::new() };
    let large = EncodedLayout::new(&Layout { families: (0..1_024).map(family).collect() });
    message.body = HostBody::Layouts(Layouts { layouts: vec![large] });
    let error = message.encode(&mut Vec::new()).unwrap_err();
    assert!(error.0 > MAX_MESSAGE_BYTES);
    assert_eq!(error.to_string(), format!("a message of {} bytes is above the limit of 1048576", error.0));
}

#[test]
fn deep_nesting_is_refused() {
    // Lists of lists, and maps of maps with a key of 1.
    for level in [[0x91].as_slice(), &[0x81, 0x01]] {
        let nested = level.repeat(200_000);
        let mut ignored = message_with("/body/gone");
        ignored["later"] = json!("NESTED");
        let parameter = message_where("/body/config/services/0/parameters", json!({"later": "NESTED"}));
        for message in [ignored, parameter] {
            refused_at_little_cost(&replaced(&message, "NESTED", &nested));
        }
        refused_at_little_cost(&[&[PROTOCOL_VERSION], nested.as_slice()].concat());
        assert!(matches!(encoded_layout(&nested).decode(), Err(InvalidLayout::Malformed(_))));
    }
    let mut shallow = message_with("/body/gone");
    shallow["later"] = json!([[[[{"a": [[[1]]]}]]]]);
    assert_eq!(decode(&bytes_of(&shallow)), Ok(()));
}

#[test]
fn a_full_message_of_the_smallest_elements_costs_a_bounded_multiple_of_its_size() {
    // Series without labels, one byte each, are what grows most when it is decoded.
    let family = |index: usize| json!({"name": format!("a{index}"), "type": "gauge", "help": "", "series": "SERIES"});
    let layout = json!({"families": (0..20).map(family).collect::<Vec<_>>()});
    let mut series = vec![0xdd, 0, 0, 0xc3, 0x50];
    series.extend([0x80; 50_000]);
    let layout = encoded_layout(&replaced(&layout, "SERIES", &series)[1..]);
    assert!(layout.byte_len() < MAX_MESSAGE_BYTES);
    let cost = measure(|| assert_eq!(layout.decode(), Err(InvalidLayout::TooManySeries)));
    assert!(cost.bytes_max < 64 * MAX_MESSAGE_BYTES as u64, "{cost:?}");
}

#[test]
fn values_are_whole() {
    let message = &message_with("/body/report/services/0/values");
    for length in [0_u8, 8, 16] {
        let values = [&[0xc4, length], vec![0; usize::from(length)].as_slice()].concat();
        assert!(decode(&replaced(message, "VALUES", &values)).is_ok());
    }
    for length in [1_u8, 7, 9] {
        let values = [&[0xc4, length], vec![0; usize::from(length)].as_slice()].concat();
        let error = decode(&replaced(message, "VALUES", &values)).unwrap_err();
        assert!(error.contains("bytes are no list of 8-byte values"), "{error}");
    }
}

/// One message of each kind with every field. `DIGEST` stands for the bytes of a hash.
fn messages() -> Vec<Value> {
    let revision = json!({"number": 1, "content": "DIGEST"});
    let acked = json!([{"server": 1, "up_to": 1}]);
    let facts = json!({
        "os": "a", "kernel": "b", "architecture": "c", "cpus": 1, "memory_bytes": 1, "boot_time_seconds": 1
    });
    let hello = json!({
        "sent_at_ms": 1, "client_version": "1", "facts": facts, "labels": {"role": "web"}, "revision": revision,
        "ring": [{"epoch": 1, "first": 1, "last": 1, "acked": acked}]
    });
    let report = json!({
        "seq": 1, "oldest_seq": 1, "acked": acked, "collected_at_ms": 1, "revision": revision, "layouts": [[128]],
        "services": [{
            "service": "a", "status": "ok", "message": "b", "duration_us": 1, "layout": "DIGEST", "values": "VALUES"
        }]
    });
    let config = json!({
        "revision": revision,
        "services": [{
            "name": "a", "plugin": "b", "interval_ms": 1, "timeout_ms": 1,
            "parameters": {"boolean": true, "integer": 1, "float": 0.5, "text": "c", "list": ["d"]}
        }]
    });
    let welcome = json!({
        "answers": 1, "revision": revision, "known": [{"epoch": 1, "up_to": 1}], "heartbeat_ms": 1, "ack_interval_ms": 1
    });
    let of_hosts = [
        json!({"hello": hello}),
        json!({"report": report}),
        json!({"layouts": {"layouts": [[128]]}}),
        json!({"applied": {"revision": revision, "refused": [{"service": "a", "reason": "b"}]}}),
        json!({"gone": {"up_to": 1}}),
        json!({"goodbye": {"last_seq": 1}}),
    ];
    let of_servers = [
        json!({"welcome": welcome}),
        json!({"config": config}),
        json!({"ack": {"epoch": 1, "up_to": 1, "goodbye": false}}),
        json!({"resend": {"epoch": 1, "ranges": [{"first": 1, "last": 1}]}}),
        json!({"want_layout": {"layouts": ["DIGEST"]}}),
    ];
    let of_hosts = of_hosts.map(|body| json!({"host": "web1", "epoch": 1, "body": body}));
    let of_servers = of_servers.map(|body| json!({"server": 1, "life": 1, "body": body}));
    of_hosts.into_iter().chain(of_servers).collect()
}

/// The message that has something at `place`, a JSON pointer (RFC 6901).
fn message_with(place: &str) -> Value {
    messages().into_iter().find(|message| message.pointer(place).is_some()).unwrap_or_else(|| panic!("no {place}"))
}

/// The message that has something at `place`, with `value` there.
fn message_where(place: &str, value: Value) -> Value {
    let mut message = message_with(place);
    *message.pointer_mut(place).unwrap() = value;
    message
}

/// Every place of a message, from the innermost outwards.
fn places(value: &Value, here: &str) -> Vec<String> {
    let inner = match value {
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, inner)| (index.to_string(), inner)).collect()
        }
        Value::Object(entries) => entries.iter().map(|(key, inner)| (key.clone(), inner)).collect(),
        _ => Vec::new(),
    };
    let mut all: Vec<String> = inner.iter().flat_map(|(key, inner)| places(inner, &format!("{here}/{key}"))).collect();
    all.push(here.to_owned());
    all
}

/// A message as bytes, with every string `stand_in` replaced by `bytes`.
fn replaced(message: &Value, stand_in: &str, bytes: &[u8]) -> Vec<u8> {
    let packed = [&[PROTOCOL_VERSION], rmp_serde::to_vec(message).unwrap().as_slice()].concat();
    let digest = [&[0xc4, 16], [7; 16].as_slice()].concat();
    substitute(&substitute(&packed, "DIGEST", &digest), stand_in, bytes)
}

/// Replaces every short MessagePack string `text`.
fn substitute(packed: &[u8], text: &str, bytes: &[u8]) -> Vec<u8> {
    let string = rmp_serde::to_vec(text).unwrap();
    let mut result = Vec::with_capacity(packed.len());
    let mut rest = packed;
    while let Some(at) = rest.windows(string.len()).position(|window| window == string) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(bytes);
        rest = &rest[at + string.len()..];
    }
    result.extend_from_slice(rest);
    result
}

fn bytes_of(message: &Value) -> Vec<u8> {
    replaced(message, "VALUES", &[0xc4, 0])
}

/// A layout whose bytes are `bytes`, as it comes out of a message.
fn encoded_layout(bytes: &[u8]) -> EncodedLayout {
    let message = json!({"host": "a", "epoch": 1, "body": {"layouts": {"layouts": ["LAYOUT"]}}});
    let head = [&[0xc6], u32::try_from(bytes.len()).unwrap().to_be_bytes().as_slice()].concat();
    let message = replaced(&message, "LAYOUT", &[&head, bytes].concat());
    let HostBody::Layouts(layouts) = HostMessage::decode(&message).unwrap().body else { panic!("other layouts") };
    layouts.layouts[0].clone()
}

/// Reads bytes as either kind of message. An error carries both reasons.
fn decode(bytes: &[u8]) -> Result<(), String> {
    let of_host = HostMessage::decode(bytes).map(drop);
    of_host.or_else(|one| ServerMessage::decode(bytes).map(drop).map_err(|other| format!("{one}\n{other}")))
}

fn refused_at_little_cost(bytes: &[u8]) -> String {
    let mut result = Ok(());
    let cost = measure(|| result = decode(bytes));
    assert!(cost.bytes_max <= LITTLE, "{cost:?}");
    result.unwrap_err()
}

/// Whatever stands at `place` may be `good`, while `bad` is refused for `reason`.
fn at_limit(place: &str, good: Value, bad: Value, reason: &str) {
    let result = decode(&bytes_of(&message_where(place, good)));
    assert_eq!(result, Ok(()), "{place}");
    let error = decode(&bytes_of(&message_where(place, bad))).expect_err(place);
    assert!(error.contains(reason), "{place}: {error}");
}

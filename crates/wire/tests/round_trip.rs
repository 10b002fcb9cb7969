//! Every message with any valid content comes back as it went, and no bytes at all make a decoder panic.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use hostwatch_wire::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

proptest! {
    #[test]
    fn messages_of_hosts(message in host_message()) {
        let mut bytes = b"left over".to_vec();
        message.encode(&mut bytes).unwrap();
        prop_assert_eq!(HostMessage::decode(&bytes), Ok(message));
    }

    #[test]
    fn messages_of_servers(message in server_message()) {
        prop_assert_eq!(ServerMessage::decode(&message.encode().unwrap()), Ok(message));
    }

    #[test]
    fn layouts(layout in layout()) {
        prop_assert_eq!(layout.check(), Ok(()));
        let encoded = EncodedLayout::new(&layout);
        prop_assert_eq!(encoded.decode(), Ok(layout.clone()));
        prop_assert_eq!(EncodedLayout::new(&layout).id(), encoded.id());
    }

    #[test]
    fn names(text in "[A-Za-z0-9._*{}\u{e4}-]{0,130}") {
        if let Ok(host) = text.parse::<HostId>() {
            prop_assert_eq!(host.as_str(), text.as_str());
            let names = Names::new("hostwatch").unwrap();
            let channel = names.reports(&host);
            prop_assert_eq!(names.parse(&channel), Some((text.as_str(), Channel::Reports)));
            prop_assert_eq!(names.host_of_config_key(&names.config_key(&host)), Some(host));
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(mut bytes in vec(any::<u8>(), 0..300)) {
        decode(&bytes);
        bytes.insert(0, PROTOCOL_VERSION);
        decode(&bytes);
    }

    #[test]
    fn a_damaged_message_is_a_message_or_an_error(bytes in encoded(), damages in vec(damage(), 1..6)) {
        let mut bytes = bytes;
        for (place, damage) in damages {
            damage.apply(&mut bytes, place);
        }
        decode(&bytes);
    }
}

/// Decodes as either kind. What is accepted has to stand its own round trip.
fn decode(bytes: &[u8]) {
    if let Ok(message) = HostMessage::decode(bytes) {
        let mut again = Vec::new();
        message.encode(&mut again).unwrap();
        assert_eq!(HostMessage::decode(&again).unwrap(), message);
        let layouts = match &message.body {
            HostBody::Report(report) => report.layouts.as_slice(),
            HostBody::Layouts(layouts) => layouts.layouts.as_slice(),
            _ => &[],
        };
        for layout in layouts.iter().filter_map(|layout| layout.decode().ok()) {
            assert_eq!(EncodedLayout::new(&layout).decode(), Ok(layout));
        }
    }
    if let Ok(message) = ServerMessage::decode(bytes) {
        // As bytes, because a parameter may be NaN.
        let again = message.encode().unwrap();
        assert_eq!(ServerMessage::decode(&again).unwrap().encode().unwrap(), again);
    }
}

/// One way in which bytes come to harm.
#[derive(Debug, Clone)]
enum Damage {
    Replace(u8),
    Insert(Vec<u8>),
    Remove(usize),
    Repeat(usize),
    CutOff,
}

fn damage() -> impl Strategy<Value = (prop::sample::Index, Damage)> {
    // The bytes that say what follows and how much of it.
    let marker = prop_oneof![Just(0x80), Just(0x9f), Just(0xa5), 0xc0..=0xff_u8, any::<u8>()];
    let damage = prop_oneof![
        marker.prop_map(Damage::Replace),
        vec(any::<u8>(), 1..6).prop_map(Damage::Insert),
        (1..20_usize).prop_map(Damage::Remove),
        (1..20_usize).prop_map(Damage::Repeat),
        Just(Damage::CutOff),
    ];
    (any::<prop::sample::Index>(), damage)
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>, place: prop::sample::Index) {
        if bytes.len() < 2 {
            return;
        }
        // The version stays: behind another one nothing is read.
        let place = 1 + place.index(bytes.len() - 1);
        let range = |length: usize| place..(place + length).min(bytes.len());
        match self {
            Self::Replace(byte) => bytes[place] = byte,
            Self::Insert(inserted) => drop(bytes.splice(place..place, inserted)),
            Self::Remove(length) => drop(bytes.drain(range(length))),
            Self::Repeat(length) => bytes.extend_from_within(range(length)),
            Self::CutOff => bytes.truncate(place),
        }
    }
}

fn encoded() -> impl Strategy<Value = Vec<u8>> {
    let host = host_message().prop_map(|message| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        bytes
    });
    prop_oneof![host, server_message().prop_map(|message| message.encode().unwrap())]
}

fn host_message() -> impl Strategy<Value = HostMessage<'static>> {
    (name(), any::<u64>(), host_body()).prop_map(|(host, epoch, body)| HostMessage {
        host: host.parse().unwrap(),
        epoch: Epoch(epoch),
        body,
    })
}

fn host_body() -> impl Strategy<Value = HostBody<'static>> {
    let refusal = (name(), any::<String>()).prop_map(|(service, why)| Refusal::new(service.parse().unwrap(), &why));
    let applied = (revision(), vec(refusal, 0..4)).prop_map(|(revision, refused)| Applied { revision, refused });
    prop_oneof![
        hello().prop_map(|hello| HostBody::Hello(Box::new(hello))),
        report().prop_map(HostBody::Report),
        layouts_of_a_message().prop_map(|layouts| HostBody::Layouts(Layouts { layouts })),
        applied.prop_map(HostBody::Applied),
        exact().prop_map(|up_to| HostBody::Gone(Gone { up_to })),
        exact().prop_map(|last_seq| HostBody::Goodbye(Goodbye { last_seq })),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let labels = btree_map(".{0,20}", any::<String>().prop_map(ClaimedValue), 0..4);
    let ring = (any::<u64>(), exact(), exact(), acked()).prop_map(|(epoch, first, last, acked)| RingRange {
        epoch: Epoch(epoch),
        first,
        last,
        acked,
    });
    (exact(), ".{0,30}", facts(), labels, option::of(revision()), vec(ring, 0..4)).prop_map(
        |(sent_at_ms, client_version, facts, labels, revision, ring)| Hello {
            sent_at_ms,
            client_version,
            facts,
            labels,
            revision,
            ring,
        },
    )
}

fn facts() -> impl Strategy<Value = Facts> {
    (".{0,60}", ".{0,60}", ".{0,60}", any::<u32>(), any::<u64>(), any::<u64>()).prop_map(
        |(os, kernel, architecture, cpus, memory_bytes, boot_time_seconds)| Facts {
            os,
            kernel,
            architecture,
            cpus,
            memory_bytes,
            boot_time_seconds,
        },
    )
}

fn report() -> impl Strategy<Value = Report<'static>> {
    let head = (exact(), exact(), acked(), exact(), option::of(revision()));
    (head, layouts_of_a_message(), vec(service_report(), 0..4)).prop_map(
        |((seq, oldest_seq, acked, collected_at_ms, revision), layouts, services)| Report {
            seq,
            oldest_seq,
            acked,
            collected_at_ms,
            revision,
            layouts,
            services,
        },
    )
}

/// What it borrows is leaked: a strategy returns what it makes.
fn service_report() -> impl Strategy<Value = ServiceReport<'static>> {
    let status = prop_oneof![Just(Status::Ok), Just(Status::Failed), Just(Status::TimedOut)];
    let layout = option::of(any::<[u8; 4]>().prop_map(|bytes| LayoutId::of(&bytes)));
    let values = vec(prop::num::f64::ANY, 0..20);
    (name(), status, option::of(any::<String>()), exact(), layout, values).prop_map(
        |(service, status, message, duration_us, layout, values)| ServiceReport {
            service: service.leak(),
            status,
            message: message.map(|message| &*message.leak()),
            duration_us,
            layout,
            values: Values::encode(&values, Box::leak(Box::default())),
        },
    )
}

fn acked() -> impl Strategy<Value = Vec<Acked>> {
    vec((any::<u64>(), exact()).prop_map(|(server, up_to)| Acked { server: ServerId(server), up_to }), 0..4)
}

fn layouts_of_a_message() -> impl Strategy<Value = Vec<EncodedLayout>> {
    vec(layout().prop_map(|layout| EncodedLayout::new(&layout)), 0..3)
}

/// Families whose names differ in their last part, with series whose first label differs.
fn layout() -> impl Strategy<Value = Layout> {
    let kind = prop_oneof![
        Just(MetricType::Counter),
        Just(MetricType::Gauge),
        Just(MetricType::Histogram),
        Just(MetricType::Summary),
        Just(MetricType::Unknown),
    ];
    let labels = vec(btree_map("[b-z_][A-Za-z0-9_]{0,9}x", any::<String>(), 0..4), 0..5);
    let family = ("[a-zA-Z_:][a-zA-Z0-9_:]{0,9}", kind, any::<String>(), labels, any::<prop::sample::Index>());
    vec(family, 0..4).prop_map(|families| {
        let family = |(index, (name, kind, help, labels, suffix)): (usize, (_, MetricType, _, Vec<_>, _))| Family {
            name: format!("node_{name}_{index}"),
            kind,
            help,
            series: labels.into_iter().enumerate().map(|(index, labels)| series(kind, index, labels, suffix)).collect(),
        };
        Layout { families: families.into_iter().enumerate().map(family).collect() }
    })
}

fn series(kind: MetricType, index: usize, labels: BTreeMap<String, String>, suffix: prop::sample::Index) -> Series {
    let first = ("a".to_owned(), index.to_string());
    let others = labels.into_iter().filter(|(name, _)| !name.starts_with("__"));
    let mut labels: Vec<Label> =
        std::iter::once(first).chain(others).map(|(name, value)| Label { name, value }).collect();
    labels.sort();
    Series { suffix: *suffix.get(kind.suffixes()), labels }
}

fn server_message() -> impl Strategy<Value = ServerMessage> {
    (any::<u64>(), any::<u64>(), server_body()).prop_map(|(server, life, body)| ServerMessage {
        server: ServerId(server),
        life: Life(life),
        body,
    })
}

fn server_body() -> impl Strategy<Value = ServerBody> {
    let known = (any::<u64>(), exact()).prop_map(|(epoch, up_to)| Known { epoch: Epoch(epoch), up_to });
    let welcome = (option::of(any::<u64>()), option::of(revision()), vec(known, 0..4), exact(), exact()).prop_map(
        |(answers, revision, known, heartbeat_ms, ack_interval_ms)| Welcome {
            answers: answers.map(Epoch),
            revision,
            known,
            heartbeat_ms,
            ack_interval_ms,
        },
    );
    let config = (revision(), vec(service(), 0..4)).prop_map(|(revision, services)| HostConfig { revision, services });
    let ack = (any::<u64>(), exact(), any::<bool>()).prop_map(|(epoch, up_to, goodbye)| Ack {
        epoch: Epoch(epoch),
        up_to,
        goodbye,
    });
    let range = (1..1_u64 << 52, 0..1_u64 << 52).prop_map(|(first, more)| SeqRange { first, last: first + more });
    let resend = (any::<u64>(), vec(range, 0..9)).prop_map(|(epoch, ranges)| Resend { epoch: Epoch(epoch), ranges });
    let wanted = vec(any::<[u8; 4]>().prop_map(|bytes| LayoutId::of(&bytes)), 0..9);
    prop_oneof![
        welcome.prop_map(ServerBody::Welcome),
        config.prop_map(ServerBody::Config),
        ack.prop_map(ServerBody::Ack),
        resend.prop_map(ServerBody::Resend),
        wanted.prop_map(|layouts| ServerBody::WantLayout(WantLayout { layouts })),
    ]
}

fn service() -> impl Strategy<Value = ServiceConfig> {
    let parameter = prop_oneof![
        any::<bool>().prop_map(Parameter::Boolean),
        any::<i64>().prop_map(Parameter::Integer),
        any::<f64>().prop_map(Parameter::Float),
        any::<String>().prop_map(Parameter::Text),
        vec(any::<String>(), 0..4).prop_map(Parameter::List),
    ];
    let parameters = btree_map(".{0,20}", parameter, 0..6);
    (name(), ".{0,20}", exact(), option::of(any::<u64>()), parameters).prop_map(
        |(name, plugin, interval_ms, timeout_ms, parameters)| ServiceConfig {
            name: name.parse().unwrap(),
            plugin,
            interval_ms,
            timeout_ms,
            parameters,
        },
    )
}

fn revision() -> impl Strategy<Value = Revision> {
    (exact(), any::<[u8; 4]>()).prop_map(|(number, content)| Revision { number, content: ContentHash::of(&content) })
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
}

/// The numbers that a decoder takes.
fn exact() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, 0..=1_u64 << 53, Just(1 << 53)]
}

//! What is asked of a unit, and what is reported of it.

use hostwatch_wire::MetricType::{self, Counter, Gauge};
use zbus::Variant;

use super::bus::{Bus, BusError};
use super::text;
use crate::Samples;

/// The states that are reported of every unit.
pub(super) const STATES: [&str; 5] = ["activating", "active", "deactivating", "failed", "inactive"];

/// The bus lets a client wait for no more than 128 answers at once.
const AT_ONCE: usize = 64;

/// What costs a question for each unit and few people look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    pub(super) start_times: bool,
    pub(super) tasks: bool,
}

/// A figure of the units of one kind.
struct Figure {
    suffix: &'static str,
    interface: &'static str,
    property: &'static str,
    /// How many of it make one of what the series counts.
    divisor: f64,
    family: &'static str,
    kind: MetricType,
    help: &'static str,
}

const fn figure(
    suffix: &'static str,
    interface: &'static str,
    property: &'static str,
    family: &'static str,
    kind: MetricType,
    help: &'static str,
) -> Figure {
    Figure { suffix, interface, property, divisor: 1.0, family, kind, help }
}

const SERVICE: &str = "org.freedesktop.systemd1.Service";
const SOCKET: &str = "org.freedesktop.systemd1.Socket";

const FIGURES: [Figure; 8] = [
    figure(
        ".service",
        SERVICE,
        "NRestarts",
        "node_systemd_service_restart_total",
        Counter,
        "Restarts of a service by systemd.",
    ),
    figure(
        ".socket",
        SOCKET,
        "NAccepted",
        "node_systemd_socket_accepted_connections_total",
        Counter,
        "Connections that a socket has accepted.",
    ),
    figure(
        ".socket",
        SOCKET,
        "NConnections",
        "node_systemd_socket_current_connections",
        Gauge,
        "Connections that a socket has.",
    ),
    // The exporter has it as a gauge as well.
    figure(
        ".socket",
        SOCKET,
        "NRefused",
        "node_systemd_socket_refused_connections_total",
        Gauge,
        "Connections that a socket has refused.",
    ),
    Figure {
        divisor: 1e6,
        ..figure(
            ".timer",
            "org.freedesktop.systemd1.Timer",
            "LastTriggerUSec",
            "node_systemd_timer_last_trigger_seconds",
            Gauge,
            "When a timer elapsed last, in Unix time.",
        )
    },
    Figure {
        divisor: 1e6,
        ..figure(
            "",
            "org.freedesktop.systemd1.Unit",
            "ActiveEnterTimestamp",
            "node_systemd_unit_start_time_seconds",
            Gauge,
            "When a unit became active, in Unix time; 0 when it is not.",
        )
    },
    figure(".service", SERVICE, "TasksCurrent", "node_systemd_unit_tasks_current", Gauge, "Tasks of a service."),
    figure(".service", SERVICE, "TasksMax", "node_systemd_unit_tasks_max", Gauge, "Tasks that a service may have."),
];
const START_TIME: usize = 5;
const TASKS: [usize; 2] = [6, 7];

/// A unit and the answers about it.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) name: String,
    path: String,
    state: String,
    /// The type of a service or of a mount.
    kind: String,
    figures: [Option<f64>; FIGURES.len()],
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Kind,
    Figure(usize),
}

impl Unit {
    pub(super) fn new(name: &str, path: &str, state: &str) -> Self {
        let (name, path, state) = (name.to_owned(), path.to_owned(), state.to_owned());
        Self { name, path, state, kind: String::new(), figures: [None; FIGURES.len()] }
    }

    /// The interface whose property `Type` says what kind of unit this is.
    fn kind_interface(&self) -> Option<&'static str> {
        match self.name.rsplit_once('.')?.1 {
            "service" => Some(SERVICE),
            "mount" => Some("org.freedesktop.systemd1.Mount"),
            _ => None,
        }
    }

    fn topics(&self, wishes: Wishes) -> impl Iterator<Item = Topic> {
        let kind = self.kind_interface().map(|_| Topic::Kind);
        let wanted = move |index: &usize| match *index {
            // It was active at some time, and that is not asked for.
            START_TIME => wishes.start_times && self.state == "active",
            index if TASKS.contains(&index) => wishes.tasks,
            _ => true,
        };
        let figures = (0..FIGURES.len()).filter(|index| self.name.ends_with(FIGURES[*index].suffix)).filter(wanted);
        kind.into_iter().chain(figures.map(Topic::Figure))
    }

    fn question(&self, topic: Topic) -> (&'static str, &'static str) {
        match topic {
            Topic::Kind => (self.kind_interface().unwrap_or_default(), "Type"),
            Topic::Figure(index) => (FIGURES[index].interface, FIGURES[index].property),
        }
    }

    fn take(&mut self, topic: Topic, value: &Variant<'_>) {
        match topic {
            Topic::Kind => self.kind = text(value).unwrap_or_default(),
            Topic::Figure(index) => self.figures[index] = number(value).map(|number| number / FIGURES[index].divisor),
        }
    }
}

/// Asks about all units, many questions at once. A unit that is gone, or that has no such property, has no figure.
pub(super) fn ask(units: &mut [Unit], wishes: Wishes, bus: &mut Bus) -> Result<(), BusError> {
    let topics: Vec<(usize, Topic)> = units
        .iter()
        .enumerate()
        .flat_map(|(index, unit)| unit.topics(wishes).map(move |topic| (index, topic)))
        .collect();
    for topics in topics.chunks(AT_ONCE) {
        for (index, topic) in topics {
            let (interface, property) = units[*index].question(*topic);
            bus.get(&units[*index].path, interface, property);
        }
        for (index, topic) in topics {
            if let Some(value) = bus.answer()?.value()? {
                units[*index].take(*topic, &value);
            }
        }
    }
    if wishes.start_times {
        units.iter_mut().filter(|unit| unit.state != "active").for_each(|unit| unit.figures[START_TIME] = Some(0.0));
    }
    Ok(())
}

/// Reports the units, which are sorted, family by family.
pub(super) fn report(units: &[Unit], samples: &mut Samples) {
    for (index, figure) in FIGURES.iter().enumerate() {
        let mut family = samples.sparse(figure.family, figure.kind, figure.help);
        for unit in units {
            if let Some(value) = unit.figures[index] {
                family.push(&[("name", &unit.name)], value);
            }
        }
    }
    let mut family = samples.sparse("node_systemd_unit_state", Gauge, "Whether a unit is in a state, 1 or 0.");
    for unit in units {
        for state in STATES {
            let value = if unit.state == state { 1.0 } else { 0.0 };
            family.push(&[("name", &unit.name), ("state", state), ("type", &unit.kind)], value);
        }
    }
}

/// The highest number says that there is none.
fn number(value: &Variant<'_>) -> Option<f64> {
    match value {
        Variant::U32(number) => Some(f64::from(*number)),
        Variant::U64(u64::MAX) => None,
        Variant::U64(number) => Some(*number as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Manager;
    use super::*;

    #[test]
    fn each_kind_of_unit_is_asked_about_what_it_has() {
        let properties = |name: &str, state: &str, wishes: Wishes| -> Vec<&'static str> {
            let unit = Unit::new(name, "/", state);
            unit.topics(wishes).map(|topic| unit.question(topic).1).collect()
        };
        let (few, all) = (Wishes { start_times: false, tasks: false }, Wishes { start_times: true, tasks: true });
        assert_eq!(properties("a.service", "active", few), ["Type", "NRestarts"]);
        let everything = ["Type", "NRestarts", "ActiveEnterTimestamp", "TasksCurrent", "TasksMax"];
        assert_eq!(properties("a.service", "active", all), everything);
        assert_eq!(properties("a.socket", "failed", all), ["NAccepted", "NConnections", "NRefused"]);
        assert_eq!(properties("a.timer", "active", few), ["LastTriggerUSec"]);
        assert_eq!(properties("a.mount", "active", few), ["Type"]);
        assert!(properties("a.target", "active", few).is_empty() && properties("a", "", few).is_empty());
    }

    /// A unit with its type, and with the answers about its figures in the order of `FIGURES`.
    fn unit(name: &str, state: &str, kind: &str, answers: &[(usize, Variant<'_>)]) -> Unit {
        let mut unit = Unit::new(name, "/", state);
        unit.take(Topic::Kind, &Variant::from(kind));
        answers.iter().for_each(|(index, answer)| unit.take(Topic::Figure(*index), answer));
        unit
    }

    #[test]
    fn what_is_reported_of_a_small_machine() {
        let tasks = |current: u64, most: u64| [(TASKS[0], Variant::from(current)), (TASKS[1], Variant::from(most))];
        let start = || (START_TIME, Variant::from(1_700_000_000_250_000_u64));
        let [current, most] = tasks(3, 4_915);
        let [none, unlimited] = tasks(u64::MAX, u64::MAX);
        let units = [
            unit("a\\x2db.service", "failed", "oneshot", &[(0, Variant::from(3_u32)), none, unlimited]),
            unit("ssh.service", "active", "notify", &[(0, Variant::from(0_u32)), start(), current, most]),
            unit("ssh.socket", "active", "", &[1, 2, 3].map(|index| (index, Variant::from(index as u32)))),
            unit("upgrade.timer", "reloading", "", &[(4, Variant::from(1_700_000_000_500_000_u64))]),
            unit("odd.timer", "inactive", "", &[(4, Variant::from("no number"))]),
        ];
        let counts = STATES.map(|state| (state.to_owned(), 1));
        let manager = Manager {
            version: Some("252.38-1~deb12u1".to_owned()),
            state: Some("degraded".to_owned()),
            virtualization: Some("kvm".to_owned()),
        };
        let mut samples = Samples::new();
        samples.begin();
        report(&units, &mut samples);
        super::super::report(&manager, &counts, &mut samples);
        samples.finish().unwrap();
        let page = samples.text();
        let expected = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/systemd/small-machine/expected.txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some_and(|value| value == "1") {
            std::fs::write(expected, &page).unwrap();
        }
        assert_eq!(page, std::fs::read_to_string(expected).unwrap());
    }
}

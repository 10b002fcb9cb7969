//! The units of systemd and their states, over D-Bus. Source: org.freedesktop.systemd1(5).

mod bus;
mod message;
mod unit;

use std::path::PathBuf;
use std::time::Duration;

use hostwatch_wire::MetricType::Gauge;
use zbus::{ObjectPath, Variant};

use crate::filter::Filter;
use crate::{CollectError, Descriptor, Plugin, Samples};

use bus::{Answer, Bus, BusError, MANAGER, MANAGER_PATH};
use unit::{STATES, Unit, Wishes};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "systemd",
    collector: "systemd",
    about: "states of systemd's units, restarts of services, connections of sockets and times of timers, over D-Bus",
    // Every unit is asked about, which is work for the first process of the system.
    on_by_default: false,
    build: |roots, options| {
        let default_exclude = r"\.(automount|device|mount|scope|slice)$";
        Ok(Box::new(Systemd {
            booted: roots.rootfs.join("run/systemd/system"),
            socket: roots.rootfs.join("run/dbus/system_bus_socket"),
            timeout: options.timeout(),
            filter: Filter::new(options, ["unit_include", "unit_exclude"], default_exclude),
            wishes: Wishes {
                start_times: options.boolean("start_times").unwrap_or(false),
                tasks: options.boolean("tasks").unwrap_or(false),
            },
        }))
    },
};

struct Systemd {
    /// What exists where systemd is the first process.
    booted: PathBuf,
    /// Where the bus of the system listens.
    socket: PathBuf,
    timeout: Duration,
    filter: Filter,
    wishes: Wishes,
}

/// What systemd says of itself. What an old one does not say is absent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Manager {
    version: Option<String>,
    state: Option<String>,
    virtualization: Option<String>,
}

/// How many units are in a state, sorted by its name.
type Counts = Vec<(String, u64)>;

/// What is taken of the list of all units.
struct Listing {
    /// Those that are wanted.
    units: Vec<Unit>,
    /// Of all of them.
    counts: Counts,
}

/// A unit in the answer of `ListUnits`: name, description, load state, active state, further state, whom it follows,
/// path, and its job.
type Listed<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, ObjectPath<'a>, u32, &'a str, ObjectPath<'a>);

impl Plugin for Systemd {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        if !self.booted.exists() {
            return Ok(());
        }
        let (manager, Listing { mut units, counts }) =
            self.ask().map_err(|error| CollectError::Bus { path: self.socket.clone(), what: error.to_string() })?;
        // systemd lists them in no order.
        units.sort_by(|one, other| one.name.cmp(&other.name));
        unit::report(&units, samples);
        report(&manager, &counts, samples);
        Ok(())
    }
}

impl Systemd {
    /// The manager and its units. The connection is made anew each
    /// time: a bus that was restarted meanwhile costs nothing.
    fn ask(&self) -> Result<(Manager, Listing), BusError> {
        let mut bus = Bus::connect(&self.socket, self.timeout)?;
        let mut manager = Manager::default();
        for (property, place) in [
            ("Version", &mut manager.version),
            ("SystemState", &mut manager.state),
            ("Virtualization", &mut manager.virtualization),
        ] {
            bus.get(MANAGER_PATH, MANAGER, property);
            *place = bus.answer()?.value()?.and_then(|value| text(&value));
        }
        bus.list_units();
        let mut listing = self.listing(&bus.answer()?)?;
        unit::ask(&mut listing.units, self.wishes, &mut bus)?;
        Ok((manager, listing))
    }

    fn listing(&self, answer: &Answer<'_>) -> Result<Listing, BusError> {
        let listed: Vec<Listed<'_>> = answer.body()?;
        let mut counts: Counts = STATES.iter().map(|state| ((*state).to_owned(), 0)).collect();
        let mut units = Vec::new();
        for (name, _, load, active, _, _, path, ..) in listed {
            match counts.iter_mut().find(|(state, _)| state == active) {
                Some((_, count)) => *count += 1,
                None => counts.push((active.to_owned(), 1)),
            }
            if load == "loaded" && self.filter.admits(name) {
                units.push(Unit::new(name, path.as_str(), active));
            }
        }
        counts.sort();
        Ok(Listing { units, counts })
    }
}

fn text(value: &Variant<'_>) -> Option<String> {
    match value {
        Variant::Str(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

/// Reports what is not of one unit.
fn report(manager: &Manager, counts: &[(String, u64)], samples: &mut Samples) {
    if let Some(state) = &manager.state {
        let running = if state == "running" { 1.0 } else { 0.0 };
        let help = "Whether the system has started and no unit has failed.";
        samples.gauge("node_systemd_system_running", help, running);
    }
    samples.family("node_systemd_units", Gauge, "Units that are in a state, of all that systemd has in memory.");
    for (state, count) in counts {
        samples.push(&[("state", state)], *count as f64);
    }
    if let Some(version) = &manager.version {
        samples.family("node_systemd_version", Gauge, "Version of systemd, as a number and as it says.");
        samples.push(&[("version", version)], number_of(version));
    }
    if let Some(kind) = &manager.virtualization {
        let help = "In which virtual machine or container systemd believes to run, always 1.";
        samples.family("node_systemd_virtualization_info", Gauge, help);
        samples.push(&[("virtualization_type", if kind.is_empty() { "none" } else { kind })], 1.0);
    }
}

/// The number of a version such as `252.38-1~deb12u1` or `v254`, which has three digits or more; 0 when there is none.
fn number_of(version: &str) -> f64 {
    let mut words = version.split(|character: char| !character.is_ascii_digit() && character != '.');
    let digits = |word: &str| word.bytes().take_while(u8::is_ascii_digit).count();
    let Some(word) = words.find(|word| digits(word) >= 3) else { return 0.0 };
    let (major, minor) = word.split_once('.').unwrap_or((word, ""));
    let minor = minor.split('.').next().unwrap_or_default();
    format!("{major}.{minor}0").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use zbus::wire::serialized::Context;
    use zbus::wire::{LE, to_bytes};

    use super::*;
    use crate::{Access, Roots};
    use hostwatch_wire::Parameters;

    #[test]
    fn numbers_of_versions() {
        for (version, expected) in [
            ("252.38-1~deb12u1", 252.38),
            ("252", 252.0),
            ("v254.5-arch", 254.5),
            ("systemd 257.1.2", 257.1),
            ("9", 0.0),
            ("", 0.0),
            ("12.345", 0.0),
            ("größe", 0.0),
        ] {
            assert_eq!(number_of(version), expected, "{version}");
        }
    }

    #[test]
    fn units_are_filtered_and_all_of_them_are_counted() {
        let path = |text: &'static str| ObjectPath::try_from(text).unwrap();
        let unit = |name, load, active| -> Listed<'_> {
            (name, "a unit", load, active, "x", "", path("/unit"), 0, "", path("/"))
        };
        let units = vec![
            unit("b.service", "loaded", "failed"),
            unit("a.service", "loaded", "active"),
            unit("gone.service", "not-found", "inactive"),
            unit("home.mount", "loaded", "active"),
            unit("c.service", "loaded", "refreshing"),
        ];
        let body = to_bytes(Context::new(LE, 0), &units).unwrap();
        let plugin = systemd(&Roots::default());
        let Listing { units: found, counts } = plugin.listing(&Answer::Returned(body)).unwrap();
        let names: Vec<&str> = found.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["b.service", "a.service", "c.service"]);
        let counts: Vec<_> = counts.iter().map(|(state, count)| (state.as_str(), *count)).collect();
        let expected =
            [("activating", 0), ("active", 2), ("deactivating", 0), ("failed", 1), ("inactive", 1), ("refreshing", 1)];
        assert_eq!(counts, expected);
    }

    #[test]
    fn what_is_said_of_the_whole() {
        let manager = Manager {
            version: Some("252.1".to_owned()),
            state: Some("degraded".to_owned()),
            virtualization: Some(String::new()),
        };
        let mut samples = Samples::new();
        samples.begin();
        report(&manager, &[("active".to_owned(), 7)], &mut samples);
        samples.finish().unwrap();
        let page = samples.text();
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "node_systemd_system_running 0",
            "node_systemd_units{state=\"active\"} 7",
            "node_systemd_version{version=\"252.1\"} 252.1",
            "node_systemd_virtualization_info{virtualization_type=\"none\"} 1",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_system_without_systemd_is_no_error_and_one_without_a_bus_is() {
        let root = tempfile::tempdir().unwrap();
        let roots = Roots { rootfs: root.path().to_owned(), ..Roots::default() };
        let mut plugin = DESCRIPTOR.build(&Access::from(roots), &Parameters::new(), Duration::MAX).unwrap();
        let mut samples = Samples::new();
        samples.begin();
        plugin.collect(&mut samples).unwrap();
        assert!(samples.values().is_empty());
        std::fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        let error = plugin.collect(&mut samples).unwrap_err().to_string();
        assert!(error.contains("run/dbus/system_bus_socket: No such file"), "{error}");
    }

    fn systemd(roots: &Roots) -> Systemd {
        let parameters = Parameters::new();
        let mut options = crate::Options::plain(&parameters);
        Systemd {
            booted: roots.rootfs.clone(),
            socket: roots.rootfs.clone(),
            timeout: Duration::MAX,
            filter: Filter::new(
                &mut options,
                ["unit_include", "unit_exclude"],
                r"\.(automount|device|mount|scope|slice)$",
            ),
            wishes: Wishes { start_times: false, tasks: false },
        }
    }
}

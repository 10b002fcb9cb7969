//! Which files of which chips are read, and what series their numbers are. It is made when chips come or go.

use std::collections::BTreeSet;
use std::path::Path;

use hostwatch_wire::MetricType::{self, Counter, Gauge};

use crate::filter::Filter;
use crate::linux::attributes::Attributes;

/// What sensors measure, as their files begin.
const KINDS: [&str; 13] = [
    "beep_enable",
    "cpu",
    "curr",
    "energy",
    "fan",
    "humidity",
    "in",
    "intrusion",
    "power",
    "pwm",
    "temp",
    "update_interval",
    "vrm",
];

#[derive(Default)]
pub(super) struct Plan {
    pub(super) chips: Vec<Chip>,
    pub(super) labels: Vec<Label>,
    /// Those of a family stand together.
    pub(super) readings: Vec<Reading>,
}

pub(super) struct Chip {
    /// Where it stands on its bus, which is the same after each boot.
    pub(super) label: String,
    /// What its driver calls it.
    pub(super) name: String,
}

pub(super) struct Label {
    pub(super) chip: String,
    pub(super) sensor: String,
    pub(super) text: String,
}

/// A file that is read at each collection.
pub(super) struct Reading {
    pub(super) family: String,
    pub(super) help: String,
    pub(super) kind: MetricType,
    pub(super) divisor: f64,
    pub(super) chip: String,
    pub(super) sensor: String,
    pub(super) directory: String,
    pub(super) file: String,
}

impl Plan {
    /// Makes a plan of a list: a line for each chip, `hwmon0` and more behind a tab, and below it a line for each of its
    /// files, which begins with a tab.
    pub(super) fn new(path: &Path, list: &str, attributes: &mut Attributes, filter: &Filter) -> Self {
        let mut plan = Self::default();
        let mut chip = None;
        // Two drivers may tell of the same thing; the first one is believed.
        let (mut chips, mut labels, mut series) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for line in list.lines() {
            let Some(file) = line.strip_prefix('\t') else {
                let directory = line.split('\t').next().unwrap_or_default();
                let label = label(path, directory);
                chip = filter.admits(&label).then_some((directory, label));
                let Some((_, label)) = &chip else { continue };
                let name = clean(attributes.text(directory, "name").unwrap_or_default());
                if !name.is_empty() && chips.insert((label.clone(), name.clone())) {
                    plan.chips.push(Chip { label: label.clone(), name });
                }
                continue;
            };
            let Some((directory, chip)) = &chip else { continue };
            let Some((kind, number, element)) = sensor(file.rsplit('/').next().unwrap_or_default()) else { continue };
            let sensor = format!("{kind}{number}");
            if element == "label" {
                let text = attributes.text(directory, file).unwrap_or_default().to_owned();
                if !text.is_empty() && labels.insert((chip.clone(), sensor.clone())) {
                    plan.labels.push(Label { chip: chip.clone(), sensor, text });
                }
                continue;
            }
            let Measure { family, kind, divisor, help } = measure(kind, element);
            if series.insert((family.clone(), chip.clone(), sensor.clone())) {
                let (directory, file) = ((*directory).to_owned(), file.to_owned());
                plan.readings.push(Reading {
                    family,
                    help,
                    kind,
                    divisor,
                    chip: chip.clone(),
                    sensor,
                    directory,
                    file,
                });
            }
        }
        plan.readings.sort_by(|one, other| one.family.cmp(&other.family));
        plan
    }
}

/// The parts of a file's name such as `temp1_crit_alarm`: what is measured, the number of the sensor, 0 for what is of the
/// whole chip, and which of its properties it is, empty where the file is the sensor itself.
pub(super) fn sensor(file: &str) -> Option<(&str, u32, &str)> {
    let kind = KINDS.into_iter().find(|kind| {
        let rest = file.strip_prefix(kind);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(|first: char| first.is_ascii_digit()))
    })?;
    let rest = &file[kind.len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = match kind {
        "beep_enable" | "update_interval" | "vrm" if digits == 0 => 0,
        // Every device has a directory that is called power.
        _ => rest[..digits].parse().ok()?,
    };
    match rest[digits..].strip_prefix('_') {
        Some("") => None,
        Some(element) => Some((kind, number, element)),
        None => rest[digits..].is_empty().then_some((kind, number, "")),
    }
}

struct Measure {
    family: String,
    kind: MetricType,
    divisor: f64,
    help: String,
}

/// The series of a property. The kernel tells thousandths or millionths of units.
fn measure(kind: &str, element: &str) -> Measure {
    let (unit, divisor) = match (kind, element) {
        ("beep_enable" | "vrm", _) => ("", 1.0),
        ("update_interval", _) => ("_seconds", 1e3),
        (_, "alarm" | "fault") => ("", 1.0),
        (_, "beep") => ("_enabled", 1.0),
        ("in" | "cpu", _) => ("_volts", 1e3),
        ("temp", "type") => ("", 1.0),
        ("temp", _) => ("_celsius", 1e3),
        ("curr", _) => ("_amps", 1e3),
        ("energy", _) => ("_joule_total", 1e6),
        ("power", "accuracy") => ("", 1e6),
        ("power", "average_interval" | "average_interval_max" | "average_interval_min") => ("_seconds", 1e3),
        ("power", _) => ("_watt", 1e6),
        ("humidity", _) => ("", 1e6),
        ("fan", "input" | "max" | "min" | "target") => ("_rpm", 1.0),
        _ => ("", 1.0),
    };
    let family = match (kind, element) {
        ("beep_enable", _) => "node_hwmon_beep_enabled".to_owned(),
        ("vrm", _) => "node_hwmon_voltage_regulator_version".to_owned(),
        (_, "" | "input") => format!("node_hwmon_{kind}{unit}"),
        _ => format!("node_hwmon_{kind}_{}{unit}", clean(element)),
    };
    let help = match element {
        "" | "input" => format!("What sensors of the kind {kind} measure."),
        _ => format!("The property {} of sensors of the kind {kind}.", clean(element)),
    };
    Measure { family, kind: if kind == "energy" { Counter } else { Gauge }, divisor, help }
}

/// What tells a chip from the others: the bus and the name of its device, or else its name, or else its number.
fn label(path: &Path, directory: &str) -> String {
    let chip = path.join(directory);
    let component = |path: &Path| clean(&path.file_name().unwrap_or_default().to_string_lossy());
    if let Ok(device) = chip.join("device").canonicalize() {
        let (bus, name) = (device.parent().map(component).unwrap_or_default(), component(&device));
        match (bus.is_empty(), name.is_empty()) {
            (false, false) => return format!("{bus}_{name}"),
            (true, false) => return name,
            _ => {}
        }
    }
    let name = clean(&String::from_utf8_lossy(&std::fs::read(chip.join("name")).unwrap_or_default()));
    if !name.is_empty() {
        return name;
    }
    chip.canonicalize().map_or_else(|_| clean(directory), |chip| component(&chip))
}

/// A name of small letters, digits, colons and low lines.
fn clean(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, ':' | '_');
    name.replace(|c| !allowed(c), "_").trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_files() {
        assert_eq!(sensor("temp1_input"), Some(("temp", 1, "input")));
        assert_eq!(sensor("temp12_crit_alarm"), Some(("temp", 12, "crit_alarm")));
        assert_eq!(sensor("pwm1"), Some(("pwm", 1, "")));
        assert_eq!(sensor("update_interval"), Some(("update_interval", 0, "")));
        assert_eq!(sensor("cpu0_vid"), Some(("cpu", 0, "vid")));
        for file in
            ["name", "temperature", "temp1x", "temp1_", "in_input", "power", "temp99999999999_input", "uevent", ""]
        {
            assert_eq!(sensor(file), None, "{file}");
        }
    }

    #[test]
    fn names_of_series() {
        for (kind, element, family, divisor) in [
            ("temp", "input", "node_hwmon_temp_celsius", 1e3),
            ("temp", "crit_alarm", "node_hwmon_temp_crit_alarm_celsius", 1e3),
            ("temp", "alarm", "node_hwmon_temp_alarm", 1.0),
            ("fan", "input", "node_hwmon_fan_rpm", 1.0),
            ("fan", "min", "node_hwmon_fan_min_rpm", 1.0),
            ("fan", "div", "node_hwmon_fan_div", 1.0),
            ("in", "min", "node_hwmon_in_min_volts", 1e3),
            ("in", "beep", "node_hwmon_in_beep_enabled", 1.0),
            ("power", "average", "node_hwmon_power_average_watt", 1e6),
            ("power", "average_interval", "node_hwmon_power_average_interval_seconds", 1e3),
            ("energy", "input", "node_hwmon_energy_joule_total", 1e6),
            ("humidity", "input", "node_hwmon_humidity", 1e6),
            ("pwm", "", "node_hwmon_pwm", 1.0),
            ("beep_enable", "", "node_hwmon_beep_enabled", 1.0),
            ("update_interval", "", "node_hwmon_update_interval_seconds", 1e3),
        ] {
            let measure = measure(kind, element);
            assert_eq!((measure.family.as_str(), measure.divisor), (family, divisor));
        }
    }

    #[test]
    fn names_are_made_clean() {
        assert_eq!(clean("0000:00:18.3"), "0000:00:18_3");
        assert_eq!(clean("_Überwachung (1)\n"), "berwachung__1");
        assert_eq!(clean("☃"), "");
    }

    proptest! {
        #[test]
        fn any_name_is_a_sensor_or_none(file in "(temp|in|fan|update_interval)?[0-9]{0,12}_?[a-zü_]{0,9}") {
            let _ = sensor(&file);
        }
    }
}

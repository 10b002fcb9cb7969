//! What batteries, mains adapters and USB supplies say of themselves, from /sys/class/power_supply.
//! Sources: Documentation/power/power_supply_class.rst, Documentation/ABI/testing/sysfs-class-power.

use hostwatch_wire::MetricType::Gauge;

use crate::filter::Filter;
use crate::linux::attributes::Attributes;
use crate::linux::fields::assigned;
use crate::names::Names;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "power_supply",
    collector: "powersupplyclass",
    about: "charge, voltage, current and state of each power supply, from /sys/class/power_supply",
    on_by_default: true,
    build: |roots, options| {
        Ok(Box::new(PowerSupply {
            filter: Filter::new(options, ["supply_include", "supply_exclude"], ""),
            attributes: Attributes::new(roots.sysfs.join("class/power_supply")),
            supplies: Names::new(),
            properties: Vec::new(),
        }))
    },
};

/// What every property of a supply begins with.
const PREFIX: &str = "POWER_SUPPLY_";
/// Property, divisor, family, help. The kernel tells millionths of volts, amperes, watts and of their hours, and tenths
/// of degrees.
const FAMILIES: [(&str, f64, &str, &str); 49] = [
    ("AUTHENTIC", 1.0, "node_power_supply_authentic", "Whether a battery is a genuine one."),
    ("CALIBRATE", 1.0, "node_power_supply_calibrate", "Whether a battery is being calibrated."),
    ("CAPACITY", 1.0, "node_power_supply_capacity", "How full a battery is, in percent."),
    ("CAPACITY_ALERT_MAX", 1.0, "node_power_supply_capacity_alert_max", "Percent above which the battery alerts."),
    ("CAPACITY_ALERT_MIN", 1.0, "node_power_supply_capacity_alert_min", "Percent below which the battery alerts."),
    ("CYCLE_COUNT", 1.0, "node_power_supply_cyclecount", "How often a battery was charged and discharged."),
    ("ONLINE", 1.0, "node_power_supply_online", "Whether a supply delivers power (1) or not (0)."),
    ("PRESENT", 1.0, "node_power_supply_present", "Whether a battery is there (1) or not (0)."),
    ("TIME_TO_EMPTY_NOW", 1.0, "node_power_supply_time_to_empty_seconds", "Seconds until a battery is empty."),
    ("TIME_TO_FULL_NOW", 1.0, "node_power_supply_time_to_full_seconds", "Seconds until a battery is full."),
    ("CHARGE_CONTROL_LIMIT", 1e6, "node_power_supply_charge_control_limit", "The limit of the charging current."),
    ("CHARGE_CONTROL_LIMIT_MAX", 1e6, "node_power_supply_charge_control_limit_max", "The highest such limit."),
    ("CHARGE_COUNTER", 1e6, "node_power_supply_charge_counter", "Ampere hours that were counted in and out."),
    ("CHARGE_EMPTY", 1e6, "node_power_supply_charge_empty", "Ampere hours at which a battery counts as empty."),
    ("CHARGE_EMPTY_DESIGN", 1e6, "node_power_supply_charge_empty_design", "The same when the battery was new."),
    ("CHARGE_FULL", 1e6, "node_power_supply_charge_full", "Ampere hours at which a battery counts as full."),
    ("CHARGE_FULL_DESIGN", 1e6, "node_power_supply_charge_full_design", "The same when the battery was new."),
    ("CHARGE_NOW", 1e6, "node_power_supply_charge_ampere", "Ampere hours that a battery holds."),
    ("CHARGE_TERM_CURRENT", 1e6, "node_power_supply_charge_term_current", "Amperes at which charging ends."),
    ("CONSTANT_CHARGE_CURRENT", 1e6, "node_power_supply_constant_charge_current", "Amperes of the charger."),
    (
        "CONSTANT_CHARGE_CURRENT_MAX",
        1e6,
        "node_power_supply_constant_charge_current_max",
        "The most amperes of the charger.",
    ),
    ("CONSTANT_CHARGE_VOLTAGE", 1e6, "node_power_supply_constant_charge_voltage", "Volts of the charger."),
    (
        "CONSTANT_CHARGE_VOLTAGE_MAX",
        1e6,
        "node_power_supply_constant_charge_voltage_max",
        "The most volts of the charger.",
    ),
    ("CURRENT_BOOT", 1e6, "node_power_supply_current_boot", "Amperes when the machine was switched on."),
    ("CURRENT_MAX", 1e6, "node_power_supply_current_max", "The most amperes of a supply."),
    ("CURRENT_NOW", 1e6, "node_power_supply_current_ampere", "Amperes of a supply."),
    ("ENERGY_EMPTY", 1e6, "node_power_supply_energy_empty", "Watt hours at which a battery counts as empty."),
    ("ENERGY_EMPTY_DESIGN", 1e6, "node_power_supply_energy_empty_design", "The same when the battery was new."),
    ("ENERGY_FULL", 1e6, "node_power_supply_energy_full", "Watt hours at which a battery counts as full."),
    ("ENERGY_FULL_DESIGN", 1e6, "node_power_supply_energy_full_design", "The same when the battery was new."),
    ("ENERGY_NOW", 1e6, "node_power_supply_energy_watthour", "Watt hours that a battery holds."),
    ("INPUT_CURRENT_LIMIT", 1e6, "node_power_supply_input_current_limit", "The limit of the amperes taken in."),
    ("POWER_NOW", 1e6, "node_power_supply_power_watt", "Watts of a supply."),
    ("PRECHARGE_CURRENT", 1e6, "node_power_supply_precharge_current", "Amperes for a battery that is all empty."),
    ("VOLTAGE_BOOT", 1e6, "node_power_supply_voltage_boot", "Volts when the machine was switched on."),
    ("VOLTAGE_MAX", 1e6, "node_power_supply_voltage_max", "The most volts of a supply."),
    ("VOLTAGE_MAX_DESIGN", 1e6, "node_power_supply_voltage_max_design", "The most volts that it was built for."),
    ("VOLTAGE_MIN", 1e6, "node_power_supply_voltage_min", "The least volts of a supply."),
    ("VOLTAGE_MIN_DESIGN", 1e6, "node_power_supply_voltage_min_design", "The least volts that it was built for."),
    ("VOLTAGE_NOW", 1e6, "node_power_supply_voltage_volt", "Volts of a supply."),
    ("VOLTAGE_OCV", 1e6, "node_power_supply_voltage_ocv", "Volts of a battery without a load."),
    ("TEMP", 10.0, "node_power_supply_temp_celsius", "The temperature of a supply."),
    ("TEMP_ALERT_MAX", 10.0, "node_power_supply_temp_alert_max_celsius", "Temperature above which a supply alerts."),
    ("TEMP_ALERT_MIN", 10.0, "node_power_supply_temp_alert_min_celsius", "Temperature below which a supply alerts."),
    ("TEMP_AMBIENT", 10.0, "node_power_supply_temp_ambient_celsius", "The temperature around a supply."),
    (
        "TEMP_AMBIENT_ALERT_MAX",
        10.0,
        "node_power_supply_temp_ambient_max_celsius",
        "Temperature around a supply above which it alerts.",
    ),
    (
        "TEMP_AMBIENT_ALERT_MIN",
        10.0,
        "node_power_supply_temp_ambient_min_celsius",
        "Temperature around a supply below which it alerts.",
    ),
    ("TEMP_MAX", 10.0, "node_power_supply_temp_max_celsius", "The highest temperature to run at."),
    ("TEMP_MIN", 10.0, "node_power_supply_temp_min_celsius", "The lowest temperature to run at."),
];
/// Label and property of the facts in words, in the order of the labels.
const TEXTS: [(&str, &str); 12] = [
    ("capacity_level", "CAPACITY_LEVEL"),
    ("charge_type", "CHARGE_TYPE"),
    ("health", "HEALTH"),
    ("manufacturer", "MANUFACTURER"),
    ("model_name", "MODEL_NAME"),
    ("power_supply", "NAME"),
    ("scope", "SCOPE"),
    ("serial_number", "SERIAL_NUMBER"),
    ("status", "STATUS"),
    ("technology", "TECHNOLOGY"),
    ("type", "TYPE"),
    ("usb_type", "USB_TYPE"),
];

struct PowerSupply {
    filter: Filter,
    attributes: Attributes,
    supplies: Names,
    /// What the supplies said last, in the order of their names. There may be more than supplies, kept for their memory.
    properties: Vec<String>,
}

impl Plugin for PowerSupply {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { filter, attributes, supplies, properties } = self;
        attributes.list(supplies);
        supplies.retain(|supply| filter.admits(supply));
        // The file for udev has all properties at once, where each file of its own would ask the hardware again.
        let count = supplies.iter().count();
        properties.resize_with(count.max(properties.len()), String::new);
        for (supply, properties) in supplies.iter().zip(properties.iter_mut()) {
            attributes.copy(supply, "uevent", properties);
        }
        for (property, divisor, name, help) in FAMILIES {
            let mut family = samples.sparse(name, Gauge, help);
            for (supply, properties) in supplies.iter().zip(properties.iter()) {
                if let Some(value) = number(properties, property) {
                    family.push(&[("power_supply", supply)], value / divisor);
                }
            }
        }
        let help = "What a power supply says of itself in words, always 1.";
        let mut family = samples.sparse("node_power_supply_info", Gauge, help);
        for (supply, properties) in supplies.iter().zip(properties.iter()) {
            let labels = TEXTS.map(|(label, property)| match label {
                "power_supply" => (label, supply),
                label => (label, assigned(properties, PREFIX, property).unwrap_or_default().trim()),
            });
            family.push(&labels, 1.0);
        }
        Ok(())
    }
}

/// A property that is a number; one that is not is as good as none.
fn number(properties: &str, property: &str) -> Option<f64> {
    assigned(properties, PREFIX, property)?.trim().parse::<i64>().ok().map(|value| value as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_has_a_number_or_none(content in any::<String>()) {
            for (property, ..) in FAMILIES {
                let _ = number(&content, property);
            }
        }

        #[test]
        fn any_number_is_read(value in any::<i64>()) {
            let content = format!("POWER_SUPPLY_NAME=BAT0\nPOWER_SUPPLY_TEMP_MAX=1\nPOWER_SUPPLY_TEMP={value}\n");
            prop_assert_eq!(number(&content, "TEMP"), Some(value as f64));
        }
    }
}

//! Which operating system this is, from os-release below the host's root directory. Source: os-release(5).

use std::path::PathBuf;

use hostwatch_wire::MetricType::Gauge;

use crate::linux::os_release;
use crate::refresh::{FACTS_AGE, Refresh};
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "os",
    collector: "os",
    about: "name and version of the operating system, from /etc/os-release",
    on_by_default: true,
    build: |roots, _| {
        let values = VARIABLES.map(|_| String::new());
        Ok(Box::new(Os {
            rootfs: roots.rootfs.clone(),
            refresh: Refresh::every(FACTS_AGE),
            content: Vec::new(),
            known: Vec::new(),
            values,
            version: None,
        }))
    },
};

/// Label and variable, in the order of the labels.
const VARIABLES: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];
/// The labels of the version, by their places in [`VARIABLES`].
const VERSION_LABELS: [usize; 3] = [1, 2, 5];
const VERSION_ID: usize = 11;

struct Os {
    rootfs: PathBuf,
    refresh: Refresh,
    content: Vec<u8>,
    /// The content that the values below come from.
    known: Vec<u8>,
    values: [String; VARIABLES.len()],
    version: Option<f64>,
}

impl Plugin for Os {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        if self.refresh.is_due() {
            if !os_release::read(&self.rootfs, &mut self.content) {
                return Ok(());
            }
            self.refresh.done();
        }
        if self.content != self.known {
            self.known.clone_from(&self.content);
            let text = String::from_utf8_lossy(&self.known);
            self.values = VARIABLES.map(|(_, variable)| os_release::value(&text, variable));
            self.version = major_minor(&self.values[VERSION_ID]);
        }
        let label = |index: usize| (VARIABLES[index].0, self.values[index].as_str());
        let labels: [_; VARIABLES.len()] = std::array::from_fn(label);
        samples.family("node_os_info", Gauge, "What os-release says about the operating system, always 1.");
        samples.push(&labels, 1.0);
        if let Some(version) = self.version {
            samples.family("node_os_version", Gauge, "The first two numbers of the operating system's version.");
            samples.push(&VERSION_LABELS.map(label), version);
        }
        Ok(())
    }
}

/// The number that a version such as `22.04.1` begins with; none where there is no such, or it is 0.
fn major_minor(version: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major = digits(version);
    let end = match version[major..].strip_prefix('.') {
        Some(minor) => major + 1 + digits(minor),
        None => major,
    };
    version[..end].parse().ok().filter(|version: &f64| *version > 0.0 && version.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions() {
        for (version, expected) in [
            ("12", Some(12.0)),
            ("22.04.1", Some(22.04)),
            ("7.", Some(7.0)),
            ("", None),
            ("v1", None),
            (".5", Some(0.5)),
        ] {
            assert_eq!(major_minor(version), expected, "{version:?}");
        }
        assert_eq!((major_minor("0"), major_minor("."), major_minor(&"9".repeat(400))), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_version_is_a_number_or_none(version in "[0-9.a-zü]{0,9}") {
            let _ = major_minor(&version);
        }

        #[test]
        fn any_content_has_values(content in any::<String>()) {
            for (_, variable) in VARIABLES {
                let _ = os_release::value(&content, variable);
            }
        }
    }
}

//! A folder that is seen as a machine: `{parameters.toml,proc/…,sys/…,root/…,textfile/…}`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hostwatch_plugins::{Access, Allowed, Descriptor, Directory, Plugin, Roots};
use hostwatch_wire::Parameters;

/// The plugin over the folder `case`, with the parameters that the case has for it.
pub(crate) fn build(descriptor: &Descriptor, case: &Path) -> Box<dyn Plugin> {
    let roots = Roots { procfs: case.join("proc"), sysfs: case.join("sys"), rootfs: case.join("root") };
    let textfile = Directory { path: case.join("textfile"), is_optional: true };
    let allowed = Allowed { textfile: [("default".to_owned(), textfile)].into(), ..Allowed::default() };
    let parameters = case.join("parameters.toml");
    let parameters: Parameters = match parameters.exists() {
        true => toml::from_str(&fs::read_to_string(parameters).unwrap()).unwrap(),
        false => Parameters::new(),
    };
    descriptor.build(&Access { roots, allowed, ..Access::default() }, &parameters, Duration::MAX).unwrap()
}

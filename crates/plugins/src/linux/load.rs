//! Load averages from /proc/loadavg. Source: proc_loadavg(5).

use hostwatch_wire::MetricType;

use crate::linux::fields::{Malformed, decimal, fields, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "load",
    collector: "loadavg",
    about: "load averages over 1, 5 and 15 minutes, from /proc/loadavg",
    on_by_default: true,
    build: |roots, _| Ok(Box::new(Load { file: KernelFile::of_short_lines(roots.procfs.join("loadavg")) })),
};

struct Load {
    file: KernelFile,
}

impl Plugin for Load {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let [one, five, fifteen] = self.file.parse(parse)?;
        samples.family("node_load1", MetricType::Gauge, "Tasks that run or wait, averaged over 1 minute.");
        samples.push(&[], one);
        samples.family("node_load5", MetricType::Gauge, "Tasks that run or wait, averaged over 5 minutes.");
        samples.push(&[], five);
        samples.family("node_load15", MetricType::Gauge, "Tasks that run or wait, averaged over 15 minutes.");
        samples.push(&[], fifteen);
        Ok(())
    }
}

fn parse(content: &[u8]) -> Result<[f64; 3], Malformed> {
    let line = lines(content).next().unwrap_or(Ok(b""))?;
    let mut fields = fields(line);
    let mut next = || decimal(fields.next().ok_or_else(|| Malformed::new("three load averages", line))?);
    Ok([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_loads_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content);
        }

        #[test]
        fn any_load_is_read(loads in any::<[u32; 3]>()) {
            let [a, b, c] = loads.map(|load| f64::from(load) / 100.0);
            let content = format!("{a:.2} {b:.2} {c:.2} 1/90 13211\n");
            prop_assert_eq!(parse(content.as_bytes()), Ok([a, b, c]));
        }
    }
}

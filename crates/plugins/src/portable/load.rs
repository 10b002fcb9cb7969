//! Load averages, as sysinfo tells them.

use sysinfo::System;

use super::unknown;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "load",
    collector: "loadavg",
    about: "load averages over 1, 5 and 15 minutes, through sysinfo",
    on_by_default: true,
    build: |_, _| Ok(Box::new(Load)),
};

struct Load;

impl Plugin for Load {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let load = System::load_average().map_err(unknown("the load"))?;
        samples.gauge("node_load1", "Tasks that run or wait, averaged over 1 minute.", load.one);
        samples.gauge("node_load5", "Tasks that run or wait, averaged over 5 minutes.", load.five);
        samples.gauge("node_load15", "Tasks that run or wait, averaged over 15 minutes.", load.fifteen);
        Ok(())
    }
}

//! The memory of this very process, as sysinfo tells it.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::begun;
use crate::CollectError;

pub(crate) struct Resident {
    system: Option<System>,
}

impl Resident {
    pub(crate) fn new() -> Self {
        Self { system: None }
    }

    /// What of it is in memory, in bytes.
    pub(crate) fn bytes(&mut self) -> Result<u64, CollectError> {
        let system = begun(&mut self.system)?;
        let own = Pid::from_u32(std::process::id());
        let refresh = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), true, refresh);
        let process = system.process(own).map(sysinfo::Process::memory);
        process.ok_or(CollectError::Unknown { what: "the client's memory", why: "sysinfo finds no process".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_not_all_of_it() {
        let bytes = Resident::new().bytes().unwrap();
        let mut system = System::new().unwrap();
        system.refresh_memory();
        assert!((100_000..system.total_memory()).contains(&bytes), "{bytes}");
    }
}

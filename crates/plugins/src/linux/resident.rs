//! The memory of this very process, wherever the host is seen. Source: proc_pid_statm(5).

use crate::CollectError;
use crate::linux::fields::{Malformed, fields, integer};
use crate::linux::kernel_file::KernelFile;

pub(crate) struct Resident {
    file: KernelFile,
}

impl Resident {
    pub(crate) fn new() -> Self {
        Self { file: KernelFile::of_short_lines("/proc/self/statm".into()) }
    }

    /// What of it is in memory, in bytes.
    pub(crate) fn bytes(&mut self) -> Result<u64, CollectError> {
        Ok(self.file.parse(resident_pages)? * rustix::param::page_size() as u64)
    }
}

/// The second number, in pages.
fn resident_pages(content: &[u8]) -> Result<u64, Malformed> {
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    fields(line).nth(1).ok_or_else(|| Malformed::new("seven numbers", content)).and_then(integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_the_second_number() {
        assert_eq!(resident_pages(b"100 25 3 4 0 5 0\n"), Ok(25));
        assert!(
            resident_pages(b"100\n").is_err() && resident_pages(b"").is_err() && resident_pages(b"1 -2\n").is_err()
        );
    }
}

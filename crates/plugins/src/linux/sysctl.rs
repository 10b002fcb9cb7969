//! Files with a single number in them, as /proc/sys has them.

use crate::CollectError;
use crate::linux::fields::{Malformed, integer};
use crate::linux::kernel_file::KernelFile;

/// The number in a file; none where the machine has no such file.
pub(crate) fn number(file: &mut KernelFile) -> Result<Option<f64>, CollectError> {
    file.parse_if_present(parse)
}

fn parse(content: &[u8]) -> Result<f64, Malformed> {
    match content.trim_ascii() {
        b"" => Err(Malformed::new("a number", content)),
        trimmed => integer(trimmed).map(|value| value as f64),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_a_number_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content);
        }

        #[test]
        fn any_number_is_read(value in any::<u64>()) {
            prop_assert_eq!(parse(format!("{value}\n").as_bytes()), Ok(value as f64));
        }
    }
}

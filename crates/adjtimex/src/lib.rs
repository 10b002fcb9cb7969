//! What the kernel says of its clock: adjtimex(2), only ever asked.
//!
//! This is the one crate here with an `unsafe` block: no crate that is widely used offers the call as a safe one that
//! hands out the whole answer.

use std::io;

pub use libc::{STA_NANO, timex};

/// What the kernel answers.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Whether something keeps the clock in step with others.
    pub is_synchronized: bool,
    /// The figures, in the units of adjtimex(2).
    pub timex: timex,
}

/// Asks for the state of the clock, and changes nothing. It needs no privilege; a sandbox may forbid it all the same.
///
/// # Errors
/// What the kernel says.
#[expect(unsafe_code, reason = "a call of the C library that takes a pointer")]
pub fn read() -> io::Result<Answer> {
    // SAFETY: `timex` is a C struct of integers, of which zeros are values. The call writes into it and nowhere else,
    // and it lives longer than the call. Zero in `modes`, so the kernel only reads.
    let (state, timex) = unsafe {
        let mut timex: timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    match state {
        -1 => Err(io::Error::last_os_error()),
        state => Ok(Answer { is_synchronized: state != libc::TIME_ERROR, timex }),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_answers_and_has_a_tick() {
        let answer = super::read().unwrap();
        // adjtimex(2) lets nobody set it further off than by a tenth.
        let usual = 1_000_000 / 100;
        assert!((usual * 9 / 10..=usual * 11 / 10).contains(&answer.timex.tick), "{answer:?}");
    }
}

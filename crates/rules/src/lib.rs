//! How data is judged: PromQL with Prometheus 3's semantics over series in memory. An [`Expression`] is checked once,
//! bound to a set of series once for each set ([`Plan`]), and then evaluated on numbers alone. No I/O, no clock: the
//! time of an evaluation is passed in, the samples come through [`Samples`].

mod aggregate;
mod binary;
mod bind;
mod compile;
mod error;
mod expression;
mod function;
mod history;
mod labels;
mod locate;
mod outcome;
mod plan;
mod range;
mod sample;
mod token;

pub use error::{EvaluationError, ParseError};
pub use expression::{Expression, LOOKBACK, Selector, ValueType};
pub use history::{History, MAX_ROWS, MISSING};
pub use labels::Labels;
pub use outcome::{Outcome, Outcomes};
pub use plan::{MAX_SLOTS, Plan, PlanKey, Scratch};
pub use sample::{STALE, Sample, Samples, is_stale};
pub use token::{MAX_LENGTH, MAX_OPERATORS};

//! A sample, and where an evaluation gets its samples from.

/// The value that marks the end of a series, as Prometheus writes it: a NaN with a payload of its own.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is [`STALE`]; an ordinary NaN is not.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

/// One value of one series at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The value; never [`STALE`] where samples are handed to an evaluation.
    pub value: f64,
}

/// The samples of a set of series, each known by a key.
pub trait Samples<K> {
    /// The newest sample in (after, until]; a stale marker there means none.
    fn newest(&self, key: K, after_ms: i64, until_ms: i64) -> Option<Sample>;

    /// Appends the samples in (after, until], oldest first, without stale markers.
    fn range(&self, key: K, after_ms: i64, until_ms: i64, out: &mut Vec<Sample>);
}

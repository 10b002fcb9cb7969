//! The functions and aggregations of PromQL that there are here, by name.

/// Makes one value of the samples in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeFunction {
    Avg,
    Changes,
    Count,
    Delta,
    Deriv,
    Idelta,
    Increase,
    Irate,
    Last,
    Max,
    Min,
    PredictLinear,
    Present,
    Quantile,
    Rate,
    Resets,
    Stddev,
    Stdvar,
    Sum,
}

/// Makes one value of one value, and of a scalar or two for some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapFunction {
    Abs,
    Ceil,
    Clamp,
    ClampMax,
    ClampMin,
    Exp,
    Floor,
    Ln,
    Log10,
    Log2,
    Negate,
    /// The parameter, whatever the value is.
    Replace,
    Round,
    Sgn,
    Sqrt,
}

/// Makes one value of the values of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Avg,
    Count,
    Group,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Absent,
    AbsentOverTime,
    Map(MapFunction),
    Range(RangeFunction),
    Scalar,
    Time,
    Timestamp,
    Vector,
}

impl Function {
    /// The function of a name; names of functions are in lower case only.
    pub(crate) fn of(name: &str) -> Option<Self> {
        use Function::{Map, Range};
        Some(match name {
            "abs" => Map(MapFunction::Abs),
            "absent" => Self::Absent,
            "absent_over_time" => Self::AbsentOverTime,
            "avg_over_time" => Range(RangeFunction::Avg),
            "ceil" => Map(MapFunction::Ceil),
            "changes" => Range(RangeFunction::Changes),
            "clamp" => Map(MapFunction::Clamp),
            "clamp_max" => Map(MapFunction::ClampMax),
            "clamp_min" => Map(MapFunction::ClampMin),
            "count_over_time" => Range(RangeFunction::Count),
            "delta" => Range(RangeFunction::Delta),
            "deriv" => Range(RangeFunction::Deriv),
            "exp" => Map(MapFunction::Exp),
            "floor" => Map(MapFunction::Floor),
            "idelta" => Range(RangeFunction::Idelta),
            "increase" => Range(RangeFunction::Increase),
            "irate" => Range(RangeFunction::Irate),
            "last_over_time" => Range(RangeFunction::Last),
            "ln" => Map(MapFunction::Ln),
            "log10" => Map(MapFunction::Log10),
            "log2" => Map(MapFunction::Log2),
            "max_over_time" => Range(RangeFunction::Max),
            "min_over_time" => Range(RangeFunction::Min),
            "predict_linear" => Range(RangeFunction::PredictLinear),
            "present_over_time" => Range(RangeFunction::Present),
            "quantile_over_time" => Range(RangeFunction::Quantile),
            "rate" => Range(RangeFunction::Rate),
            "resets" => Range(RangeFunction::Resets),
            "round" => Map(MapFunction::Round),
            "scalar" => Self::Scalar,
            "sgn" => Map(MapFunction::Sgn),
            "sqrt" => Map(MapFunction::Sqrt),
            "stddev_over_time" => Range(RangeFunction::Stddev),
            "stdvar_over_time" => Range(RangeFunction::Stdvar),
            "sum_over_time" => Range(RangeFunction::Sum),
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "vector" => Self::Vector,
            _ => return None,
        })
    }
}

impl Aggregation {
    /// The aggregation of a name; in whatever case, because these are keywords.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "avg" => Self::Avg,
            "count" => Self::Count,
            "group" => Self::Group,
            "max" => Self::Max,
            "min" => Self::Min,
            "quantile" => Self::Quantile,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "sum" => Self::Sum,
            _ => return None,
        })
    }
}

impl MapFunction {
    /// `parameters` are the scalars behind the vector, in their order. No value means that the series is dropped.
    pub(crate) fn apply(self, value: f64, parameters: [Option<f64>; 2]) -> Option<f64> {
        let parameter = |index: usize, default: f64| parameters[index].unwrap_or(default);
        Some(match self {
            Self::Abs => value.abs(),
            Self::Ceil => value.ceil(),
            Self::Clamp => return clamp(value, parameter(0, f64::NAN), parameter(1, f64::NAN)),
            Self::ClampMax => return clamp(value, f64::NEG_INFINITY, parameter(0, f64::NAN)),
            Self::ClampMin => return clamp(value, parameter(0, f64::NAN), f64::INFINITY),
            Self::Exp => value.exp(),
            Self::Floor => value.floor(),
            Self::Ln => value.ln(),
            Self::Log10 => value.log10(),
            Self::Log2 => value.log2(),
            Self::Negate => -value,
            Self::Replace => parameter(0, f64::NAN),
            Self::Round => {
                // Ties go up; the inverse is what Prometheus multiplies with, for fewer errors in the last digits.
                let inverse = 1.0 / parameter(0, 1.0);
                (value * inverse + 0.5).floor() / inverse
            }
            Self::Sgn if value > 0.0 => 1.0,
            Self::Sgn if value < 0.0 => -1.0,
            Self::Sgn => value,
            Self::Sqrt => value.sqrt(),
        })
    }
}

fn clamp(value: f64, min: f64, max: f64) -> Option<f64> {
    if max < min { None } else { Some(go_max(min, go_min(max, value))) }
}

/// Go's minimum: unlike Rust's it is NaN when either is, except that an infinite one wins.
fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// Go's maximum, likewise.
fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

//! The values of a service's series: one little-endian `f64` (IEEE 754 binary64) each, back to back.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

const WIDTH: usize = size_of::<f64>();

/// Values that are still in the message they came in.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    /// Writes `values` to `buffer`, replacing what it held, and returns them from there.
    pub fn encode(values: &[f64], buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        Self(buffer)
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len() / WIDTH
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values in the order of the layout's series.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = f64> + 'a {
        let (chunks, _) = self.0.as_chunks::<WIDTH>();
        chunks.iter().map(|chunk| f64::from_le_bytes(*chunk))
    }
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        if bytes.len() % WIDTH != 0 {
            return Err(D::Error::custom(format_args!("{} bytes are no list of 8-byte values", bytes.len())));
        }
        Ok(Self(bytes))
    }
}

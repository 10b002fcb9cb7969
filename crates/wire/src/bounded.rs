//! Deserializers that refuse a value before they allocate more for it than its field allows.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The largest whole number that every reader of our figures, `f64` in Prometheus among them, holds exactly.
pub(crate) const MAX_EXACT: u64 = 1 << 53;

/// Bytes of a map's key.
const MAX_KEY_BYTES: usize = 200;

/// A sequence number, a time in milliseconds or a revision number: at most 2^53.
pub(crate) fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if value > MAX_EXACT {
        return Err(D::Error::custom(format_args!("{value} is above 2^53")));
    }
    Ok(value)
}

/// A string of at most `MAX` bytes.
pub(crate) fn text<'de, D: Deserializer<'de>, const MAX: usize>(deserializer: D) -> Result<String, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    check_length::<D::Error>(text.len(), MAX)?;
    Ok(text.to_owned())
}

/// A borrowed string of at most `MAX` bytes.
pub(crate) fn borrowed_text<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<&'de str, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    check_length::<D::Error>(text.len(), MAX)?;
    Ok(text)
}

/// A borrowed string of at most `MAX` bytes, or nothing.
pub(crate) fn optional_text<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Option<&'de str>, D::Error> {
    let text = <Option<&str>>::deserialize(deserializer)?;
    check_length::<D::Error>(text.map_or(0, str::len), MAX)?;
    Ok(text)
}

/// A list of at most `MAX` elements.
pub(crate) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            check_length::<A::Error>(seq.size_hint().unwrap_or(0), MAX)?;
            // Grown by what really arrives: a length is a claim, the elements are the proof.
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element()? {
                check_length::<A::Error>(elements.len() + 1, MAX)?;
                elements.push(element);
            }
            Ok(elements)
        }
    }

    deserializer.deserialize_seq(List::<T, MAX>(PhantomData))
}

/// A map of at most `MAX` entries with keys of at most 200 bytes; a key that comes twice is refused.
pub(crate) fn map<'de, D, V, const MAX: usize>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Map<V, const MAX: usize>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for Map<V, MAX> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a map of at most {MAX} entries")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeMap<String, V>, A::Error> {
            check_length::<A::Error>(map.size_hint().unwrap_or(0), MAX)?;
            let mut entries = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<&str, V>()? {
                check_length::<A::Error>(entries.len() + 1, MAX)?;
                check_length::<A::Error>(key.len(), MAX_KEY_BYTES)?;
                if entries.insert(key.to_owned(), value).is_some() {
                    return Err(A::Error::custom(format_args!("key {key:?} comes twice")));
                }
            }
            Ok(entries)
        }
    }

    deserializer.deserialize_map(Map::<V, MAX>(PhantomData))
}

fn check_length<E: Error>(length: usize, max: usize) -> Result<(), E> {
    if length > max {
        return Err(E::custom(format_args!("length {length} is above the limit of {max}")));
    }
    Ok(())
}

//! A number that a scenario fixes, or that each seed draws from a range.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

impl Span {
    /// Always `value`.
    pub const fn fixed(value: u64) -> Span {
        Span { min: value, max: value }
    }

    /// From `min` to `max`, both included.
    ///
    /// # Panics
    /// If `min` is greater than `max`.
    pub const fn new(min: u64, max: u64) -> Span {
        assert!(min <= max, "a span goes upwards");
        Span { min, max }
    }

    /// The number of this span that `draw`, any u64, stands for.
    pub fn pick(self, draw: u64) -> u64 {
        let width = u128::from(self.max - self.min) + 1;
        let offset = (u128::from(draw) * width) >> 64;
        self.min + u64::try_from(offset).expect("an offset below a u64's width is a u64")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.min == self.max {
            return serializer.serialize_u64(self.min);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("min", &self.min)?;
        map.serialize_entry("max", &self.max)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl<'de> Visitor<'de> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or { min = A, max = B }")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Span, E> {
        Ok(Span::fixed(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Span, E> {
        u64::try_from(value).map(Span::fixed).map_err(|_| E::custom("a number takes 0 or more"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Span, A::Error> {
        let (mut min, mut max) = (None, None);
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "min" => min = Some(map.next_value()?),
                "max" => max = Some(map.next_value()?),
                other => return Err(A::Error::unknown_field(other, &["min", "max"])),
            }
        }
        let min = min.ok_or_else(|| A::Error::missing_field("min"))?;
        let max = max.ok_or_else(|| A::Error::missing_field("max"))?;
        if min > max {
            return Err(A::Error::custom("`min` takes at most what `max` has"));
        }
        Ok(Span { min, max })
    }
}

//! Messages of etcd's contract as JSON and back: field by field, under their names in etcd's `.proto` files.
//!
//! A field that has its default value is left out. Bytes are a string if they are text, else `{"base64": "..."}`; a
//! number may be given as a string of decimal digits too; enumerations go by their names. A field that does not exist
//! is refused, so that a misspelt one is not taken for a default.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

/// Why a value is not what it should be: where in it, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The way to the place from the outside in, dotted; empty for the value itself.
    place: String,
    what: String,
}

impl Wrong {
    /// The value itself should be something else.
    pub(super) fn new(what: impl Into<String>) -> Wrong {
        Wrong { place: String::new(), what: what.into() }
    }

    /// The same, seen from one level further out.
    pub(super) fn inside(mut self, field: &str) -> Wrong {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{field}{dot}{}", self.place);
        self
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let colon = if self.place.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.place, self.what)
    }
}

/// Something that can stand in a file.
pub(super) trait Json: Sized {
    /// Whether it is what a reader takes it for when it is left out.
    fn is_default(&self) -> bool;

    /// As JSON.
    fn to_json(&self) -> Value;

    /// From JSON.
    fn from_json(value: &Value) -> Result<Self, Wrong>;
}

/// What a value is, for those who expected something else.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The fields of an object.
pub(super) fn fields(value: &Value) -> Result<&Map<String, Value>, Wrong> {
    value.as_object().ok_or_else(|| Wrong::new(format!("it is {}, not an object", kind(value))))
}

/// The complaint about a field that does not exist.
pub(super) fn unknown_field(name: &str, allowed: &[&str]) -> Wrong {
    Wrong::new(format!("there is no field '{name}' here; there are {}", allowed.join(", ")))
}

/// The only field of an object, of those that are told apart by which one there is.
pub(super) fn only_field<'a>(value: &'a Value, allowed: &[&str]) -> Result<(&'a str, &'a Value), Wrong> {
    let fields = fields(value)?;
    let mut all = fields.iter();
    match (all.next(), all.next()) {
        (Some((name, value)), None) => Ok((name, value)),
        _ => Err(Wrong::new(format!("it has {} fields, not one of {}", fields.len(), allowed.join(", ")))),
    }
}

impl Json for Bytes {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn to_json(&self) -> Value {
        match std::str::from_utf8(self) {
            Ok(text) => Value::from(text),
            Err(_) => Value::Object(Map::from_iter([("base64".to_string(), Value::from(STANDARD.encode(self)))])),
        }
    }

    fn from_json(value: &Value) -> Result<Bytes, Wrong> {
        let form = || Wrong::new("bytes are a string if they are text, else {\"base64\": \"...\"}");
        if let Value::String(text) = value {
            return Ok(Bytes::copy_from_slice(text.as_bytes()));
        }
        let (name, coded) = only_field(value, &["base64"]).map_err(|_| form())?;
        let coded = coded.as_str().filter(|_| name == "base64").ok_or_else(form)?;
        STANDARD.decode(coded).map(Bytes::from).map_err(|error| Wrong::new(error.to_string()).inside("base64"))
    }
}

macro_rules! numbers {
    ($($type:ty, $as:ident, $form:literal;)*) => {$(
        impl Json for $type {
            fn is_default(&self) -> bool {
                *self == 0
            }

            fn to_json(&self) -> Value {
                Value::from(*self)
            }

            fn from_json(value: &Value) -> Result<$type, Wrong> {
                let number = match value {
                    Value::Number(number) => number.$as().and_then(|number| number.try_into().ok()),
                    Value::String(digits) => digits.parse().ok(),
                    _ => None,
                };
                number.ok_or_else(|| Wrong::new(format!("{} is {value}, not {}", kind(value), $form)))
            }
        }
    )*};
}

numbers! {
    i64, as_i64, "a whole number of 64 bits";
    u64, as_u64, "a whole number of 64 bits that is not negative";
    u32, as_u64, "a whole number of 32 bits that is not negative";
}

impl Json for bool {
    fn is_default(&self) -> bool {
        !*self
    }

    fn to_json(&self) -> Value {
        Value::from(*self)
    }

    fn from_json(value: &Value) -> Result<bool, Wrong> {
        value.as_bool().ok_or_else(|| Wrong::new(format!("it is {}, not true or false", kind(value))))
    }
}

impl Json for String {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn to_json(&self) -> Value {
        Value::from(self.as_str())
    }

    fn from_json(value: &Value) -> Result<String, Wrong> {
        value.as_str().map(str::to_string).ok_or_else(|| Wrong::new(format!("it is {}, not a string", kind(value))))
    }
}

impl<T: Json> Json for Option<T> {
    fn is_default(&self) -> bool {
        self.is_none()
    }

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, Json::to_json)
    }

    fn from_json(value: &Value) -> Result<Option<T>, Wrong> {
        T::from_json(value).map(Some)
    }
}

impl<T: Json> Json for Vec<T> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn to_json(&self) -> Value {
        Value::Array(self.iter().map(Json::to_json).collect())
    }

    fn from_json(value: &Value) -> Result<Vec<T>, Wrong> {
        each(value, T::from_json)
    }
}

/// What `one` makes of each element of an array.
pub(super) fn each<T>(value: &Value, one: impl Fn(&Value) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    let all = value.as_array().ok_or_else(|| Wrong::new(format!("it is {}, not an array", kind(value))))?;
    let at = |(place, value)| one(value).map_err(|wrong| wrong.inside(&format!("[{place}]")));
    all.iter().enumerate().map(at).collect()
}

/// An enumeration of protobuf's by its name. A number that has no name stays a number: a client may have sent it.
pub(super) fn enumeration(number: i32, name: Option<&'static str>) -> Value {
    name.map_or_else(|| Value::from(number), Value::from)
}

/// The number of an enumeration's value, from its name or the number itself.
pub(super) fn enumerated(value: &Value, number_of: impl Fn(&str) -> Option<i32>) -> Result<i32, Wrong> {
    let number = match value {
        Value::String(name) => number_of(name),
        Value::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
        _ => None,
    };
    number.ok_or_else(|| Wrong::new(format!("{value} is not the name of a value that etcd knows here")))
}

/// How a message of these fields stands in a file: `field` under its own name, or under the one that is given after
/// `=`; `as` an enumeration, which prost keeps as a number, or `: [...]` many of them. The list has to be complete.
macro_rules! message {
    ($($type:path { $($field:ident $(= $name:literal)? $(as $enumeration:path)? $(: [$each:path])?),* $(,)? })*) => {$(
        impl Json for $type {
            fn is_default(&self) -> bool {
                *self == Self::default()
            }

            fn to_json(&self) -> Value {
                // A field that is added to the message has to be added here.
                let $type { $($field),* } = self;
                #[allow(unused_mut, reason = "a message may have no fields")]
                let mut object = Map::new();
                $(if let Some(value) = message!(@give $field $(, as $enumeration)? $(, of $each)?) {
                    object.insert(message!(@name $field $($name)?).to_string(), value);
                })*
                Value::Object(object)
            }

            fn from_json(value: &Value) -> Result<Self, Wrong> {
                const NAMES: &[&str] = &[$(message!(@name $field $($name)?)),*];
                #[allow(unused_mut, reason = "a message may have no fields")]
                let mut message = Self::default();
                for (name, _value) in fields(value)? {
                    match name.as_str() {
                        $(its if its == message!(@name $field $($name)?) => {
                            let taken = message!(@take _value $(, as $enumeration)? $(, of $each)?);
                            message.$field = taken.map_err(|wrong| wrong.inside(name))?;
                        })*
                        other => return Err(unknown_field(other, NAMES)),
                    }
                }
                Ok(message)
            }
        }
    )*};
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
    (@give $field:ident) => { (!Json::is_default($field)).then(|| Json::to_json($field)) };
    (@give $field:ident, as $enumeration:path) => { (*$field != 0).then(|| message!(@value $field, $enumeration)) };
    (@give $field:ident, of $each:path) => {
        (!$field.is_empty()).then(|| $field.iter().map(|number| message!(@value number, $each)).collect())
    };
    (@value $number:ident, $enumeration:path) => {
        enumeration(*$number, <$enumeration>::try_from(*$number).ok().map(|value| value.as_str_name()))
    };
    (@take $value:ident) => { Json::from_json($value) };
    (@take $value:ident, as $enumeration:path) => {
        enumerated($value, |name| <$enumeration>::from_str_name(name).map(i32::from))
    };
    (@take $value:ident, of $each:path) => {
        each($value, |value| message!(@take value, as $each))
    };
}

pub(super) use message;

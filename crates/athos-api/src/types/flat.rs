//! An object without parts, as webhooks are: its texts are read where they stand in the body, and of objects and lists in
//! it only that they are there. Most webhooks are read for a few short texts, while Athos waits.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{TextFields, describe};

/// The fields of such an object. Of two with the same name the later one counts.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(super) struct FlatFields<'b>(#[serde(borrow)] BTreeMap<Name<'b>, Shape<'b>>);

/// A `Cow` that borrows, where serde's own copies.
#[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(transparent)]
struct Name<'b>(#[serde(borrow)] Cow<'b, str>);

impl Borrow<str> for Name<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'b> FlatFields<'b> {
    pub(super) fn read(body: &'b str) -> Result<Self, String> {
        serde_json::from_str(body).map_err(|error| describe(&error))
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name)? {
            Shape::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Shape<'b>)> {
        self.0.iter().map(|(name, value)| (&*name.0, value))
    }
}

impl TextFields for FlatFields<'_> {
    fn get_text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.text()
    }
}

/// A value of a field, without the parts of it.
pub(super) enum Shape<'b> {
    Null,
    Flag(bool),
    Number,
    Text(Cow<'b, str>),
    List,
    Object,
}

impl Shape<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'b> From<&'b Value> for Shape<'b> {
    fn from(value: &'b Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(_) => Self::Number,
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(_) => Self::List,
            Value::Object(_) => Self::Object,
        }
    }
}

impl<'de> Deserialize<'de> for Shape<'de> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Shape<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E: Error>(self) -> Result<Shape<'de>, E> {
                Ok(Shape::Null)
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Shape<'de>, E> {
                Ok(Shape::Flag(flag))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Shape<'de>, E> {
                Ok(Shape::Number)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Shape<'de>, E> {
                Ok(Shape::Number)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Shape<'de>, E> {
                Ok(Shape::Number)
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Shape<'de>, E> {
                Ok(Shape::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Shape<'de>, E> {
                Ok(Shape::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape<'de>, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Shape::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Shape<'de>, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Shape::Object)
            }
        }
        value.deserialize_any(AnyValue)
    }
}

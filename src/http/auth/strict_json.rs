//! JSON objects without duplicate names. Of two members with one name, parsers take different ones (RFC 7515, section 4), so
//! we might read another value than was checked.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// An object in which no name is there twice, at any depth. A member with half a surrogate pair or a number that is too
/// large is there as an empty list: nothing that is asked for may be one, and the others are what they are.
pub(super) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Members(members)) => Some(members),
        Err(_) => None,
    }
}

const TWICE: &str = "a name is there twice";

struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersReader).map(Self)
    }
}

struct MembersReader;

impl<'de> Visitor<'de> for MembersReader {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut read = Map::new();
        while let Some((name, raw)) = members.next_entry::<String, &RawValue>()? {
            let value = match serde_json::from_str(raw.get()) {
                Ok(Strict(value)) => value,
                // Its place in the object is well-formed, so this is about what is in a text or a number.
                Err(error) if error.is_syntax() => Value::Array(Vec::new()),
                Err(error) => return Err(de::Error::custom(error)),
            };
            if read.insert(name, value).is_some() {
                return Err(de::Error::custom(TWICE));
            }
        }
        Ok(read)
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(read.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, _>()? {
            if read.insert(name, value).is_some() {
                return Err(de::Error::custom(TWICE));
            }
        }
        Ok(read.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_cannot_be_read_costs_itself_and_is_nothing_that_is_asked_for() {
        for unreadable in [r#""Al \ud83d""#, "1e999", r#"{"a":["\udc00"]}"#] {
            let text = format!(r#"{{"sub":"a","name":{unreadable},"exp":1}}"#);
            let read = object(text.as_bytes()).map(Value::Object);
            let expected = serde_json::json!({ "sub": "a", "name": [], "exp": 1 });
            assert_eq!(read, Some(expected), "{text}");
        }
        for text in [
            r#"{"a":"\ud83d","a":1}"#,
            r#"{"a":"\ud83d","b":{"c":1,"c":2}}"#,
            r#"{"a\ud83d":1}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":01}"#,
        ] {
            assert_eq!(object(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_says_each_thing_once_is_read_as_ever_and_anything_else_is_not() {
        let text = r#"{"a":1,"b":-1,"c":1.5,"d":"x","e":null,"f":[true,{"a":[]}],"g":{"a":"\u0061"},"h":18446744073709551615}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(object(text.as_bytes()).map(Value::Object), Some(expected));
        for text in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"sub":"a","sub":"a"}"#,
            r#"{"sub":"a","\u0073ub":"b"}"#,
            r#"{"app":{"id":1,"id":2}}"#,
            r#"{"list":[{"id":1,"id":2}]}"#,
            r#"["a"]"#,
            r#"{"a":1} "#,
            r#"{"a":1}x"#,
            r#"{"a":1"#,
            "\u{feff}{}",
            "",
        ] {
            assert_eq!(
                object(text.as_bytes()).is_some(),
                text.ends_with("} "),
                "{text}"
            );
        }
    }
}

//! Athos's payloads, a file for each concept: the only folder that knows the vendor's field names. It reads both
//! generations into the types of this crate, and ignores unknown fields.

mod call;
mod event;
mod flat;
#[cfg(test)]
mod fuzz;
mod json;
mod known;
mod mint;
#[cfg(test)]
mod odd;
mod refusal;
mod roster;
mod words;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::{Identity, PlatformId, Timestamp};

pub use call::{read_content, read_detail, read_list, read_recording};
pub use event::{NotUnderstood, read_delivery, read_event, write_event};
pub use json::{MAX_VALUES, has_too_many_values};
pub use mint::{MintBody, SessionToken, read_session};
pub use refusal::{RefusalBody, plain_word, read_refusal};
pub use roster::{
    Agency, AgencyBody, AgencyRef, Agent, AgentQuery, ExistingAgent, Handle, NewAgent,
    Registration, read_agency, read_agents, read_registration,
};
pub use words::redact_transcript;

/// Longest id or label that is read, in bytes: our ids are at most 200 characters.
const MAX_LABEL_BYTES: usize = 1024;

/// Longest cursor that is sent back, in bytes: it becomes part of a URL.
const MAX_CURSOR_BYTES: usize = 4096;

/// Room for the fields of most objects: a map that grows is built several times.
const USUAL_FIELDS: usize = 14;

/// Replaces characters that could not be read.
const DAMAGED: char = char::REPLACEMENT_CHARACTER;

/// A JSON object of Athos's. A field of an unexpected type reads as absent, so that one changed field does not cost the
/// rest.
struct Fields(Map<String, Value>);

/// The cursor of a list's next page, if there is one; or why it cannot be used.
pub type NextCursor = Result<Option<String>, &'static str>;

/// A list's rows, or what is wrong with them.
type Rows<T> = Vec<Result<T, String>>;

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields, A::Error> {
                let mut fields = Map::with_capacity(USUAL_FIELDS);
                while let Some((name, value)) = object.next_entry()? {
                    fields.insert(name, value);
                }
                Ok(Fields(fields))
            }
        }
        body.deserialize_map(Object)
    }
}

impl Fields {
    fn read(body: &[u8]) -> Result<Self, String> {
        let body = json::repair(body).map_err(|too_many| too_many.to_string())?;
        serde_json::from_str(&body).map_err(|error| describe(&error))
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    fn take_object(&mut self, name: &str) -> Option<Self> {
        match self.0.remove(name)? {
            Value::Object(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    /// The rows of a list, each with its own result, and the cursor of the next page.
    fn into_page<T>(
        mut self,
        read: impl Fn(Self) -> Result<T, String>,
    ) -> Result<(Rows<T>, NextCursor), String> {
        let next_cursor = match self.0.remove("nextCursor") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(cursor))
                if (1..=MAX_CURSOR_BYTES).contains(&cursor.len()) && !cursor.contains(DAMAGED) =>
            {
                Ok(Some(cursor))
            }
            Some(_) => Err("its cursor cannot be used"),
        };
        let Some(Value::Array(rows)) = self.0.remove("data") else {
            return Err("it has no list of data".to_owned());
        };
        let rows = rows.into_iter().map(|row| match row {
            Value::Object(fields) => read(Self(fields)),
            _ => Err("a row is not an object".to_owned()),
        });
        Ok((rows.collect(), next_cursor))
    }
}

/// What is read of an object's texts, however the object is held.
trait TextFields {
    /// A text as it stands; nothing where another type does.
    fn get_text(&self, name: &str) -> Option<&str>;

    fn text(&self, name: &str) -> Option<String> {
        self.get_text(name).map(str::to_owned)
    }

    /// A short text, such as an id.
    fn label(&self, name: &str) -> Option<String> {
        let text = self.get_text(name)?;
        (text.len() <= MAX_LABEL_BYTES).then(|| text.to_owned())
    }

    /// Athos's id of a call, if it can be a path segment and a key. `.` and `..` would change the path.
    fn call_id(&self, name: &str) -> Option<String> {
        let id = PlatformId::new(self.get_text(name)?).ok()?;
        let is_usable = !id.as_str().contains(DAMAGED) && !matches!(id.as_str(), "." | "..");
        is_usable.then(|| id.into())
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.get_text(name)?.parse().ok()
    }

    /// Both families of ids, whichever generation wrote them.
    fn identity(&self) -> Identity {
        // Two damaged ids may be the same text and different ids.
        let id = |name| self.label(name).filter(|id| !id.contains(DAMAGED));
        let either = |roster, external| id(roster).or_else(|| id(external));
        Identity {
            rep: either("platformAgentId", "externalUserId"),
            agency: either("platformAgencyId", "externalAgencyId"),
            athos_rep: id("agentId"),
            athos_agency: id("agencyId"),
        }
    }

    fn source(&self) -> String {
        self.label("source")
            .unwrap_or_else(|| "roleplay".to_owned())
    }
}

impl TextFields for Fields {
    fn get_text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

/// What is wrong with a JSON text, without quoting it: the parser's own message has values in it, and this is logged.
fn describe(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        Category::Io => "it broke off",
        Category::Syntax => "it is not JSON",
        Category::Data => return "it is not a JSON object".to_owned(),
        Category::Eof => "it ends too early",
    };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}

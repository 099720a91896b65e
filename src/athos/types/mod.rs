//! Athos's payloads: the only folder that knows the vendor's field names, a file for each concept. Reads both generations
//! of the contract and any field it does not know; turns them into the words of `model.rs`.

mod call;
mod event;
#[cfg(test)]
mod fuzz;
mod known;
mod mint;
mod refusal;
mod roster;
mod words;

use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::model::{Identity, Timestamp};

pub use call::read_content;
pub(super) use call::{read_detail, read_list, read_recording};
pub use event::{NotUnderstood, read_delivery, read_event, write_event};
pub(super) use mint::read_session;
pub use mint::{MintBody, SessionToken};
pub(super) use refusal::read_refusal;
pub use roster::{
    Agency, AgencyRef, Agent, AgentQuery, ExistingAgent, Handle, NewAgent, Registration,
};
pub(super) use roster::{AgencyBody, read_agency, read_agents, read_registration};
pub use words::without_words;

/// A JSON object of Athos's. A field that is not of the type we expect reads as absent: the contract may change, and
/// one odd field must not cost us the rest.
struct Fields(Map<String, Value>);

/// A list's rows, or what is wrong with them.
type Rows<T> = Vec<Result<T, String>>;

impl Fields {
    fn read(body: &[u8]) -> Result<Self, String> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err("it is not a JSON object".to_owned()),
            Err(error) => Err(told(&error)),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(str::to_owned)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.0.get(name)?.as_str()?.parse().ok()
    }

    fn take_object(&mut self, name: &str) -> Option<Self> {
        match self.0.remove(name)? {
            Value::Object(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    /// The rows of a list, and where its next page starts.
    /// The rows of a list, each for itself, and where the next page starts.
    fn into_page<T>(
        mut self,
        read: impl Fn(Self) -> Result<T, String>,
    ) -> Result<(Rows<T>, Option<String>), String> {
        let next_cursor = self.text("nextCursor");
        let Some(Value::Array(rows)) = self.0.remove("data") else {
            return Err("it has no list of data".to_owned());
        };
        let rows = rows.into_iter().map(|row| match row {
            Value::Object(fields) => read(Self(fields)),
            _ => Err("a row is not an object".to_owned()),
        });
        Ok((rows.collect(), next_cursor))
    }

    /// Both families of ids, whichever generation wrote them.
    fn identity(&self) -> Identity {
        let either = |roster, external| self.text(roster).or_else(|| self.text(external));
        Identity {
            rep: either("platformAgentId", "externalUserId"),
            agency: either("platformAgencyId", "externalAgencyId"),
            athos_rep: self.text("agentId"),
            athos_agency: self.text("agencyId"),
        }
    }

    fn source(&self) -> String {
        self.text("source").unwrap_or_else(|| "roleplay".to_owned())
    }
}

/// What is wrong with some JSON, without a word of it: the parser's own message quotes values, and this goes to logs.
fn told(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        Category::Io => "it broke off",
        Category::Syntax => "it is not JSON",
        Category::Data => "a field is missing or of another type",
        Category::Eof => "it ends too early",
    };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}

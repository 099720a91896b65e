//! Roles: what a person may see, and how their credentials say it. An unknown role counts as rep, and is logged once, since a
//! manager would see too little.

use std::sync::Once;

use serde::Deserialize;
use serde_json::Value;

/// What a person may see; each sees what the one before does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum Role {
    /// Their own calls.
    Rep,
    /// Their agency's calls.
    Manager,
    /// All calls.
    Admin,
}

impl Role {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "admin" => Some(Self::Admin),
            "manager" => Some(Self::Manager),
            "rep" => Some(Self::Rep),
            _ => None,
        }
    }

    /// The word on the wire.
    #[must_use]
    pub(in crate::http) fn as_str(self) -> &'static str {
        match self {
            Self::Rep => "rep",
            Self::Manager => "manager",
            Self::Admin => "admin",
        }
    }

    /// The highest that is among these words.
    fn highest<'w>(words: impl IntoIterator<Item = &'w str>) -> Option<Self> {
        words.into_iter().filter_map(Self::from_word).max()
    }
}

const UNKNOWN: &str = "it is not rep, manager or admin, nor a list that has one of them";

/// Reads roles from one place of the credentials.
pub(super) struct RoleReader {
    /// Which setting says where, and where that is.
    place: String,
    warned: Once,
}

impl RoleReader {
    pub(super) fn new(setting: &str, name: &str) -> Self {
        Self {
            place: format!("{setting}={name}"),
            warned: Once::new(),
        }
    }

    /// From a claim: a word, or a list of words.
    pub(super) fn of_claim(&self, claim: Option<&Value>) -> Role {
        let role = match claim {
            None | Some(Value::Null) => return Role::Rep,
            Some(Value::String(word)) => Role::from_word(word),
            Some(Value::Array(words)) => Role::highest(words.iter().filter_map(Value::as_str)),
            Some(_) => return self.not_understood("it is neither text nor a list of texts"),
        };
        role.unwrap_or_else(|| self.not_understood(UNKNOWN))
    }

    /// From a header: a word, or words with commas between them, as lists are in headers.
    pub(super) fn of_header(&self, text: Option<&str>) -> Role {
        let Some(text) = text else {
            return Role::Rep;
        };
        Role::highest(text.split(',').map(str::trim))
            .unwrap_or_else(|| self.not_understood(UNKNOWN))
    }

    fn not_understood(&self, why: &'static str) -> Role {
        self.warned.call_once(|| {
            tracing::warn!(
                place = self.place,
                why,
                "a role is not understood and counts as rep; this is logged once"
            );
        });
        Role::Rep
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_several_roles_the_highest_that_is_known_counts_and_no_part_of_a_word() {
        let reader = RoleReader::new("AUTH_CLAIM_ROLE", "role");
        let read = |claim: Value| reader.of_claim(Some(&claim)).as_str();
        assert_eq!(reader.of_claim(None), Role::Rep);
        for (claim, role) in [
            (json!("admin"), "admin"),
            (json!(["rep", "manager"]), "manager"),
            (json!(["offline_access", "admin", "rep"]), "admin"),
            (json!(["manager", 7, null, ["admin"]]), "manager"),
            (json!([]), "rep"),
            (json!(["sales"]), "rep"),
            (json!(["not admin", "Admin", "admin "]), "rep"),
            (json!("assistant manager"), "rep"),
            (json!("rep,admin"), "rep"),
            (json!({ "admin": true }), "rep"),
            (json!(true), "rep"),
        ] {
            assert_eq!(read(claim.clone()), role, "{claim}");
        }
        for (header, role) in [
            ("manager", "manager"),
            ("rep, manager", "manager"),
            ("sales,admin,rep", "admin"),
            ("assistant manager, non-admin", "rep"),
            ("", "rep"),
        ] {
            assert_eq!(reader.of_header(Some(header)).as_str(), role, "{header}");
        }
        assert_eq!(reader.of_header(None), Role::Rep);
    }
}

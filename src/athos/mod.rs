//! The vendor boundary: everything that knows how Athos talks. No other module sees an API key or a vendor
//! field name, and nothing here knows about our own routes or store.

mod client;
pub mod contract;
mod drift;
mod error;
mod keys;
mod record;
mod roster;
mod secrets;
pub mod signature;
pub mod types;

pub use client::{
    ANSWER_DEADLINE, Client, ListQuery, MAX_ANSWER_BYTES, Page, direct_http_client, http_client,
};
pub use drift::DriftWatch;
pub use error::{Blame, Class, Error, Refusal};
pub use roster::{AgencyWas, AgentPage, Whose, npn_digits};
pub use secrets::WebhookSecrets;

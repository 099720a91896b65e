//! Athos for Rust: the signatures of its webhooks, its payloads, and a client of its External API. It speaks both
//! generations of the contract.
//!
//! Verifying a webhook needs no connection and no feature:
//!
//! ```
//! use athos_api::Timestamp;
//! use athos_api::signature::{Verdict, Verifier, sign};
//!
//! let secret = "whsec_example".into();
//! let body = br#"{"event":"call.scored","success":true,"callId":"athos_call_1"}"#;
//! let now: Timestamp = "2026-06-05T18:09:14.000Z".parse()?;
//!
//! let header = sign(&secret, now.as_secs(), body);
//! let verdict = Verifier::new(&[secret]).verify(Some(&header), body, now);
//! assert!(matches!(verdict, Verdict::Valid { .. }));
//!
//! // Only now is the body worth reading.
//! let event = athos_api::types::read_event(body)?;
//! assert_eq!(event.call_id, "athos_call_1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Minting a session token, and fetching a call (feature `client`, on by default):
//!
//! ```no_run
//! # #[cfg(feature = "client")]
//! # async fn mint() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use athos_api::clock::Clock;
//! use athos_api::types::MintBody;
//! use athos_api::{ANSWER_DEADLINE, Client, PlatformId, http_client};
//!
//! let base = "https://app.useathos.ai/api/external/v1".parse()?;
//! let http = http_client("our-product/1.0", &base, ANSWER_DEADLINE)?;
//! let keys = ["ath_live_example".into()];
//! let athos = Client::new(http, &base, &keys, Arc::new(()), Clock::system())?;
//!
//! let rep = PlatformId::new("rep_8842")?;
//! let token = athos.mint(&MintBody::external(&rep, None)).await?;
//! let call = athos.call("athos_call_1").await?;
//! # Ok(())
//! # }
//! ```

mod call;
#[cfg(feature = "client")]
mod client;
pub mod clock;
#[cfg(feature = "client")]
pub mod contract;
mod drift;
#[cfg(feature = "client")]
mod error;
mod id;
#[cfg(feature = "client")]
mod keys;
pub mod local;
#[cfg(feature = "client")]
mod observer;
mod outside;
#[cfg(feature = "client")]
mod roster;
pub mod setting;
pub mod signature;
mod source;
mod string_enum;
mod time;
pub mod types;

pub use call::{CallContent, CallDetail, CallEvent, CallHeader, EventOutcome, Speaker, Turn};
#[cfg(feature = "client")]
pub use client::{
    ANSWER_DEADLINE, CallListPage, Client, ListQuery, MAX_ANSWER_BYTES, direct_http_client,
    failure_text, http_client, retry_after,
};
pub use drift::{Drift, DriftKind, DriftWatch};
#[cfg(feature = "client")]
pub use error::{Blame, Class, Error, Refusal};
pub use id::{
    AGENCY_PREFIX, AGENT_PREFIX, AgentId, BadId, Identity, MAX_ID_CHARS, PlatformId, RepId,
    is_invisible,
};
#[cfg(feature = "client")]
pub use keys::{InvalidKey, KeyState};
#[cfg(feature = "client")]
pub use observer::Observer;
pub use outside::{MAX_OUTSIDE_CHARS, outside_text, outside_text_within};
#[cfg(feature = "client")]
pub use roster::{AgencyChange, AgentOwner, AgentPage, npn_digits};
pub use source::Source;
pub use string_enum::UnknownVariant;
pub use time::{InvalidTime, Timestamp};

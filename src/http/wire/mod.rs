//! The JSON of our routes, which the commands print too. Its types are its own: what is renamed in the model, the store
//! or the worker changes no public field. Each is made of what it shows, in one `From`.

mod audit;
mod call;
mod delivery;
mod event;
mod mint;
mod number;
mod rep;
mod replica;
pub(super) mod schema;

pub(crate) use audit::AuditEntry;
pub(crate) use call::{CallRow, CallStatus, Turn};
pub(crate) use delivery::{DeliveryRow, DeliveryState, Endpoint, PingAnswer, StoredDelivery};
pub(crate) use event::{EventRow, EventState, StoredEvent};
pub(crate) use mint::Mint;
pub(super) use number::plain;
pub(crate) use rep::ErasedRows;
pub(crate) use replica::ReplicasSeen;

/// An enum of the wire with the variants of one of ours.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident of $ours:path { $($(#[$doc:meta])* $variant:ident,)* }
    ) => {
        #[derive(serde::Serialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        $(#[$meta])*
        $visibility enum $name { $($(#[$doc])* $variant,)* }

        impl From<$ours> for $name {
            fn from(ours: $ours) -> Self {
                use $ours as Ours;
                match ours { $(Ours::$variant => Self::$variant,)* }
            }
        }
    };
}
pub(super) use wire_enum;

//! The backend for embedding Athos, AI sales role-play calls: it mints session tokens for a company's reps, receives
//! Athos's signed webhooks without losing one, fetches and keeps the scores, and shows them to the right people only.
//!
//! # The tour
//!
//! Data flows one way: HTTP → inbox → worker → store → readers. Read the modules in this order:
//!
//! 1. [`model`] has the types of the domain, [`clock`] the only way to read the time.
//! 2. [`athos_api`] is the vendor boundary: [`athos_api::signature`] verifies webhooks, [`athos_api::Client`] holds the
//!    keys.
//! 3. [`store`] is the storage, as a trait; behind it, SQLite with one writer that commits in groups.
//! 4. [`worker`] turns events into calls: [`worker::circuit_breaker`] says whether Athos may be asked, [`worker::retry`] when again.
//!    On a database that several replicas share, [`replica`] says which of them does what only one does.
//! 5. [`forward`] sends calls on to the company's own endpoints; it shares `queue` with the worker.
//! 6. `mint` asks for session tokens, in whichever generation of the contract Athos speaks.
//! 7. [`http`] is the HTTP API: routes and layers on one screen, then one file for each resource.
//! 8. [`config`] and [`lifecycle`] put it together, in a `process` that guards its memory; [`cli`] is what people type.
//! 9. [`athos_simulator`] is a stand-in for Athos, reached only over HTTP, as Athos is; `demo` runs both.

pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
mod credentials;
mod demo;
mod export;
pub mod forward;
pub mod http;
pub mod lifecycle;
mod mint;
pub mod model;
mod process;
mod queue;
mod reloadable;
pub mod replica;
pub mod store;
mod telemetry;
pub mod worker;

/// The code of the recipes for forks is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../docs/forking.md")]
mod forking {}

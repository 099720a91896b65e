//! The backend for embedding Athos.

pub mod athos;
pub mod clock;
pub mod config;
pub mod http;
pub mod model;
pub mod simulator;
pub mod store;
pub mod worker;

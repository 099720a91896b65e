//! The backend for embedding Athos.

pub mod athos;
pub mod clock;
pub mod config;
pub mod model;
pub mod simulator;
pub mod store;
pub mod worker;

//! The tour comes last.

pub mod athos;
pub mod clock;
pub mod model;
pub mod simulator;

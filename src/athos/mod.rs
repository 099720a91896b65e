//! The vendor boundary: everything that knows how Athos talks. No other module sees an API key or a vendor field name.

pub mod signature;

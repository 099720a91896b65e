//! How flags and variables write addresses, URLs and secrets. What is wrong is said without the text, which may be a secret.

use std::net::SocketAddr;

use secrecy::SecretString;
use url::Url;

/// An address to listen at.
///
/// # Errors
/// When it is none: with an example.
pub fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    let address = text.trim().parse();
    address.map_err(|_| {
        "not an IP address with a port, such as 127.0.0.1:8080 for this machine only, or 0.0.0.0:8080 for all"
    })
}

/// The whole URL of a receiver, with `http` or `https`.
///
/// # Errors
/// When it is none: with an example.
pub fn parse_url(text: &str) -> Result<Url, &'static str> {
    let url: Option<Url> = text.trim().parse().ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or("not a whole URL, such as http://127.0.0.1:8080/athos/webhook")
}

/// A secret, or an entry of a list of them; blanks around it do not count.
///
/// # Errors
/// When it is blank.
pub fn parse_secret(text: &str) -> Result<SecretString, &'static str> {
    match text.trim() {
        "" => Err(EMPTY),
        text => Ok(text.into()),
    }
}

/// What is wrong with a blank value.
pub const EMPTY: &str = "empty, or has an empty entry";

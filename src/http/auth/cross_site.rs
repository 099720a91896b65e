//! Keeps other sites' pages from acting with a rep's cookie: a browser says where a request comes from, in
//! `Sec-Fetch-Site`, `Origin` and `Referer`, and pages cannot forge any of them.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN, REFERER};
use url::Url;

/// Which origins' pages may act with ambient credentials.
#[derive(Clone)]
pub(super) struct SameSite {
    trusted: Vec<String>,
}

impl SameSite {
    pub(super) fn new(cors_origins: &[String], public_url: Option<&Url>) -> Self {
        let public = public_url.map(|url| url.origin().ascii_serialization());
        Self {
            trusted: cors_origins.iter().cloned().chain(public).collect(),
        }
    }

    /// Whether the page that makes this request may. A client that is not a browser sends neither header, and has no ambient
    /// credentials to steal.
    pub(super) fn allows(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let origin = text(ORIGIN.as_str());
        // Media elements send no `Origin`; what they send in `Referer` a page can leave out, and not make up.
        let page = origin.map(str::to_owned).or_else(|| {
            let referer = Url::parse(text(REFERER.as_str())?).ok()?;
            Some(referer.origin().ascii_serialization())
        });
        if page.is_some_and(|page| self.trusted.contains(&page)) {
            return true;
        }
        match (text("sec-fetch-site"), origin) {
            // Not even a sibling subdomain: it may be somebody else's.
            (Some(site), _) => matches!(site, "same-origin" | "none"),
            (None, None) => true,
            (None, Some(origin)) => {
                let from = origin.split_once("://").map(|(_, authority)| authority);
                from.is_some() && from == text(HOST.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_and_trusted_pages_may_act() {
        let same_site = SameSite::new(
            &["https://app.example.com".to_owned()],
            Some(&Url::parse("https://practice.example.com/x").unwrap()),
        );
        let allows = |pairs: &[(&'static str, &str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            same_site.allows(&headers)
        };
        assert!(allows(&[]));
        assert!(allows(&[("sec-fetch-site", "same-origin")]));
        assert!(allows(&[("sec-fetch-site", "none")]));
        assert!(allows(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://app.example.com")
        ]));
        let media = ("sec-fetch-site", "cross-site");
        assert!(allows(&[
            media,
            ("referer", "https://app.example.com/calls")
        ]));
        assert!(!allows(&[media, ("referer", "https://evil.example/")]));
        assert!(!allows(&[
            media,
            ("referer", "https://app.example.com.evil.example/"),
        ]));
        assert!(!allows(&[
            media,
            ("referer", "https://app.example.com@evil.example/"),
        ]));
        assert!(!allows(&[
            media,
            ("origin", "null"),
            ("referer", "https://app.example.com/"),
        ]));
        assert!(allows(&[("origin", "https://practice.example.com")]));
        assert!(allows(&[
            ("origin", "http://localhost:8080"),
            ("host", "localhost:8080")
        ]));
        assert!(!allows(&[("sec-fetch-site", "cross-site")]));
        assert!(!allows(&[("sec-fetch-site", "same-site")]));
        assert!(!allows(&[
            ("origin", "https://evil.example"),
            ("host", "localhost:8080")
        ]));
        assert!(!allows(&[("origin", "null"), ("host", "null")]));
        assert!(!allows(&[("origin", "http://localhost:8080")]));
    }
}

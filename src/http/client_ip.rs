//! The address of the client: the peer of the connection or, behind a trusted proxy, the address that the proxy names in
//! `X-Forwarded-For`. `Forwarded` is never read: a proxy that does not write it passes on what clients wrote.

use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address at the other end of the connection that a request came through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

impl Peer {
    /// A socket for both families shows IPv4 addresses as mapped IPv6 addresses.
    fn address(self) -> IpAddr {
        self.0.to_canonical()
    }
}

/// The trusted proxies.
#[derive(Clone)]
pub(super) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(super) fn new(trusted: &[IpNet]) -> Self {
        Self(trusted.to_vec())
    }

    pub(super) fn are_named(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the peer is a trusted proxy.
    pub(super) fn sent(&self, request: &Extensions) -> bool {
        let peer = request.get::<Peer>();
        peer.is_some_and(|peer| self.trust(peer.address()))
    }

    /// The client: each proxy appends the address of its peer, and the last one that is not a trusted proxy is the client.
    /// The client may have forged the addresses before it.
    pub(super) fn client(&self, peer: Peer, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.address();
        let mut hops = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
        while self.trust(address) {
            match hops.next().and_then(read_address) {
                Some(before) => address = before,
                None => break,
            }
        }
        address
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// Some proxies add the port, or brackets, or quotes as in `Forwarded`.
fn read_address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    let address = bare.unwrap_or(hop).parse().ok().or_else(|| {
        let with_port: std::net::SocketAddr = hop.parse().ok()?;
        Some(with_port.ip())
    });
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded_for: &[&str]) -> String {
        let trusted: Vec<_> = trusted.iter().map(|range| range.parse().unwrap()).collect();
        let peer = Peer(peer.parse().unwrap());
        let headers = forwarded_for
            .iter()
            .map(|value| (X_FORWARDED_FOR, value.parse().unwrap()))
            .collect();
        Proxies::new(&trusted).client(peer, &headers).to_string()
    }

    #[test]
    fn without_proxies_of_ours_the_peer_is_the_client_whatever_it_says() {
        assert_eq!(client(&[], "203.0.113.7", &["1.1.1.1"]), "203.0.113.7");
        assert_eq!(
            client(&["10.0.0.0/8"], "203.0.113.7", &["10.0.0.1"]),
            "203.0.113.7"
        );
    }

    #[test]
    fn the_client_is_the_first_address_from_the_right_that_is_no_proxy_of_ours() {
        let ours = &["10.0.0.0/8", "fd00::/8"];
        assert_eq!(client(ours, "10.0.0.1", &["198.51.100.9"]), "198.51.100.9");
        // Addresses that the client wrote are further left.
        assert_eq!(
            client(ours, "10.0.0.1", &["1.1.1.1, 198.51.100.9"]),
            "198.51.100.9"
        );
        assert_eq!(
            client(ours, "10.0.0.1", &["1.1.1.1", "198.51.100.9,10.2.0.1"]),
            "198.51.100.9"
        );
        assert_eq!(
            client(ours, "fd00::1", &["[2001:db8::5]:4711"]),
            "2001:db8::5"
        );
        for hop in ["[2001:db8::5]", "\"[2001:db8::5]:4711\"", " [2001:db8::5] "] {
            assert_eq!(client(ours, "fd00::1", &[hop]), "2001:db8::5", "{hop}");
        }
        assert_eq!(
            client(ours, "fd00::1", &["[::ffff:198.51.100.9]"]),
            "198.51.100.9"
        );
        assert_eq!(
            client(ours, "::ffff:10.0.0.1", &["198.51.100.9:80"]),
            "198.51.100.9"
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_client_claims_the_address_is_one_that_a_proxy_saw(claimed in "[ -~]{0,80}") {
            let ours = &["10.0.0.0/8"];
            proptest::prop_assert_eq!(client(&[], "203.0.113.7", &[&claimed]), "203.0.113.7");
            let seen = format!("{claimed}, 198.51.100.9");
            proptest::prop_assert_eq!(client(ours, "10.0.0.1", &[&seen]), "198.51.100.9");
            let _ = client(ours, "10.0.0.1", &[&claimed]);
        }
    }

    #[test]
    fn nonsense_from_a_proxy_leaves_us_with_the_proxy() {
        let ours = &["10.0.0.0/8"];
        assert_eq!(client(ours, "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client(ours, "10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client(ours, "10.0.0.1", &["1.1.1.1, _hidden"]), "10.0.0.1");
        for hop in ["", "[", "[]", "[198.51.100.9", "2001:db8::5]", "[[::1]]"] {
            assert_eq!(client(ours, "10.0.0.1", &[hop]), "10.0.0.1", "{hop}");
        }
    }
}

//! Addresses of this machine, and which URLs lead to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use url::{Host, Url};

/// Where whoever listens at `addr` is asked from the same machine: a container listens everywhere, and is asked here.
#[must_use]
pub fn reachable_addr(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    addr
}

/// Whether a URL leads to this machine without leaving it. No proxy is asked for it: it would look on its own machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    let is_ours = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip.is_unspecified()
    };
    match url.host() {
        Some(Host::Ipv4(ip)) => is_ours(ip.into()),
        Some(Host::Ipv6(ip)) => is_ours(ip.into()),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        let is_loopback =
            |host: &str| is_loopback(&format!("http://{host}:8080/a").parse().unwrap());
        for host in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LOCALHOST.",
            "athos.localhost",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "10.0.0.1",
            "8.8.8.8",
            "[fe80::1]",
            "localhost.example.com",
            "simulator",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

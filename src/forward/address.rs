//! Where messages may be sent. A name is looked up when the connection is made and what it leads to is checked then: a name
//! that was harmless when it was configured cannot lead to a cloud's metadata later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Metadata services that are neither link-local nor reserved, by cloud.
const METADATA: [IpAddr; 4] = [
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's platform.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud, the older address.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS, by IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// How an endpoint may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By TLS; or the host is named in `FORWARD_ALLOW_HTTP`.
    AnyAddress,
    /// Without TLS, so only within a private network or this machine.
    PrivateAddress,
}

/// An address that no message is sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedAddress {
    /// Whatever is configured.
    #[error("{0} is a link-local, metadata or reserved address, to which nothing is sent")]
    Never(IpAddr),
    /// Only by https.
    #[error("{0} is a public address: use https, or name the host in FORWARD_ALLOW_HTTP")]
    NeedsTls(IpAddr),
}

/// Whether messages may go to this address.
///
/// # Errors
/// Why not.
pub fn check(ip: IpAddr, transport: Transport) -> Result<(), RefusedAddress> {
    let ip = embedded(ip);
    if is_never_allowed(ip) {
        return Err(RefusedAddress::Never(ip));
    }
    if transport == Transport::PrivateAddress && !is_private(ip) {
        return Err(RefusedAddress::NeedsTls(ip));
    }
    Ok(())
}

/// The IPv4 address that an IPv6 address stands for, if it does: mapped, or translated on the way (NAT64).
fn embedded(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip.to_canonical() else {
        return ip.to_canonical();
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low]
            if (high, low) != (0, 0) && (high, low) != (0, 1) =>
        {
            Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)).into()
        }
        _ => v6.into(),
    }
}

fn is_never_allowed(ip: IpAddr) -> bool {
    METADATA.contains(&ip)
        || match ip {
            IpAddr::V4(ip) => {
                ip.is_link_local()
                    || ip.is_unspecified()
                    || ip.is_multicast()
                    || ip.octets()[0] >= 240
                    || ip.octets()[0] == 0
            }
            IpAddr::V6(ip) => {
                ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
            }
        }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// Checks what can be told from the URL alone; a name is checked when it is looked up.
///
/// # Errors
/// Why nothing can be sent there.
pub fn check_url(url: &Url, transport: Transport) -> Result<(), RefusedAddress> {
    match url.host() {
        Some(Host::Ipv4(ip)) => check(ip.into(), transport),
        Some(Host::Ipv6(ip)) => check(ip.into(), transport),
        _ => Ok(()),
    }
}

/// Looks names up, and leaves out the addresses that nothing may be sent to.
pub struct GuardedResolver(pub Transport);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let transport = self.0;
        Box::pin(async move {
            let mut refused = None;
            let mut allowed: Vec<SocketAddr> = Vec::new();
            for address in tokio::net::lookup_host((name.as_str(), 0)).await? {
                match check(address.ip(), transport) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match (allowed.is_empty(), refused) {
                (true, Some(why)) => Err(why.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ip: &str, transport: Transport) -> &'static str {
        match check(ip.parse().unwrap(), transport) {
            Ok(()) => "sent",
            Err(RefusedAddress::Never(_)) => "never",
            Err(RefusedAddress::NeedsTls(_)) => "needs tls",
        }
    }

    #[test]
    fn each_address_is_sent_to_only_as_it_may_be() {
        for (ip, plain, tls) in [
            ("127.0.0.1", "sent", "sent"),
            ("::1", "sent", "sent"),
            ("10.1.2.3", "sent", "sent"),
            ("172.31.0.1", "sent", "sent"),
            ("192.168.7.7", "sent", "sent"),
            ("fd12::7", "sent", "sent"),
            ("::ffff:10.1.2.3", "sent", "sent"),
            ("8.8.8.8", "needs tls", "sent"),
            ("172.32.0.1", "needs tls", "sent"),
            ("2001:db8::7", "needs tls", "sent"),
            ("::ffff:8.8.8.8", "needs tls", "sent"),
            ("64:ff9b::808:808", "needs tls", "sent"),
            ("169.254.169.254", "never", "never"),
            ("::ffff:169.254.169.254", "never", "never"),
            ("::169.254.169.254", "never", "never"),
            ("64:ff9b::a9fe:a9fe", "never", "never"),
            ("fe80::1", "never", "never"),
            ("fd00:ec2::254", "never", "never"),
            ("100.100.100.200", "never", "never"),
            ("168.63.129.16", "never", "never"),
            ("0.0.0.0", "never", "never"),
            ("0.1.2.3", "never", "never"),
            ("::", "never", "never"),
            ("224.0.0.1", "never", "never"),
            ("255.255.255.255", "never", "never"),
        ] {
            assert_eq!(judged(ip, Transport::PrivateAddress), plain, "{ip} by http");
            assert_eq!(judged(ip, Transport::AnyAddress), tls, "{ip} by https");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_found() {
        let resolver = GuardedResolver(Transport::PrivateAddress);
        let found: Vec<_> = resolver
            .resolve("localhost".parse().unwrap())
            .await
            .unwrap()
            .collect();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty());
    }
}

//! The addresses that a sink may connect to.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ureq::{
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

/// The place of the addresses of the machine itself.
pub(super) const THIS_HOST: &str = "of this host";

/// The networks of IPv4 that are not part of the public internet, with the lengths of
/// their prefixes: those of the IANA registry of special-purpose addresses, and the
/// metadata service of Azure, whose address is public.
const IPV4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::UNSPECIFIED, 8, THIS_HOST),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "of a private network"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "of the network of a provider"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, THIS_HOST),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "of a metadata service"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "of the local link"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "of a private network"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "reserved for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "of a private network"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "reserved for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "reserved for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "reserved for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "of a multicast group"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// The networks of IPv6 that are not part of the public internet. Only `2000::/3` is
/// assigned to it; the other entries give names.
const IPV6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 127, THIS_HOST),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "of a private network"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "of the local link"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "of a private network"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "of a multicast group"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "reserved for documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "reserved for documentation"),
];
const IPV6_PUBLIC: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The networks of IPv6 whose addresses contain one of IPv4, with the number of bits
/// that follow it: mapped, translated, NAT64 and 6to4 addresses.
const EMBEDDED: &[(Ipv6Addr, u32, u32)] = &[
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, 0),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, 0),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 80),
];

/// Returns the place of an address outside the public internet, such as `of a private
/// network`; `None` for an address of the public internet.
pub(super) fn place_outside(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => place_outside_v4(address),
        IpAddr::V6(address) => place_outside_v6(address),
    }
}

fn place_outside_v4(address: Ipv4Addr) -> Option<&'static str> {
    let starts_with = |network: &Ipv4Addr, len: u32| {
        (address.to_bits() ^ network.to_bits()).leading_zeros() >= len
    };
    IPV4.iter().find(|(network, len, _)| starts_with(network, *len)).map(|(.., place)| *place)
}

fn place_outside_v6(address: Ipv6Addr) -> Option<&'static str> {
    let starts_with = |network: &Ipv6Addr, len: u32| {
        (address.to_bits() ^ network.to_bits()).leading_zeros() >= len
    };
    if let Some((.., after)) = EMBEDDED.iter().find(|(network, len, _)| starts_with(network, *len))
    {
        #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are the address")]
        let embedded = (address.to_bits() >> after) as u32;
        return place_outside_v4(Ipv4Addr::from_bits(embedded));
    }
    let named = IPV6.iter().find(|(network, len, _)| starts_with(network, *len));
    let (public, len) = &IPV6_PUBLIC;
    named.map(|(.., place)| *place).or((!starts_with(public, *len)).then_some("reserved"))
}

/// Returns the place of a host outside the public internet that its name alone shows: an
/// address, or a name of this host.
pub(super) fn place_of_name(host: &str) -> Option<&'static str> {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    // RFC 6761 reserves the domain.
    let domain = host.rsplit('.').next().unwrap_or(host);
    if domain.eq_ignore_ascii_case("localhost") {
        return Some(THIS_HOST);
    }
    host.parse().ok().and_then(place_outside)
}

/// Resolves host names, and keeps the addresses of the public internet. The HTTP client
/// connects to the returned addresses, so that no other answer counts.
#[derive(Debug)]
pub(super) struct PublicResolver<R>(pub(super) R);

impl<R: Resolver> Resolver for PublicResolver<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let resolved = self.0.resolve(uri, config, timeout)?;
        // The environment of the program selects the proxy, which is usually in a private
        // network.
        if config.proxy().is_some_and(|proxy| proxy.uri() == uri) {
            return Ok(resolved);
        }
        let mut public = self.empty();
        let mut place = "unknown";
        for address in &resolved {
            match place_outside(address.ip()) {
                None => public.push(*address),
                Some(outside) => place = outside,
            }
        }
        if public.is_empty() {
            return Err(ureq::Error::Other(Box::new(NotPublic { place })));
        }
        Ok(public)
    }
}

/// All addresses of a host are outside the public internet.
#[derive(Debug)]
pub(super) struct NotPublic {
    place: &'static str,
}

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place } = self;
        write!(
            f,
            "the host name in the URL resolves to an address {place}; set `allow_private = true` if the receiver is there"
        )
    }
}

impl Error for NotPublic {}

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use proptest::prelude::*;
use ureq::{
    Agent, Error, Proxy,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{ConnectionDetails, Connector, NextTimeout, Transport},
    },
};

use super::{PublicResolver, place_of_name, place_outside};

fn place(address: &str) -> Option<&'static str> {
    place_outside(address.parse().unwrap_or_else(|_| panic!("{address} is an address")))
}

#[test]
fn addresses_outside_the_public_internet_have_a_place() {
    for (place_of, addresses) in [
        ("of this host", "0.0.0.0 0.1.2.3 0.255.255.255 127.0.0.1 127.8.9.1 127.255.255.255"),
        ("of this host", ":: ::1 ::ffff:127.0.0.1 ::ffff:0.0.0.0 ::ffff:0:127.0.0.1"),
        ("of this host", "64:ff9b::127.0.0.1 2002:7f00:1:: 2002:7f00:1::8"),
        ("of a private network", "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.1"),
        ("of a private network", "::ffff:10.0.0.1 ::ffff:c0a8:101 64:ff9b::a00:1 2002:a00:1::1"),
        ("of a private network", "fc00:: fd00:ec2::254 fdff:ffff::1 fec0::1"),
        ("of the network of a provider", "100.64.0.0 100.100.100.200 100.127.255.255"),
        ("of the network of a provider", "::ffff:100.64.0.1 64:ff9b::100.64.0.1"),
        ("of a metadata service", "168.63.129.16 ::ffff:168.63.129.16"),
        ("of the local link", "169.254.0.0 169.254.169.254 169.254.170.2 ::ffff:169.254.169.254"),
        ("of the local link", "64:ff9b::a9fe:a9fe 2002:a9fe:a9fe:: fe80:: fe80::1 febf:ffff::1"),
        ("of a multicast group", "224.0.0.1 239.255.255.250 ff02::1 ff0e::1 ::ffff:224.0.0.1"),
        ("reserved for documentation", "192.0.2.1 198.51.100.7 203.0.113.9 2001:db8::1 3fff::1"),
        ("reserved for benchmarks", "198.18.0.0 198.19.255.255"),
        ("reserved", "192.0.0.192 192.88.99.1 240.0.0.1 255.255.255.255 ::ffff:255.255.255.255"),
        ("reserved", "2001::1 2001:2::1 2001:10::1 64:ff9b:1::7f00:1 100::1 5f00::1 4000::1"),
        ("reserved", "::127.0.0.1 ::10.0.0.1 ::8.8.8.8 ::2 200::1 e000::1"),
    ] {
        for address in addresses.split(' ') {
            assert_eq!(place(address), Some(place_of), "{address}");
        }
    }
}

#[test]
fn addresses_of_the_public_internet_have_none() {
    for address in [
        "1.0.0.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "3ffe::1",
    ] {
        assert_eq!(place(address), None, "{address}");
    }
}

#[test]
fn some_names_show_their_place_without_a_lookup() {
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "api.localhost",
        "127.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        assert_eq!(place_of_name(host), Some("of this host"), "{host}");
    }
    assert_eq!(place_of_name("[fe80::1]"), Some("of the local link"));
    for host in ["example.com", "localhost.example.com", "8.8.8.8", "2130706433", "[2606:4700::1]"]
    {
        assert_eq!(place_of_name(host), None, "{host}");
    }
}

fn resolve(resolver: &impl Resolver, host: &str) -> Result<Vec<IpAddr>, Error> {
    let uri: Uri = format!("http://{host}/").parse().expect("the host is valid in a URI");
    let addresses = resolver.resolve(&uri, &Config::default(), NextTimeout::default())?;
    Ok(addresses.iter().map(SocketAddr::ip).collect())
}

/// A resolver accepts more ways to write an address than the standard library.
#[cfg(target_os = "linux")]
#[test]
fn an_address_is_refused_however_it_is_written() {
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "00000177.0.0.01",
        "0",
        "0x0",
        "10.1",
        "0xa.1",
        "012.0.0.1",
        "167772161",
        "192.168.257",
        "3232235777",
        "0xa9fea9fe",
        "169.254.43518",
        "0251.0376.0251.0376",
        "2852039166",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[64:ff9b::7f00:1]",
    ] {
        let err = resolve(&PublicResolver(DefaultResolver::default()), host).unwrap_err();
        let text = err.to_string();
        assert!(text.contains("allow_private"), "{host}: {text}");
    }
}

/// Returns the next list of addresses at each lookup.
#[derive(Clone, Debug)]
struct Changing {
    answers: &'static [&'static [&'static str]],
    lookups: Arc<AtomicUsize>,
}

impl Changing {
    fn new(answers: &'static [&'static [&'static str]]) -> Self {
        Self { answers, lookups: Arc::default() }
    }
}

impl Resolver for Changing {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let lookup = self.lookups.fetch_add(1, Ordering::Relaxed);
        let mut addresses = self.empty();
        for address in self.answers[lookup] {
            addresses.push(SocketAddr::new(address.parse().expect("an address"), 80));
        }
        Ok(addresses)
    }
}

/// Records the addresses of connections, and makes none.
#[derive(Clone, Debug, Default)]
struct Canary(Arc<Mutex<Vec<IpAddr>>>);

impl Connector for Canary {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        self.0.lock().unwrap().extend(details.addrs.iter().map(SocketAddr::ip));
        Err(Error::ConnectionFailed)
    }
}

#[test]
fn the_checked_address_is_the_one_connected_to() {
    let resolver = Changing::new(&[&["8.8.8.8"], &["127.0.0.1"], &["10.0.0.1", "1.1.1.1", "::1"]]);
    let canary = Canary::default();
    let agent =
        Agent::with_parts(Config::default(), canary.clone(), PublicResolver(resolver.clone()));
    let post = || agent.post("http://example.com/hook").send("{}").unwrap_err();
    assert!(matches!(post(), Error::ConnectionFailed));
    let refusal = post().to_string();
    assert!(refusal.contains("an address of this host; set `allow_private = true`"), "{refusal}");
    assert!(matches!(post(), Error::ConnectionFailed));
    let expected: [IpAddr; 2] = [[8, 8, 8, 8].into(), [1, 1, 1, 1].into()];
    assert_eq!(*canary.0.lock().unwrap(), expected);
    assert_eq!(resolver.lookups.load(Ordering::Relaxed), 3);
}

#[test]
fn a_proxy_may_be_in_a_private_network_but_a_host_beside_it_may_not() {
    let resolver = PublicResolver(Changing::new(&[&["10.0.0.1"], &["10.0.0.1"]]));
    let proxy = Proxy::new("http://proxy.internal:3128").unwrap();
    let config = Config::builder().proxy(Some(proxy.clone())).build();
    assert!(resolver.resolve(proxy.uri(), &config, NextTimeout::default()).is_ok());
    let other = "http://example.com/".parse().unwrap();
    assert!(resolver.resolve(&other, &config, NextTimeout::default()).is_err());
}

proptest! {
    /// The standard library classifies fewer addresses; none of these is accepted.
    #[test]
    fn no_address_that_the_standard_library_calls_special_is_public(bits: u32) {
        let address = std::net::Ipv4Addr::from_bits(bits);
        let is_special = address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_multicast()
            || address.is_unspecified();
        prop_assert!(!is_special || place_outside(address.into()).is_some());
        let mapped = address.to_ipv6_mapped();
        prop_assert_eq!(place_outside(mapped.into()), place_outside(address.into()));
    }
}

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs as _},
    str::FromStr,
};

use thiserror::Error;

/// The port without another one: KEEP on the keys of a telephone.
pub const DEFAULT_PORT: u16 = 5337;

/// The place where a server listens: a host and a port.
///
/// ```
/// use watchkeeper_http::Address;
///
/// let address: Address = "8080".parse()?;
/// assert_eq!(address.to_string(), "127.0.0.1:8080");
/// assert_eq!("[::1]".parse::<Address>()?.to_string(), "[::1]:5337");
/// # Ok::<(), watchkeeper_http::ParseAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(Box<str>),
}

/// A text is not an [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected `PORT`, `HOST`, `HOST:PORT` or `[IPV6]:PORT`")]
pub struct ParseAddressError;

/// A server cannot listen at an address.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another program listens there.
    #[error("{0} is in use by another program; stop it, or choose another port")]
    InUse(Address),
    /// The system allows it to other users only.
    #[error("{0} needs permissions that this user does not have; choose a port above 1023")]
    NotPermitted(Address),
    /// The host is no address of this machine.
    #[error("{0} is no address of this machine; choose 127.0.0.1, or 0.0.0.0 for all addresses")]
    NotHere(Address),
    /// Any other failure, such as a host name without an address.
    #[error("cannot listen on {0}")]
    Io(Address, #[source] io::Error),
}

impl Address {
    /// Returns the host, without the brackets of IPv6.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.to_string(),
        }
    }

    /// Returns whether only this machine can reach the address. A name other than `localhost` may
    /// stand for any address.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => &**name == "localhost",
        }
    }

    /// Listens at the first address of the host.
    pub(crate) fn listen(&self) -> Result<(TcpListener, SocketAddr), ListenError> {
        let listen = || {
            let mut addresses = (&*self.host(), self.port).to_socket_addrs()?;
            let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        listen().map_err(|err: io::Error| match err.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(self.clone()),
            io::ErrorKind::PermissionDenied => ListenError::NotPermitted(self.clone()),
            io::ErrorKind::AddrNotAvailable => ListenError::NotHere(self.clone()),
            _ => ListenError::Io(self.clone(), err),
        })
    }
}

/// The loopback address with [`DEFAULT_PORT`].
impl Default for Address {
    fn default() -> Self {
        Self { host: Host::Ip(Ipv4Addr::LOCALHOST.into()), port: DEFAULT_PORT }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if let Ok(port) = text.parse() {
            return Ok(Self { port, ..Self::default() });
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self { host: Host::Ip(ip), port: DEFAULT_PORT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => {
                (host, port.parse().map_err(|_| ParseAddressError)?)
            }
            _ => (text, DEFAULT_PORT),
        };
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match (in_brackets, host.parse()) {
            (Some(ip), _) => Host::Ip(IpAddr::V6(ip.parse().map_err(|_| ParseAddressError)?)),
            (None, Ok(ip @ IpAddr::V4(_))) => Host::Ip(ip),
            (None, _) if is_name(host) => Host::Name(host.to_ascii_lowercase().into()),
            _ => return Err(ParseAddressError),
        };
        Ok(Self { host, port })
    }
}

fn is_name(host: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.len() <= 253 && host.bytes().all(is_of_name)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, ListenError, ParseAddressError};

    #[test]
    fn hosts_and_ports_may_be_left_out() {
        for (text, expected) in [
            ("8080", "127.0.0.1:8080"),
            ("0", "127.0.0.1:0"),
            ("10.0.0.7", "10.0.0.7:5337"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("::1", "[::1]:5337"),
            ("[::1]", "[::1]:5337"),
            ("[fe80::1]:80", "[fe80::1]:80"),
            ("Localhost", "localhost:5337"),
            ("build-7.example.com:9000", "build-7.example.com:9000"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), expected, "{text}");
        }
        assert_eq!(Address::default().to_string(), "127.0.0.1:5337");
    }

    #[test]
    fn other_texts_are_refused() {
        let texts = [
            "",
            ":",
            ":80",
            "a:b",
            "a:65536",
            "http://a:80",
            "[10.0.0.7]:80",
            "[::1",
            "a b",
            "a/b",
        ];
        for text in texts {
            assert_eq!(text.parse::<Address>(), Err(ParseAddressError), "{text}");
        }
    }

    #[test]
    fn a_port_that_is_in_use_is_named() {
        let any: Address = "0".parse().unwrap();
        let (_listener, address) = any.listen().unwrap();
        let taken: Address = address.to_string().parse().unwrap();
        let err = taken.listen().unwrap_err();
        assert!(matches!(&err, ListenError::InUse(it) if *it == taken), "{err}");
        assert!(err.to_string().starts_with(&format!("{address} is in use")), "{err}");
    }
}

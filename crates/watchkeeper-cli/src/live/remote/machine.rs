//! The machines and paths that `ssh://` addresses name.

use std::{path::Path, str::FromStr};

use thiserror::Error;

/// The beginning of an address.
const SCHEME: &str = "ssh://";
/// The longest address.
const MAX_LEN: usize = 4096;

/// An address of sessions on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    machine: Machine,
    /// `None` for the usual folders of agents.
    path: Option<String>,
}

/// A machine, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// The beginning of the addresses of its files.
    pub(super) name: String,
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// The followed paths of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemotePaths {
    pub(super) machine: Machine,
    /// Absolute paths, and paths in the home folder that begin with `~`.
    pub(super) paths: Vec<String>,
    /// The usual folders of agents are followed.
    pub(super) follows_usual: bool,
}

/// The reason why an address is not valid.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum AddressError {
    #[error("it has no host")]
    NoHost,
    #[error("a host has letters, digits, `.`, `_` and `-`, and does not begin with `-`")]
    Host,
    #[error("a user has letters, digits, `.`, `_`, `+` and `-`, and does not begin with `-`")]
    User,
    #[error("it contains a password; use a key")]
    Password,
    #[error("the port is no number from 1 to 65535")]
    Port,
    #[error("the path contains a control character")]
    Path,
    #[error("it is longer than 4096 bytes, or no UTF-8")]
    Text,
}

/// Returns whether a path is an address of another machine.
pub(crate) fn is_remote(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(SCHEME.as_bytes())
}

impl RemotePaths {
    /// Adds an address to those of the same machine.
    pub(crate) fn add(all: &mut Vec<Self>, path: &Path) -> Result<(), AddressError> {
        let Address { machine, path } = path.to_str().ok_or(AddressError::Text)?.parse()?;
        let place = all.iter().position(|it| it.machine == machine).unwrap_or_else(|| {
            all.push(Self { machine, paths: Vec::new(), follows_usual: false });
            all.len() - 1
        });
        match path {
            Some(path) => all[place].paths.push(path),
            None => all[place].follows_usual = true,
        }
        Ok(())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix(SCHEME).ok_or(AddressError::NoHost)?;
        if MAX_LEN < text.len() {
            return Err(AddressError::Text);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (user, place) =
            authority.rsplit_once('@').map_or((None, authority), |(user, it)| (Some(user), it));
        if let Some(user) = user {
            if user.contains(':') {
                return Err(AddressError::Password);
            }
            if !is_name(user, "._+-") {
                return Err(AddressError::User);
            }
        }
        let (host, port) = split_port(place)?;
        let port = port.map(|port| {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            port.parse::<u16>().ok().filter(|port| is_number && 0 < *port)
        });
        let port = match port {
            Some(None) => return Err(AddressError::Port),
            Some(port) => port,
            None => None,
        };
        if path.contains(char::is_control) {
            return Err(AddressError::Path);
        }
        let path = match path {
            "" | "/" => None,
            "/~" => Some("~".to_owned()),
            path if path.starts_with("/~/") => Some(path[1..].to_owned()),
            path => Some(path.to_owned()),
        };
        let name = format!("{SCHEME}{authority}");
        let (user, host) = (user.map(str::to_owned), host.to_owned());
        Ok(Self { machine: Machine { name, user, host, port }, path })
    }
}

/// Splits a host from its port. An IPv6 address is in brackets.
fn split_port(place: &str) -> Result<(&str, Option<&str>), AddressError> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(AddressError::Host)?;
        let is_address = host.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
        let port = rest.strip_prefix(':');
        if host.is_empty() || !is_address || (port.is_none() && !rest.is_empty()) {
            return Err(AddressError::Host);
        }
        return Ok((host, port));
    }
    let (host, port) = place.split_once(':').map_or((place, None), |(host, it)| (host, Some(it)));
    if host.is_empty() {
        return Err(AddressError::NoHost);
    }
    if !is_name(host, "._-") {
        return Err(AddressError::Host);
    }
    Ok((host, port))
}

/// Returns whether `ssh` takes a name for nothing else.
fn is_name(name: &str, punctuation: &str) -> bool {
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || punctuation.contains(it);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn reads_user_host_port_and_path() {
        let read = |text: &str| {
            let Address { machine, path } = text.parse().unwrap();
            (machine.name, machine.user, machine.host, machine.port, path)
        };
        let owned = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("ssh://build", ("ssh://build", None, "build", None, None)),
            ("ssh://build/", ("ssh://build", None, "build", None, None)),
            (
                "ssh://me@10.0.0.7:2222/~/a b",
                ("ssh://me@10.0.0.7:2222", owned("me"), "10.0.0.7", Some(2222), owned("~/a b")),
            ),
            ("ssh://[::1]:22/srv/x", ("ssh://[::1]:22", None, "::1", Some(22), owned("/srv/x"))),
            ("ssh://h/~", ("ssh://h", None, "h", None, owned("~"))),
        ] {
            let (name, user, host, port, path) = expected;
            assert_eq!(read(text), (name.to_owned(), user, host.to_owned(), port, path), "{text}");
        }
    }

    #[test]
    fn refuses_what_ssh_could_take_for_something_else() {
        for (text, error) in [
            ("ssh://", AddressError::NoHost),
            ("ssh:///srv", AddressError::NoHost),
            ("ssh://-oProxyCommand=id/x", AddressError::Host),
            ("ssh://a b", AddressError::Host),
            ("ssh://a$(id)", AddressError::Host),
            ("ssh://[::1", AddressError::Host),
            ("ssh://[-o]", AddressError::Host),
            ("ssh://-l@h", AddressError::User),
            ("ssh://@h", AddressError::User),
            ("ssh://me:secret@h", AddressError::Password),
            ("ssh://h:", AddressError::Port),
            ("ssh://h:0", AddressError::Port),
            ("ssh://h:+22", AddressError::Port),
            ("ssh://h:70000", AddressError::Port),
            ("ssh://h/a\nb", AddressError::Path),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
        assert_eq!(
            format!("ssh://h/{}", "x".repeat(MAX_LEN)).parse::<Address>(),
            Err(AddressError::Text)
        );
    }

    #[test]
    fn addresses_of_one_machine_are_followed_together() {
        let mut all = Vec::new();
        for address in ["ssh://a/x", "ssh://b", "ssh://a"] {
            RemotePaths::add(&mut all, Path::new(address)).unwrap();
        }
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].paths, ["/x"]);
        assert!(all[0].follows_usual && all[1].follows_usual && all[1].paths.is_empty());
    }
}

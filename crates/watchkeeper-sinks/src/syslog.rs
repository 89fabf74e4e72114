use std::{
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use watchkeeper_core::{
    Finding, InvalidOption, Severity, Sink, SinkKind, Status,
    author::{Retry, SinkError},
};

use crate::render_line;

/// The socket of the local log daemon.
const SOCKET: &str = if cfg!(target_os = "macos") { "/var/run/syslog" } else { "/dev/log" };
/// The longest wait for a daemon that reads nothing.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Writes each finding to the system log, as one line of text.
#[derive(Debug)]
pub struct Syslog {
    facility: Facility,
    path: PathBuf,
    /// `None` before the first delivery, and after a failure.
    socket: Option<UnixDatagram>,
}

/// The options of `kind = "syslog"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogOptions {
    /// The facility, by which log daemons select files and receivers.
    #[serde(default)]
    facility: Facility,
    /// The socket of the log daemon: `/dev/log`, on macOS `/var/run/syslog`.
    #[serde(default = "default_socket")]
    socket: PathBuf,
}

fn default_socket() -> PathBuf {
    PathBuf::from(SOCKET)
}

/// The part of a system that a message is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Facility {
    /// Programs of users.
    #[default]
    User,
    /// Services.
    Daemon,
    /// Security.
    Auth,
    /// Security, in a log that is not public.
    Authpriv,
    /// For use by the administrator, like the others below.
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

watchkeeper_core::register_sink!(Syslog);

impl SinkKind for Syslog {
    const KIND: &'static str = "syslog";
    const DOCS: &'static str = include_str!("syslog.md");
    type Options = SyslogOptions;

    fn new(SyslogOptions { facility, socket }: SyslogOptions) -> Result<Self, InvalidOption> {
        if !socket.is_absolute() {
            return Err(InvalidOption::new("socket", "is not an absolute path"));
        }
        if SocketAddr::from_pathname(&socket).is_err() {
            return Err(InvalidOption::new("socket", "is too long for the path of a socket"));
        }
        Ok(Self { facility, path: socket, socket: None })
    }
}

impl Sink for Syslog {
    fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
        let message = message(self.facility, finding);
        // A daemon that was started again has a new socket of the same name.
        if let Some(socket) = self.socket.take()
            && socket.send(message.as_bytes()).is_ok()
        {
            self.socket = Some(socket);
            return Ok(());
        }
        let sent = connect(&self.path).and_then(|socket| {
            socket.send(message.as_bytes())?;
            Ok(socket)
        });
        let socket = sent.map_err(|err| {
            SinkError::unavailable("cannot write to the system log").with_source(err)
        })?;
        self.socket = Some(socket);
        Ok(())
    }

    fn retry(&self) -> Retry {
        Retry::new(10, Duration::from_secs(1), Duration::from_secs(60))
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// Returns the message in the format of the C function `syslog`, without the time: daemons use
/// the time of receipt.
fn message(facility: Facility, finding: &Finding) -> String {
    let priority = facility.number() * 8 + severity(finding);
    format!("<{priority}>watchkeeper[{}]: {}", process::id(), render_line(finding, false))
}

impl Facility {
    /// Returns the number in RFC 5424, section 6.2.1.
    fn number(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Daemon => 3,
            Self::Auth => 4,
            Self::Authpriv => 10,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

/// Returns the severity in RFC 5424, section 6.2.1.
fn severity(finding: &Finding) -> u8 {
    const ERROR: u8 = 3;
    const WARNING: u8 = 4;
    const NOTICE: u8 = 5;
    const INFORMATIONAL: u8 = 6;
    match (finding.status, finding.severity) {
        (Status::Resolved, _) => INFORMATIONAL,
        (Status::Open, Severity::High) => ERROR,
        (Status::Open, Severity::Medium) => WARNING,
        (Status::Open, Severity::Low) => NOTICE,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use insta::assert_snapshot;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::{
        samples::{any_finding, build, build_example, finding, is_harmless, mistake},
        text::MAX_LINE,
    };

    /// A log daemon, and its folder.
    fn daemon() -> (TempDir, UnixDatagram) {
        let folder = tempfile::tempdir().unwrap();
        let socket = bind(&folder);
        (folder, socket)
    }

    fn bind(folder: &TempDir) -> UnixDatagram {
        let socket = UnixDatagram::bind(folder.path().join("log")).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn sink(folder: &TempDir, options: &str) -> Syslog {
        let socket = folder.path().join("log");
        build(&format!("socket = {:?}\n{options}", socket.to_str().unwrap())).unwrap()
    }

    /// Returns the next message, without the id of the process.
    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        let id = format!("[{}]", process::id());
        String::from_utf8(buffer[..len].to_vec()).unwrap().replace(&id, "[1]")
    }

    #[test]
    fn the_example_in_the_manual_is_valid() {
        build_example::<Syslog>().unwrap();
    }

    #[test]
    fn mistakes_are_refused() {
        let long = format!("socket = '/{}'", "x".repeat(200));
        assert_snapshot!(mistake::<Syslog>("socket = 'log'"), @"invalid value for `socket`: is not an absolute path");
        assert_snapshot!(mistake::<Syslog>(&long), @"invalid value for `socket`: is too long for the path of a socket");
        assert_snapshot!(mistake::<Syslog>("facility = 'mail'"), @"unknown variant `mail`, expected one of `user`, `daemon`, `auth`, `authpriv`, `local0`, `local1`, `local2`, `local3`, `local4`, `local5`, `local6`, `local7`");
    }

    #[test]
    fn a_finding_is_one_message() {
        let (folder, socket) = daemon();
        sink(&folder, "").deliver(&finding()).unwrap();
        assert_snapshot!(received(&socket), @"<11>watchkeeper[1]: 10:14:07Z [HIGH]   repeated_call 5b1e0c2a…89ab: `Bash` returned the same result for the same call 4 times in 31s: `make` returns `no rule to make it` --> /home/ada/.claude/projects/shop/5b1e.jsonl:812");
    }

    #[test]
    fn the_priority_has_the_facility_and_the_severity() {
        let (folder, socket) = daemon();
        let mut sink = sink(&folder, "facility = 'local3'");
        let mut finding = finding();
        for severity in [Severity::Low, Severity::Medium, Severity::High] {
            finding.severity = severity;
            sink.deliver(&finding).unwrap();
        }
        finding.status = Status::Resolved;
        sink.deliver(&finding).unwrap();
        for priority in ["<157>", "<156>", "<155>", "<158>"] {
            assert_eq!(&received(&socket)[..5], priority);
        }
    }

    #[test]
    fn a_daemon_that_was_started_again_is_found() {
        let (folder, socket) = daemon();
        let mut sink = sink(&folder, "");
        sink.deliver(&finding()).unwrap();
        drop(socket);
        let err = sink.deliver(&finding()).unwrap_err();
        assert_snapshot!(err, @"unavailable: cannot write to the system log");
        fs::remove_file(folder.path().join("log")).unwrap();
        sink.deliver(&finding()).unwrap_err();
        let socket = bind(&folder);
        sink.deliver(&finding()).unwrap();
        assert!(received(&socket).starts_with("<11>watchkeeper[1]: "));
        drop(socket);
        fs::remove_file(folder.path().join("log")).unwrap();
        // The sink is still connected to the former socket.
        let socket = bind(&folder);
        sink.deliver(&finding()).unwrap();
        assert!(received(&socket).starts_with("<11>watchkeeper[1]: "));
    }

    proptest! {
        #[test]
        fn no_finding_begins_another_message(finding in any_finding()) {
            let message = message(Facility::Local7, &finding);
            prop_assert!(message.chars().all(is_harmless), "{:?}", message);
            prop_assert!(message.len() < MAX_LINE + 64);
        }
    }
}

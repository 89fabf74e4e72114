//! The terminal that a sink shares with other programs.

use std::{io, time::Duration};

use watchkeeper_core::author::SinkError;

/// The time between two looks at a terminal that another program uses.
const POLL: Duration = Duration::from_millis(250);

/// A stream that may be a terminal.
pub(crate) trait Terminal {
    /// Returns whether the stream is a terminal that a full-screen program uses. A line
    /// that is written there would destroy the picture of the program.
    fn is_taken(&self) -> bool;
}

/// Returns an error if a full-screen program uses the terminal.
pub(crate) fn check(stream: &impl Terminal) -> Result<(), SinkError> {
    if stream.is_taken() {
        return Err(SinkError::postponed("another program uses the terminal", POLL));
    }
    Ok(())
}

#[cfg(unix)]
impl<T: std::os::fd::AsFd> Terminal for T {
    fn is_taken(&self) -> bool {
        is_taken(self).unwrap_or(false)
    }
}

#[cfg(not(unix))]
impl<T> Terminal for T {
    fn is_taken(&self) -> bool {
        false
    }
}

/// A full-screen program reads single keys. So does the shell while it edits a command; a
/// process in the background still prints then, as any other background process does.
#[cfg(unix)]
fn is_taken(stream: &impl std::os::fd::AsFd) -> io::Result<bool> {
    use rustix::{
        process::{getpgrp, getsid},
        termios::{LocalModes, isatty, tcgetattr, tcgetpgrp},
    };
    if !isatty(stream) || tcgetattr(stream)?.local_modes.contains(LocalModes::ICANON) {
        return Ok(false);
    }
    // No error if the terminal does not control this session.
    let Ok(foreground) = tcgetpgrp(stream) else { return Ok(true) };
    Ok(foreground == getpgrp() || foreground != getsid(None)?)
}

#[cfg(all(test, unix))]
mod tests {
    use std::io;

    use super::Terminal as _;

    #[test]
    fn a_file_and_a_pipe_are_never_taken() {
        let file = tempfile::tempfile().expect("a file");
        assert!(!file.is_taken());
        let (reader, _writer) = io::pipe().expect("a pipe");
        assert!(!reader.is_taken());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_terminal_is_taken_while_a_program_reads_single_keys() {
        use rustix::{
            fs::{Mode, OFlags, open},
            pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
            termios::{OptionalActions, tcgetattr, tcsetattr},
        };
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let controller = openpt(flags).expect("a pseudo-terminal");
        grantpt(&controller).expect("the terminal is ours");
        unlockpt(&controller).expect("the terminal is ours");
        let name = ptsname(&controller, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = open(&*name, flags, Mode::empty()).expect("the terminal opens");
        assert!(!terminal.is_taken());
        let usual = tcgetattr(&terminal).expect("a terminal");
        let mut raw = usual.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw).expect("a terminal");
        assert!(terminal.is_taken());
        tcsetattr(&terminal, OptionalActions::Now, &usual).expect("a terminal");
        assert!(!terminal.is_taken());
    }
}

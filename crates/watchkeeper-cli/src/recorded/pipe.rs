//! Named pipes.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

/// Opens a named pipe that another program writes to, for its reading to the end.
///
/// Returns an error if no program has opened the pipe for writing after `timeout`. The system
/// itself would wait for such a program forever.
#[cfg(unix)]
pub(super) fn open(path: &Path, timeout: Duration) -> io::Result<Box<dyn Read>> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::{
        event::{PollFd, PollFlags, poll},
        fs::{OFlags, fcntl_getfl, fcntl_setfl},
    };

    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = File::options().read(true).custom_flags(flags).open(path)?;
    let timeout = timeout.try_into().map_err(io::Error::other)?;
    let n_ready = poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&timeout))?;
    let mut first = Vec::new();
    if n_ready == 0 {
        let mut byte = [0];
        match file.read(&mut byte) {
            Ok(0) => {
                let message = "no program writes to this pipe";
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Ok(_) => first.extend(byte),
            // A program has the pipe open, and has written nothing yet.
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(err) => return Err(err),
        }
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(Box::new(io::Cursor::new(first).chain(file)))
}

/// Opens a file: other platforms have no named pipes among files.
#[cfg(not(unix))]
pub(super) fn open(path: &Path, _: Duration) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(File::open(path)?))
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        fs,
        io::{ErrorKind, Read as _, Write as _},
        path::PathBuf,
        process::Command,
        sync::mpsc,
        thread,
        time::Duration,
    };

    use super::open;

    fn pipe() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("pipe");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("`mkfifo` can be run").success());
        (folder, path)
    }

    #[test]
    fn a_pipe_without_a_writer_is_an_error() {
        let (_folder, path) = pipe();
        let err = open(&path, Duration::from_millis(1)).err().unwrap();
        assert_eq!(err.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn waits_for_a_program_that_has_written_nothing_yet() {
        let (_folder, path) = pipe();
        // Opens both ends, so that neither waits.
        let writer = fs::File::options().read(true).write(true).open(&path).unwrap();
        let mut reader = open(&path, Duration::from_millis(1)).unwrap();
        let (sender, received) = mpsc::channel();
        let mut writer = writer;
        let writing = thread::spawn(move || {
            received.recv().unwrap();
            writer.write_all(b"late").unwrap();
        });
        sender.send(()).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        writing.join().unwrap();
        assert_eq!(text, "late");
    }
}

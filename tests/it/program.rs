//! Runs a program with an in-house detector.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// The pause between two looks at a condition, and the number of looks before a test fails.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
const N_LOOKS: usize = 2_400;

/// Output and exit status of a run.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: i32,
}

impl Ran {
    /// Runs a command until it exits.
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the program should start");
        let text = |bytes| String::from_utf8(bytes).expect("the program should write UTF-8");
        Self {
            out: text(output.stdout),
            err: text(output.stderr),
            status: output.status.code().expect("the program should exit by itself"),
        }
    }
}

/// Returns the program, with an environment that is independent of this machine.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acme-watchkeeper"));
    command
        .stdin(Stdio::null())
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("XDG_STATE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"))
        .env("COLUMNS", "100")
        .env("WATCHKEEPER_LOG", "off")
        .env("TMPDIR", std::env::temp_dir());
    command
}

/// Runs the program until it exits.
#[track_caller]
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Ran {
    Ran::of(program().args(args))
}

/// Returns the output and exit status of a run.
#[track_caller]
pub(crate) fn seen(args: &[&str]) -> String {
    let Ran { out, err, status } = run(args);
    format!("{out}{err}exit {status}")
}

/// Waits until a condition holds, and returns its value. Returns the last error after two minutes,
/// which only a failing test reaches.
pub(crate) fn eventually<T>(condition: impl Fn() -> Result<T, String>) -> Result<T, String> {
    let (_sender, timer) = mpsc::channel::<()>();
    for _ in 0..N_LOOKS {
        if let Ok(value) = condition() {
            return Ok(value);
        }
        let _ = timer.recv_timeout(BETWEEN_LOOKS);
    }
    condition()
}

/// A folder for one test, removed on drop.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("the folder can be made");
        }
        fs::write(&path, text).expect("the file can be written");
        path
    }
}

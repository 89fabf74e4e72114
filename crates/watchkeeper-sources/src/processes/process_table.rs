//! The processes of this machine, as the folder `/proc` of Linux lists them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::follow::owner;

/// The largest number of open files that one search looks at.
const MAX_OPEN_FILES: usize = 1 << 18;
/// The number of bytes that are read from a file in `/proc`.
const MAX_LEN: u64 = 4096;

/// A process. The system may give its number to another process later, which starts at
/// another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// The start in clock ticks after the start of the machine: field 22 of
    /// `/proc/<pid>/stat`.
    pub(super) started: u64,
}

/// Whether a process exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    Alive,
    /// The process does not exist, or has ended and only its parent does not know yet.
    Gone,
    /// The process cannot be seen.
    Unknown,
}

/// The processes of this machine.
#[derive(Debug)]
pub(super) struct ProcessTable {
    proc: PathBuf,
    /// The id of this machine; empty in a container without one.
    machine_id: String,
    /// The namespace of the numbers of processes.
    namespace: Option<String>,
    /// The user of this program.
    user: Option<u32>,
}

impl ProcessTable {
    /// Opens the table of the system whose files are in `root`. Returns `None` if the
    /// system has none or does not allow to read it.
    pub(super) fn open(root: &Path) -> Option<Self> {
        let proc = root.join("proc");
        read_start(&proc.join("self")).ok()?;
        let machine_id = read_file(&root.join("etc/machine-id")).unwrap_or_default();
        let machine_id = machine_id.trim().to_owned();
        let namespace = fs::read_link(proc.join("self/ns/pid")).ok();
        let namespace = namespace.map(|link| link.to_string_lossy().into_owned());
        let user = fs::metadata(proc.join("self")).ok().as_ref().and_then(owner);
        Some(Self { proc, machine_id, namespace, user })
    }

    /// Returns whether a number of a process in `domain` means a process of this machine.
    /// A domain is a text such as `linux:0a1b:pid:[4026531836]`, with the ids of a machine
    /// and of a namespace.
    pub(super) fn is_own_domain(&self, domain: &str) -> bool {
        let parts = domain.strip_prefix("linux:").and_then(|domain| domain.split_once(':'));
        parts.is_some_and(|(machine_id, namespace)| {
            machine_id == self.machine_id && Some(namespace) == self.namespace.as_deref()
        })
    }

    /// Returns whether every process of the user is visible. The system may hide those of
    /// other users.
    pub(super) fn shows_processes_of(&self, user: Option<u32>) -> bool {
        self.user.is_some_and(|own| own == 0 || user == Some(own))
    }

    pub(super) fn liveness(&self, process: Process) -> Liveness {
        match read_start(&self.folder(process.pid)) {
            Ok(Some(started)) if started == process.started => Liveness::Alive,
            Ok(_) => Liveness::Gone,
            Err(error) if is_gone(&error) => Liveness::Gone,
            Err(_) => Liveness::Unknown,
        }
    }

    /// Finds the processes that have one of the files open for writing. Of several
    /// processes with the same file, returns the one with the lowest number.
    ///
    /// The paths must be canonical. Processes of other users cannot be seen.
    pub(super) fn writers(
        &self,
        files: &BTreeSet<PathBuf>,
    ) -> io::Result<BTreeMap<PathBuf, Process>> {
        let names = fs::read_dir(&self.proc)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let pids: BTreeSet<u32> = names.filter_map(|name| name.parse().ok()).collect();
        let mut writers = BTreeMap::new();
        let mut n_looked = 0;
        for pid in pids {
            let folder = self.folder(pid);
            // The process has ended meanwhile, or belongs to another user.
            let Ok(open) = fs::read_dir(folder.join("fd")) else { continue };
            for entry in open.filter_map(Result::ok) {
                n_looked += 1;
                if MAX_OPEN_FILES < n_looked {
                    return Ok(writers);
                }
                let Ok(file) = fs::read_link(entry.path()) else { continue };
                if !files.contains(&file) || writers.contains_key(&file) {
                    continue;
                }
                let info = folder.join("fdinfo").join(entry.file_name());
                if is_open_for_writing(&info)
                    && let Ok(Some(started)) = read_start(&folder)
                {
                    writers.insert(file, Process { pid, started });
                }
            }
        }
        Ok(writers)
    }

    fn folder(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }
}

fn is_gone(error: &io::Error) -> bool {
    /// `ESRCH`: the process ended while its files were read.
    const NO_SUCH_PROCESS: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
}

/// Reads the start of the process in `folder`. Returns `None` if the process has ended
/// and waits for its parent.
fn read_start(folder: &Path) -> io::Result<Option<u64>> {
    let stat = read_file(&folder.join("stat"))?;
    let (state, started) =
        parse_stat(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((!matches!(state, "Z" | "X" | "x")).then_some(started))
}

/// Parses a line such as `4711 (name) S 1 …`. Returns the state and the start of the
/// process. The name may contain spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    // The state is field 3, the start is field 22.
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

fn is_open_for_writing(info: &Path) -> bool {
    let Ok(info) = read_file(info) else { return false };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    // The two lowest bits of an octal number; 0 is for reading only.
    flags.is_some_and(|flags| flags.trim().ends_with(['1', '2', '5', '6']))
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_LEN).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Liveness, Process, parse_stat};
    use crate::processes::fake::FakeProc;

    fn stat(name: &str, state: char, started: u64) -> String {
        format!("7 ({name}) {state} 1 7 7 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 {started} 4096 1")
    }

    #[test]
    fn reads_the_start_whatever_the_name_of_the_program_is() {
        for name in ["claude", "a b", ") S 1", "((", "\u{fffd})"] {
            assert_eq!(parse_stat(&stat(name, 'S', 42)), Some(("S", 42)), "{name}");
        }
        for damaged in ["", "7", "7 (a", "7 (a)", "7 (a) S 1 2", "7 (a) S x x x x x x x x x x"] {
            assert_eq!(parse_stat(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_process_is_gone_if_its_number_belongs_to_another_one() {
        let proc = FakeProc::new();
        let table = proc.table();
        proc.start(7, 42);
        proc.end_unreaped(8, 42);
        let liveness = |pid, started| table.liveness(Process { pid, started });
        assert_eq!(liveness(7, 42), Liveness::Alive);
        assert_eq!(liveness(7, 41), Liveness::Gone);
        assert_eq!(liveness(8, 42), Liveness::Gone);
        assert_eq!(liveness(9, 42), Liveness::Gone);
        proc.write("proc/9/stat", "not a line of the system");
        assert_eq!(liveness(9, 42), Liveness::Unknown);
    }

    #[test]
    fn a_domain_is_a_machine_and_a_namespace() {
        let proc = FakeProc::new();
        let table = proc.table();
        for (domain, is_own) in [
            ("linux:0a1b2c:pid:[1]", true),
            ("linux::pid:[1]", false),
            ("linux:0a1b2c:pid:[2]", false),
            ("linux:ffffff:pid:[1]", false),
            ("darwin:0a1b2c:pid:[1]", false),
            ("linux:0a1b2c", false),
            ("linux:", false),
            ("", false),
        ] {
            assert_eq!(table.is_own_domain(domain), is_own, "{domain}");
        }
        std::fs::remove_file(proc.path("etc/machine-id")).unwrap();
        assert!(proc.table().is_own_domain("linux::pid:[1]"), "a container");
    }

    #[test]
    fn finds_the_processes_that_write_a_file() {
        let proc = FakeProc::new();
        let table = proc.table();
        let file = proc.path("a.jsonl");
        let files = [file.clone()].into();
        proc.start(7, 42);
        proc.open_file(7, &file, "0100000");
        assert!(table.writers(&files).unwrap().is_empty(), "only reads");
        proc.start(6, 41);
        proc.open_file(6, &proc.path("b.jsonl"), "02100002");
        proc.start(8, 43);
        proc.open_file(8, &file, "02102001");
        let writers = table.writers(&files).unwrap();
        assert_eq!(
            writers.into_iter().collect::<Vec<_>>(),
            [(file, Process { pid: 8, started: 43 })]
        );
    }
}

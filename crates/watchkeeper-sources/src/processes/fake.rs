//! A folder with the files of a system that show its processes, for tests.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::process_table::ProcessTable;

/// The files of a system in which this program is process 1.
pub(super) struct FakeProc(TempDir);

/// The domain of the processes.
pub(super) const DOMAIN: &str = "linux:0a1b2c:pid:[1]";

impl FakeProc {
    pub(super) fn new() -> Self {
        let proc = Self(TempDir::new().unwrap());
        proc.write("etc/machine-id", "0a1b2c\n");
        proc.start(1, 1);
        symlink(proc.path("proc/1"), proc.path("proc/self")).unwrap();
        fs::create_dir(proc.path("proc/1/ns")).unwrap();
        symlink("pid:[1]", proc.path("proc/1/ns/pid")).unwrap();
        proc
    }

    pub(super) fn table(&self) -> ProcessTable {
        ProcessTable::open(self.0.path()).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn start(&self, pid: u32, started: u64) {
        self.write_stat(pid, 'S', started);
    }

    /// Ends a process whose parent has not read its status.
    pub(super) fn end_unreaped(&self, pid: u32, started: u64) {
        self.write_stat(pid, 'Z', started);
    }

    pub(super) fn end(&self, pid: u32) {
        fs::remove_dir_all(self.path(&format!("proc/{pid}"))).unwrap();
    }

    /// Opens a file in a process. `flags` are octal, as in `fdinfo`.
    pub(super) fn open_file(&self, pid: u32, file: &Path, flags: &str) {
        self.write(&format!("proc/{pid}/fdinfo/3"), &format!("pos:\t0\nflags:\t{flags}\n"));
        fs::create_dir_all(self.path(&format!("proc/{pid}/fd"))).unwrap();
        symlink(file, self.path(&format!("proc/{pid}/fd/3"))).unwrap();
    }

    fn write_stat(&self, pid: u32, state: char, started: u64) {
        let stat = format!(
            "{pid} (a) b) {state} 1 7 7 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 {started} 4096 1"
        );
        self.write(&format!("proc/{pid}/stat"), &stat);
    }
}

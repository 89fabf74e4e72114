//! The file that a running Claude Code writes about itself: `sessions/<pid>.json`.

use std::{fs::Metadata, io::Read as _, path::Path, sync::Arc};

use serde_json::Value;
use watchkeeper_core::{SessionId, Timestamp, author::WaitingFor};

use super::process_table::Process;
use crate::follow::{open, owner};

/// The largest file that is read, in bytes. Real ones have less than 1 KiB.
const MAX_LEN: u64 = 64 << 10;

/// The state of a client, by its own record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClientState {
    /// The present session of the client.
    pub(super) session: SessionId,
    pub(super) process: Process,
    /// The machine and the namespace to which the number of the process belongs.
    pub(super) domain: Option<String>,
    pub(super) activity: Option<(ClientActivity, Timestamp)>,
    pub(super) file: Arc<str>,
    /// The user who owns the file.
    pub(super) user: Option<u32>,
}

/// The activity of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientActivity {
    Busy,
    /// No turn is open: the client waits for the next prompt.
    Idle,
    Waiting(WaitingFor),
}

/// Returns the number of the process in the name of a state file. Other files in the
/// folder, such as keys, are not opened.
pub(super) fn pid_of_name(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".json")?;
    let pid: u32 = number.parse().ok().filter(|pid| 0 < *pid)?;
    (pid.to_string() == number).then_some(pid)
}

impl ClientState {
    /// Returns whether the file of the state still exists. A client that ends in order
    /// removes its file, maybe after the file was read.
    pub(super) fn is_left_behind(&self) -> bool {
        Path::new(&*self.file).exists()
    }

    /// Reads the state file of a process. Returns `None` unless the path is a regular
    /// file of a moderate size that names this process, its start, and a session.
    pub(super) fn read(path: &Path, pid: u32) -> Option<Self> {
        let file = open(path).ok()?;
        let metadata = file.metadata().ok().filter(Metadata::is_file)?;
        let mut bytes = Vec::new();
        file.take(MAX_LEN + 1).read_to_end(&mut bytes).ok()?;
        if MAX_LEN < bytes.len() as u64 {
            return None;
        }
        let state = Self::parse(&bytes, path)?;
        (state.process.pid == pid).then_some(Self { user: owner(&metadata), ..state })
    }

    fn parse(bytes: &[u8], path: &Path) -> Option<Self> {
        let fields: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key| fields.get(key).and_then(Value::as_str);
        let pid = u32::try_from(fields.get("pid")?.as_u64()?).ok()?;
        let started = match fields.get("procStart")? {
            Value::String(text) => text.parse().ok()?,
            number => number.as_u64()?,
        };
        Some(Self {
            session: SessionId::from(text("sessionId").filter(|id| !id.is_empty())?),
            process: Process { pid, started },
            domain: match fields.get("pidDomain") {
                None | Some(Value::Null) => None,
                // A domain in an unknown form is another one.
                Some(domain) => Some(domain.as_str().unwrap_or_default().to_owned()),
            },
            activity: text("status")
                .and_then(|status| ClientActivity::of(status, text("waitingFor")))
                .zip(fields.get("statusUpdatedAt").and_then(time)),
            file: path.to_string_lossy().into(),
            user: None,
        })
    }
}

impl ClientActivity {
    /// Returns `None` for an unknown status.
    fn of(status: &str, waiting_for: Option<&str>) -> Option<Self> {
        /// The beginnings of `waitingFor` if a call needs a permission.
        const PERMISSIONS: &[&str] = &["permission", "sandbox", "worker request"];
        Some(match status {
            "busy" | "working" => Self::Busy,
            "idle" => Self::Idle,
            "blocked" | "needs_trust" => Self::Waiting(WaitingFor::Permission),
            "waiting" | "needs_user" => {
                let is_permission = |reason: &str| {
                    PERMISSIONS.iter().any(|beginning| reason.starts_with(beginning))
                };
                Self::Waiting(match waiting_for {
                    Some(reason) if is_permission(reason) => WaitingFor::Permission,
                    _ => WaitingFor::Person,
                })
            }
            _ => return None,
        })
    }
}

/// Reads a time in milliseconds since 1970.
fn time(millis: &Value) -> Option<Timestamp> {
    Timestamp::from_millisecond(millis.as_i64()?).ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::{Value, json};
    use tempfile::TempDir;
    use watchkeeper_core::author::WaitingFor;

    use super::{ClientActivity, ClientState, MAX_LEN, pid_of_name};

    fn state(change: impl FnOnce(&mut Value)) -> Option<ClientState> {
        let mut fields = json!({
            "pid": 7, "procStart": "42", "sessionId": "s1", "status": "busy",
            "statusUpdatedAt": 1_000, "pidDomain": "linux:0a1b2c:pid:[1]", "cwd": "/home/me",
        });
        change(&mut fields);
        ClientState::parse(fields.to_string().as_bytes(), Path::new("/x/7.json"))
    }

    #[test]
    fn reads_the_process_the_session_and_the_activity() {
        let read = state(|_| ()).unwrap();
        assert_eq!((read.process.pid, read.process.started), (7, 42));
        assert_eq!((read.session.as_str(), &*read.file), ("s1", "/x/7.json"));
        let (activity, since) = read.activity.unwrap();
        assert_eq!((activity, since.as_millisecond()), (ClientActivity::Busy, 1_000));
        assert_eq!(state(|it| it["procStart"] = json!(42)).unwrap().process, read.process);
    }

    #[test]
    fn each_status_is_an_activity_and_unknown_ones_are_ignored() {
        use ClientActivity::{Busy, Idle, Waiting};
        use WaitingFor::{Permission, Person};
        for (status, waiting_for, expected) in [
            ("busy", None, Some(Busy)),
            ("working", None, Some(Busy)),
            ("idle", None, Some(Idle)),
            ("waiting", None, Some(Waiting(Person))),
            ("waiting", Some("input needed"), Some(Waiting(Person))),
            ("waiting", Some("permission prompt"), Some(Waiting(Permission))),
            ("waiting", Some("sandbox request"), Some(Waiting(Permission))),
            ("needs_user", None, Some(Waiting(Person))),
            ("needs_trust", None, Some(Waiting(Permission))),
            ("blocked", None, Some(Waiting(Permission))),
            ("shell", None, None),
            ("", None, None),
            ("BUSY", None, None),
        ] {
            assert_eq!(ClientActivity::of(status, waiting_for), expected, "{status}");
        }
    }

    #[test]
    fn a_state_without_a_process_or_a_session_is_none() {
        for (key, value) in [
            ("pid", json!(null)),
            ("pid", json!(-1)),
            ("pid", json!(1.5)),
            ("pid", json!("7")),
            ("pid", json!(1_u64 << 40)),
            ("pid", json!([7])),
            ("procStart", json!(null)),
            ("procStart", json!("")),
            ("procStart", json!("-1")),
            ("procStart", json!("99999999999999999999999")),
            ("procStart", json!({"at": 42})),
            ("sessionId", json!(null)),
            ("sessionId", json!("")),
            ("sessionId", json!(["s1"])),
        ] {
            assert_eq!(state(|it| it[key] = value.clone()), None, "{key}: {value}");
        }
    }

    #[test]
    fn an_activity_needs_a_status_and_a_time() {
        for (key, value) in [
            ("status", json!(null)),
            ("status", json!(1)),
            ("statusUpdatedAt", json!(null)),
            ("statusUpdatedAt", json!("1000")),
            ("statusUpdatedAt", json!(1e300)),
            ("statusUpdatedAt", json!(i64::MAX)),
            ("statusUpdatedAt", json!(i64::MIN)),
        ] {
            let read = state(|it| it[key] = value.clone()).unwrap();
            assert_eq!(read.activity, None, "{key}: {value}");
        }
        assert_eq!(state(|it| it["pidDomain"] = json!(1)).unwrap().domain.as_deref(), Some(""));
    }

    #[test]
    fn a_removed_file_is_not_left_behind() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("7.json");
        fs::write(&path, r#"{"pid":7,"procStart":"42","sessionId":"s1"}"#).unwrap();
        let state = ClientState::read(&path, 7).unwrap();
        assert!(state.is_left_behind());
        fs::remove_file(&path).unwrap();
        assert!(!state.is_left_behind());
    }

    #[test]
    fn hostile_files_are_no_state() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("7.json");
        let good = r#"{"pid":7,"procStart":"42","sessionId":"s1"}"#;
        let large = format!("{good}{}", " ".repeat(usize::try_from(MAX_LEN).unwrap()));
        let deep = "[".repeat(60_000);
        let files: [&[u8]; 9] = [
            b"",
            b"\0\0\0\0",
            b"null",
            b"[]",
            b"\"7\"",
            b"\xff\xfe{}",
            &good.as_bytes()[..20],
            large.as_bytes(),
            deep.as_bytes(),
        ];
        for bytes in files {
            fs::write(&path, bytes).unwrap();
            assert_eq!(ClientState::read(&path, 7), None, "{:?}", bytes.get(..20));
        }
        fs::write(&path, good).unwrap();
        assert!(ClientState::read(&path, 7).is_some());
        assert_eq!(ClientState::read(&path, 8), None, "the name is another process");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(ClientState::read(&path, 7), None, "a folder");
    }

    #[test]
    fn only_the_names_of_state_files_have_a_pid() {
        for (name, pid) in [
            ("7.json", Some(7)),
            ("4194304.json", Some(4_194_304)),
            ("7.key", None),
            ("7.json.key", None),
            ("07.json", None),
            ("+7.json", None),
            ("-7.json", None),
            ("0.json", None),
            ("99999999999.json", None),
            (".json", None),
            ("a.json", None),
        ] {
            assert_eq!(pid_of_name(name), pid, "{name}");
        }
    }
}

//! The sessions of another machine, through a real server, and through programs that stand in for
//! `ssh` where an answer is wrong.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use watchkeeper_core::clock::{Clock as _, SystemClock};

use crate::{
    program::{Folder, Ran, eventually, program},
    watch::Watching,
};

/// Makes the absence of a server an error of the tests.
const REQUIRED: &str = "WATCHKEEPER_TEST_SSHD";
const SESSIONS: &str = "home/.claude/projects/p";

/// Skips a test, unless that is an error.
#[expect(clippy::print_stderr, reason = "the reason is shown")]
fn skip(reason: &str) {
    assert!(std::env::var_os(REQUIRED).is_none(), "{reason}");
    eprintln!("skipped: {reason}");
}

/// Returns the lines of failing calls of Claude Code. Each call has three events; the first event
/// of the session is one more.
fn calls(session: &str, numbers: std::ops::Range<usize>) -> String {
    let mut text = String::new();
    for n in numbers {
        let at = SystemClock.now();
        let rest = format!(r#""sessionId":"{session}","timestamp":"{at}","cwd":"/x""#);
        let call = format!(
            r#"{{"type":"tool_use","id":"{session}-t{n}","name":"Bash","input":{{"command":"make"}}}}"#
        );
        let usage = r#""usage":{"input_tokens":1,"output_tokens":1}"#;
        let message = format!(
            r#"{{"id":"{session}-m{n}","role":"assistant","model":"claude-sonnet-4-5","content":[{call}],{usage}}}"#
        );
        let _ = writeln!(
            text,
            "{{\"type\":\"assistant\",\"uuid\":\"{session}-u{n}\",{rest},\"message\":{message}}}"
        );
        let result = format!(
            r#"{{"type":"tool_result","tool_use_id":"{session}-t{n}","is_error":true,"content":"make: no rule"}}"#
        );
        let _ = writeln!(
            text,
            "{{\"type\":\"user\",\"uuid\":\"{session}-r{n}\",{rest},\"message\":{{\"role\":\"user\",\"content\":[{result}]}}}}"
        );
    }
    text
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(path).expect("the file exists");
    file.write_all(text.as_bytes()).expect("the file can be written");
}

/// Writes a program named `ssh` into a folder of its own. Returns the search path with it.
fn search_path(folder: &Folder, script: &str) -> String {
    let ssh = folder.write("bin/ssh", format!("#!/bin/sh\n{script}"));
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("the mode can be set");
    format!("{}:/usr/local/bin:/usr/bin:/bin", folder.path().join("bin").display())
}

/// Returns the search path with an `ssh` that runs the shell on this machine.
fn with_local_shell(folder: &Folder, shell: &str) -> String {
    let home = folder.path().join("home");
    search_path(
        folder,
        &format!(
            "[ \"$1\" = -V ] && exit\nprintf '%s\\n' \"$*\" >'{}'\nHOME='{}'\nexport HOME\nexec {shell}\n",
            folder.path().join("arguments").display(),
            home.display(),
        ),
    )
}

/// Starts `watch` with a search path.
fn watch(path: &str, args: &[&str]) -> Watching {
    Watching::run(program().env("PATH", path).arg("watch").args(args))
}

/// Returns the number of events that `watch` has counted.
#[track_caller]
fn n_events(lines: &[String]) -> u64 {
    let counts = lines.iter().find_map(|line| line.strip_prefix("watched ")?.split_once(" event"));
    counts.unwrap_or_else(|| panic!("no counts: {lines:#?}")).0.parse().expect("a number")
}

/// A server of this user on this machine, behind a relay that can break its connections.
struct Server {
    folder: Folder,
    process: Child,
    relay: Arc<Relay>,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.relay.is_broken.store(true, Ordering::SeqCst);
        self.relay.end_connections();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts a server. Returns `None` where none is installed, unless it is required.
    fn start() -> Option<Self> {
        let reason = match Self::try_start() {
            Ok(server) => return Some(server),
            Err(reason) => reason,
        };
        skip(&reason);
        None
    }

    fn try_start() -> Result<Self, String> {
        let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/lib/ssh/sshd"];
        let sshd = places.into_iter().find(|path| Path::new(path).exists());
        let sshd = sshd.ok_or("no sshd is installed (Debian package openssh-server)")?;
        let folder = Folder::new();
        fs::create_dir_all(folder.path().join(SESSIONS)).map_err(|err| err.to_string())?;
        for key in ["host_key", "key", "other_key"] {
            let path = folder.path().join(key);
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).stdin(Stdio::null());
            let made = keygen.status().map_err(|err| format!("cannot start ssh-keygen: {err}"))?;
            assert!(made.success(), "ssh-keygen makes a key");
        }
        let name = |file: &str| folder.path().join(file).display().to_string();
        fs::copy(folder.path().join("key.pub"), folder.path().join("authorized"))
            .map_err(|err| err.to_string())?;
        // The port may be taken again until the server has it.
        for _ in 0..10 {
            let own_port = free_port();
            let config = folder.write(
                "sshd_config",
                format!(
                    "ListenAddress 127.0.0.1\nPort {own_port}\nHostKey {}\nAuthorizedKeysFile {}\n\
                     PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
                     KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
                     SetEnv HOME={}\n",
                    name("host_key"),
                    name("authorized"),
                    name("home"),
                ),
            );
            let tested = Command::new(sshd).arg("-t").arg("-f").arg(&config).output();
            let tested = tested.map_err(|err| err.to_string())?;
            if !tested.status.success() {
                return Err(format!("sshd: {}", String::from_utf8_lossy(&tested.stderr).trim()));
            }
            let mut command = Command::new(sshd);
            command.args(["-D", "-e", "-f"]).arg(&config);
            let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = silent.spawn().map_err(|err| err.to_string())?;
            let listens = eventually(|| {
                let is_gone = process_is_gone(process.id());
                let connected = TcpStream::connect(("127.0.0.1", own_port));
                if is_gone {
                    Ok(false)
                } else {
                    connected.map(|_| true).map_err(|err| err.to_string())
                }
            })?;
            if !listens || process.try_wait().map_err(|err| err.to_string())?.is_some() {
                let _ = process.wait();
                continue;
            }
            let (relay, port) = Relay::start(own_port);
            let server = Self { folder, process, relay, port };
            server.configure("key", true);
            return Ok(server);
        }
        Err("sshd finds no free port".to_owned())
    }

    /// Writes the configuration of the client: its key, and whether it knows the key of the host.
    fn configure(&self, key: &str, knows_host: bool) {
        let host_key = fs::read_to_string(self.folder.path().join("host_key.pub")).unwrap();
        let known = format!("[127.0.0.1]:{} {host_key}", self.port);
        let known = self.folder.write("known_hosts", if knows_host { &*known } else { "" });
        self.folder.write(
            "ssh_config",
            format!(
                "Host box\n  HostName 127.0.0.1\n  Port {}\nHost *\n  IdentityFile {}\n  \
                 IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {}\n  \
                 GlobalKnownHostsFile none\n",
                self.port,
                self.folder.path().join(key).display(),
                known.display(),
            ),
        );
    }

    /// Returns the search path with an `ssh` that has the configuration.
    fn search_path(&self) -> String {
        let ssh =
            ["/usr/bin/ssh", "/usr/local/bin/ssh"].into_iter().find(|it| Path::new(it).exists());
        let config = self.folder.path().join("ssh_config");
        let ssh = ssh.expect("a server comes with a client");
        let pid = self.folder.path().join("pid");
        search_path(
            &self.folder,
            &format!(
                "[ \"$1\" = -V ] || echo $$ >'{}'\nexec {ssh} -F '{}' \"$@\"\n",
                pid.display(),
                config.display()
            ),
        )
    }

    fn session(&self) -> PathBuf {
        self.folder.path().join(SESSIONS).join("s1.jsonl")
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// Returns whether a process has ended, or is waited for.
fn process_is_gone(id: u32) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &id.to_string()]).output();
    let state = state.expect("ps runs").stdout;
    state.is_empty() || state.starts_with(b"Z")
}

/// Passes connections on, as long as the network is there.
#[derive(Default)]
struct Relay {
    is_broken: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Relay {
    fn start(to: u16) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let relay = Arc::<Self>::default();
        let accepting = relay.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.is_broken.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
                let pairs = [(&client, &server), (&server, &client)];
                let streams = pairs.map(|(from, to)| (from.try_clone(), to.try_clone()));
                for (from, to) in streams {
                    let (Ok(mut from), Ok(mut to)) = (from, to) else { return };
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                accepting.connections.lock().unwrap().extend([client, server]);
            }
        });
        (relay, port)
    }

    fn end_connections(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn sessions_of_a_server_are_followed_across_a_broken_connection() {
    let Some(server) = Server::start() else { return };
    let session = server.session();
    fs::write(&session, calls("s1", 0..2)).unwrap();
    let watching = watch(&server.search_path(), &["ssh://box"]);
    let name = format!("ssh://box{}", session.display());
    let [line, _] = watching.until_each(["repeated_error", "read 1 file of 1 session"]);
    assert!(line.ends_with(&format!("--> {name}:4")), "{line}");
    append(&session, &calls("s1", 2..4));
    watching.until("[MEDIUM] repeated_error");

    server.relay.is_broken.store(true, Ordering::SeqCst);
    server.relay.end_connections();
    watching.until_each([
        "warning: cannot read `ssh://box`: ",
        "watchkeeper-ssh: cannot read ssh://box",
    ]);
    append(&session, &calls("s1", 4..6));
    server.relay.is_broken.store(false, Ordering::SeqCst);
    watching.until("note: ssh://box is read again");
    let line = watching.until("[HIGH]   repeated_error");
    assert!(line.ends_with(&format!("--> {name}:12")), "{line}");

    let ssh = fs::read_to_string(server.folder.path().join("pid")).unwrap();
    let ssh = ssh.trim().parse().unwrap();
    assert!(!process_is_gone(ssh));
    let (status, lines) = watching.end("INT");
    assert_eq!(status, Some(0), "{lines:#?}");
    assert_eq!(n_events(&lines), 6 * 3 + 1, "no line is read twice");
    assert!(process_is_gone(ssh), "`ssh` ends with the program");
}

#[test]
fn a_folder_of_a_server_is_followed_by_user_port_and_path() {
    let Some(server) = Server::start() else { return };
    server.folder.write("home/a folder/s1.jsonl", calls("s1", 0..3));
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    let machine = format!("ssh://{}@127.0.0.1:{}", user.trim(), server.port);
    let watching = watch(&server.search_path(), &[&format!("{machine}/~/a folder")]);
    let line = watching.until("repeated_error");
    assert!(line.contains(&format!("--> {machine}/")), "{line}");
    assert!(line.ends_with("home/a folder/s1.jsonl:6"), "{line}");
    assert_eq!(watching.end("TERM").0, Some(0));
}

#[test]
fn a_server_that_refuses_the_connection_is_an_error_with_its_reason() {
    let Some(server) = Server::start() else { return };
    server.configure("key", false);
    let watching = watch(&server.search_path(), &["ssh://box"]);
    let line = watching.until("warning: cannot read `ssh://box`");
    assert_eq!(
        line,
        "warning: cannot read `ssh://box`: Host key verification failed; connect once with `ssh`, \
         and accept the key of the host"
    );
    server.configure("other_key", true);
    drop(watching);
    let watching = watch(&server.search_path(), &["ssh://box"]);
    let line = watching.until("warning: cannot read `ssh://box`");
    assert!(line.contains("Permission denied (publickey); `ssh` has to log in"), "{line}");
    assert_eq!(watching.end("TERM").0, Some(0));
}

#[test]
fn ssh_is_started_without_questions_and_without_an_address_as_an_option() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join("home")).unwrap();
    let watching = watch(&with_local_shell(&folder, "sh"), &["ssh://me@box:2222"]);
    let line = watching.until("warning: ");
    let home = folder.path().join("home");
    assert_eq!(
        line,
        format!(
            "warning: cannot read `ssh://me@box:2222`: no folder of a known agent in {}; waiting \
             for one",
            home.display()
        )
    );
    // A folder that appears later is followed.
    folder.write(&format!("{SESSIONS}/s1.jsonl"), calls("s1", 0..3));
    watching.until("repeated_error");
    assert_eq!(watching.end("INT").0, Some(0));
    let arguments = fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert!(arguments.starts_with("-T -o BatchMode=yes "), "{arguments}");
    assert!(arguments.ends_with(" -p 2222 -l me -- box sh\n"), "{arguments}");
}

#[test]
fn a_machine_with_busybox_is_read() {
    let Ok(applets) = Command::new("busybox").arg("--list").output() else {
        return skip("no busybox is installed");
    };
    let folder = Folder::new();
    for applet in String::from_utf8(applets.stdout).unwrap().lines() {
        let busybox =
            ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|it| Path::new(it).exists());
        let applets = folder.path().join("applets");
        fs::create_dir_all(&applets).unwrap();
        std::os::unix::fs::symlink(busybox.unwrap(), applets.join(applet)).unwrap();
    }
    let session = folder.write(&format!("{SESSIONS}/s1.jsonl"), calls("s1", 0..2));
    let shell = format!("env PATH='{0}' '{0}/sh'", folder.path().join("applets").display());
    let watching = watch(&with_local_shell(&folder, &shell), &["ssh://box"]);
    watching.until("read 1 file of 1 session");
    append(&session, &calls("s1", 2..6));
    watching.until("[HIGH]   repeated_error");
    assert_eq!(n_events(&watching.end("INT").1), 6 * 3 + 1);
}

#[test]
fn files_that_grow_are_rewritten_or_removed_are_followed() {
    let folder = Folder::new();
    let session = folder.write(&format!("{SESSIONS}/s1.jsonl"), calls("s1", 0..1));
    let path = with_local_shell(&folder, "sh");
    let watching = watch(&path, &["--verbose", "ssh://box"]);
    watching.until("read 1 file of 1 session");
    // A line whose end arrives later.
    let text = calls("s1", 1..2);
    let (begin, end) = text.split_at(40);
    append(&session, begin);
    let database = folder.write(&format!("{SESSIONS}/state.jsonl"), "SQLite format 3\0 and so on");
    let line = watching.until("warning: cannot read ");
    assert!(line.ends_with("state.jsonl`: databases of other machines are not read"), "{line}");
    append(&session, end);
    // Another session, which needs more than one request.
    let long = format!("{{\"type\":\"x\",\"pad\":\"{}\"}}\n", "x".repeat(60)).repeat(40_000);
    let other = folder
        .write("home/.claude/projects/q/s2.jsonl", calls("s2", 0..2) + &long + &calls("s2", 2..3));
    assert!(2 << 20 < fs::metadata(&other).unwrap().len());
    watching.until("[MEDIUM] repeated_error s2");
    fs::write(&session, calls("s3", 0..3)).unwrap();
    watching.until("s1.jsonl` was rewritten");
    watching.until("repeated_error s3");
    fs::remove_file(&other).unwrap();
    fs::remove_file(database).unwrap();
    let (status, lines) = watching.end("INT");
    assert_eq!(status, Some(0));
    // Two calls of s1, and three of each of the others.
    assert_eq!(n_events(&lines), 2 * 3 + 1 + 2 * (3 * 3 + 1), "{lines:#?}");
}

#[test]
fn a_restart_reports_only_what_is_new() {
    let folder = Folder::new();
    let session = folder.write(&format!("{SESSIONS}/s1.jsonl"), calls("s1", 0..3));
    let findings = folder.path().join("findings.jsonl");
    let policy = folder.write(
        "policy.toml",
        format!(
            "version = 1\nextends = [\"builtin:default\"]\n[sinks.file]\nkind = \"file\"\npath = {:?}\n\
             [[routes]]\nsinks = [\"file\"]\n",
            findings.display().to_string()
        ),
    );
    let state = folder.path().join("state");
    let path = with_local_shell(&folder, "sh");
    let read = || fs::read_to_string(&findings).unwrap_or_default();
    let of_session = || read().lines().filter(|line| line.contains("\"s1\"")).count();
    let run = |n_findings: usize| {
        let watching = Watching::run(
            program()
                .env("PATH", &path)
                .args(["--policy", policy.to_str().unwrap(), "watch"])
                .arg("--state-dir")
                .arg(&state)
                .arg("ssh://box"),
        );
        watching.until("read 1 file of 1 session");
        eventually(|| (of_session() == n_findings).then_some(()).ok_or_else(read)).unwrap();
        assert_eq!(watching.end("INT").0, Some(0));
    };
    run(1);
    run(1);
    append(&session, &calls("s1", 3..6));
    run(2);
}

/// An `ssh` that greets as the script does, and then runs `answers` with the token.
fn answering(folder: &Folder, answers: &str) -> String {
    search_path(
        folder,
        &format!(
            "[ \"$1\" = -V ] && exit\nIFS= read -r first\ntoken=${{first#token=}}\n\
             printf '%s ready /h\\n' \"$token\"\n{answers}\n"
        ),
    )
}

/// Returns the warning about the machine, and checks that all output is safe for a terminal.
#[track_caller]
fn warning(path: &str) -> String {
    let watching = watch(path, &["ssh://box"]);
    let line = watching.until("warning: cannot read");
    let (status, lines) = watching.end("INT");
    assert_eq!(status, Some(0), "{lines:#?}");
    let is_safe = |text: &String| !text.contains(char::is_control);
    assert!(is_safe(&line) && lines.iter().all(is_safe), "{line:?} {lines:?}");
    line.strip_prefix("warning: cannot read `ssh://box`: ").unwrap_or(&line).to_owned()
}

#[test]
fn a_machine_that_sends_something_else_is_an_error() {
    let folder = Folder::new();
    let of = |script: &str| {
        warning(&search_path(&folder, &format!("[ \"$1\" = -V ] && exit\n{script}\n")))
    };
    assert_eq!(
        of("exec yes"),
        "the machine sends more than 65536 bytes where the greeting of the script belongs"
    );
    assert_eq!(
        of("exec head -c 100000 /dev/zero"),
        "the machine sends more than 8192 bytes where the greeting of the script belongs"
    );
    assert_eq!(
        of("printf 'This account is \\033[31mclosed.\\n'"),
        "the connection was closed after the text `This account is \\u{1b}[31mclosed.`"
    );
    assert_eq!(of("printf 'no \\033]0;route\\007\\n' >&2"), "no \\u{1b}]0;route\\u{7}");
    let of = |answers: &str| warning(&answering(&folder, answers));
    assert_eq!(
        of("printf '%s list many\\n' \"$token\""),
        "the machine answers `<token> list many` where a list of files belongs"
    );
    assert_eq!(
        of("printf 'other\\033[2J\\n'; exec cat"),
        "the machine answers `other\\u{1b}[2J` where a list of files belongs"
    );
    assert_eq!(
        of("printf '%s list 1 0\\n' \"$token\"; exec yes '1 1 1 /h/.claude/projects/a.jsonl'"),
        "the machine sends more than 16777216 bytes where a list of files belongs"
    );
}

#[test]
fn a_hostile_list_names_no_file_that_is_requested() {
    let folder = Folder::new();
    let requests = folder.path().join("requests");
    // Each list ends, and the requests are recorded.
    let answers = format!(
        "while IFS= read -r line; do case $line in list*)\n\
         printf '%s list 1 0\\n1 9 0 relative.jsonl\\n1 9 0 /a\\033[2J.jsonl\\n-1 9 0 /b.jsonl\\n\
         1 99999999999999999999 0 /c.jsonl\\n1 9 0 /etc/e.jsonl\\n\
         1 9 0 /h/.claude/projects/../f.jsonl\\nend\\nwk-0 end\\n1 18446744073709551615 9223372036854775807 \
         /h/.claude/projects/d.jsonl\\n\
         %s end\\n' \"$token\" \"$token\"\n;; read*) echo \"$line\" >>'{}'; IFS= read -r line; \
         echo \"$line\" >>'{0}'; printf '%s bytes\\n' \"$token\"; exec head -c 100 /dev/zero;; esac; done",
        requests.display()
    );
    let line = warning(&answering(&folder, &answers));
    assert_eq!(line, "the connection was closed");
    let requests = fs::read_to_string(requests).unwrap();
    assert_eq!(
        requests.lines().take(2).collect::<Vec<_>>(),
        ["read 0 16 65536", "/h/.claude/projects/d.jsonl"]
    );
    assert!(!requests.contains("jsonl\nread 1"), "{requests}");
}

#[test]
fn addresses_that_cannot_be_used_are_errors() {
    let folder = Folder::new();
    let run = |args: &[&str], path: &str| {
        let Ran { err, status, .. } = Ran::of(program().env("PATH", path).args(args));
        assert_eq!(status, 2, "{err}");
        err
    };
    let path = search_path(&folder, "exit\n");
    assert_eq!(
        run(&["watch", "ssh://-oProxyCommand=id"], &path),
        "error: `ssh://-oProxyCommand=id` is no address of another machine: a host has letters, \
         digits, `.`, `_` and `-`, and does not begin with `-`\n"
    );
    assert_eq!(
        run(&["check", "ssh://box/srv"], &path),
        "error: `ssh://box/srv` is on another machine, which `watch` alone reads; copy the files, \
         such as with `scp -r`\n"
    );
    let err = run(&["watch", "ssh://box"], "/nonexistent");
    assert!(err.starts_with("error: cannot start `ssh`; install an OpenSSH client: "), "{err}");
}

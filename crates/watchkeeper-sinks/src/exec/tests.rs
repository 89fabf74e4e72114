use std::{fs, time::Duration};

use insta::assert_snapshot;
use watchkeeper_core::{Sink, author::SinkError};

use super::{Exec, GRACE};
use crate::{
    render_json,
    samples::{build, build_example, finding, mistake},
};

/// Makes a sink that runs a script.
fn script(text: &str, options: &str) -> Exec {
    build(&format!("command = ['/bin/sh', '-c', '''{text}''']\n{options}")).unwrap()
}

fn run(text: &str) -> Result<(), SinkError> {
    script(text, "").deliver(&finding())
}

fn error(text: &str) -> String {
    run(text).unwrap_err().to_string()
}

#[test]
fn the_example_in_the_manual_is_valid() {
    assert!(build_example::<Exec>().unwrap().environment.is_none());
}

#[test]
fn invalid_options_are_named() {
    assert_snapshot!(mistake::<Exec>("command = []"), @"invalid value for `command`: names no program");
    assert_snapshot!(mistake::<Exec>("command = ['']"), @"invalid value for `command`: names no program");
    assert_snapshot!(mistake::<Exec>("command = ['./notify']"), @"invalid value for `command[0]`: a program is an absolute path, or a name without `/`");
    assert_snapshot!(mistake::<Exec>("command = 'notify'"), @r#"invalid type: string "notify", expected a sequence"#);
    assert_snapshot!(mistake::<Exec>(r#"command = ["notify", "a\u0000b"]"#), @"invalid value for `command[1]`: contains a null character");
    assert_snapshot!(mistake::<Exec>("command = ['notify']\nenvironment = { 'A=B' = 'x' }"), @"invalid value for `environment.A=B`: is not the name of a variable");
    assert_snapshot!(mistake::<Exec>("command = ['notify']\nshell = true"), @"unknown field `shell`, expected one of `command`, `timeout`, `environment`");
}

#[test]
fn the_program_reads_the_finding_and_a_stated_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let options = format!("environment = {{ OUT = '{}', TOKEN = 'hunter2' }}", path.display());
    let mut sink = script("cat > $OUT; env | sort >> $OUT", &options);
    sink.deliver(&finding()).unwrap();
    let out = fs::read_to_string(&path).unwrap();
    let (input, environment) = out.split_once('\n').unwrap();
    assert_eq!(input, render_json(&finding()));
    let names: Vec<_> = environment.lines().filter_map(|line| line.split_once('=')).collect();
    assert!(names.contains(&("TOKEN", "hunter2")), "{environment}");
    let expected = ["HOME", "LANG", "OUT", "OLDPWD", "PATH", "PWD", "SHLVL", "TOKEN", "_"];
    assert!(names.iter().all(|(name, _)| expected.contains(name)), "{environment}");
}

#[test]
fn no_shell_reads_the_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("$(touch x); *");
    let mut sink: Exec = build(&format!("command = ['tee', '--', '{}']", path.display())).unwrap();
    sink.deliver(&finding()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), render_json(&finding()) + "\n");
}

#[test]
fn the_exit_status_decides_whether_to_retry() {
    run("exit 0").unwrap();
    assert_snapshot!(error("exit 1"), @"unavailable: the program exited with status 1");
    assert_snapshot!(error("exit 65"), @"refused: the program exited with status 65");
    assert_snapshot!(error("exit 75"), @"unavailable: the program exited with status 75");
    assert_snapshot!(error("kill -9 $$"), @"unavailable: signal 9 ended the program");
    let err = build::<Exec>("command = ['/nonexistent/notify']").unwrap().deliver(&finding());
    assert_snapshot!(err.unwrap_err(), @"unavailable: cannot start the program");
}

#[test]
fn the_output_of_a_failed_program_is_quoted_and_cut() {
    assert_snapshot!(error(r"printf 'no route\033[2J\nsecond token=hunter2abc' >&2; exit 1"), @r#"unavailable: the program exited with status 1: `no route\u{1b}[2J\nsecond token=[redacted]`"#);
    let long = error("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1");
    assert!(long.len() < 200, "{long}");
}

#[test]
fn a_program_need_not_read_its_input() {
    let mut finding = finding();
    finding.message = "x".repeat(1 << 20);
    script("exit 0", "").deliver(&finding).unwrap();
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let options = format!("timeout = '1s'\nenvironment = {{ OUT = '{}' }}", path.display());
    let mut sink = script("sleep 1000 & echo $! > $OUT; wait", &options);
    let err = sink.deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"unavailable: the program was killed after 1s");
    assert!(has_ended(fs::read_to_string(&path).unwrap().trim()));
}

#[test]
fn children_end_with_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let options = format!("environment = {{ OUT = '{}' }}", path.display());
    // The child keeps standard error open.
    script("sleep 1000 & echo $! > $OUT", &options).deliver(&finding()).unwrap();
    assert!(has_ended(fs::read_to_string(&path).unwrap().trim()));
}

#[test]
#[cfg(target_os = "linux")]
fn a_daemon_that_the_program_leaves_keeps_no_pipe_open() {
    let folder = tempfile::tempdir().unwrap();
    let (go, out) = (folder.path().join("go"), folder.path().join("out"));
    let options = format!("environment = {{ GO = '{}', OUT = '{}' }}", go.display(), out.display());
    let daemon = r#"
        trap "" PIPE
        touch $OUT.started
        until [ -e $GO ]; do sleep 0.01; done
        if echo x >&2; then echo open > $OUT.new; else echo closed > $OUT.new; fi
        mv $OUT.new $OUT
    "#;
    let text = format!(
        "exec 3<&0; setsid sh -c '{daemon}' <&3 &
        until [ -e $OUT.started ]; do sleep 0.01; done; echo text >&2; exit 1"
    );
    let mut finding = finding();
    finding.message = "x".repeat(1 << 20);
    let err = script(&text, &options).deliver(&finding).unwrap_err();
    assert_snapshot!(err, @"unavailable: the program exited with status 1: `text`");
    fs::write(&go, "").unwrap();
    let deadline = watchkeeper_core::clock::Deadline::after(Duration::from_secs(60));
    while !out.exists() && !deadline.remaining().is_zero() {
        std::thread::yield_now();
    }
    assert_eq!(fs::read_to_string(&out).unwrap(), "closed\n");
}

/// Returns whether a process has ended within a while. A process that nobody has waited for
/// yet has ended.
fn has_ended(pid: &str) -> bool {
    let pid: i32 = pid.parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let deadline = watchkeeper_core::clock::Deadline::after(GRACE);
    while !deadline.remaining().is_zero() {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        let is_zombie = stat.is_ok_and(|stat| stat.contains(") Z "));
        if is_zombie || rustix::process::test_kill_process(pid).is_err() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn posts_nothing_if_a_secret_is_unknown() {
    let options = "command = ['true']\nenvironment = { TOKEN = { secret = 'token' } }";
    let err = build::<Exec>(options).unwrap().deliver(&finding()).unwrap_err();
    assert_snapshot!(err, @"refused: the policy was read without its secrets");
}

#[test]
fn debug_output_contains_no_secret() {
    let sink = script("exit 0 hunter2", "environment = { TOKEN = 'hunter2' }");
    assert!(!format!("{sink:?}").contains("hunter2"), "{sink:?}");
    assert_eq!(sink.retry().max, Duration::from_secs(300));
}

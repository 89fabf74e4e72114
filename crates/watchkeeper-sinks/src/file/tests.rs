use std::{collections::BTreeSet, fs, path::Path, thread, time::Duration};

use insta::assert_snapshot;
use tempfile::TempDir;
use watchkeeper_core::{Finding, Fingerprint, Sink};

use super::File;
use crate::{
    render_json,
    samples::{build, build_example, finding, mistake, run_again},
};

fn folder() -> TempDir {
    tempfile::tempdir().expect("there is room for a folder")
}

/// Writes a file that the sink accepts.
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn sink(path: &Path, options: &str) -> File {
    build(&format!("path = '{}'\n{options}", path.display())).unwrap()
}

fn numbered(n: u64) -> Finding {
    let mut finding = finding();
    finding.id = Fingerprint::from(n);
    finding
}

/// Returns the ids of the findings in a file; every line must be a finding.
#[track_caller]
fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(id).collect()
}

#[track_caller]
fn id(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    value["id"].as_str().unwrap().trim_start_matches('0').to_owned()
}

/// Returns the error of `deliver`, without the path of the temporary folder.
fn error(sink: &mut File, folder: &TempDir) -> String {
    let err = sink.deliver(&finding()).unwrap_err();
    err.to_string().replace(&folder.path().display().to_string(), "…")
}

#[test]
fn the_example_in_the_manual_is_valid() {
    let file = build_example::<File>().unwrap();
    assert_eq!(file.path, Path::new("findings.ndjson"));
}

#[test]
fn invalid_options_are_named() {
    assert_snapshot!(mistake::<File>(""), @"missing field `path`");
    assert_snapshot!(mistake::<File>("path = ''"), @"invalid value for `path`: is not the path of a file; write a path such as `findings.ndjson`");
    assert_snapshot!(mistake::<File>("path = 'logs/'"), @"invalid value for `path`: is not the path of a file; write a path such as `findings.ndjson`");
    assert_snapshot!(mistake::<File>("path = 'a'\nrotate = { max_size = 64 }"), @r#"invalid type: integer `64`, expected a size such as "64MiB", "1GB" or "500kB""#);
    assert_snapshot!(mistake::<File>("path = 'a'\nrotate = { max_size = '1MB', keep = 0 }"), @"invalid value: integer `0`, expected a whole number from 1 to 999");
    assert_snapshot!(mistake::<File>("path = 'a'\nrotate = { size = '1MB' }"), @"unknown field `size`, expected `max_size` or `keep`");
}

#[test]
fn a_lock_of_another_program_is_an_error() {
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    let mut sink = sink(&path, "");
    sink.open().unwrap();
    let other = fs::File::open(&path).unwrap();
    other.lock_shared().unwrap();
    sink.lock_timeout = Duration::ZERO;
    assert_snapshot!(error(&mut sink, &folder), @"unavailable: another program holds a lock on `…/findings.ndjson`");
    other.unlock().unwrap();
    sink.deliver(&numbered(1)).unwrap();
    assert_eq!(ids(&path), ["1"]);
}

#[test]
fn appends_one_line_for_each_finding() {
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    write(&path, "{\"id\":\"a\"}\n");
    let mut sink = sink(&path, "");
    sink.open().unwrap();
    sink.deliver(&numbered(1)).unwrap();
    sink.deliver(&numbered(2)).unwrap();
    let written = fs::read_to_string(&path).unwrap();
    let [first, second] = [1, 2].map(|n| render_json(&numbered(n)));
    assert_eq!(written, format!("{{\"id\":\"a\"}}\n{first}\n{second}\n"));
}

#[test]
fn starts_a_new_line_after_half_a_line() {
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    write(&path, "{\"id\":\"torn");
    let mut sink = sink(&path, "");
    sink.deliver(&numbered(1)).unwrap();
    sink.deliver(&numbered(2)).unwrap();
    let written = fs::read_to_string(&path).unwrap();
    let (torn, rest) = written.split_once('\n').unwrap();
    assert_eq!(torn, "{\"id\":\"torn");
    assert_eq!(rest.lines().map(id).collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn creates_a_file_that_was_renamed_or_removed() {
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    let away = folder.path().join("away");
    let mut sink = sink(&path, "");
    sink.deliver(&numbered(1)).unwrap();
    fs::rename(&path, &away).unwrap();
    sink.deliver(&numbered(2)).unwrap();
    assert_eq!((ids(&away), ids(&path)), (vec!["1".to_owned()], vec!["2".to_owned()]));
    fs::rename(&away, &path).unwrap();
    sink.deliver(&numbered(3)).unwrap();
    assert_eq!(ids(&path), ["1", "3"]);
    fs::remove_file(&path).unwrap();
    sink.deliver(&numbered(4)).unwrap();
    assert_eq!(ids(&path), ["4"]);
}

#[test]
fn rotation_renames_old_files_and_drops_the_oldest() {
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    let size = 2 * (render_json(&numbered(1)).len() + 1);
    let mut sink = sink(&path, &format!("rotate = {{ max_size = '{size}B', keep = 2 }}"));
    let files = || {
        ["", ".1", ".2", ".3"]
            .map(|it| ids(&folder.path().join(format!("findings.ndjson{it}"))).join(" "))
    };
    (1..=3).for_each(|n| sink.deliver(&numbered(n)).unwrap());
    assert_eq!(files(), ["3", "1 2", "", ""]);
    (4..=5).for_each(|n| sink.deliver(&numbered(n)).unwrap());
    assert_eq!(files(), ["5", "3 4", "1 2", ""]);
    (6..=7).for_each(|n| sink.deliver(&numbered(n)).unwrap());
    assert_eq!(files(), ["7", "5 6", "3 4", ""]);
}

#[test]
fn a_line_longer_than_the_limit_gets_a_file_of_its_own() {
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    let mut sink = sink(&path, "rotate = { max_size = '1B', keep = 9 }");
    (1..=3).for_each(|n| sink.deliver(&numbered(n)).unwrap());
    assert_eq!(ids(&path), ["3"]);
    assert_eq!(ids(&path.with_extension("ndjson.1")), ["2"]);
    assert_eq!(ids(&path.with_extension("ndjson.2")), ["1"]);
}

#[test]
fn rotation_drops_no_file_while_a_number_is_free() {
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    let old = |n: u32| folder.path().join(format!("findings.ndjson.{n}"));
    fs::write(old(2), "{\"id\":\"b\"}\n").unwrap();
    fs::write(old(3), "{\"id\":\"c\"}\n").unwrap();
    let mut sink = sink(&path, "rotate = { max_size = '1B', keep = 3 }");
    (1..=2).for_each(|n| sink.deliver(&numbered(n)).unwrap());
    assert_eq!([ids(&old(1)), ids(&old(2)), ids(&old(3))].concat(), ["1", "b", "c"]);
}

#[test]
fn a_file_that_cannot_be_renamed_grows() {
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    // A folder that is not empty, which no file can replace.
    fs::create_dir_all(folder.path().join("findings.ndjson.1/full")).unwrap();
    let mut sink = sink(&path, "rotate = { max_size = '1B', keep = 1 }");
    (1..=2).for_each(|n| sink.deliver(&numbered(n)).unwrap());
    assert_eq!(ids(&path), ["1", "2"]);
}

#[test]
fn an_impossible_folder_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    for path in ["file/findings.ndjson", "file/below/findings.ndjson"] {
        let mut sink = sink(&folder.path().join(path), "");
        let error = error(&mut sink, &folder);
        assert_eq!(error, format!("refused: cannot create the folder of `…/{path}`"));
    }
}

#[test]
fn monitors_that_share_a_file_lose_no_line_and_split_no_line() {
    const N_MONITORS: u64 = 4;
    const N_FINDINGS: u64 = 250;
    let folder = folder();
    let path = folder.path().join("findings.ndjson");
    thread::scope(|scope| {
        for monitor in 0..N_MONITORS {
            let mut sink = sink(&path, "rotate = { max_size = '16KiB', keep = 999 }");
            scope.spawn(move || {
                for n in 1..=N_FINDINGS {
                    sink.deliver(&numbered(monitor * N_FINDINGS + n)).unwrap();
                }
            });
        }
    });
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path()).collect();
    let found: Vec<String> = files.iter().flat_map(|it| ids(it)).collect();
    let expected: BTreeSet<String> =
        (1..=N_MONITORS * N_FINDINGS).map(|n| format!("{n:x}")).collect();
    assert!(10 < files.len(), "{} files", files.len());
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[cfg(unix)]
mod unix {
    use std::{
        fs::Permissions,
        os::unix::{
            fs::{MetadataExt, PermissionsExt, symlink},
            net::UnixListener,
        },
        process::Command,
    };

    use watchkeeper_core::author::SinkError;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_the_owner_may_use_new_files_and_folders() {
        let folder = folder();
        let path = folder.path().join("a/b/findings.ndjson");
        sink(&path, "").deliver(&finding()).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("a")), 0o700);
        assert_eq!(mode(&folder.path().join("a/b")), 0o700);
    }

    #[test]
    fn refuses_a_file_that_others_can_use() {
        let folder = folder();
        let path = folder.path().join("findings.ndjson");
        for mode in [0o666, 0o644, 0o640, 0o620, 0o604, 0o601] {
            write(&path, "");
            set_mode(&path, mode);
            let error = error(&mut sink(&path, ""), &folder);
            assert_eq!(
                error,
                format!(
                    "refused: `…/findings.ndjson` can be used by others (mode {mode:04o}); run \
                     `chmod 600 …/findings.ndjson`"
                )
            );
            assert_eq!(fs::read(&path).unwrap(), b"");
        }
        set_mode(&path, 0o600);
        sink(&path, "").deliver(&finding()).unwrap();
    }

    #[test]
    fn refuses_links_folders_pipes_and_sockets() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let canary = at("canary");
        fs::write(&canary, "").unwrap();
        symlink(&canary, at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        write(&at("one"), "");
        fs::hard_link(at("one"), at("other")).unwrap();

        let error_of = |name: &str| error(&mut sink(&at(name), ""), &folder);
        assert_snapshot!(error_of("link"), @"refused: `…/link` is a symbolic link; name the file itself");
        assert_snapshot!(error_of("dangling"), @"refused: `…/dangling` is a symbolic link; name the file itself");
        assert_snapshot!(error_of("folder"), @"refused: `…/folder` is a folder; name a file in it");
        assert_snapshot!(error_of("socket"), @"refused: `…/socket` is not a regular file");
        assert_snapshot!(error_of("pipe"), @"refused: `…/pipe` is not a regular file");
        assert_snapshot!(error_of("other"), @"refused: `…/other` has another name (a hard link); use a file of its own");
        assert_eq!(fs::read(&canary).unwrap(), b"");
        assert!(!at("nowhere").exists());

        let err = sink(Path::new("/dev/null"), "").deliver(&finding()).unwrap_err();
        assert_snapshot!(err, @"refused: `/dev/null` is not a regular file");
    }

    #[test]
    fn refuses_a_pipe_that_has_a_reader() {
        let folder = folder();
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Opened for both, since opening a pipe for one waits for the other.
        let _reader = fs::File::options().read(true).write(true).open(&path).unwrap();
        assert_snapshot!(error(&mut sink(&path, ""), &folder), @"refused: `…/pipe` is not a regular file");
    }

    #[test]
    fn refuses_folders_that_any_user_may_write_to_up_the_path_unless_sticky() {
        let folder = folder();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        symlink(&below, folder.path().join("link")).unwrap();
        for path in ["findings.ndjson", "a/b/findings.ndjson", "new/findings.ndjson"] {
            let mut file = sink(&folder.path().join(path), "");
            set_mode(folder.path(), 0o777);
            let expected =
                "is in `…`, which any user may write to; run `chmod o-w …`, or use another folder";
            assert_eq!(error(&mut file, &folder), format!("refused: `…/{path}` {expected}"));
            set_mode(folder.path(), 0o1777);
            file.deliver(&finding()).unwrap();
        }
        set_mode(&below, 0o777);
        let error = error(&mut sink(&folder.path().join("link/findings.ndjson"), ""), &folder);
        assert!(error.contains("which any user may write to"), "{error}");
    }

    #[test]
    fn refuses_a_link_that_replaces_the_file() {
        let folder = folder();
        let path = folder.path().join("findings.ndjson");
        let canary = folder.path().join("canary");
        let mut sink = sink(&path, "");
        sink.deliver(&finding()).unwrap();
        fs::rename(&path, &canary).unwrap();
        symlink(&canary, &path).unwrap();
        let len = fs::metadata(&canary).unwrap().len();
        assert_snapshot!(error(&mut sink, &folder), @"refused: `…/findings.ndjson` is a symbolic link; name the file itself");
        assert_eq!(fs::metadata(&canary).unwrap().len(), len);
    }

    #[test]
    fn a_path_cannot_control_the_terminal() {
        let folder = folder();
        let path = folder.path().join("a\u{1b}[2Jb");
        fs::create_dir(&path).unwrap();
        let options =
            format!("path = \"{}\"", path.display().to_string().replace('\u{1b}', "\\u001b"));
        let mut sink: File = build(&options).unwrap();
        assert_snapshot!(error(&mut sink, &folder), @r"refused: `…/a\u{1b}[2Jb` is a folder; name a file in it");
    }

    /// Runs the test again in a process that may write 4 KiB at most to a file.
    /// The write at the limit fails like on a full disk: it writes half a line.
    #[test]
    fn a_full_disk_leaves_no_half_line() {
        const FOLDER: &str = "WATCHKEEPER_TEST_FULL_DISK";
        const BLOCKS: u32 = 8;
        if let Some(folder) = std::env::var_os(FOLDER) {
            let path = Path::new(&folder).join("findings.ndjson");
            let mut sink = sink(&path, "");
            let failed = (1..=20).find_map(|n| sink.deliver(&numbered(n)).err());
            let failed = failed.expect("a write should exceed the limit");
            assert!(matches!(failed, SinkError::Unavailable { .. }), "{failed:?}");
            let failed = sink.deliver(&numbered(99)).expect_err("the file should still be full");
            assert!(matches!(failed, SinkError::Unavailable { .. }), "{failed:?}");
            let written = fs::read_to_string(&path).expect("the file exists");
            assert!(written.ends_with('\n'), "{written}");
            return;
        }
        let folder = folder();
        let limited = format!("trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$0\" \"$@\"");
        run_again(
            Command::new("sh").args(["-c", &limited]).arg(std::env::current_exe().unwrap()),
            concat!(module_path!(), "::a_full_disk_leaves_no_half_line"),
            (FOLDER, folder.path().as_os_str()),
        );

        // The disk has room again.
        let path = folder.path().join("findings.ndjson");
        sink(&path, "").deliver(&numbered(100)).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        let [whole @ .., last] = &lines[..] else { panic!("{written}") };
        assert!(!whole.is_empty());
        for (line, n) in whole.iter().zip(1_u64..) {
            assert_eq!(id(line), format!("{n:x}"));
        }
        assert_eq!(id(last), "64");
    }
}

//! Policies that are made to take long.
//!
//! The tests bound the number of diagnostics and the size of the report, not the time.

use std::fmt::Write as _;

use watchkeeper_policy::{DiagnosticLevel, render};

use crate::{environment, load};

/// Makes a policy of `n` lines.
fn lines(n: usize, line: impl Fn(usize) -> String) -> String {
    format!("version = 1\n[sinks.hook]\nurl = 'https://x'\n{}", lines_of(n, line))
}

/// Makes a text of `n` lines.
fn lines_of(n: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    (0..n).for_each(|idx| writeln!(text, "{}", line(idx)).expect("memory is enough"));
    text
}

/// Checks that a policy is refused with a short report; returns its first line.
#[track_caller]
fn refused(text: &str) -> String {
    let loaded = load(&[("policy.toml", text)], Some(&environment));
    let n_errors = loaded.diagnostics.iter().filter(|it| it.level == DiagnosticLevel::Error);
    assert!((1..=51).contains(&n_errors.count()), "{:#?}", loaded.diagnostics.len());
    assert!(loaded.diagnostics.len() <= 102, "{}", loaded.diagnostics.len());
    let report = render(&loaded, false);
    assert!(report.len() < 1 << 16, "{} bytes", report.len());
    report.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_policy_that_is_too_large_is_refused() {
    const LARGE: usize = 1 << 20;
    for character in ["a", "[", "{", "\n", "\"", "'", "=", ".", "#", "x = [", "\0", "é"] {
        let text = character.repeat(LARGE / character.len());
        let expected = "error: cannot read the policy: a policy has at most 256 KiB, with all \
                        files that it extends";
        assert_eq!(refused(&text), expected, "{character:?}");
    }
}

#[test]
fn a_text_of_mistakes_has_a_short_report() {
    const LEN: usize = 100_000;
    for character in ["a", "[", "{", "\"", "'", "=", ".", "x = [", "\0", "a\n", "[a]\n", "=\n"] {
        refused(&character.repeat(LEN / character.len()));
        refused(&format!("version = 1\nx = {}", character.repeat(LEN / character.len())));
    }
    refused(&"\n".repeat(LEN));
    refused(&format!("#{}", "#".repeat(LEN)));
}

#[test]
fn the_numbers_of_entries_are_limited() {
    let max = "error: `detectors` has 4,000 entries, more than 1,000";
    assert_eq!(refused(&lines(4000, |idx| format!("[detectors.d{idx}]\nkind = 'repeat'"))), max);
    let max = "error: `routes` has 251 entries, more than 250";
    assert_eq!(refused(&lines(251, |_| "[[routes]]\nsinks = ['hook']".to_owned())), max);
    let max = "error: the policy has more than 20,000 keys and values";
    assert_eq!(refused(&format!("version = 1\nx = [{}]", "1,".repeat(20_000))), max);
    assert_eq!(refused(&lines(10_001, |idx| format!("a{idx}=1"))), max);
    assert_eq!(refused(&lines(1001, |idx| format!("a{idx}{}=1", ".a".repeat(18)))), max);
    let exceptions = |_| "[[detectors.repeat.exceptions]]\ntool = 'a'\nreason = 'b'".to_owned();
    let max = "error: a detector has at most 100 exceptions";
    assert_eq!(refused(&lines(101, exceptions)), max);
}

#[test]
fn the_lists_are_limited_in_what_they_insert() {
    let policy = |names: &str| {
        let list = "'a',".repeat(1000);
        format!(
            "version = 1\n[lists]\na = [{list}]\n[sinks.hook]\nurl = 'https://x'\n[[routes]]\n\
             sinks = ['hook']\nmatch = {{ detector = [{names}] }}"
        )
    };
    let max = "error: the lists of the policy insert more than 20,000 values";
    assert_eq!(refused(&policy(&"'@a',".repeat(21))), max);
    // Each has a suggestion.
    let unknown = refused(&policy(&"'@b',".repeat(10_000)));
    assert_eq!(unknown, "error: unknown list `b`");
}

#[test]
fn the_merged_files_are_limited() {
    let base = format!("version = 1\n[labels]\n{}", lines_of(4000, |idx| format!("l{idx} = 'a'")));
    let names: Vec<String> = (0..6).map(|idx| format!("{idx}.toml")).collect();
    let extends = lines_of(names.len(), |idx| format!("'{idx}.toml',"));
    let policy = format!("version = 1\nextends = [{extends}]\n");
    let mut files = vec![("policy.toml", policy.as_str()), ("base.toml", base.as_str())];
    let base = "version = 1\nextends = ['base.toml']\n";
    files.extend(names.iter().map(|name| (name.as_str(), base)));
    let report = render(&load(&files, Some(&environment)), false);
    let max = "error: the extended files have more than 40,000 keys and values";
    assert_eq!(report.lines().next(), Some(max));
}

#[test]
fn the_combinations_of_overrides_are_limited() {
    let levels = lines_of(998, |idx| format!("{{ at = {}, severity = 'low' }},", idx + 2));
    let overrides = lines_of(4, |idx| {
        format!(
            "[[overrides]]\nmatch = {{ cwd = '/{idx}' }}\nreason = 'r'\n\
             detectors.repeat.enabled = {}",
            idx % 2 == 0
        )
    });
    let policy = format!("version = 1\n[detectors.repeat]\nlevels = [{levels}]\n{overrides}");
    let expected =
        "error: with `repeat`, the detectors and sinks have more than 40,000 keys and values";
    assert_eq!(refused(&policy), expected);
}

#[test]
fn a_template_counts_as_many_values() {
    let sinks = lines_of(50, |idx| {
        format!("[sinks.s{idx}]\nkind = 'hook'\nurl = 'https://x'\ntemplate = '{{}}'")
    });
    let text = format!("version = 1\n{sinks}");
    refused(&text);
    let loaded = load(&[("policy.toml", &text)], Some(&environment));
    let expected = "with `s44`, the detectors and sinks have more than 40,000 keys and values";
    let messages: Vec<&str> = loaded.diagnostics.iter().map(|it| it.message.as_str()).collect();
    assert!(messages.contains(&expected), "{messages:#?}");
}

#[test]
fn patterns_are_not_compared_with_long_names_forever() {
    let name = "n".repeat(100_000);
    let patterns = "'*m*',".repeat(10_000);
    let text = format!(
        "version = 1\n[detectors.{name}]\nkind = 'repeat'\n[sinks.hook]\nurl = 'https://x'\n\
         [[routes]]\nsinks = ['hook']\nmatch = {{ detector = [{patterns}] }}"
    );
    let loaded = load(&[("policy.toml", &text)], Some(&environment));
    assert!(loaded.policy.is_some(), "{}", render(&loaded, false));
    // The budget of comparisons ends before the limit of warnings.
    assert!(loaded.diagnostics.len() < 100, "{}", loaded.diagnostics.len());
}

#[test]
fn the_first_mistake_of_a_line_of_mistakes_is_reported() {
    let first = |text: &str| refused(&format!("version = 1\n{text}"));
    assert_eq!(
        first(&format!("x = \"{}\"", "\\q".repeat(10_000))),
        "error: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U`"
    );
    let extra = "error: extra comma in array, expected value";
    assert_eq!(first(&format!("x = [{}", ",".repeat(10_000))), extra);
    let missing = "error: the value is missing";
    assert_eq!(first(&lines_of(5_000, |idx| format!("x{idx} ="))), missing);
}

#[test]
fn the_number_of_reported_mistakes_is_limited() {
    let text = lines(5000, |idx| format!("[detector{idx}]"));
    assert!(refused(&text).starts_with("error: unknown key `detector0`"));
    for line in ["check_interva{} = 1", "shutdown_timeouu{} = 1"] {
        let keys = |idx: usize| line.replace("{}", &idx.to_string());
        refused(&format!("{}\n[monitor]\n", lines(5000, keys)));
        refused(&lines(1, |_| {
            format!("[monitor]\n{}", (0..5000).map(keys).collect::<Vec<_>>().join("\n"))
        }));
    }
    refused(&lines(900, |idx| format!("[detectors.d{idx}]\nkind = 'repeat'\nleas = 3\nsam = []")));
    refused(&lines(1, |_| format!("[[routes]]\nsinks = [{}]", "'hok',".repeat(10_000))));
    refused(&lines(900, |idx| {
        let (before, after) = ((idx + 899) % 900, (idx + 1) % 900);
        format!("[detectors.d{idx}]\nkind = 'repeat'\ninhibited_by = ['d{before}', 'd{after}']")
    }));
}

#[test]
fn the_number_of_warnings_is_limited() {
    let routes = |idx: usize| {
        let patterns =
            (0..70).map(|pattern| format!("'x{idx}-{pattern}*'")).collect::<Vec<_>>().join(", ");
        format!("[[routes]]\nsinks = ['hook']\nmatch = {{ detector = [{patterns}] }}")
    };
    let text = lines(250, routes);
    let loaded = load(&[("policy.toml", &text)], Some(&environment));
    assert!(loaded.policy.is_some(), "{}", render(&loaded, false));
    let last = loaded.diagnostics.last().map(|it| it.message.as_str());
    assert_eq!(last, Some("more than 50 warnings; the others are not shown"));
    assert_eq!(loaded.diagnostics.len(), 51);
}

#[test]
fn names_of_any_length_are_shown_in_part() {
    let name = "n".repeat(200_000);
    refused(&format!("version = 1\n[detectors.{name}]\n"));
    refused(&format!("version = 1\n{name} = 1\n"));
    refused(&format!("version = 1\nextends = ['{name}']\n"));
}

#[test]
fn nesting_is_limited() {
    for depth in [33, 100, 10_000, 40_000] {
        refused(&format!("version = 1\nx = {}{}", "[".repeat(depth), "]".repeat(depth)));
        refused(&format!("version = 1\nx{} = 1\n", ".x".repeat(depth)));
        refused(&format!("version = 1\n[x{}]\n", ".x".repeat(depth)));
        refused(&format!("version = 1\nx = {}{}", "{ x = ".repeat(depth), "}".repeat(depth)));
    }
}

#[test]
fn extended_files_are_limited_in_number_and_size() {
    let extends = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        format!("version = 1\nextends = [{}]\n", names.join(", "))
    };
    let names: Vec<String> = (0..40).map(|idx| format!("{idx}.toml")).collect();
    let comment = format!("version = 1\n#{}\n", "x".repeat(100_000));
    let check = |names: &[String], text: &str| {
        let policy = extends(names);
        let mut files = vec![("policy.toml", policy.as_str())];
        files.extend(names.iter().map(|name| (name.as_str(), text)));
        let loaded = load(&files, Some(&environment));
        render(&loaded, false).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(check(&names, "version = 1\n"), "error: the policy extends more than 32 files");
    let max =
        "error: cannot read `2.toml`: a policy has at most 256 KiB, with all files that it extends";
    assert_eq!(check(&names[..3], &comment), max);
    // One file many times.
    let same = vec!["0.toml".to_owned(); 1000];
    assert_eq!(check(&same, "version = 1\n"), "error: the policy extends more than 32 files");
    // A chain of files.
    let chain: Vec<(String, String)> = (0..40)
        .map(|idx| (format!("{idx}.toml"), extends(&[format!("{}.toml", idx + 1)])))
        .collect();
    let chain: Vec<(&str, &str)> = chain.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let report = render(&load(&chain, Some(&environment)), false);
    assert!(report.contains("the chain of extended files is longer than 16"), "{report}");
}

#[cfg(unix)]
#[test]
fn only_regular_files_of_the_folder_are_extended() {
    use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

    use watchkeeper_core::embed::Registry;
    use watchkeeper_policy::Loader;

    let root = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| root.path().join(name);
    fs::create_dir_all(path("team/sub")).expect("the folders can be made");
    fs::write(path("outside.toml"), "version = 1\n").expect("the file can be written");
    fs::write(path("team/sub/base.toml"), "version = 1\n").expect("the file can be written");
    symlink("../outside.toml", path("team/link.toml")).expect("the link can be made");
    symlink("sub/base.toml", path("team/own.toml")).expect("the link can be made");
    symlink("policy.toml", path("team/cycle.toml")).expect("the link can be made");
    let made = Command::new("mkfifo").arg(path("team/pipe.toml")).status();
    assert!(made.is_ok_and(|status| status.success()));
    let registry = Registry::linked().expect("no two kinds share a name");
    let outside = path("outside.toml").display().to_string();
    for (extended, expected) in [
        ("sub/base.toml", ""),
        ("own.toml", ""),
        // The user owns the policy.
        (outside.as_str(), ""),
        ("link.toml", "`link.toml` is outside of the folder of the policy"),
        ("../outside.toml", "`../outside.toml` is outside of the folder of the policy"),
        ("cycle.toml", "`cycle.toml` extends itself"),
        ("pipe.toml", "it is a named pipe; use a regular file"),
        ("/dev/zero", "it is a device; use a regular file"),
        ("sub", "it is a folder; name a file in it"),
        ("missing.toml", "cannot read"),
    ] {
        let text = format!("version = 1\nextends = ['{extended}']\n[detectors.repeat]\n");
        fs::write(path("team/policy.toml"), text).expect("the file can be written");
        let loaded = Loader::of_files(&registry).load(&path("team/policy.toml"));
        let errors = loaded.diagnostics.iter().filter(|it| it.level == DiagnosticLevel::Error);
        let errors: Vec<&str> = errors.map(|it| it.message.as_str()).collect();
        match errors[..] {
            [] => assert_eq!(expected, "", "{extended}"),
            [error] => assert!(!expected.is_empty() && error.contains(expected), "{error}"),
            _ => panic!("{errors:#?}"),
        }
    }
    let loaded = Loader::of_files(&registry).load(Path::new("/dev/zero"));
    assert!(render(&loaded, false).contains("it is a device; use a regular file"));
}

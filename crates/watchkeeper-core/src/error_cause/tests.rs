use proptest::prelude::*;

use super::{
    CauseContext,
    ErrorClass::{self, *},
    FoundCause,
    phrases::certain_texts,
};
use crate::{Cause, Purpose, ToolClass, ToolResult, error_hints::has_hint};

const RUN: CauseContext<'_> =
    CauseContext { class: ToolClass::Run, purpose: Purpose::Run, command: None };
const WRITE: CauseContext<'_> =
    CauseContext { class: ToolClass::Write, purpose: Purpose::Write, command: None };
const READ: CauseContext<'_> =
    CauseContext { class: ToolClass::Read, purpose: Purpose::Read, command: None };

fn result(output: &str, ok: bool) -> ToolResult {
    ToolResult::new("1", ok, Some(output.into()))
}

fn named(result: &ToolResult, call: CauseContext<'_>) -> Option<(ErrorClass, Option<String>)> {
    let found = FoundCause::of(result, call)?;
    let cause = found.resolve(result.output.as_deref(), call.command);
    Some((cause.class, cause.name.map(str::to_owned)))
}

fn fails_with(output: &str, call: CauseContext<'_>) -> Option<(ErrorClass, Option<String>)> {
    named(&result(output, false), call)
}

/// Each row: the name of the subject, which is empty where the result has none, and a failed
/// result.
#[track_caller]
fn assert_cause(class: ErrorClass, call: CauseContext<'_>, rows: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (name, output) in rows {
        let expected = Some((*name).to_owned()).filter(|name| !name.is_empty());
        let found = fails_with(output, call);
        if found != Some((class, expected)) {
            wrong.push(format!("{output}: {found:?}, not {class:?} of `{name}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each row: a failed result with another cause, or none.
#[track_caller]
fn assert_other_cause(class: ErrorClass, call: CauseContext<'_>, outputs: &[&str]) {
    let is_wrong =
        |output: &&&str| fails_with(output, call).is_some_and(|(found, _)| found == class);
    let wrong: Vec<_> = outputs.iter().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_missing_programs() {
    assert_cause(
        MissingProgram,
        RUN,
        &[
            ("javac", "/bin/bash: line 27: javac: command not found"),
            ("javac", "./run_all.sh: line 4: javac: command not found"),
            ("mvn", "bash: mvn: command not found"),
            ("mvn", "bash: line 1: mvn: command not found\n"),
            ("docker", "bash: docker: command not found..."),
            ("cargo", "Exit code 127\n/usr/bin/bash: line 1: cargo: command not found"),
            ("pnpm", "zsh: command not found: pnpm"),
            ("pnpm", "(eval):1: command not found: pnpm"),
            ("go", "zsh:1: command not found: go"),
            ("rg", "sh: 1: rg: not found"),
            ("rg", "/bin/sh: 1: rg: not found"),
            ("rg", "/bin/sh: rg: not found"),
            ("tsc", "sh: tsc: not found\nnpm error code 127"),
            ("tsc", "> build\n> tsc -p .\n\nsh: line 1: tsc: command not found"),
            ("python", "-ash: python: not found"),
            ("pytest", "ci/check.sh: 12: pytest: not found"),
            ("gradle", "fish: Unknown command: gradle"),
            ("gradle", "fish: Unknown command 'gradle'"),
            ("make", "make : The term 'make' is not recognized as the name of a cmdlet, function"),
            (
                "make",
                "The term 'make' is not recognized as a name of a cmdlet, function, script file",
            ),
            (
                "mvn",
                "'mvn' is not recognized as an internal or external command,\noperable program",
            ),
            ("node", "/usr/bin/env: \u{2018}node\u{2019}: No such file or directory"),
            ("node", "env: node: No such file or directory"),
            ("perl", "bash: ./tool: /opt/bin/perl: bad interpreter: No such file or directory"),
            ("protoc", "error: spawn protoc ENOENT\n    at ChildProcess._handle.onexit"),
            ("helper", "ENOENT: no such file or directory, posix_spawn '/opt/app/1.2/helper'"),
            ("terraform", "exec: \"terraform\": executable file not found in $PATH"),
            ("terraform", "exec: \"terraform\": executable file not found in %PATH%"),
            ("nextest", "error: no such command: `nextest`\n\nhelp: view all installed commands"),
            ("lfs", "git: 'lfs' is not a git command. See 'git --help'."),
            ("cc", "error: linker `cc` not found\n  |\n  = note: No such file or directory"),
            ("ruff", "error: Failed to spawn: `ruff`\n  Caused by: No such file or directory"),
            ("vitest", "error Command \"vitest\" not found."),
            ("dot", "java.io.IOException: Cannot run program \"dot\": error=2, No such file"),
            (
                "xvfb",
                "timeout: failed to run command \u{2018}xvfb\u{2019}: No such file or directory",
            ),
            ("gcc", "/usr/bin/which: no gcc in (/usr/local/bin:/usr/bin)"),
            ("java", "Error: JAVA_HOME is not defined correctly.\n  We cannot execute /x/bin/java"),
            (
                "java",
                "ERROR: JAVA_HOME is not set and no 'java' command could be found in your PATH.",
            ),
            ("java", "The JAVA_HOME environment variable is not defined correctly,"),
            ("cargo-clippy", "error: 'cargo-clippy' is not installed for the toolchain 'stable'."),
            // The folder that is missing as well is no cause of its own.
            (
                "javac",
                "find: '/opt/none': No such file or directory\n./t.sh: line 2: javac: command not found",
            ),
        ],
    );
    assert_other_cause(
        MissingProgram,
        RUN,
        &[
            "gh: Not Found (HTTP 404)",
            "remote: Repository not found.",
            "ssh: connect to host example.org port 22: Connection refused",
            "bash: cd: src: No such file or directory",
            "12: bash: javac: command not found",
            "  7\u{2192}sh: 1: rg: not found",
            "+    echo 'bash: javac: command not found'",
            "# bash: javac: command not found",
            "// zsh: command not found: pnpm",
            "Error: page not found",
            "the key was not found: a",
            "error[E0425]: cannot find function `spawn` in this scope",
            "npm error Unknown command: \"tst\"",
            "thread spawn failed",
            "cat: JAVA_HOME: No such file or directory",
            "test java_home ... FAILED",
            "ERROR 404: Not Found.",
            "",
        ],
    );
}

#[test]
fn names_missing_modules_and_packages() {
    assert_cause(
        MissingModule,
        RUN,
        &[
            (
                "requests",
                "Traceback (most recent call last):\nModuleNotFoundError: No module named 'requests'",
            ),
            ("pytest", "/usr/bin/python3: No module named pytest"),
            ("a.b", "ImportError: No module named a.b"),
            ("Solver", "ImportError: cannot import name 'Solver' from 'plan' (/w/plan.py)"),
            ("left-pad", "Error: Cannot find module 'left-pad'\nRequire stack:\n- /w/a.js"),
            ("hero.json", "Error: Cannot find module '/w/out/hero.json'"),
            (
                "@x/y",
                "src/a.ts(6,33): error TS2307: Cannot find module '@x/y' or its corresponding type",
            ),
            (
                "zod",
                "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'zod' imported from /w/a.mjs",
            ),
            (
                "example.org/mux",
                "main.go:5:2: no required module provides package example.org/mux; to add it:",
            ),
            ("example.org/mux", "cannot find module providing package example.org/mux"),
            ("iter", "main.go:3:8: package iter is not in std (/usr/local/go/src/iter)"),
            ("serde", "error[E0463]: can't find crate for `serde`"),
            ("crate::plan", "error[E0432]: unresolved import `crate::plan`"),
            (
                "anyhow",
                "error[E0433]: failed to resolve: use of unresolved module or unlinked crate `anyhow`",
            ),
            ("anyhow", "failed to resolve: use of undeclared crate or module `anyhow`"),
            ("tokoi", "error: no matching package named `tokoi` found"),
            ("org.junit", "A.java:3: error: package org.junit does not exist"),
            ("com.acme.Main", "Error: Could not find or load main class com.acme.Main"),
            ("com.acme.A", "java.lang.ClassNotFoundException: com.acme.A"),
            ("rails", "cannot load such file -- rails (LoadError)"),
            (
                "JSON/XS.pm",
                "Can't locate JSON/XS.pm in @INC (you may need to install the JSON::XS module)",
            ),
            ("zlib.h", "a.c:1:10: fatal error: zlib.h: No such file or directory"),
            ("zlib.h", "a.c:1:10: fatal error: 'zlib.h' file not found"),
            ("ssl", "/usr/bin/ld: cannot find -lssl"),
            (
                "libx.so.6",
                "./a: error while loading shared libraries: libx.so.6: cannot open shared object file",
            ),
            ("dplyr", "there is no package called \u{2018}dplyr\u{2019}"),
            ("alsa", "Package alsa was not found in the pkg-config search path."),
            (
                "tokenz",
                "ERROR: Could not find a version that satisfies the requirement tokenz (from versions: none)",
            ),
            ("jdk-99", "E: Unable to locate package jdk-99"),
            ("jdk-99", "E: Package 'jdk-99' has no installation candidate"),
            ("jdk-99", "Error: Unable to find a match: jdk-99"),
            ("jdk", "ERROR: unable to select packages:\n  jdk (no such package):"),
            ("wgett", "Error: No available formula with the name \"wgett\"."),
            ("no-such@*", "npm error 404  'no-such@*' is not in this registry."),
            ("vue", "[vite]: Rollup failed to resolve import \"vue\" from \"/w/a.ts\"."),
            ("icon.svg", "Module not found: Error: Can't resolve './icon.svg' in '/w/src'"),
        ],
    );
    assert_other_cause(
        MissingModule,
        RUN,
        &[
            "error: cannot find value `x` in this scope",
            "error: package `a v0.1.0` cannot be built because it requires rustc 1.90",
            "fatal error: all goroutines are asleep - deadlock!",
            "fatal error: too many errors emitted, stopping now",
            "42: ModuleNotFoundError: No module named 'requests'",
            "test cannot_find_module ... FAILED",
            "the module is not installed",
            "curl: (6) Could not resolve host: example.org",
            "no such module_name",
            "unresolved conflict in a.rs",
        ],
    );
}

#[test]
fn names_unreachable_hosts() {
    assert_cause(
        Unreachable,
        RUN,
        &[
            ("example.org", "curl: (6) Could not resolve host: example.org"),
            (
                "example.org",
                "fatal: unable to access 'https://example.org/a.git/': Could not resolve host: example.org",
            ),
            (
                "example.org",
                "ssh: Could not resolve hostname example.org: Name or service not known",
            ),
            ("example.org", "wget: unable to resolve host address \u{2018}example.org\u{2019}"),
            (
                "example.org",
                "npm error request to https://example.org/a failed, reason: getaddrinfo ENOTFOUND example.org",
            ),
            ("example.org", "Error: getaddrinfo EAI_AGAIN example.org"),
            (
                "example.org",
                "Err:1 http://example.org/ubuntu jammy InRelease\n  Temporary failure resolving 'example.org'",
            ),
            ("example.org", "dial tcp: lookup example.org: no such host"),
            (
                "example.org",
                "Get \"https://example.org/\": dial tcp: lookup example.org on 10.0.0.2:53: no such host",
            ),
            ("example.org", "java.net.UnknownHostException: example.org"),
            ("example.org", "error sending request for url (https://example.org/simple/): dns"),
            (
                "example.org",
                "HTTPSConnectionPool(host='example.org', port=443): Max retries exceeded with url: /x",
            ),
            (
                "localhost",
                "curl: (7) Failed to connect to localhost port 3000 after 0 ms: Couldn't connect to server",
            ),
            ("127.0.0.1", "Error: connect ECONNREFUSED 127.0.0.1:5432"),
            (
                "example.org",
                "warning: spurious network error: [6] Couldn't resolve host name (Could not resolve host: example.org)",
            ),
            ("", "dns error: failed to lookup address information: Name or service not known"),
            ("", "socket.gaierror: [Errno -3] Temporary failure in name resolution"),
            ("", "socket.gaierror: [Errno 8] nodename nor servname provided, or not known"),
            ("", "connect: Network is unreachable"),
            ("", "ssh: connect to host 10.1.2.3 port 22: No route to host"),
            ("", "ssh: connect to host 10.1.2.3 port 22: Connection timed out"),
            ("", "net::ERR_NAME_NOT_RESOLVED at https://example.org/"),
            ("", "page.goto: net::ERR_CONNECTION_REFUSED"),
            ("", "psql: error: connection to server failed: Connection refused"),
            ("example.org", "The remote name could not be resolved: 'example.org'"),
        ],
    );
    assert_other_cause(
        Unreachable,
        RUN,
        &[
            "error: could not resolve the conflict in a.rs",
            "Could not resolve to a Repository with the name 'a/b'.",
            "test retries_when_connection_is_refused ... FAILED",
            "the host is known",
            "8: curl: (6) Could not resolve host: example.org",
            "HTTP 503 Service Unavailable",
        ],
    );
}

#[test]
fn names_files_of_rejected_edits() {
    assert_cause(
        RejectedEdit,
        WRITE,
        &[
            (
                "",
                "<tool_use_error>String to replace not found in file.\nString: let a = 1;</tool_use_error>",
            ),
            (
                "",
                "<tool_use_error>String not found in file. Failed to apply edit.</tool_use_error>",
            ),
            ("", "Found 3 matches of the string to replace, but replace_all is false."),
            ("", "No changes to make: old_string and new_string are exactly the same."),
            ("", "Error: oldString not found in content"),
            ("", "Error: Found multiple matches for oldString. Provide more surrounding lines"),
            ("", "Error: oldString and newString must be different"),
            (
                "a.rs",
                "apply_patch verification failed: Failed to find expected lines in /w/src/a.rs:\nfn a() {",
            ),
            ("", "apply_patch verification failed: Failed to find context 'fn b()' in /w/src/a.rs"),
            ("", "apply_patch verification failed: invalid hunk at line 2"),
            (
                "a.py",
                "No replacement was performed, old_str `x = 1` did not appear verbatim in /w/a.py.",
            ),
            (
                "",
                "No replacement was performed. Multiple occurrences of old_str `x` in lines: [1, 7].",
            ),
            ("", "Failed to edit, could not find the string to replace."),
            (
                "a.ts",
                "Failed to edit, 0 occurrences found for old_string in /w/a.ts. No edits made.",
            ),
            ("", "The SEARCH block:\nfoo\n...does not match anything in the file."),
            ("", "No sufficiently similar match found at line 3 (80% similar, needs 100%)"),
            ("a.rs", "error: patch failed: src/a.rs:12\nerror: src/a.rs: patch does not apply"),
            ("a.rs", "error: src/a.rs: patch does not apply"),
            ("", "1 out of 2 hunks FAILED -- saving rejects to file a.rs.rej"),
            ("", "error: corrupt patch at line 14"),
            (
                "",
                "Your proposed edit has introduced new syntax error(s). Please read this error message\nERRORS:\n- E999 SyntaxError: invalid syntax",
            ),
            ("", "Your edit was not applied (file not modified)."),
            ("", "Error: the file does not contain the given text"),
            ("", "Edit failed: old text did not appear in the file"),
            ("", "Error: no changes were made to the file"),
            ("a.tsx", "[No exact match found in /w/src/a.tsx for"),
        ],
    );
    assert_other_cause(
        RejectedEdit,
        WRITE,
        &[
            "Error: permission denied",
            "File does not exist.",
            "The file /w/a.rs has been updated.",
            "7: No changes to make",
        ],
    );
    assert_other_cause(
        RejectedEdit,
        RUN,
        &[
            "assertion failed: `left != right`: must be different",
            "grep: text not found",
            "1 error: no match found for pattern",
        ],
    );
}

#[test]
fn names_missing_paths() {
    assert_cause(
        MissingPath,
        RUN,
        &[
            ("a.txt", "wc: out/a.txt: open: No such file or directory"),
            (
                "a.md",
                "fatal: ambiguous argument 'docs/a.md': unknown revision or path not in the working tree",
            ),
            ("build", "/bin/sh: 1: cd: can't cd to /w/build"),
            ("a.txt", "cat: out/a.txt: No such file or directory"),
            ("a.txt", "ls: cannot access 'out/a.txt': No such file or directory"),
            ("lib", "ls: cannot access '/opt/lib/': No such file or directory"),
            ("src", "bash: line 3: cd: src: No such file or directory"),
            ("gradlew", "/bin/bash: line 7: ./gradlew: No such file or directory"),
            ("src", "(eval):cd:1: no such file or directory: web/src"),
            ("run", "zsh:1: no such file or directory: ./run"),
            ("a.yml", "FileNotFoundError: [Errno 2] No such file or directory: '.ci/a.yml'"),
            ("a.py", "python: can't open file '/w/a.py': [Errno 2] No such file or directory"),
            ("a.py", "python3: can't open file 'a.py': [Errno 2] No such file or directory"),
            ("a.svg", "Error: ENOENT: no such file or directory, open 'D:\\tmp\\a.svg'"),
            ("out", "Error: ENOENT: no such file or directory, scandir '/w/out'"),
            ("a.go", "open internal/a.go: no such file or directory"),
            ("a.toml", "error: couldn't read `a.toml`: No such file or directory (os error 2)"),
            ("x.c", "gcc: error: x.c: No such file or directory"),
            ("all", "make: *** No rule to make target 'all'.  Stop."),
            ("feature", "error: pathspec 'feature' did not match any file(s) known to git"),
            ("a.md", "File not found: /w/docs/a.md"),
            ("b.yml", "<tool_use_error>Path does not exist: /w/b.yml</tool_use_error>"),
            ("x", "Get-Content : Cannot find path 'C:\\w\\x' because it does not exist."),
            ("repro.java", "File repro.java not found"),
            ("tests", "Directory tests not found"),
            ("a.py", "The path /w/a.py does not exist. Please provide a valid path."),
            ("", "<tool_use_error>File does not exist.</tool_use_error>"),
            ("", "The system cannot find the path specified."),
            ("", "Error: No such file or directory (os error 2)"),
        ],
    );
    assert_other_cause(
        MissingPath,
        RUN,
        &[
            "error: the trait does not exist",
            "assertion failed: file not found error expected",
            "12:cat: a.txt: No such file or directory",
            "error: package a does not exist",
            "env: node: No such file or directory",
        ],
    );
}

#[test]
fn classifies_other_causes() {
    for (class, name, output) in [
        (InvalidArguments, "lint", "error: Script not found \"lint\""),
        (InvalidArguments, "deploy", "Unknown skill: deploy"),
        (InvalidArguments, "old_str", "Parameter 'old_str' is required for command: str_replace."),
        (InvalidArguments, "judge", "Agent type 'judge' not found. Available agents: general"),
        (
            InvalidArguments,
            "search_file",
            "Usage: search_file <term> [<file>]\nError: File name a.java not found.",
        ),
        (
            InvalidArguments,
            "tool",
            "usage: tool [-h] path\ntool: error: unrecognized arguments: --fast",
        ),
        (
            InvalidArguments,
            "Grep",
            "InputValidationError: Grep failed due to the following issue:\nmissing",
        ),
        (
            InvalidArguments,
            "edit",
            "The edit tool was called with invalid arguments: [{\"path\":[]}]",
        ),
        (InvalidArguments, "file_path", "The required parameter `file_path` is missing"),
        (InvalidArguments, "--fast", "error: unexpected argument '--fast' found"),
        (InvalidArguments, "z", "ls: invalid option -- 'z'"),
        (InvalidArguments, "tst", "npm error Missing script: \"tst\""),
        (InvalidArguments, "", "failed to parse function arguments: missing field `cmd` at line 1"),
        (Denied, "run.sh", "bash: ./run.sh: Permission denied"),
        (Denied, "x", "mkdir: cannot create directory \u{2018}/opt/x\u{2019}: Permission denied"),
        (Denied, "x", "PermissionError: [Errno 13] Permission denied: '/opt/x'"),
        (Denied, "x", "Error: EACCES: permission denied, open '/opt/x'"),
        (Denied, "x", "touch: cannot touch '/opt/x': Read-only file system"),
        (Denied, "", "E: Could not open lock file - are you root?"),
        (Denied, "", "sudo: a password is required"),
        (Denied, "git@example.org", "git@example.org: Permission denied (publickey)."),
        (Denied, "", "HTTP/1.1 401 Unauthorized"),
        (Exhausted, "", "tar: a: Cannot write: No space left on device"),
        (Exhausted, "", "FATAL ERROR: JavaScript heap out of memory"),
        (ShellSyntax, "", "bash: -c: line 1: unexpected EOF while looking for matching `''"),
        (ShellSyntax, "", "bash: line 3: syntax error near unexpected token `('"),
        (ShellSyntax, "", "zsh: parse error near `)'"),
        (ShellSyntax, "", "zsh:1: unmatched \""),
        (ShellSyntax, "", "sh: 1: Syntax error: Unterminated quoted string"),
        (ShellSyntax, "", "The string is missing the terminator: \"."),
        (Syntax, "", "  File \"a.py\", line 3\n    x =\nSyntaxError: invalid syntax"),
    ] {
        assert_cause(class, RUN, &[(name, output)]);
    }
}

#[test]
fn names_of_tests_are_no_errors() {
    for output in [
        "(pass) parser > rejects an unknown option -- x [12.00ms]",
        "\u{2713} reports: command not found: x",
        "test cli::bash_x_command_not_found ... FAILED: x: command not found",
        "not ok 3 - unknown option --x",
        "expected the parser to report an unknown option --x",
    ] {
        assert_eq!(fails_with(output, RUN), None, "{output}");
    }
}

#[test]
fn the_network_is_the_cause_of_a_missing_package() {
    for output in [
        "Temporary failure resolving 'a.example'\nE: Unable to locate package x",
        "ERROR: No matching distribution found for x\ncurl: (6) Could not resolve host: a.example",
    ] {
        let name = Some("a.example".to_owned());
        assert_eq!(fails_with(output, RUN), Some((Unreachable, name)), "{output}");
    }
}

#[test]
fn causes_with_the_same_subject_are_equal() {
    let cause = |output: &str| {
        let result = result(output, false);
        FoundCause::of(&result, RUN).map(|it| it.resolve(None, None).fingerprint())
    };
    for (first, second) in [
        (
            "bash: line 3: javac: command not found",
            "./b.sh: line 70: javac: command not found\nbye",
        ),
        ("sh: 1: javac: not found", "zsh: command not found: javac"),
        (
            "cat: a/b.txt: No such file or directory",
            "ls: cannot access 'c/b.txt': No such file or directory",
        ),
        ("a.py:3: ModuleNotFoundError: No module named 'x'", "/bin/python: No module named x"),
        (
            "curl: (6) Could not resolve host: example.org",
            "Error: getaddrinfo ENOTFOUND example.org",
        ),
        (
            "bash: line 2: unexpected EOF while looking for matching `''",
            "bash: syntax error near unexpected token `('",
        ),
    ] {
        assert!(cause(first).is_some());
        assert_eq!(cause(first), cause(second), "{first}, {second}");
    }
    for (first, second) in [
        ("bash: javac: command not found", "bash: java: command not found"),
        ("bash: a.txt: command not found", "cat: a.txt: No such file or directory"),
        ("Error: getaddrinfo ENOTFOUND a.example", "Error: getaddrinfo ENOTFOUND b.example"),
        ("SyntaxError: invalid syntax", "SyntaxError: unexpected indent"),
    ] {
        assert_ne!(cause(first), cause(second), "{first}, {second}");
    }
}

#[test]
fn a_sentence_in_a_shell_is_one_cause() {
    let call = |command| CauseContext { command: Some(command), ..RUN };
    let sentence = "DISCUSSION\nThe test did not print anything. Let's look at the file again.";
    for output in [
        "/bin/bash: line 9: DISCUSSION: command not found\n/bin/bash: line 10: The: command not found",
        "/bin/bash: line 2: unexpected EOF while looking for matching `''",
        "/bin/bash: line 2: syntax error near unexpected token `('",
        "zsh: command not found: DISCUSSION",
        "sh: 1: DISCUSSION: not found",
    ] {
        assert_eq!(fails_with(output, call(sentence)), Some((Prose, None)), "{output}");
        assert_ne!(fails_with(output, call("ls -la; echo done")), Some((Prose, None)), "{output}");
    }
    let missing_file = "cat: a: No such file or directory";
    assert_eq!(fails_with(missing_file, call(sentence)).map(|it| it.0), Some(MissingPath));
    let mut silent = result("", false);
    silent.exit_code = Some(127);
    assert_eq!(named(&silent, call(sentence)), Some((Prose, None)));
}

/// Each row: whether a successful result of a command reports a cause.
#[test]
fn a_script_may_succeed_after_an_error() {
    for (reports, output) in [
        (true, "/bin/bash: line 3: javac: command not found\ndone"),
        (
            true,
            "compiling\n./b.sh: line 3: javac: command not found\n./b.sh: line 4: java: command not found",
        ),
        (true, "zsh: command not found: pnpm\n3 files"),
        (true, "sh: 1: rg: not found\n"),
        (true, "bash: line 1: cd: website: No such file or directory\nREADME.md"),
        (true, "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'"),
        (true, "curl: (6) Could not resolve host: example.org\nexit 6"),
        (true, "Error: JAVA_HOME is not defined correctly."),
        (true, "error: no required module provides package example.org/x"),
        (true, "ping: a.example: Temporary failure in name resolution\nexit 2"),
        (true, "ping: a.example: Name or service not known"),
        (true, "Get: dial tcp: lookup a.example: no such host"),
        (true, "node:internal/modules/cjs/loader:1\nError: Cannot find module 'x'"),
        (false, "the shell prints `javac: command not found` in this case"),
        (false, "build.log:17:bash: line 3: javac: command not found"),
        (false, "17:bash: line 3: javac: command not found"),
        (false, "17-bash: line 3: javac: command not found"),
        (false, "+bash: line 3: javac: command not found"),
        (false, "# bash: javac: command not found"),
        (false, "test reports_command_not_found ... ok"),
        (false, "we saw bash: line 3: javac: command not found"),
        (false, "all good"),
        (false, "Permission denied for x, trying y\nok"),
        (false, "ok: the user is not recognized as the name of an owner here"),
    ] {
        let found = named(&result(output, true), RUN);
        assert_eq!(found.is_some(), reports, "{output}: {found:?}");
        assert_eq!(named(&result(output, true), READ), None, "{output}");
        let long = format!("{output}\n{}", "a line of a long report\n".repeat(100));
        assert_eq!(named(&result(&long, true), RUN), None, "{output}");
        let search = CauseContext { purpose: Purpose::Search, ..RUN };
        assert_eq!(named(&result(output, true), search), None, "{output}");
    }
}

#[test]
fn successful_results_with_a_certain_phrase_are_searched() {
    let missed: Vec<_> = certain_texts().filter(|text| !has_hint(text)).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_timeout_names_the_program() {
    for (name, command) in [
        (Some("apt-get"), "apt-get install curl"),
        (Some("apt-get"), "sudo DEBIAN_FRONTEND=noninteractive apt-get update"),
        (Some("mvn"), "timeout 300 ./tools/mvn -q test"),
        (Some("make"), "cd /repo && make"),
        (Some("make"), "bash -lc 'cd /repo && make'"),
        (None, "cd /repo"),
        (None, ""),
    ] {
        let call = CauseContext { command: Some(command), ..RUN };
        let mut result = result("EXECUTION TIMED OUT", false);
        result.cause = Some(Cause::Timeout);
        assert_eq!(named(&result, call), Some((Timeout, name.map(str::to_owned))), "{command}");
    }
    let mut result = result("fetching\ncurl: (6) Could not resolve host: a.example", false);
    result.exit_code = Some(124);
    assert_eq!(named(&result, RUN), Some((Unreachable, Some("a.example".into()))));
}

#[test]
fn a_call_that_did_not_run_has_no_cause() {
    for cause in [Cause::Declined, Cause::Blocked, Cause::Sibling, Cause::Interrupted] {
        let mut result = result("bash: x: command not found", false);
        result.cause = Some(cause);
        assert_eq!(named(&result, RUN), None);
    }
}

#[test]
fn only_the_end_of_a_long_failure_counts() {
    let noise = "a line of a long report\n".repeat(400);
    let error = "sh: 1: rg: not found\n";
    assert_eq!(fails_with(&format!("{error}{noise}"), RUN), None);
    assert!(fails_with(&format!("{noise}{error}"), RUN).is_some());
}

proptest! {
    #[test]
    fn reads_any_result(
        parts in proptest::collection::vec(
            prop_oneof![
                ".{0,20}",
                "(: |'|\"|`|\u{2018}|\u{2019}|\n|\u{e9}|/|https://|spawn |env: |enoent|fatal error: ){0,9}",
                proptest::sample::select(vec![
                    ": command not found", "command not found: ", "No module named ",
                    "Could not resolve host: ", "did not appear verbatim in ", "usage: ",
                    ": No such file or directory", "Permission denied: ", "File x not found",
                ]).prop_map(str::to_owned),
            ],
            0..12,
        ),
        ok: bool,
        command in proptest::option::of(".{0,40}"),
    ) {
        let text = parts.concat();
        let result = result(&text, ok);
        for call in [RUN, WRITE, READ] {
            let call = CauseContext { command: command.as_deref(), ..call };
            if let Some(found) = FoundCause::of(&result, call) {
                let cause = found.resolve(Some(&text), command.as_deref());
                let name = cause.name.unwrap_or("x");
                prop_assert!(!name.is_empty() && !name.contains('\n'));
                prop_assert!(name == "java" || text.contains(name) || name == "x");
            }
        }
    }
}

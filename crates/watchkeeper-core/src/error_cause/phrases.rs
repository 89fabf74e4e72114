//! The phrases that decide the class of a cause.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::{
    class::ErrorClass::{
        self, Denied, Exhausted, InvalidArguments, MissingModule, MissingPath, MissingProgram,
        RejectedEdit, ShellSyntax, Syntax, Unreachable,
    },
    lines::{Line, is_anchored},
};
use crate::ToolClass;

/// A phrase of an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phrase {
    pub(super) class: ErrorClass,
    pub(super) subject: Subject,
    pub(super) needs: Needs,
    /// Whether the phrase reports an error in a successful result, too.
    pub(super) is_certain: bool,
}

/// The place of the subject of a cause.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Before,
    After,
    Known(&'static str),
    /// The whole line, without numbers.
    Line,
    None,
}

/// A condition for a phrase.
#[derive(Clone, Copy, Debug)]
pub(super) enum Needs {
    Nothing,
    /// One of these is in the same line, in any case.
    InLine(&'static [&'static str]),
    /// The line begins with one of these, in any case.
    LineStart(&'static [&'static str]),
    /// Nothing but names of programs and marks such as `error:` precede the phrase.
    Anchored,
    /// No name follows the phrase.
    NothingAfter,
    /// A shell reports the error: `sh: 1: `, `/bin/ash: `, `build.sh: 3: `.
    FromShell,
    /// The output begins with the phrase.
    OutputStart,
    /// The tool writes files.
    Write,
}

impl Needs {
    pub(super) fn are_met(self, line: &Line<'_>, class: ToolClass) -> bool {
        match self {
            Self::Nothing => true,
            Self::InLine(parts) => {
                let text = line.text().to_ascii_lowercase();
                parts.iter().any(|part| text.contains(part))
            }
            Self::LineStart(starts) => {
                let text = line.text().trim_start().to_ascii_lowercase();
                starts.iter().any(|start| text.starts_with(start))
            }
            Self::Anchored => is_anchored(line.before()),
            Self::NothingAfter => !line.after().starts_with(": "),
            Self::FromShell => is_from_shell(line.before()),
            Self::OutputStart => line.output[..line.phrase.start].trim().is_empty(),
            Self::Write => class == ToolClass::Write,
        }
    }
}

/// Returns true if a text is the name of a shell or a script, possibly a line number, and the
/// name of a program.
fn is_from_shell(text: &str) -> bool {
    let mut parts = text.trim().split(": ");
    let shell = parts.next().unwrap_or_default().trim_start_matches('-');
    let name = shell.rsplit('/').next().unwrap_or(shell);
    let is_script = || name.rsplit_once('.').is_some_and(|(_, end)| end == "sh");
    let is_shell = ["sh", "ash", "dash", "bash", "ksh", "busybox"].contains(&name) || is_script();
    let n_parts = parts.clone().count();
    let is_number = |part: &str| {
        let part = part.trim_start_matches("line ");
        !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit())
    };
    is_shell && (n_parts == 1 || n_parts == 2 && parts.next().is_some_and(is_number))
}

/// Phrases with the same class, place of the subject, and condition.
struct Group(ErrorClass, Subject, Needs, Certainty, &'static [&'static str]);

/// Whether a phrase reports an error in successful results, too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Certain,
    IfFailed,
}

use Certainty::{Certain, IfFailed};
use Needs::{Anchored, FromShell, InLine, LineStart, Nothing, NothingAfter, OutputStart, Write};
use Subject::{After, Before, Known};

/// All phrases, in lower case.
const GROUPS: &[Group] = &[
    // Shells: bash, zsh, fish, dash, busybox, PowerShell, cmd.
    Group(MissingProgram, Before, NothingAfter, Certain, &[": command not found"]),
    Group(
        MissingProgram,
        Before,
        Nothing,
        Certain,
        &[
            "is not recognized as the name of",
            "is not recognized as a name of",
            "is not recognized as an internal or external command",
        ],
    ),
    Group(
        MissingProgram,
        After,
        Nothing,
        Certain,
        &["command not found: ", "fish: unknown command"],
    ),
    Group(MissingProgram, Before, FromShell, Certain, &[": not found"]),
    Group(
        MissingProgram,
        Before,
        Nothing,
        IfFailed,
        &[
            ": bad interpreter",
            "executable file not found in",
            "is not a git command",
            "is not installed for the toolchain",
        ],
    ),
    // Programs that start others: env, timeout, nohup, xargs, cargo, uv, Node, Java, which.
    Group(MissingProgram, After, InLine(&["enoent"]), IfFailed, &["spawn "]),
    Group(
        MissingProgram,
        After,
        InLine(&["no such file"]),
        IfFailed,
        &["env: ", "xargs: ", "failed to run command "],
    ),
    Group(MissingProgram, After, InLine(&["not found"]), IfFailed, &["linker ", "command \""]),
    Group(
        MissingProgram,
        After,
        Nothing,
        IfFailed,
        &[
            "cannot run program ",
            "could not execute process ",
            "could not find executable ",
            "executable doesn't exist at ",
            "failed to spawn: ",
            "no such command: ",
            "no such subcommand: ",
            "unable to find executable ",
            "which: no ",
        ],
    ),
    Group(
        MissingProgram,
        Known("java"),
        Nothing,
        Certain,
        &[
            "java_home is not",
            "java_home environment variable is not",
            "java_home is set to an invalid",
        ],
    ),
    Group(MissingProgram, Known("java"), Nothing, IfFailed, &["locate a java runtime"]),
    // Languages.
    Group(
        MissingModule,
        After,
        Nothing,
        Certain,
        &[
            "no module named ",
            "cannot find module ",
            "cannot find package ",
            "cannot find module providing package ",
            "no required module provides package ",
        ],
    ),
    Group(
        MissingModule,
        After,
        Nothing,
        IfFailed,
        &[
            "can't find crate for ",
            "can't resolve '",
            "cannot find -l",
            "cannot import name ",
            "cannot load such file -- ",
            "classnotfoundexception: ",
            "could not find gem ",
            "could not find or load main class ",
            "could not resolve \"",
            "error while loading shared libraries: ",
            "failed to resolve import ",
            "no such module ",
            "noclassdeffounderror: ",
            "there is no package called ",
            "unresolved import ",
            "use of undeclared crate or module ",
            "use of unresolved module or unlinked crate ",
            // Package managers: pip, dnf, brew, cargo, apt.
            "could not find a version that satisfies the requirement ",
            "no available formula with the name ",
            "no match for argument: ",
            "no matching distribution found for ",
            "no matching package named ",
            "unable to find a match: ",
            "unable to locate package ",
        ],
    ),
    Group(MissingModule, After, InLine(&["does not exist"]), IfFailed, &["error: package "]),
    Group(MissingModule, After, InLine(&["in @inc"]), IfFailed, &["can't locate "]),
    Group(
        MissingModule,
        After,
        InLine(&["no such file", "file not found"]),
        IfFailed,
        &["fatal error: "],
    ),
    // Package managers (apk, apt, npm), Go, and pkg-config.
    Group(
        MissingModule,
        Before,
        Nothing,
        IfFailed,
        &[
            " (no such package)",
            " is not in goroot",
            " is not in std (",
            "has no installation candidate",
            "is not in this registry",
            "is not in the npm registry",
            "was not found in the pkg-config search path",
        ],
    ),
    // Names of hosts, and connections.
    Group(
        Unreachable,
        After,
        Nothing,
        Certain,
        &[
            "could not resolve host: ",
            "couldn't resolve host '",
            "could not resolve hostname ",
            "getaddrinfo enotfound ",
            "getaddrinfo eai_again ",
            "temporary failure resolving ",
            "unable to resolve host address ",
            "the remote name could not be resolved: ",
        ],
    ),
    Group(Unreachable, After, InLine(&["no such host"]), Certain, &["dial tcp: lookup "]),
    Group(
        Unreachable,
        Subject::None,
        Nothing,
        Certain,
        &[
            "failed to lookup address information",
            "name or service not known",
            "nodename nor servname provided",
            "temporary failure in name resolution",
        ],
    ),
    Group(
        Unreachable,
        After,
        Nothing,
        IfFailed,
        &[
            "connect econnrefused ",
            "connect enetunreach ",
            "connect etimedout ",
            "connectionpool(host=",
            "error sending request for url ",
            "failed to connect to ",
            "unknownhostexception: ",
        ],
    ),
    Group(
        Unreachable,
        Subject::None,
        Nothing,
        IfFailed,
        &[
            "connection refused",
            "connection timed out",
            "err_connection_refused",
            "err_internet_disconnected",
            "err_name_not_resolved",
            "failed to establish a new connection",
            "network is unreachable",
            "no route to host",
        ],
    ),
    // Tools that edit files, of agents, and `patch` and `git apply`.
    Group(RejectedEdit, After, Nothing, Certain, &["not found in content of "]),
    Group(
        RejectedEdit,
        After,
        Nothing,
        IfFailed,
        &[
            "apply_patch verification failed: failed to find expected lines in ",
            "did not appear verbatim in ",
            "failed to find expected lines in ",
            "found for old_string in ",
            "no exact match found in ",
        ],
    ),
    Group(RejectedEdit, After, Nothing, IfFailed, &["patch failed: "]),
    Group(RejectedEdit, Before, Nothing, IfFailed, &[": patch does not apply"]),
    Group(
        RejectedEdit,
        Subject::None,
        Nothing,
        Certain,
        &[
            "no changes to make",
            "oldstring not found",
            "old_string not found",
            "string not found in file",
            "string to replace not found",
        ],
    ),
    Group(
        RejectedEdit,
        Subject::None,
        Nothing,
        IfFailed,
        &[
            "apply_patch verification failed",
            "corrupt patch at line",
            "could not find the string to replace",
            "does not match anything in the file",
            "edit was not applied",
            "failed to find context",
            "hunk failed",
            "hunks failed",
            "invalid patch",
            "matches for oldstring",
            "matches of the string to replace",
            "multiple occurrences of old_str",
            "no replacement performed",
            "no replacement was performed",
            "no sufficiently similar match found",
            "oldstring and newstring",
            "old_string and new_string",
            "proposed edit has introduced new syntax error",
        ],
    ),
    Group(
        RejectedEdit,
        Subject::None,
        Write,
        IfFailed,
        &[
            "did not appear",
            "does not contain the",
            "failed to match",
            "must be different",
            "no changes were made",
            "no match found",
            "text not found",
        ],
    ),
    // Arguments of tools and programs.
    Group(InvalidArguments, After, OutputStart, IfFailed, &["usage: "]),
    Group(
        InvalidArguments,
        After,
        Anchored,
        IfFailed,
        &[
            "illegal option -- ",
            "invalid choice: ",
            "invalid option -- ",
            "missing script: ",
            "no such option: ",
            "script not found ",
            "unexpected argument ",
            "unknown argument ",
            "unknown command: ",
            "unknown flag: ",
            "unknown option ",
            "unknown option: ",
            "unknown skill: ",
            "unknown subcommand ",
            "unrecognized arguments: ",
            "unrecognized option ",
            "unrecognized subcommand ",
            "unsupported call: ",
        ],
    ),
    Group(
        InvalidArguments,
        After,
        Nothing,
        IfFailed,
        &[
            "inputvalidationerror: ",
            "required parameter ",
            "unexpected keyword argument ",
            "unexpected parameter ",
        ],
    ),
    Group(InvalidArguments, After, InLine(&["not found"]), IfFailed, &["agent type "]),
    Group(
        InvalidArguments,
        Before,
        Nothing,
        IfFailed,
        &[" is required for command", " tool was called with invalid arguments"],
    ),
    Group(
        InvalidArguments,
        Subject::None,
        Nothing,
        IfFailed,
        &["failed to parse function arguments", "invalid arguments", "missing required parameter"],
    ),
    // Permissions and logins.
    Group(
        Denied,
        After,
        Nothing,
        IfFailed,
        &[
            "access to the path ",
            "authentication failed for ",
            "could not read username for ",
            "eacces: permission denied",
            "eperm: operation not permitted",
            "erofs: read-only file system",
            "operation not permitted: ",
            "permission denied: ",
            "permission denied for ",
        ],
    ),
    Group(
        Denied,
        Before,
        NothingAfter,
        IfFailed,
        &[": operation not permitted", ": permission denied", ": read-only file system"],
    ),
    Group(
        Denied,
        Subject::None,
        Nothing,
        IfFailed,
        &[
            "401 unauthorized",
            "403 forbidden",
            "a password is required",
            "access is denied",
            "are you root?",
            "bad credentials",
            "invalid api key",
            "must be root",
            "must be run as root",
            "permission denied (",
            "requires superuser",
        ],
    ),
    Group(
        Exhausted,
        Subject::None,
        Nothing,
        IfFailed,
        &[
            "cannot allocate memory",
            "disk quota exceeded",
            "enospc",
            "heap out of memory",
            "no space left on device",
            "out of memory",
        ],
    ),
    // Shells that cannot parse a command: bash, dash, zsh, fish, PowerShell.
    Group(
        ShellSyntax,
        Subject::None,
        Nothing,
        Certain,
        &[
            "parse error near ",
            "syntax error near unexpected token",
            "syntax error: unexpected end of file",
            "unexpected eof while looking for matching",
            "unmatched '",
            "unmatched \"",
        ],
    ),
    Group(
        ShellSyntax,
        Subject::None,
        Nothing,
        IfFailed,
        &["is missing the terminator", "unterminated quoted string"],
    ),
    Group(ShellSyntax, Subject::None, FromShell, IfFailed, &["syntax error: "]),
    // Files, folders, and targets of builds.
    Group(MissingPath, Before, NothingAfter, Certain, &[": no such file or directory"]),
    Group(MissingPath, After, Nothing, Certain, &["no such file or directory: "]),
    Group(
        MissingPath,
        After,
        Nothing,
        IfFailed,
        &[
            "can't open file ",
            "cannot find path ",
            "can't cd to ",
            "fatal: ambiguous argument ",
            "directory does not exist: ",
            "enoent: no such file or directory",
            "file does not exist: ",
            "file not found: ",
            "no rule to make target ",
            "path does not exist: ",
        ],
    ),
    Group(MissingPath, Before, Nothing, IfFailed, &["did not match any file"]),
    Group(
        MissingPath,
        Before,
        LineStart(&["file ", "directory ", "path ", "the path ", "error: file ", "error: path "]),
        IfFailed,
        &[" not found", " does not exist"],
    ),
    Group(
        MissingPath,
        Subject::None,
        Nothing,
        IfFailed,
        &[
            "cannot find the file specified",
            "cannot find the path specified",
            "file does not exist",
            "no such file or directory (os error 2)",
            "path does not exist",
        ],
    ),
    // Parsers of source code.
    Group(
        Syntax,
        Subject::Line,
        Nothing,
        IfFailed,
        &["e999 ", "indentationerror: ", "parseerror", "syntaxerror: ", "taberror: "],
    ),
];

/// Finds all phrases in one pass over a text in lower case.
pub(super) struct Matcher {
    pub(super) automaton: AhoCorasick,
    /// The phrase of each pattern.
    pub(super) phrases: Vec<Phrase>,
}

pub(super) static MATCHER: LazyLock<Matcher> = LazyLock::new(|| {
    let rows = GROUPS.iter().flat_map(|Group(class, subject, needs, certainty, texts)| {
        let is_certain = *certainty == Certain;
        let phrase = Phrase { class: *class, subject: *subject, needs: *needs, is_certain };
        texts.iter().map(move |text| (text.to_ascii_lowercase(), phrase))
    });
    let (texts, phrases): (Vec<String>, _) = rows.unzip();
    // An automaton that ignores the case of letters takes twice as long to build, which is a
    // notable part of a short run.
    let automaton = AhoCorasick::new(texts);
    Matcher { automaton: automaton.expect("the patterns are few and short"), phrases }
});

/// Returns the phrases that report an error in successful results, too.
#[cfg(test)]
pub(super) fn certain_texts() -> impl Iterator<Item = &'static str> {
    let certain = GROUPS.iter().filter(|Group(.., certainty, _)| *certainty == Certain);
    certain.flat_map(|Group(.., texts)| *texts).copied()
}

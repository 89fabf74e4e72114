//! The purposes of shell commands.

use super::{
    kind::Purpose,
    polls::{has_pattern, has_subcommands, is_poll, starts},
    programs::{Program, SHELLS, for_each_program, unquote},
    shell::Words,
    words::of_words,
};
use crate::name_words::words as words_of_name;

/// The number of bytes of a command that are examined.
const EXAMINED: usize = 1024;
/// The shortest sleep, in seconds, that waits for a change.
const SHORTEST_SLEEP: f64 = 5.0;

/// Commands that search, and print nothing where they find nothing.
const SEARCHES: &[&str] = &[
    "ack", "ag", "egrep", "fd", "fdfind", "fgrep", "grep", "locate", "ls", "rg", "tree", "whereis",
    "which",
];
/// Commands that only read.
const READS: &[&str] = &[
    "awk",
    "bat",
    "cat",
    "cmp",
    "column",
    "cut",
    "df",
    "diff",
    "du",
    "file",
    "free",
    "gawk",
    "head",
    "hexdump",
    "jq",
    "less",
    "md5sum",
    "more",
    "nl",
    "od",
    "printenv",
    "readlink",
    "realpath",
    "sha256sum",
    "sort",
    "stat",
    "strings",
    "tac",
    "uniq",
    "wc",
    "xxd",
    "yq",
];
/// Subcommands of `git` that only read, or that fetch.
const GIT_READS: &[&str] = &[
    "blame",
    "cat-file",
    "describe",
    "diff",
    "fetch",
    "log",
    "ls-files",
    "ls-remote",
    "reflog",
    "rev-parse",
    "shortlog",
    "show",
    "status",
];
const INTERPRETERS: &[&str] =
    &["bun", "deno", "node", "perl", "php", "python", "python2", "python3", "ruby", "tsx"];
const HTTP_CLIENTS: &[&str] = &["curl", "http", "https", "xh"];
const SQL_CLIENTS: &[&str] = &["duckdb", "mysql", "psql", "sqlite3"];
/// Subcommands that report a state, of any program.
const STATE_SUBCOMMANDS: &[&str] = &[
    "health",
    "healthcheck",
    "list",
    "list-jobs",
    "list-runs",
    "logs",
    "ls",
    "progress",
    "ps",
    "queue",
    "status",
    "wait",
];
/// Programs whose state changes by other means only if the agent waits for it.
const TASK_RUNNERS: &[&str] = &[
    "apt", "brew", "bun", "cargo", "conda", "go", "hg", "jj", "just", "make", "npm", "pip", "pnpm",
    "svn", "yarn",
];
/// Names of keys, which a tool sends to a terminal instead of a command.
const KEYS: &[&str] = &[
    "BSpace", "Down", "End", "Enter", "Escape", "Home", "Left", "NPage", "PPage", "PageDown",
    "PageUp", "Right", "Space", "Tab", "Up",
];

/// An effect of a simple command.
#[derive(Clone, Copy)]
enum Effect {
    Poll,
    Search,
    Read,
    Navigate,
    Sleep,
    /// A sleep that is too short to wait for a change, except in a loop.
    Pause,
    /// The condition of `until` or `while`.
    Loop,
    /// A program whose name, or whose place after `until`, indicates a poll if there is a
    /// sleep as well.
    Probe,
    /// Writes a file and nothing else.
    Write,
    Run,
}

/// The effects of the commands of a script, as bits.
#[derive(Clone, Copy, Default)]
struct Effects(u16);

impl Effects {
    fn add(&mut self, effect: Effect) {
        self.0 |= 1 << effect as u16;
    }

    fn has(self, effect: Effect) -> bool {
        self.0 & 1 << effect as u16 != 0
    }

    /// Returns the purpose of the whole script. A sleep makes a poll of commands that poll,
    /// search or read: their result may change meanwhile. A program that was started after a
    /// sleep still runs.
    fn purpose(self) -> Purpose {
        let sleeps = self.has(Effect::Sleep) || self.has(Effect::Pause) && self.has(Effect::Loop);
        let looks = [Effect::Poll, Effect::Search, Effect::Read].map(|effect| self.has(effect));
        match (looks, self.has(Effect::Navigate)) {
            _ if self.has(Effect::Run) => Purpose::Run,
            _ if self.has(Effect::Write) => Purpose::Write,
            _ if self.has(Effect::Probe) && !sleeps => Purpose::Run,
            (_, true) => Purpose::Navigate,
            _ if self.has(Effect::Probe) => Purpose::Poll,
            ([false, false, false], _) if sleeps || self.has(Effect::Pause) => Purpose::Wait,
            ([false, false, false], _) => Purpose::Run,
            _ if sleeps => Purpose::Poll,
            ([true, _, _], _) => Purpose::Poll,
            ([_, true, false], _) => Purpose::Search,
            ([_, _, true], _) => Purpose::Read,
        }
    }
}

/// Returns the purpose of a shell command.
pub(super) fn of_command(command: &str) -> Purpose {
    let mut effects = Effects::default();
    add_script(cut(command), &mut effects);
    effects.purpose()
}

fn add_script(script: &str, effects: &mut Effects) {
    for_each_program(script, &mut |program| add_program(program, effects));
}

fn add_program(program: Program<'_>, effects: &mut Effects) {
    let Program { name, command, arguments, .. } = program;
    // The other commands of a pipe filter the output of the first, unless they run commands.
    let runs = program.runs_others || SHELLS.contains(&name) || name == "ssh";
    if command.is_piped && !runs && !has_subcommands(name) {
        return;
    }
    if command.writes_file && matches!(name, "cat" | "echo" | "printf") {
        return effects.add(Effect::Write);
    }
    if program.is_neutral() || program.runs_script {
        return;
    }
    if program.is_condition {
        effects.add(Effect::Loop);
    }
    let effect = match effect_of(name, arguments) {
        Effect::Run if program.is_condition => Effect::Probe,
        effect => effect,
    };
    effects.add(effect);
}

fn effect_of(program: &str, words: Words<'_>) -> Effect {
    let mut arguments = words;
    let first = arguments.next().unwrap_or_default();
    let is_subcommand = |expected: &[&str]| {
        starts(words).any(|mut words| words.next().is_some_and(|word| expected.contains(&word)))
    };
    match program {
        "sleep" if first.starts_with('$') => Effect::Sleep,
        "sleep" if first.starts_with(|c: char| c.is_ascii_digit()) => match first.parse::<f64>() {
            Ok(seconds) if seconds < SHORTEST_SLEEP => Effect::Pause,
            _ => Effect::Sleep,
        },
        "docker" | "podman" if first == "compose" => effect_of("docker-compose", arguments),
        "find" if words.clone().any(|word| word == "-delete") => Effect::Run,
        "find" => Effect::Search,
        "gh" if first == "api" => of_request(arguments, "Ff"),
        "git" if is_subcommand(&["grep"]) => Effect::Search,
        "git" if is_subcommand(GIT_READS) => Effect::Read,
        "git" if is_subcommand(&["apply"]) => Effect::Write,
        "git" => Effect::Run,
        "sed" if words.clone().any(|word| word.starts_with("-i") || word == "--in-place") => {
            Effect::Write
        }
        "apply_patch" | "patch" => Effect::Write,
        "sed" => Effect::Read,
        "tmux" if is_subcommand(&["send-keys", "send"]) => Effect::Navigate,
        "playerctl" if matches!(first, "next" | "previous") => Effect::Navigate,
        "xdotool" | "ydotool" if first.starts_with("key") => Effect::Navigate,
        "adb" if has_pattern("shell input keyevent|swipe", words) => Effect::Navigate,
        _ if KEYS.contains(&program) && words.clone().all(|word| KEYS.contains(&word)) => {
            Effect::Navigate
        }
        _ if SEARCHES.contains(&program) => Effect::Search,
        _ if READS.contains(&program) => Effect::Read,
        "wget" => match of_request(words, "") {
            // A download writes a file.
            Effect::Read
                if !words.clone().any(|word| word == "--spider" || word.ends_with("O-")) =>
            {
                Effect::Run
            }
            effect => effect,
        },
        _ if HTTP_CLIENTS.contains(&program) => of_request(words, "FTd"),
        _ if SQL_CLIENTS.contains(&program) => {
            let selects = |word: &str| {
                let start = unquote(word).trim_start().get(..7).unwrap_or_default();
                start.eq_ignore_ascii_case("select ")
            };
            if words.clone().any(selects) { Effect::Read } else { Effect::Run }
        }
        _ => match is_poll(program, words) {
            Some(true) => Effect::Poll,
            Some(false) => Effect::Run,
            None => of_script(program, words),
        },
    }
}

/// Returns the effect of a program that is not known, by the words of its name.
fn of_script(program: &str, mut words: Words<'_>) -> Effect {
    let is_interpreter = INTERPRETERS.contains(&program) || SHELLS.contains(&program);
    let mut positional = words.by_ref().filter(|word| !word.starts_with('-'));
    let name = if is_interpreter {
        let script = positional.next().map(unquote).unwrap_or_default();
        script.rsplit('/').next().unwrap_or(script)
    } else {
        program
    };
    let has_state = positional.take(2).any(|word| STATE_SUBCOMMANDS.contains(&word));
    match of_words(name) {
        // Code, as in `python -c`.
        _ if name.contains(char::is_whitespace) => Effect::Run,
        Some(Purpose::Poll) => Effect::Poll,
        Some(Purpose::Navigate) => Effect::Navigate,
        _ if has_state && TASK_RUNNERS.contains(&name) => Effect::Probe,
        _ if has_state => Effect::Poll,
        Some(Purpose::Wait) => Effect::Probe,
        _ if words_of_name(name).any(|word| matches!(word, "check" | "state")) => Effect::Probe,
        _ => Effect::Run,
    }
}

/// Returns the effect of an HTTP request. `sending` are the short options that send data.
fn of_request(mut words: Words<'_>, sending: &str) -> Effect {
    /// The starts of the long options that send data.
    const SENDING: &[&str] =
        &["body", "data", "field", "form", "input", "json", "post", "raw-field", "upload-file"];
    /// The short options without a value.
    const FLAGS: &str = "#0123456789BGIJLNOaRSZfgiklnpqsv";
    let is_read = |method: &str| matches!(unquote(method), "GET" | "HEAD");
    let (mut sends, mut sends_in_url, mut changes, mut polls) = (false, false, false, false);
    while let Some(word) = words.next() {
        if let Some(option) = word.strip_prefix("--") {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "get" => sends_in_url = true,
                "method" | "request" if value.is_empty() => {
                    changes |= !words.next().is_some_and(is_read);
                }
                "method" | "request" => changes |= !is_read(value),
                _ => sends |= SENDING.iter().any(|start| name.starts_with(start)),
            }
        } else if let Some(options) = word.strip_prefix('-') {
            let at = options.find(|c: char| !FLAGS.contains(c)).unwrap_or(options.len());
            let (flags, option) = options.split_at(at);
            sends_in_url |= flags.contains('G');
            let Some(letter) = option.chars().next().filter(char::is_ascii_alphabetic) else {
                continue;
            };
            let value = &option[letter.len_utf8()..];
            let value = if value.is_empty() { words.next().unwrap_or_default() } else { value };
            sends |= sending.contains(letter);
            changes |= letter == 'X' && !is_read(value);
        } else if matches!(word, "DELETE" | "PATCH" | "POST" | "PUT") {
            changes = true;
        } else {
            polls |= is_state_url(unquote(word));
        }
    }
    match () {
        () if changes || sends && !sends_in_url => Effect::Run,
        () if polls => Effect::Poll,
        () => Effect::Read,
    }
}

/// Returns true if a URL names a local server, or if a part of its path names a state.
fn is_state_url(url: &str) -> bool {
    const STATES: &[&str] = &[
        "build",
        "builds",
        "checks",
        "deployments",
        "health",
        "healthcheck",
        "healthz",
        "job",
        "jobs",
        "livez",
        "metrics",
        "ping",
        "pipelines",
        "progress",
        "ready",
        "readyz",
        "runs",
        "status",
        "tasks",
    ];
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    let is_local = ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", ":"];
    is_local.iter().any(|host| address.starts_with(host))
        || address.split_once('/').is_some_and(|(_, path)| {
            path.split(['/', '?', '.', '-']).any(|it| STATES.contains(&it))
        })
}

fn cut(text: &str) -> &str {
    let end = (0..=EXAMINED.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

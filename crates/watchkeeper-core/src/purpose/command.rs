//! The purposes of shell commands.

use super::kind::Purpose;

/// The number of bytes of a command that are examined.
const EXAMINED: usize = 1024;

/// Commands that read a state which changes by itself: the program, and the words of which one
/// must follow. No words stand for any.
const POLLS: &[(&str, &[&str])] = &[
    ("aws", &["describe", "wait", "status", "get", "logs", "list"]),
    ("argocd", &["get", "wait", "list"]),
    ("az", &["show", "list", "wait"]),
    ("circleci", &["status", "get"]),
    ("adb", &["devices", "logcat", "get-state"]),
    ("airflow", &["state", "list", "list-runs"]),
    ("bjobs", &[]),
    ("bq", &["ls", "show", "wait"]),
    ("condor_q", &[]),
    ("crictl", &["ps", "logs", "pods"]),
    ("curl", &["health", "healthz", "status", "ready", "readyz", "ping", "localhost", "jobs"]),
    ("dig", &[]),
    ("docker", &["ps", "logs", "inspect", "stats", "top", "ls"]),
    ("docker-compose", &["ps", "logs", "top"]),
    ("doctl", &["get", "list"]),
    ("eas", &["list", "view"]),
    ("flux", &["get"]),
    ("fly", &["list", "logs", "releases", "status"]),
    ("flyctl", &["list", "logs", "releases", "status"]),
    ("gcloud", &["describe", "list", "logs", "wait"]),
    ("gh", &["run", "checks", "status", "workflow", "deployment"]),
    ("glab", &["status", "view", "ci", "pipeline"]),
    ("heroku", &["ps", "logs", "releases", "status"]),
    ("helm", &["status", "list", "history"]),
    ("jobs", &[]),
    ("journalctl", &[]),
    ("kubectl", &["get", "describe", "logs", "rollout", "top", "wait"]),
    ("lsof", &[]),
    ("nc", &["-z", "-zv", "-vz"]),
    ("netlify", &["status", "watch"]),
    ("netstat", &[]),
    ("nslookup", &[]),
    ("nvidia-smi", &[]),
    ("oc", &["get", "describe", "logs", "status"]),
    ("pg_isready", &[]),
    ("pgrep", &[]),
    ("pm2", &["status", "list", "logs", "ls"]),
    ("ping", &[]),
    ("podman", &["ps", "logs", "inspect", "stats"]),
    ("ps", &[]),
    ("qstat", &[]),
    ("pulumi", &["stack"]),
    ("railway", &["status", "logs"]),
    ("redis-cli", &["ping", "info", "PING", "INFO"]),
    ("sacct", &[]),
    ("screen", &["ls"]),
    ("squeue", &[]),
    ("ss", &[]),
    ("supervisorctl", &["status", "tail"]),
    ("systemctl", &["status", "is-active", "show"]),
    ("tail", &[]),
    ("terraform", &["show", "output"]),
    ("tmux", &["capture-pane", "ls", "list-panes", "list-sessions"]),
    ("top", &[]),
    ("uptime", &[]),
    ("vercel", &["inspect", "ls", "logs"]),
    ("wait", &[]),
    ("watch", &[]),
    ("wget", &["--spider", "health", "healthz", "status", "ready", "localhost"]),
    ("workmux", &["status", "list"]),
    ("xcrun", &["list"]),
];
/// Subcommands that read a state, of any program but those in `NOT_POLLED`.
const STATE_SUBCOMMANDS: &[&str] =
    &["health", "list", "logs", "ls", "progress", "ps", "queue", "status", "wait"];
/// Programs whose state only the agent changes.
const NOT_POLLED: &[&str] = &[
    "apt", "brew", "bun", "cargo", "conda", "git", "go", "hg", "jj", "make", "npm", "pip", "pnpm",
    "svn", "yarn",
];
/// Commands that send a key or a gesture: the program, and the words of which one must follow.
const STEPS: &[(&str, &[&str])] = &[
    ("adb", &["keyevent", "swipe"]),
    ("screen", &["stuff"]),
    ("tmux", &["send-keys"]),
    ("xdotool", &["key", "keydown"]),
    ("ydotool", &["key"]),
];
/// The number of words after a program that may be its subcommand.
const MAX_SUBCOMMAND: usize = 2;
/// Names of keys, which a tool sends to a terminal instead of a command.
const KEYS: &[&str] = &[
    "BSpace", "Down", "End", "Enter", "Escape", "Home", "Left", "NPage", "PPage", "PageDown",
    "PageUp", "Right", "Space", "Tab", "Up",
];
/// Commands that search, and print nothing where they find nothing.
const SEARCHES: &[&str] = &[
    "ack", "ag", "fd", "fdfind", "find", "grep", "egrep", "fgrep", "locate", "ls", "rg", "whereis",
    "which",
];
/// Commands that have no purpose of their own.
const NEUTRAL: &[&str] = &[
    "", ":", "[", "[[", "break", "cd", "clear", "date", "done", "echo", "exit", "export", "false",
    "fi", "for", "printf", "pwd", "set", "source", "test", "true",
];
/// Words that are allowed before a program.
const PREFIXES: &[&str] = &[
    "!", "bash", "command", "do", "else", "env", "exec", "if", "nohup", "sh", "sudo", "then",
    "time", "timeout", "until", "while", "zsh",
];

/// One command of a list or a pipe.
enum Simple {
    Sleep,
    Neutral,
    With(Purpose),
}

/// Returns the purpose of a shell command.
pub(super) fn of_command(command: &str) -> Purpose {
    let mut purpose = None;
    let mut sleeps = false;
    for simple in simple_commands(cut(command)) {
        match of_simple_command(simple) {
            Simple::Sleep => sleeps = true,
            Simple::Neutral => {}
            Simple::With(next) => {
                purpose = Some(match (purpose, next) {
                    (None, next) => next,
                    (Some(known), next) if known == next => known,
                    (Some(Purpose::Poll | Purpose::Search), Purpose::Poll | Purpose::Search) => {
                        Purpose::Poll
                    }
                    _ => Purpose::Run,
                });
            }
        }
    }
    match (purpose, sleeps) {
        (None, true) => Purpose::Wait,
        (Some(_), true) => Purpose::Poll,
        (purpose, false) => purpose.unwrap_or(Purpose::Run),
    }
}

/// Returns the commands of a list. Of a pipe, only the first command counts: the others filter
/// its output.
pub(super) fn simple_commands(command: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(command);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let bytes = text.as_bytes();
        let mut pipe = None;
        for (at, byte) in bytes.iter().enumerate() {
            let separator_len = match (byte, bytes.get(at + 1)) {
                (b'\n' | b';', _) => 1,
                (b'&', Some(b'&')) | (b'|', Some(b'|')) => 2,
                (b'|', _) => {
                    pipe.get_or_insert(at);
                    continue;
                }
                _ => continue,
            };
            rest = Some(&text[at + separator_len..]);
            return Some(&text[..pipe.unwrap_or(at)]);
        }
        Some(&text[..pipe.unwrap_or(text.len())])
    })
}

fn of_simple_command(text: &str) -> Simple {
    let is_quote =
        |c: char| matches!(c, '"' | '\'' | '\\' | '(' | ')' | '{' | '}' | '$' | '`' | ',');
    let parts = text.split(|c: char| c.is_ascii_whitespace() || c == ',');
    let mut words = parts.map(|word| word.trim_matches(is_quote)).filter(|word| !word.is_empty());
    let is_program = |word: &&str| {
        let is_option = word.starts_with('-') || word.starts_with(|c: char| c.is_ascii_digit());
        !(is_option || word.contains('=') || PREFIXES.contains(word))
    };
    let Some(program) = words.find(is_program) else { return Simple::Neutral };
    let program = program.rsplit('/').next().unwrap_or(program);
    if program.starts_with('#') || NEUTRAL.contains(&program) {
        return Simple::Neutral;
    }
    if program == "sleep" {
        return match words.next() {
            Some(time) if time.starts_with(|c: char| c.is_ascii_digit()) => Simple::Sleep,
            _ => Simple::With(Purpose::Run),
        };
    }
    let mut steps = STEPS.iter().filter(|(name, _)| *name == program);
    if steps.any(|(_, required)| words.clone().any(|word| required.contains(&word))) {
        return Simple::With(Purpose::Navigate);
    }
    if SEARCHES.contains(&program) || program == "git" && words.clone().next() == Some("grep") {
        return Simple::With(Purpose::Search);
    }
    if KEYS.contains(&program) && words.clone().all(|word| KEYS.contains(&word)) {
        return Simple::With(Purpose::Navigate);
    }
    let is_state = |word: &str| STATE_SUBCOMMANDS.contains(&word);
    let mut subcommands = words.clone().filter(|word| !word.starts_with('-')).take(MAX_SUBCOMMAND);
    if !NOT_POLLED.contains(&program) && subcommands.any(is_state) {
        return Simple::With(Purpose::Poll);
    }
    let is_poll = |(name, required): &(&str, &[&str])| {
        let is_required = |part: &str| required.contains(&part);
        *name == program
            && (required.is_empty()
                || words.clone().any(|word| {
                    is_required(word) || word.split(['-', '/', ':', '.', '?']).any(is_required)
                }))
    };
    if POLLS.iter().any(is_poll) { Simple::With(Purpose::Poll) } else { Simple::With(Purpose::Run) }
}

fn cut(text: &str) -> &str {
    let end = (0..=EXAMINED.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

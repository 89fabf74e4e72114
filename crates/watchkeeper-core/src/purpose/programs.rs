//! The programs that a shell script runs.

use super::{
    polls::starts,
    shell::{SimpleCommand, Words, for_each_command},
};

/// The largest nesting of commands that run other commands.
const MAX_DEPTH: u8 = 4;

/// Commands that have no purpose of their own.
const NEUTRAL: &[&str] = &[
    ".", ":", "[", "[[", "break", "case", "cd", "clear", "continue", "date", "declare", "done",
    "echo", "esac", "exit", "export", "false", "fi", "for", "local", "printf", "pwd", "read",
    "set", "shift", "source", "test", "trap", "true", "unset",
];
/// Words that are allowed before a program.
const PREFIXES: &[&str] = &[
    "!", "command", "do", "elif", "else", "env", "exec", "if", "nice", "nohup", "stdbuf", "sudo",
    "then", "time", "timeout",
];
pub(super) const SHELLS: &[&str] = &["bash", "dash", "fish", "ksh", "sh", "su", "zsh"];

/// A program that a script runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program<'a> {
    /// The name, without its folder.
    pub(super) name: &'a str,
    /// The simple command that runs the program.
    pub(super) command: SimpleCommand<'a>,
    /// The words after the program.
    pub(super) arguments: Words<'a>,
    /// True if the command is the condition of `until` or `while`.
    pub(super) is_condition: bool,
    /// True if another program runs this one for its input, as in `xargs rm`.
    pub(super) runs_others: bool,
    /// True if the program runs a script whose programs are visited as well, as in `bash -c make`.
    pub(super) runs_script: bool,
}

impl<'a> Program<'a> {
    fn of(command: SimpleCommand<'a>) -> Option<Self> {
        let mut words = Words::of(command.text);
        let (mut is_condition, mut runs_others) = (false, false);
        let word = loop {
            let word = unquote(words.next()?);
            match word {
                "until" | "while" => is_condition = true,
                "xargs" | "parallel" => runs_others = true,
                _ if PREFIXES.contains(&word) => {}
                _ if word.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {}
                _ if word.contains('=') => {}
                _ if !word
                    .contains(|c: char| c.is_alphanumeric() || matches!(c, '[' | ':' | '.')) => {}
                _ => break word,
            }
        };
        let name = word.rsplit(['/', '\\']).next().unwrap_or(word);
        let arguments = words;
        Some(Self { name, command, arguments, is_condition, runs_others, runs_script: false })
    }

    /// Returns true if the program has no purpose of its own, such as `cd` or `echo`.
    pub(super) fn is_neutral(&self) -> bool {
        NEUTRAL.contains(&self.name)
    }
}

/// Calls `visit` for each program of a script. The programs of a substitution come before the
/// program whose arguments contain it.
pub(super) fn for_each_program<'a>(script: &'a str, visit: &mut dyn FnMut(Program<'a>)) {
    visit_script(script, 0, visit);
}

fn visit_script<'a>(script: &'a str, depth: u8, visit: &mut dyn FnMut(Program<'a>)) {
    for_each_command(script, &mut |command| {
        let Some(mut program) = Program::of(command) else { return };
        let script = script_of(program.name, program.arguments);
        let script = script.filter(|_| depth < MAX_DEPTH);
        program.runs_script = script.is_some();
        visit(program);
        if let Some(script) = script {
            visit_script(script, depth + 1, visit);
        }
    });
}

/// Returns true if a shell command runs a program directly, possibly within another command,
/// such as `timeout 60 javac A.java` or `bash -c 'javac A.java'`.
///
/// `program` is a name without a folder.
pub fn runs_program(command: &str, program: &str) -> bool {
    let mut is_found = false;
    for_each_program(command, &mut |found| is_found |= found.name == program);
    is_found
}

/// Returns the name of the first program with a purpose of its own: `make` of
/// `cd /repo && make`.
pub(crate) fn first_program(command: &str) -> Option<&str> {
    let mut first: Option<&str> = None;
    for_each_program(command, &mut |program| {
        // A substitution comes before the command that contains it.
        let contains_first = first.is_some_and(|name| contains(program.command.text, name));
        match program.name {
            "cd" if contains_first => first = None,
            _ if program.is_neutral() || program.runs_script => {}
            name if first.is_none() || contains_first => first = Some(name),
            _ => {}
        }
    });
    first
}

/// Returns true if `part` is borrowed from `text`.
fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes().as_ptr_range(), part.as_bytes().as_ptr_range());
    text.start <= part.start && part.end <= text.end
}

/// Returns the script that a command runs, such as the argument of `bash -c`, the command of
/// `ssh`, or the command after the container of `docker exec`.
fn script_of<'a>(program: &str, mut words: Words<'a>) -> Option<&'a str> {
    let is_script_option =
        |word: &&str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    if SHELLS.contains(&program) {
        words.find(is_script_option)?;
        // A list of words has lost the quotes.
        let rest = words.rest();
        return words.next().map(|word| if word == unquote(word) { rest } else { unquote(word) });
    }
    match program {
        "docker" | "docker-compose" | "podman" => {
            let mut subcommands = words.by_ref().filter(|word| !word.starts_with('-'));
            let first = subcommands.next()?;
            if first != "exec" && !(first == "compose" && subcommands.next()? == "exec") {
                return None;
            }
            skip_options(&mut words, &["-e", "-u", "-w", "--env", "--user", "--workdir"])?;
        }
        "kubectl" | "oc" => {
            starts(words).find_map(|mut it| it.next().filter(|word| *word == "exec"))?;
            words.find(|word| *word == "--")?;
        }
        "ssh" => {
            skip_options(&mut words, &["-F", "-J", "-L", "-R", "-i", "-l", "-o", "-p"])?;
        }
        "eval" => {}
        "find" => {
            words.find(|word| word.starts_with("-exec") || word.starts_with("-ok"))?;
        }
        _ => return None,
    }
    let rest = words.rest();
    let mut words = words;
    let script = words.next()?;
    Some(if words.rest().is_empty() { unquote(script) } else { rest })
}

/// Skips options, and returns the first word that is no option.
fn skip_options<'a>(words: &mut Words<'a>, with_value: &[&str]) -> Option<&'a str> {
    loop {
        match words.next()? {
            option if with_value.contains(&option) => drop(words.next()),
            option if option.starts_with('-') => {}
            word => return Some(word),
        }
    }
}

/// Removes the quotes and brackets around a word.
pub(super) fn unquote(word: &str) -> &str {
    word.trim_matches(|c: char| {
        matches!(c, '"' | '\'' | '\\' | '(' | ')' | '{' | '}' | '$' | '`' | ',')
    })
}

#[cfg(test)]
mod tests {
    use super::{first_program, runs_program};

    #[test]
    fn finds_programs_in_scripts() {
        for (expected, command) in [
            (true, "javac A.java"),
            (true, "cd a && javac A.java"),
            (true, "sudo javac A.java"),
            (true, "timeout 60 javac A.java"),
            (true, "if javac A.java; then echo done; fi"),
            (true, "X=1 /opt/bin/javac -version | head"),
            (true, "echo a\njavac A.java"),
            (true, "v=$(javac -version)"),
            (true, "bash -lc 'cd a && javac A.java'"),
            (true, "find . -name A.java | xargs javac"),
            (false, "which javac"),
            (false, "find / -name javac"),
            (false, "export JAVA=/opt/javac"),
            (false, "echo javac"),
            (false, "echo 'a; javac A.java'"),
            (false, "cat <<EOF\njavac A.java\nEOF"),
            (false, "javac8 A.java"),
            (false, ""),
        ] {
            assert_eq!(runs_program(command, "javac"), expected, "{command}");
        }
    }

    #[test]
    fn finds_the_first_program_with_a_purpose_of_its_own() {
        for (expected, command) in [
            (Some("make"), "cd /repo && make"),
            (Some("make"), "cd /repo; make | tail"),
            (Some("make"), "cd \"$(git rev-parse --show-toplevel)\" && make"),
            (Some("make"), "set -e\nexport A=1\nmake && ./run"),
            (Some("make"), "(cd /repo && make)"),
            (Some("make"), "bash -lc 'cd /repo && make'"),
            (Some("make"), "if [ -f a ]; then make; fi"),
            (Some("make"), "make VERSION=$(date)"),
            (Some("make"), "make VERSION=$(git describe)"),
            (Some("git"), "echo $(git describe)"),
            (Some("mvn"), "timeout 300 ./tools/mvn -q test"),
            (None, "cd /repo"),
            (None, ""),
        ] {
            assert_eq!(first_program(command), expected, "{command}");
        }
    }
}

//! The programs and words of shell commands.

/// Words that are allowed before a program.
const PREFIXES: &[&str] =
    &["command", "env", "exec", "nice", "nohup", "sudo", "then", "do", "time"];

/// Returns true if a command runs a program directly.
pub(crate) fn runs_program(command: &str, program: &str) -> bool {
    command.split(['\n', ';', '|', '&', '(', '`']).any(|part| {
        let is_setting = |word: &str| word.contains('=') || word.starts_with('-');
        let mut words = part.split_ascii_whitespace();
        let first = words.find(|word| !PREFIXES.contains(word) && !is_setting(word));
        first.is_some_and(|word| word.rsplit('/').next() == Some(program))
    })
}

/// Returns true if a command contains a word, possibly as a part of a path.
pub(crate) fn contains_word(command: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    command.match_indices(word).any(|(at, _)| {
        let (before, after) = (&command[..at], &command[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::{contains_word, runs_program};

    #[test]
    fn finds_programs_in_scripts() {
        for (expected, command) in [
            (true, "javac A.java"),
            (true, "cd a && javac A.java"),
            (true, "sudo javac A.java"),
            (true, "X=1 /opt/bin/javac -version | head"),
            (true, "echo a\njavac A.java"),
            (true, "v=$(javac -version)"),
            (false, "which javac"),
            (false, "find / -name javac"),
            (false, "export JAVA=/opt/javac"),
            (false, "echo javac"),
            (false, "javac8 A.java"),
            (false, ""),
        ] {
            assert_eq!(runs_program(command, "javac"), expected, "{command}");
        }
    }

    #[test]
    fn finds_words_in_commands() {
        for (expected, command) in [
            (true, "pip install requests"),
            (true, "pip install requests==2"),
            (true, "cat lib/requests"),
            (true, "curl https://requests/a"),
            (false, "pip install requests-mock"),
            (false, "pip install my_requests"),
            (false, ""),
        ] {
            assert_eq!(contains_word(command, "requests"), expected, "{command}");
        }
    }
}

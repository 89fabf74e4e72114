//! The words of shell commands.

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
    use super::contains_word;

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

//! Sentences that an agent sends to a shell.

/// The fewest words of a sentence.
const FEWEST_WORDS: usize = 4;
/// One word of this many must be a function word.
const WORDS_PER_FUNCTION_WORD: usize = 6;
/// The number of words that are examined.
const EXAMINED: usize = 40;

/// Words that are frequent in sentences, and rare as arguments of commands.
const FUNCTION_WORDS: &[&str] = &[
    "a", "again", "also", "an", "and", "are", "be", "because", "been", "but", "by", "can", "could",
    "did", "does", "from", "had", "has", "have", "here", "how", "i", "i'll", "i'm", "is", "it",
    "it's", "its", "let", "let's", "may", "need", "needs", "next", "not", "now", "of", "on", "or",
    "our", "please", "seems", "should", "so", "still", "that", "the", "there", "these", "they",
    "this", "to", "was", "we", "we'll", "we're", "were", "which", "why", "will", "with", "would",
    "you",
];

/// Returns true if a command reads like a sentence: several words, function words among them,
/// and nothing that only a shell needs.
pub(super) fn is_prose(command: &str) -> bool {
    // A block of code is no sentence, and a comment is one that the shell ignores.
    let text = command.trim();
    let starts_with_letter = text.starts_with(|c: char| c.is_alphabetic() || "\"'`*".contains(c));
    let is_script = ["&&", "||", "$(", "<<", " | ", ">>", "2>", "#!"];
    if !starts_with_letter || is_script.iter().any(|part| text.contains(part)) {
        return false;
    }
    let mut words = text.split_ascii_whitespace().take(EXAMINED);
    let (mut n_words, mut n_function_words, mut n_options) = (0, 0, 0);
    let first = words.clone().next().unwrap_or_default();
    words.by_ref().for_each(|word| {
        n_words += 1;
        n_options += usize::from(word.len() > 1 && word.starts_with('-') || word.contains('='));
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let word = word.replace('\u{2019}', "'");
        n_function_words +=
            usize::from(FUNCTION_WORDS.iter().any(|it| word.eq_ignore_ascii_case(it)));
    });
    let begins_like_sentence = first.starts_with(char::is_uppercase);
    let end = text.trim_end_matches(['.', '!', '?', ':']);
    let ends_like_sentence = end.len() < text.len() && end.ends_with(char::is_alphanumeric);
    FEWEST_WORDS <= n_words
        && n_options * 4 <= n_words
        && 2 <= n_function_words
        && n_words <= n_function_words * WORDS_PER_FUNCTION_WORD
        && (begins_like_sentence || ends_like_sentence)
}

#[cfg(test)]
mod tests {
    use super::is_prose;

    #[test]
    fn recognizes_sentences() {
        for text in [
            "DISCUSSION\nThe previous commands did not print anything. Let's look again.",
            "Let's try to find out which shell is used.",
            "I'll now run the tests to see if they pass.",
            "We need to install the compiler first.",
            "It seems that the command is not recognized in this environment.",
            "Now that the fix is in place, we can submit the change",
            "The error persists. Is there a configuration file?",
            "First, I should reproduce the problem with a small script.",
            "THOUGHT: the test is still red because of the import",
            "**Plan** We will look at the parser, and then at the printer.",
        ] {
            assert!(is_prose(text), "{text}");
        }
    }

    #[test]
    fn commands_are_no_sentences() {
        for text in [
            "",
            "ls",
            "ls -la src",
            "javac A.java B.java C.java D.java",
            "echo 'this is the end of it' && exit 1",
            "git commit -m 'Let the parser skip what it does not know.'",
            "python3 -c \"print('it is not the end')\"",
            "# The tests are run by the next command.",
            "for f in a b c; do cat $f; done",
            "Rscript -e 'install.packages(\"x\")'",
            "find . -name '*.rs' -not -path './target/*' -and -type f",
            "cat <<EOF\nThis is the text of a file. It is not a command.\nEOF",
            "grep -rn 'to be or not to be' .",
            "./run the tests and be quick",
            "Xvfb :99 -screen 0 1024x768x24",
            "make it so",
        ] {
            assert!(!is_prose(text), "{text}");
        }
    }
}

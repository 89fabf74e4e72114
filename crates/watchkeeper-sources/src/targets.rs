//! Targets of tool calls in notations that several agents use.

use watchkeeper_core::{Json, author::Targets};

/// Returns the files of a patch in the format of `apply_patch`.
pub(crate) fn of_patch(patch: &str) -> Targets {
    const PREFIXES: [&str; 4] =
        ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];
    let mut targets = Targets::new();
    for line in patch.lines() {
        if let Some(path) = PREFIXES.iter().find_map(|prefix| line.strip_prefix(prefix)) {
            targets = targets.with_path(path.trim_end());
        }
    }
    targets
}

/// Returns the targets of a command that is a list of words. The command of a shell,
/// as in `["bash", "-lc", "make"]`, is its script.
pub(crate) fn of_words(words: &[&str]) -> Targets {
    match words {
        ["apply_patch", patch] => of_patch(patch),
        [shell, "-c" | "-lc" | "-ic", script] if is_shell(shell) => {
            Targets::new().with_command(*script)
        }
        words => Targets::new().with_command(words.join(" ")),
    }
}

/// Returns the targets of arguments whose `command` is not a shell command.
pub(crate) fn without_command(arguments: &Json) -> Targets {
    let derived = Targets::of_arguments(arguments);
    let targets = derived.paths().fold(Targets::new(), Targets::with_path);
    derived.urls().fold(targets, Targets::with_url)
}

fn is_shell(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    matches!(name, "bash" | "sh" | "zsh" | "dash" | "fish")
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::author::Targets;

    use super::{of_patch, of_words};

    #[test]
    fn returns_the_files_of_a_patch() {
        let patch = "*** Begin Patch\n*** Update File: src/a b.rs\n*** Move to: src/c.rs\n@@\n\
                     -*** Add File: no\n+x\n*** Delete File: d\r\n*** End Patch\n";
        let expected = Targets::new().with_path("src/a b.rs").with_path("src/c.rs").with_path("d");
        assert_eq!(of_patch(patch), expected);
        assert_eq!(of_words(&["apply_patch", patch]), expected);
    }

    #[test]
    fn returns_the_script_of_a_shell() {
        for (words, command) in [
            (&["bash", "-lc", "make test"][..], "make test"),
            (&["/bin/sh", "-c", "ls"], "ls"),
            (&["bash", "run.sh"], "bash run.sh"),
            (&["make", "-c", "x"], "make -c x"),
        ] {
            assert_eq!(of_words(words), Targets::new().with_command(command));
        }
    }
}

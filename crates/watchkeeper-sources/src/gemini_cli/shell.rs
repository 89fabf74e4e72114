//! The output of the shell tool, which has the exit code in its text.

/// The output of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShellOutput<'a> {
    /// The output without the lines that describe the command.
    pub(super) body: &'a str,
    pub(super) exit_code: Option<i32>,
    /// Whether a signal ended the command.
    pub(super) was_killed: bool,
}

impl<'a> ShellOutput<'a> {
    /// Reads the text that the model receives: lines such as `Exit Code: 1` follow the output of
    /// the command. Recent versions omit the exit code zero.
    pub(super) fn read(text: &'a str) -> Self {
        const AFTER: &[&str] = &["Background PIDs: ", "Process Group PGID: ", "PIDs: "];
        const BEFORE: &[&str] = &["Command: ", "Directory: ", "Stdout: "];
        // A hook can add text after the end.
        let end = text.rfind("</untrusted_context>").unwrap_or(text.len());
        let text = text[..end].trim_end();
        let mut output = Self { body: text, exit_code: None, was_killed: false };
        loop {
            let (before, line) = output.body.rsplit_once('\n').unwrap_or(("", output.body));
            let line = line.trim_end_matches('\r');
            if let Some(code) = line.strip_prefix("Exit Code: ") {
                output.exit_code = code.parse().ok();
            } else if let Some(signal) = line.strip_prefix("Signal: ") {
                output.was_killed = !matches!(signal, "(none)" | "0");
            } else if line != "Error: (none)" && !AFTER.iter().any(|it| line.starts_with(it)) {
                break;
            }
            output.body = before.trim_end_matches('\n');
        }
        output.body = output.body.strip_prefix("<untrusted_context>\n").unwrap_or(output.body);
        while let Some((line, after)) = output.body.split_once('\n')
            && BEFORE.iter().any(|it| line.starts_with(it))
        {
            output.body = after;
        }
        let body = output.body.strip_prefix("Output: ").unwrap_or(output.body);
        output.body = if body == "(empty)" { "" } else { body };
        output
    }
}

#[cfg(test)]
mod tests {
    use super::ShellOutput;

    #[test]
    fn separates_the_output_from_the_lines_around_it() {
        for (text, body, exit_code) in [
            ("Output: a\nb\nExit Code: 2\nProcess Group PGID: 7", "a\nb", Some(2)),
            (
                "<untrusted_context>\nOutput: ok\nProcess Group PGID: 7\n</untrusted_context>",
                "ok",
                None,
            ),
            (
                "Command: ls\nDirectory: (root)\nOutput: a\nError: (none)\nExit Code: 0\n\
                 Signal: (none)\nBackground PIDs: (none)\nProcess Group PGID: 7",
                "a",
                Some(0),
            ),
            (
                "<untrusted_context>\nOutput: a\nExit Code: 1\n</untrusted_context>\n\n<hook_context>b",
                "a",
                Some(1),
            ),
            // The output of the command may look like such a line.
            ("Output: Exit Code: 3\nthe end", "Exit Code: 3\nthe end", None),
            ("Output: (empty)\nExit Code: 1", "", Some(1)),
            ("Exit Code: 1", "", Some(1)),
            ("plain", "plain", None),
            ("", "", None),
        ] {
            let expected = ShellOutput { body, exit_code, was_killed: false };
            assert_eq!(ShellOutput::read(text), expected, "{text}");
        }
        assert!(ShellOutput::read("Output: a\nExit Code: (none)\nSignal: SIGTERM").was_killed);
    }
}

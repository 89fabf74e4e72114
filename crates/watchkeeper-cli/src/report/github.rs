use std::io::{self, Write};

use watchkeeper_core::{Severity, author::make_safe};

use super::{notices::Notice, summary::Report};

/// Writes each finding and each file that was not read as a workflow command of
/// GitHub Actions.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for episode in report.episodes() {
        let finding = &episode.finding;
        let command = match finding.severity {
            Severity::Low => "notice",
            Severity::Medium => "warning",
            Severity::High => "error",
        };
        let mut properties = vec![format!("title={}", property(&finding.detector))];
        if let Some(place) = finding.evidence.last()
            && let Some(file) = &place.file
        {
            properties.push(format!("file={}", property(file)));
            properties.extend(place.line.map(|line| format!("line={line}")));
        }
        let properties = properties.join(",");
        let runbook = finding.annotations.runbook_url.as_ref();
        let runbook = runbook.map(|link| format!(" (runbook: {link})")).unwrap_or_default();
        let message = data(&format!("{}{runbook}", finding.message));
        writeln!(out, "::{command} {properties}::{message}")?;
    }
    for notice in report.notices() {
        let (command, Notice { file, text, .. }) = (notice.level(), notice);
        let file = file.map(|file| format!(",file={}", property(&file.to_string_lossy())));
        writeln!(
            out,
            "::{command} title=watchkeeper{}::{}",
            file.unwrap_or_default(),
            data(&text)
        )?;
    }
    Ok(())
}

/// Escapes text as `@actions/core` does for the message of a command.
fn data(text: &str) -> String {
    make_safe(&text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A"))
}

/// Escapes text as `@actions/core` does for a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::property;

    #[test]
    fn escapes_the_delimiters_of_commands() {
        assert_eq!(property("a:b,c\n::error::100%"), "a%3Ab%2Cc%0A%3A%3Aerror%3A%3A100%25");
        assert_eq!(property("a\u{1b}\u{202e}"), "a\\u{1b}\\u{202e}");
    }
}

//! Measures the redaction of secrets: its speed, and the lines of files in which it finds one.
//!
//! ```console
//! $ cargo run --release -p watchkeeper-core --example redact -- -v $(find src -name '*.rs')
//! ```
#![expect(clippy::print_stdout, reason = "the output of the example")]

use std::{env, fs, time::Duration};

use watchkeeper_core::{author::redact, clock::Deadline};

fn main() {
    let (flags, paths): (Vec<_>, Vec<_>) = env::args().skip(1).partition(|arg| arg == "-v");
    let texts: Vec<String> =
        paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let n_bytes: usize = texts.iter().map(String::len).sum();
    let mut n_redacted = 0;
    let deadline = Deadline::after(Duration::from_secs(3600));
    let before = deadline.remaining();
    for text in &texts {
        n_redacted += usize::from(redact(text) != *text);
    }
    let took = before.saturating_sub(deadline.remaining());
    let n_kib = u32::try_from(n_bytes / 1024).unwrap_or(u32::MAX).max(1);
    let micros_per_kib = took.as_secs_f64() * 1e6 / f64::from(n_kib);

    let (mut n_lines, mut n_redacted_lines) = (0_u32, 0_u32);
    for line in texts.iter().flat_map(|text| text.lines()) {
        n_lines += 1;
        let redacted = redact(line);
        if redacted != line {
            n_redacted_lines += 1;
            if !flags.is_empty() {
                println!("{}", redacted.trim());
            }
        }
    }
    let share = f64::from(n_redacted_lines) / f64::from(n_lines.max(1)) * 100.0;
    println!("{n_bytes} bytes in {} files, {n_redacted} of them redacted", texts.len());
    println!(
        "{micros_per_kib:.2} µs per KiB; {n_redacted_lines} of {n_lines} lines ({share:.3} %)"
    );
}

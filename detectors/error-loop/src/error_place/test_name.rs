//! The names of failing tests.

use watchkeeper_core::Fingerprint;

/// Texts in front of the name of a failing test.
const BEFORE: &[&str] = &[
    "FAILED ",
    "FAIL: ",
    "FAIL ",
    "FAIL\t",
    "--- FAIL: ",
    "[  FAILED  ] ",
    "(fail) ",
    "not ok ",
    "rspec ",
    "\u{2715} ",
    "\u{2717} ",
    "\u{2718} ",
    "\u{d7} ",
    "\u{25cf} ",
];
/// Texts behind the name of a failing test.
const AFTER: &[&str] = &[" FAILED", " (Failed)", " ... FAIL", " ... failed"];
/// Starts of lines about a build.
const NO_TESTS: &[&str] = &["> Task", "BUILD", "Build", "(", "in "];

/// Returns the first failing test in some lines. If only its file is known, the next test
/// belongs to it.
pub(super) fn failing_test(lines: &[&str]) -> Option<u32> {
    let mut tests = lines.iter().filter_map(|line| name_in(line));
    let first = tests.next()?;
    let mut test = hash(first);
    if is_file(first)
        && let Some(next) = tests.find(|name| !is_file(name))
    {
        test = test.and(hash(next));
    }
    Some(test.brief().get())
}

/// Hashes a name without line numbers, as in `a.spec.ts:12:5`.
fn hash(name: &str) -> Fingerprint {
    let without_number = |part: &str| part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    name.split(':')
        .enumerate()
        .map(|(idx, part)| if idx == 0 { part } else { &part[part.len() - without_number(part)..] })
        .fold(Fingerprint::NONE, |hash, part| hash.and(Fingerprint::of(part)))
}

/// Returns the name of the failing test in a line, without its time.
fn name_in(line: &str) -> Option<&str> {
    let name = BEFORE
        .iter()
        .find_map(|before| line.strip_prefix(before))
        .or_else(|| AFTER.iter().find_map(|after| line.strip_suffix(after)))
        .or_else(|| numbered(line))
        .or_else(|| timed(line))?;
    let name = name.trim();
    if NO_TESTS.iter().any(|start| name.starts_with(start)) {
        return None;
    }
    // `not ok 3 - adds rows`
    let number = name.bytes().take_while(u8::is_ascii_digit).count();
    let name = name[number..].strip_prefix(" - ").unwrap_or(name);
    let name = name.strip_prefix("test ").unwrap_or(name);
    let end = [" (", " [", " - ", " ...", "\t"].iter().filter_map(|end| name.find(end)).min();
    let name = name[..end.unwrap_or(name.len())].trim_end_matches([':', '.', ' ']);
    name.contains(char::is_alphabetic).then_some(name)
}

/// Returns the text behind a number and a bracket, as in `1) adds rows`.
fn numbered(line: &str) -> Option<&str> {
    let number = line.bytes().take_while(u8::is_ascii_digit).count();
    line[number..].strip_prefix(") ").filter(|_| number != 0)
}

/// Returns the name of a test with its time, as in `Failed Shop.Tests.Adds [12 ms]`.
fn timed(line: &str) -> Option<&str> {
    line.strip_prefix("Failed ").filter(|name| name.ends_with("ms]") || name.ends_with("s]"))
}

fn is_file(name: &str) -> bool {
    let is_path = name.contains('/') || name.contains('.');
    is_path && !name.contains("::") && !name.contains(char::is_whitespace)
}

//! Locations such as `src/a.rs:12:5`.

/// Endings of the names of hosts, which a port may follow as a line follows a file.
const TOP_DOMAINS: &[&str] = &["com", "dev", "internal", "io", "local", "net", "org"];
/// The fewest random characters in the name of a temporary file.
const SHORTEST_RANDOM: usize = 6;

/// A file, a line and a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location<'a> {
    /// `None` if the line of output contains only numbers: a line above names the file.
    pub(super) file: Option<&'a str>,
    pub(super) line: u32,
    /// Zero if unknown.
    pub(super) column: u32,
}

/// The texts between a file and a line number.
const SEPARATORS: &[&str] = &[
    "\", line ",
    "', line ",
    ", line ",
    ": line ",
    ":line ",
    " on line ",
    " line ",
    ":[",
    "(",
    ":",
];

impl<'a> Location<'a> {
    /// Returns the first location in a line of output.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        if let Some(location) = Self::at_start(text) {
            return Some(location);
        }
        let mut from = 0;
        while let Some(start) = text[from..].find(|c: char| c.is_ascii_digit()) {
            let start = from + start;
            let end = start + digits(&text[start..]);
            if let Some(location) = Self::with_line(text, start, end) {
                return Some(location);
            }
            from = end;
        }
        None
    }

    /// Returns the location of a linter that names the file in another line: `  3:5  error`.
    fn at_start(text: &'a str) -> Option<Self> {
        let (line, rest) = text.split_at(digits(text));
        let rest = rest.strip_prefix(':')?;
        let (column, rest) = rest.split_at(digits(rest));
        let is_location = !line.is_empty() && !column.is_empty() && rest.starts_with([' ', '\t']);
        is_location.then(|| Self { file: None, line: number(line), column: number(column) })
    }

    /// Returns the location whose line number is the text from `start` to `end`.
    fn with_line(text: &'a str, start: usize, end: usize) -> Option<Self> {
        let (before, after) = (&text[..start], &text[end..]);
        let separator = SEPARATORS.iter().find(|separator| before.ends_with(**separator))?;
        let file = path_at_end(&before[..before.len() - separator.len()])?;
        let line = number(&text[start..end]);
        let rest = after.strip_prefix([':', ',']).unwrap_or_default();
        let rest = rest.trim_start_matches(' ');
        let column = &rest[..digits(rest)];
        // `a.ts(3,5): error` is a location, and `calc.add(3, 5)` is a call.
        let is_call = || !rest[column.len()..].starts_with("):") && !after.starts_with("):");
        if *separator == "(" && is_call() || after.starts_with(char::is_alphanumeric) {
            return None;
        }
        Some(Self { file: Some(file), line, column: number(column) })
    }
}

/// Returns true if a line of output is the path of a file.
pub(super) fn is_path(text: &str) -> bool {
    path_at_end(text).is_some_and(|path| path.len() == text.len())
}

/// Returns the path at the end of a text: it has a folder or an extension.
fn path_at_end(text: &str) -> Option<&str> {
    let text = text.trim_end_matches(['"', '\'', '`']);
    let is_part = |c: char| {
        c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '\\' | '@' | '+' | '~' | '$')
    };
    let start = text
        .rfind(|c: char| !is_part(c))
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let path = &text[start..];
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let has_extension = name
        .rsplit_once('.')
        .is_some_and(|(_, extension)| extension.starts_with(|c: char| c.is_alphabetic()));
    let is_host = !path.contains(['/', '\\'])
        && name.rsplit_once('.').is_some_and(|(_, domain)| TOP_DOMAINS.contains(&domain));
    let is_address = path.starts_with("//") || is_host;
    let is_file = has_extension || path.contains(['/', '\\']) && !name.is_empty();
    (is_file && !is_temporary(name) && !is_address).then_some(path)
}

/// Returns true if a program chose the name of a file or folder: `tmp`, or `tmp` and eight random
/// characters. Such a name differs each time.
pub(super) fn is_temporary(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    stem.strip_prefix("tmp")
        .is_some_and(|random| random.is_empty() || SHORTEST_RANDOM <= random.len())
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Returns a number, or zero if it is absent or too large.
fn number(text: &str) -> u32 {
    text.parse().unwrap_or_default()
}

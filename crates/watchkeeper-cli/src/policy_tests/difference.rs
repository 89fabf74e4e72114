use std::fmt::Write as _;

use crate::output::Style;

/// Limit of lines in a rendered difference.
const MAX_LINES: usize = 200;
/// Limit of pairs for which the best alignment is computed. Beyond it, the first
/// matches are used.
const MAX_PAIRS: usize = 1 << 22;

/// One step from the expected items to the actual ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// Indices of an expected item and of the actual item that it matches.
    Match(usize, usize),
    /// Index of an expected item without a match.
    Missing(usize),
    /// Index of an actual item without a match.
    Extra(usize),
}

/// Aligns the expected items with the actual ones, in order, with the largest
/// number of matches.
pub(super) fn align(
    n_expected: usize,
    n_actual: usize,
    matches: impl Fn(usize, usize) -> bool,
) -> Vec<Edit> {
    if MAX_PAIRS < n_expected.saturating_mul(n_actual) {
        return align_fast(n_expected, n_actual, matches);
    }
    // `best[i][j]` is the largest number of matches between the expected items from
    // `i` on and the actual items from `j` on.
    let mut best = vec![vec![0_u32; n_actual + 1]; n_expected + 1];
    for i in (0..n_expected).rev() {
        for j in (0..n_actual).rev() {
            let without = best[i + 1][j].max(best[i][j + 1]);
            let with = if matches(i, j) { best[i + 1][j + 1] + 1 } else { 0 };
            best[i][j] = with.max(without);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::new();
    while i < n_expected || j < n_actual {
        if i < n_expected && j < n_actual && best[i][j] == best[i + 1][j + 1] + 1 && matches(i, j) {
            edits.push(Edit::Match(i, j));
            (i, j) = (i + 1, j + 1);
        } else if i < n_expected && (j == n_actual || best[i][j] == best[i + 1][j]) {
            edits.push(Edit::Missing(i));
            i += 1;
        } else {
            edits.push(Edit::Extra(j));
            j += 1;
        }
    }
    edits
}

/// Aligns each expected item with the first later match.
fn align_fast(
    n_expected: usize,
    n_actual: usize,
    matches: impl Fn(usize, usize) -> bool,
) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut i = 0;
    for j in 0..n_actual {
        if i < n_expected && matches(i, j) {
            edits.push(Edit::Match(i, j));
            i += 1;
        } else {
            edits.push(Edit::Extra(j));
        }
    }
    edits.extend((i..n_expected).map(Edit::Missing));
    edits
}

/// Lines of a difference.
#[derive(Debug, Default)]
pub(super) struct Difference {
    lines: Vec<(Mark, String)>,
}

/// Side of a line of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Title of the columns.
    Title,
    Expected,
    Actual,
    Both,
}

impl Difference {
    pub(super) fn push(&mut self, mark: Mark, line: impl Into<String>) {
        self.lines.push((mark, line.into()));
    }

    /// Adds rows with aligned columns.
    pub(super) fn push_table<const N: usize>(&mut self, rows: Vec<(Mark, [String; N])>) {
        let width = |column: usize| {
            rows.iter().map(|(_, row)| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        for (mark, row) in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                // Writing to a string cannot fail.
                let _ = write!(line, "{cell:width$}  ");
            }
            self.push(mark, line.trim_end());
        }
    }

    /// Renders the lines for people.
    pub(super) fn render(&self, styled: bool) -> String {
        let mut text = String::new();
        for (mark, line) in self.lines.iter().take(MAX_LINES) {
            let (sign, style) = match mark {
                Mark::Title => (' ', Style::Bold),
                Mark::Expected => ('-', Style::Red),
                Mark::Actual => ('+', Style::Green),
                Mark::Both => (' ', Style::Dim),
            };
            let line = format!("{sign} {line}");
            let _ = writeln!(text, "    {}", style.paint(line.trim_end(), styled));
        }
        if let Some(n_more) = self.lines.len().checked_sub(MAX_LINES).filter(|n| 0 < *n) {
            let _ = writeln!(text, "      and {n_more} more");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Difference, Edit, MAX_LINES, Mark, align};

    fn aligned(expected: &str, actual: &str) -> String {
        let (expected, actual): (Vec<char>, Vec<char>) =
            (expected.chars().collect(), actual.chars().collect());
        let edits = align(expected.len(), actual.len(), |i, j| {
            expected[i] == actual[j] || expected[i] == '?'
        });
        let shown = edits.into_iter().map(|edit| match edit {
            Edit::Match(_, j) => format!("{}", actual[j]),
            Edit::Missing(i) => format!("-{}", expected[i]),
            Edit::Extra(j) => format!("+{}", actual[j]),
        });
        shown.collect()
    }

    #[test]
    fn finds_the_alignment_with_most_matches() {
        assert_eq!(aligned("", ""), "");
        assert_eq!(aligned("abc", "abc"), "abc");
        assert_eq!(aligned("abc", "axc"), "a-b+xc");
        assert_eq!(aligned("ab", "ba"), "-ab+a");
        // A wildcard leaves an item to an exact match.
        assert_eq!(aligned("?a", "ba"), "ba");
        assert_eq!(aligned("?a", "aba"), "a+ba");
        assert_eq!(aligned("a", ""), "-a");
        assert_eq!(aligned("", "a"), "+a");
    }

    #[test]
    fn aligns_long_lists_with_the_first_matches() {
        const N: usize = 5_000;
        let edits = align(N, N, |i, j| i == j);
        assert!(edits.iter().all(|it| matches!(it, Edit::Match(i, j) if i == j)));
        let edits = align(N, N, |i, j| i + 1 == j);
        assert_eq!(edits.len(), N + 1);
        assert_eq!((edits[0], edits[N]), (Edit::Extra(0), Edit::Missing(N - 1)));
    }

    #[test]
    fn limits_the_lines_of_a_difference() {
        let mut difference = Difference::default();
        for _ in 0..MAX_LINES + 3 {
            difference.push(Mark::Actual, "x");
        }
        let shown = difference.render(false);
        assert!(shown.ends_with("    + x\n      and 3 more\n"), "{shown}");
    }
}

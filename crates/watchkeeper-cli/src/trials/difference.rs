use std::fmt::Write as _;

use crate::output::Style;

/// How many lines of a difference a person reads.
const MAX_LINES: usize = 200;
/// How many pairs are looked at to find the best; of more, the first that match
/// are taken.
const MAX_PAIRS: usize = 1 << 22;

/// One step from what is expected to what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// An expected one and the found one that it matches, by index.
    Match(usize, usize),
    Missing(usize),
    Extra(usize),
}

/// Pairs what is expected with what was found, both in order, so that as many
/// as possible match.
pub(super) fn align(
    n_expected: usize,
    n_found: usize,
    matches: impl Fn(usize, usize) -> bool,
) -> Vec<Edit> {
    if MAX_PAIRS < n_expected.saturating_mul(n_found) {
        return align_fast(n_expected, n_found, matches);
    }
    // `best[i][j]` is how many match of the expected from `i` on and the found
    // from `j` on.
    let mut best = vec![vec![0_u32; n_found + 1]; n_expected + 1];
    for i in (0..n_expected).rev() {
        for j in (0..n_found).rev() {
            let without = best[i + 1][j].max(best[i][j + 1]);
            let with = if matches(i, j) { best[i + 1][j + 1] + 1 } else { 0 };
            best[i][j] = with.max(without);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut res = Vec::new();
    while i < n_expected || j < n_found {
        if i < n_expected && j < n_found && best[i][j] == best[i + 1][j + 1] + 1 && matches(i, j) {
            res.push(Edit::Match(i, j));
            (i, j) = (i + 1, j + 1);
        } else if i < n_expected && (j == n_found || best[i][j] == best[i + 1][j]) {
            res.push(Edit::Missing(i));
            i += 1;
        } else {
            res.push(Edit::Extra(j));
            j += 1;
        }
    }
    res
}

/// Pairs each that is expected with the first that matches it, as long as they
/// come in turn.
fn align_fast(
    n_expected: usize,
    n_found: usize,
    matches: impl Fn(usize, usize) -> bool,
) -> Vec<Edit> {
    let mut res = Vec::new();
    let mut i = 0;
    for j in 0..n_found {
        if i < n_expected && matches(i, j) {
            res.push(Edit::Match(i, j));
            i += 1;
        } else {
            res.push(Edit::Extra(j));
        }
    }
    res.extend((i..n_expected).map(Edit::Missing));
    res
}

/// Lines of a difference, each with its mark.
#[derive(Debug, Default)]
pub(super) struct Difference {
    lines: Vec<(Mark, String)>,
}

/// What a line of a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Names the columns.
    Title,
    Expected,
    Found,
    Both,
}

impl Difference {
    pub(super) fn push(&mut self, mark: Mark, line: impl Into<String>) {
        self.lines.push((mark, line.into()));
    }

    /// Adds rows whose columns are aligned; the last column is not filled up.
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

    /// The lines, for a person.
    pub(super) fn render(&self, styled: bool) -> String {
        let mut res = String::new();
        for (mark, line) in self.lines.iter().take(MAX_LINES) {
            let (sign, style) = match mark {
                Mark::Title => (' ', Style::Bold),
                Mark::Expected => ('-', Style::Red),
                Mark::Found => ('+', Style::Green),
                Mark::Both => (' ', Style::Dim),
            };
            let line = format!("{sign} {line}");
            let _ = writeln!(res, "    {}", style.paint(line.trim_end(), styled));
        }
        if let Some(n_more) = self.lines.len().checked_sub(MAX_LINES).filter(|it| 0 < *it) {
            let _ = writeln!(res, "      and {n_more} more");
        }
        res
    }
}

#[cfg(test)]
mod tests {
    use super::{Difference, Edit, MAX_LINES, Mark, align};

    fn aligned(expected: &str, found: &str) -> String {
        let (expected, found): (Vec<char>, Vec<char>) =
            (expected.chars().collect(), found.chars().collect());
        let edits = align(expected.len(), found.len(), |i, j| {
            expected[i] == found[j] || expected[i] == '?'
        });
        let shown = edits.into_iter().map(|it| match it {
            Edit::Match(_, j) => format!("{}", found[j]),
            Edit::Missing(i) => format!("-{}", expected[i]),
            Edit::Extra(j) => format!("+{}", found[j]),
        });
        shown.collect()
    }

    #[test]
    fn as_many_match_as_can() {
        assert_eq!(aligned("", ""), "");
        assert_eq!(aligned("abc", "abc"), "abc");
        assert_eq!(aligned("abc", "axc"), "a-b+xc");
        assert_eq!(aligned("ab", "ba"), "-ab+a");
        // What may be anything does not take what another needs.
        assert_eq!(aligned("?a", "ba"), "ba");
        assert_eq!(aligned("?a", "aba"), "a+ba");
        assert_eq!(aligned("a", ""), "-a");
        assert_eq!(aligned("", "a"), "+a");
    }

    #[test]
    fn very_many_are_paired_in_turn() {
        const N: usize = 5_000;
        let edits = align(N, N, |i, j| i == j);
        assert!(edits.iter().all(|it| matches!(it, Edit::Match(i, j) if i == j)));
        let edits = align(N, N, |i, j| i + 1 == j);
        assert_eq!(edits.len(), N + 1);
        assert_eq!((edits[0], edits[N]), (Edit::Extra(0), Edit::Missing(N - 1)));
    }

    #[test]
    fn a_long_difference_is_cut() {
        let mut difference = Difference::default();
        for _ in 0..MAX_LINES + 3 {
            difference.push(Mark::Found, "x");
        }
        let shown = difference.render(false);
        assert!(shown.ends_with("    + x\n      and 3 more\n"), "{shown}");
    }
}

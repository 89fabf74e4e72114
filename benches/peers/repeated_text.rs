//! The search for repeated text of gemini-cli and its forks.

use std::collections::{BTreeMap, BTreeSet};

/// The length of the compared windows, in characters.
const WINDOW: usize = 50;
/// The number of occurrences of a window that count as repetition.
const TIMES: usize = 10;
/// The maximum number of different texts between the occurrences.
const MAX_PERIODS: usize = 5;

/// Searches a message for a window of 50 characters that occurs 10 times, close together, with at
/// most 5 different texts in between. Markdown resets the search, and code in fences is skipped.
pub(crate) struct RepeatedText {
    /// The length of the searched history, in characters.
    pub(crate) history: usize,
    /// The maximum average distance between the occurrences.
    pub(crate) max_distance: usize,
    /// Whether a dash begins a list item, and letters and digits are not part of a divider.
    pub(crate) dashes_are_items: bool,
}

impl RepeatedText {
    /// Returns whether a message that was streamed in these pieces contains repeated text.
    pub(crate) fn is_in(&self, pieces: &[&str]) -> bool {
        let mut text: Vec<char> = Vec::new();
        let mut occurrences: BTreeMap<Vec<char>, Vec<usize>> = BTreeMap::new();
        let mut next = 0;
        let mut is_in_fence = false;
        for piece in pieces {
            let n_fences = piece.matches("```").count();
            let is_divider = self.is_divider(piece);
            if 0 < n_fences || is_divider || piece.lines().any(|it| self.is_markdown(it)) {
                text.clear();
                occurrences.clear();
                next = 0;
            }
            let was_in_fence = is_in_fence;
            is_in_fence ^= n_fences % 2 == 1;
            if was_in_fence || is_in_fence || is_divider {
                continue;
            }
            text.extend(piece.chars());
            let oldest = text.len().saturating_sub(self.history);
            next = next.max(oldest);
            while next + WINDOW <= text.len() {
                let at = occurrences.entry(text[next..next + WINDOW].to_vec()).or_default();
                at.retain(|it| oldest <= *it);
                at.push(next);
                if self.is_close(at, &text) {
                    return true;
                }
                next += 1;
            }
        }
        false
    }

    /// Returns whether the most recent occurrences are close together.
    fn is_close(&self, at: &[usize], text: &[char]) -> bool {
        let Some(first) = at.len().checked_sub(TIMES) else { return false };
        let last = &at[first..];
        let periods: BTreeSet<&[char]> = last.windows(2).map(|it| &text[it[0]..it[1]]).collect();
        last[TIMES - 1] - last[0] <= self.max_distance * (TIMES - 1) && periods.len() <= MAX_PERIODS
    }

    fn is_divider(&self, piece: &str) -> bool {
        let is_rule = |it: char| match it {
            '\u{2500}'..='\u{257f}' | '-' | '+' | '_' | '=' | '*' => true,
            '+'..='_' => !self.dashes_are_items,
            _ => false,
        };
        let piece = piece.trim();
        !piece.is_empty() && piece.chars().all(is_rule)
    }

    fn is_markdown(&self, line: &str) -> bool {
        let line = line.trim_start();
        let after = |marks: &dyn Fn(char) -> bool| line.trim_start_matches(marks);
        let is_space = |rest: &str| rest.starts_with(char::is_whitespace);
        let is_item = line.strip_prefix(['*', '+']).is_some_and(is_space)
            || (self.dashes_are_items && line.strip_prefix('-').is_some_and(is_space));
        let number = after(&|it| it.is_ascii_digit());
        let is_numbered = number.len() < line.len() && number.starts_with(". ");
        let heading = after(&|it| it == '#');
        let is_heading = heading.len() < line.len() && is_space(heading);
        let is_table = line.strip_prefix('|').is_some_and(|it| it.contains('|'))
            || 3 <= line.len() - after(&|it| "|+-".contains(it)).len();
        is_item || is_numbered || is_heading || is_table || line.starts_with("> ")
    }
}

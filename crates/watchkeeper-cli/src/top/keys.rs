use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Selects a row below the selected one, or above with a negative number.
    Move(isize),
    First,
    Last,
    /// Sorts by the next column, or by the previous one.
    SortByNext,
    SortByPrevious,
    Reverse,
    /// Shows or hides sessions that have ended.
    ToggleEnded,
    ToggleHelp,
    /// Begins to type a filter.
    StartFilter,
    /// Adds a character to the filter.
    Type(char),
    /// Removes the last character of the filter.
    Erase,
    /// Ends typing, and keeps the filter.
    KeepFilter,
    /// Removes the filter, or closes the help.
    Cancel,
}

/// The number of rows of a page.
const PAGE: isize = 10;

/// Returns the effect of a key; `None` if it has none. `is_typing` is whether a filter is being
/// typed.
pub(super) fn action_of(key: KeyEvent, is_typing: bool) -> Option<Action> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    let action = match key.code {
        KeyCode::Char('c') if is_control => Action::Quit,
        KeyCode::Esc => Action::Cancel,
        KeyCode::Up => Action::Move(-1),
        KeyCode::Down => Action::Move(1),
        KeyCode::PageUp => Action::Move(-PAGE),
        KeyCode::PageDown => Action::Move(PAGE),
        KeyCode::Enter if is_typing => Action::KeepFilter,
        KeyCode::Backspace if is_typing => Action::Erase,
        KeyCode::Char(c) if is_typing && !is_control => Action::Type(c),
        _ if is_typing => return None,
        KeyCode::F(10) | KeyCode::Char('q') => Action::Quit,
        KeyCode::F(1) | KeyCode::Char('h' | '?') => Action::ToggleHelp,
        KeyCode::F(3 | 4) | KeyCode::Char('/' | '\\') => Action::StartFilter,
        KeyCode::F(6) | KeyCode::Char('>' | '.') => Action::SortByNext,
        KeyCode::Char('<' | ',') => Action::SortByPrevious,
        KeyCode::Char('I') => Action::Reverse,
        KeyCode::Char('e') => Action::ToggleEnded,
        KeyCode::Char('j') => Action::Move(1),
        KeyCode::Char('k') => Action::Move(-1),
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        _ => return None,
    };
    Some(action)
}

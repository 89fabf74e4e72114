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

/// Keys with related effects: a line of the help.
pub(super) struct Keys {
    pub(super) effect: &'static str,
    pub(super) keys: &'static [(KeyEvent, Action)],
}

/// All keys, without the keys for typing a filter.
pub(super) const KEYS: &[Keys] = &[
    Keys {
        effect: "select a session",
        keys: &[
            (key(KeyCode::Up), Action::Move(-1)),
            (key(KeyCode::Down), Action::Move(1)),
            (key(KeyCode::Char('k')), Action::Move(-1)),
            (key(KeyCode::Char('j')), Action::Move(1)),
            (key(KeyCode::PageUp), Action::Move(-PAGE)),
            (key(KeyCode::PageDown), Action::Move(PAGE)),
        ],
    },
    Keys {
        effect: "select the first or the last session",
        keys: &[
            (key(KeyCode::Home), Action::First),
            (key(KeyCode::Char('g')), Action::First),
            (key(KeyCode::End), Action::Last),
            (key(KeyCode::Char('G')), Action::Last),
        ],
    },
    Keys {
        effect: "sort by the next or the previous column",
        keys: &[
            (key(KeyCode::F(6)), Action::SortByNext),
            (key(KeyCode::Char('>')), Action::SortByNext),
            (key(KeyCode::Char('.')), Action::SortByNext),
            (key(KeyCode::Char('<')), Action::SortByPrevious),
            (key(KeyCode::Char(',')), Action::SortByPrevious),
        ],
    },
    Keys { effect: "reverse the order", keys: &[(key(KeyCode::Char('I')), Action::Reverse)] },
    Keys {
        effect: "type a filter: id, folder, model or source",
        keys: &[
            (key(KeyCode::F(3)), Action::StartFilter),
            (key(KeyCode::F(4)), Action::StartFilter),
            (key(KeyCode::Char('/')), Action::StartFilter),
            (key(KeyCode::Char('\\')), Action::StartFilter),
        ],
    },
    Keys { effect: "remove the filter", keys: &[(key(KeyCode::Esc), Action::Cancel)] },
    Keys {
        effect: "show or hide sessions that have ended",
        keys: &[(key(KeyCode::Char('e')), Action::ToggleEnded)],
    },
    Keys {
        effect: "this help",
        keys: &[
            (key(KeyCode::F(1)), Action::ToggleHelp),
            (key(KeyCode::Char('h')), Action::ToggleHelp),
            (key(KeyCode::Char('?')), Action::ToggleHelp),
        ],
    },
    Keys {
        effect: "quit; the monitor stops",
        keys: &[
            (key(KeyCode::F(10)), Action::Quit),
            (key(KeyCode::Char('q')), Action::Quit),
            (KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), Action::Quit),
        ],
    },
];

const fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

/// Returns the effect of a key; `None` if it has none. `is_typing` is whether a filter is being
/// typed.
pub(super) fn action_of(key: KeyEvent, is_typing: bool) -> Option<Action> {
    match key.code {
        KeyCode::Enter if is_typing => return Some(Action::KeepFilter),
        KeyCode::Backspace if is_typing => return Some(Action::Erase),
        KeyCode::Char(c) if is_typing && !is_control(&key) => return Some(Action::Type(c)),
        _ => {}
    }
    // Capital letters come with or without the modifier for them.
    let is_it = |known: &KeyEvent| known.code == key.code && is_control(known) == is_control(&key);
    let mut keys = KEYS.iter().flat_map(|line| line.keys);
    let (_, action) = keys.find(|(known, _)| is_it(known))?;
    let is_usable = matches!(action, Action::Quit | Action::Cancel | Action::Move(_));
    (!is_typing || is_usable).then_some(*action)
}

fn is_control(key: &KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL)
}

/// Returns the lines of the help about keys.
pub(super) fn help() -> impl Iterator<Item = String> {
    KEYS.iter().map(|Keys { effect, keys }| {
        let names: Vec<String> = keys.iter().map(|(key, _)| name(key)).collect();
        format!("{:<22}{effect}", names.join(" "))
    })
}

fn name(key: &KeyEvent) -> String {
    match key.code {
        KeyCode::Char(c) if is_control(key) => format!("Ctrl-{}", c.to_ascii_uppercase()),
        KeyCode::PageUp => "PgUp".to_owned(),
        KeyCode::PageDown => "PgDn".to_owned(),
        code => code.to_string(),
    }
}

//! The lines for standard error that would overwrite the screen, such as those of the log.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The length of the lines that are kept, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// `None` while no screen is on.
static HELD: Mutex<Option<HeldLines>> = Mutex::new(None);

/// Keeps lines that are meant for the terminal while the screen is on, and writes them when it is
/// dropped. Of more than 1 MiB, the latest lines are kept.
#[derive(Debug)]
pub(super) struct Hold(());

#[derive(Debug, Default)]
struct HeldLines {
    lines: VecDeque<String>,
    n_bytes: usize,
    n_dropped: u64,
}

/// Keeps a line if standard error shows a screen. Returns whether it is kept.
pub(crate) fn hold(line: &str) -> bool {
    let mut held = held();
    let is_on = held.is_some();
    if let Some(held) = &mut *held {
        held.push(line);
    }
    is_on
}

fn held() -> MutexGuard<'static, Option<HeldLines>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hold {
    /// Returns `None` if standard error is no terminal, so that its lines are in no way.
    pub(super) fn start() -> Option<Self> {
        io::stderr().is_terminal().then(|| {
            *held() = Some(HeldLines::default());
            Self(())
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let text = held().take().map_or_else(String::new, HeldLines::into_text);
        // A closed standard error must not stop the program.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

impl HeldLines {
    fn push(&mut self, line: &str) {
        self.n_bytes += line.len();
        self.lines.push_back(line.to_owned());
        while MAX_BYTES < self.n_bytes
            && let Some(oldest) = self.lines.pop_front()
        {
            self.n_bytes -= oldest.len();
            self.n_dropped += 1;
        }
    }

    fn into_text(self) -> String {
        let mut text = String::new();
        if 0 < self.n_dropped {
            let n = self.n_dropped;
            text = format!("note: {n} earlier log lines are missing; `2>FILE` keeps all of them\n");
        }
        self.lines.iter().for_each(|line| text.push_str(line));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{HeldLines, MAX_BYTES};

    #[test]
    fn the_latest_lines_are_kept_and_the_others_are_counted() {
        let mut held = HeldLines::default();
        held.push("a\n");
        held.push("b\n");
        assert_eq!(held.into_text(), "a\nb\n");
        let mut held = HeldLines::default();
        let line = format!("{:0>1023}\n", 0);
        for _ in 0..MAX_BYTES / line.len() + 2 {
            held.push(&line);
        }
        let text = held.into_text();
        let note = "note: 2 earlier log lines are missing; `2>FILE` keeps all of them\n";
        assert!(text.starts_with(note));
        assert_eq!(text.len(), note.len() + MAX_BYTES);
    }
}

//! The places of findings and messages of `watch` on the terminal.

#![cfg_attr(
    not(feature = "top"),
    expect(unused_variables, clippy::unnecessary_wraps, reason = "for a screen")
)]

#[cfg(feature = "top")]
use std::io::{self, IsTerminal as _};
use std::{io::Write, sync::Arc};

use clap::Args;
use watchkeeper_core::embed::Queue;
use watchkeeper_sinks::{Format, Lines, Stdout};

#[cfg(feature = "top")]
use crate::top::{Messages, Screen};
use crate::{
    error::Error,
    live::{Control, LivePage},
    output::Styles,
};

/// The findings that wait for the terminal at most.
const CAPACITY: usize = 1024;

/// The options of `watch` about the terminal.
#[derive(Debug, Args)]
pub(super) struct DisplayOptions {
    /// Show the live sessions in the terminal, as htop shows processes
    #[cfg(feature = "top")]
    #[arg(long, conflicts_with = "format")]
    top: bool,
}

/// The place of findings and messages.
pub(super) enum Display {
    /// On standard output and standard error, in lines.
    Lines(Styles),
    /// On a screen with the sessions. Sinks of the policy that print would overwrite it.
    #[cfg(feature = "top")]
    Screen(Messages),
}

impl DisplayOptions {
    /// Chooses the display. A screen needs a terminal.
    pub(super) fn display(&self, styles: Styles) -> Result<Display, Error> {
        #[cfg(feature = "top")]
        if self.top {
            if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
                return Err(Error::NoTerminal);
            }
            return Ok(Display::Screen(Messages::default()));
        }
        Ok(Display::Lines(styles))
    }
}

impl Display {
    /// Returns `true` if the display is a screen that shows all findings.
    pub(super) const fn is_screen(&self) -> bool {
        !matches!(self, Self::Lines(_))
    }

    /// Returns a queue that prints findings.
    pub(super) fn printer(&self, format: Option<Format>) -> Queue {
        match self {
            Self::Lines(styles) => {
                let lines = Lines::new(Stdout::default(), format.unwrap_or_default(), styles.out);
                Queue::new("stdout", Box::new(lines), CAPACITY)
            }
            #[cfg(feature = "top")]
            Self::Screen(messages) => {
                let lines = Lines::new(messages.clone(), Format::Text, false);
                Queue::new("screen", Box::new(lines), CAPACITY)
            }
        }
    }

    /// Returns the writer of messages while the monitor runs, and their styles.
    pub(super) fn messages<'a>(
        &self,
        err: &'a mut dyn Write,
        styles: Styles,
    ) -> (Box<dyn Write + 'a>, Styles) {
        match self {
            Self::Lines(_) => (Box::new(err), styles),
            #[cfg(feature = "top")]
            Self::Screen(messages) => (Box::new(messages.clone()), Styles::default()),
        }
    }

    /// Takes over the terminal for a screen.
    pub(super) fn show(
        &self,
        page: Option<&Arc<LivePage>>,
        control: &Control,
        styles: Styles,
    ) -> Result<Shown, Error> {
        match (self, page) {
            #[cfg(feature = "top")]
            (Self::Screen(messages), Some(page)) => {
                let (board, control) = (page.board(), control.clone());
                let on_quit = move || control.stop();
                let screen = Screen::start(board, messages.clone(), styles.out, on_quit);
                Ok(Shown { screen: Some(screen.map_err(Error::Screen)?) })
            }
            _ => Ok(Shown::default()),
        }
    }

    /// Returns the latest messages that only the screen has shown, oldest first.
    pub(super) fn take_unprinted(&self) -> Vec<String> {
        match self {
            Self::Lines(_) => Vec::new(),
            #[cfg(feature = "top")]
            Self::Screen(messages) => messages.take(),
        }
    }
}

/// A display while the monitor runs.
#[derive(Default)]
pub(super) struct Shown {
    #[cfg(feature = "top")]
    screen: Option<Screen>,
}

impl Shown {
    /// Returns the terminal to the program.
    pub(super) fn finish(self) -> Result<(), Error> {
        #[cfg(feature = "top")]
        if let Some(screen) = self.screen {
            screen.finish().map_err(Error::Screen)?;
        }
        Ok(())
    }
}

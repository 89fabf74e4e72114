//! The server of the page: its address, its token, and the browser.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use clap::Args;
use thiserror::Error;
use watchkeeper_core::{author::Secret, embed::Registry};
use watchkeeper_delivery::create_private_folder;
use watchkeeper_http::{Address, Backend, InvalidToken, Server, StartError, Token};
use watchkeeper_policy::Policy;

use crate::{
    live::{LivePage, Telemetry},
    output::Output,
    replace_file::replace_file,
    ui_findings::{FolderAcknowledgements, FolderHistory},
    ui_silences::FolderSilences,
};

/// The file of the state folder with the token of the page.
const TOKEN_FILE: &str = "ui-token";
/// The program that opens an address in the user's browser.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// The options of `watch` about the page.
#[derive(Debug, Args)]
pub(super) struct UiOptions {
    /// Serve a live page of the sessions, an API and metrics. Without ADDR, on port 5337 of
    /// 127.0.0.1; with PORT, HOST or HOST:PORT, there
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "5337")]
    ui: Option<Address>,

    /// Open the page in the browser
    #[arg(long, requires = "ui")]
    open: bool,
}

/// The page cannot be served.
#[derive(Debug, Error)]
pub(crate) enum UiError {
    #[error("cannot serve the page")]
    Start(#[from] StartError),
    #[error(
        "other machines can reach {0}, so the page needs a token: set `ui_token` in `[monitor]` of \
         the policy to a secret"
    )]
    NoToken(Address),
    #[error("`ui_token` of the policy is not usable")]
    Token(#[from] InvalidToken),
    #[error("cannot make a token")]
    Random(#[source] io::Error),
}

/// The server of the page, and what its address is.
pub(super) struct Ui {
    server: Server,
    /// The address with the token; without it, if a person has chosen the token.
    shown_address: String,
    is_loopback: bool,
    telemetry: Arc<Telemetry>,
}

impl UiOptions {
    /// Makes the data of the page, if a browser or a screen is to show it.
    pub(super) fn page(
        &self,
        policy: &Policy,
        registry: &Registry,
        has_screen: bool,
    ) -> Option<Arc<LivePage>> {
        let start = || LivePage::new(policy, registry);
        (has_screen || self.ui.is_some()).then(start)
    }

    /// Starts the server. `folder` is the folder of the state.
    pub(super) fn start(
        &self,
        page: Option<&Arc<LivePage>>,
        chosen_token: Option<&Secret>,
        folder: Option<&Path>,
    ) -> Result<Option<Ui>, UiError> {
        let (Some(address), Some(page)) = (&self.ui, page) else { return Ok(None) };
        let chosen = chosen_token.and_then(Secret::expose).map(Token::new).transpose()?;
        if chosen.is_none() && !address.is_loopback() {
            return Err(UiError::NoToken(address.clone()));
        }
        let token = match &chosen {
            Some(token) => token.clone(),
            None => folder.map_or_else(Token::random, stored_token).map_err(UiError::Random)?,
        };
        let silences = folder.map(|folder| FolderSilences::new(folder.to_owned()));
        let acknowledgements =
            folder.map(|folder| FolderAcknowledgements::new(folder.to_owned(), page.board()));
        let history = folder.map(|folder| FolderHistory::new(folder.to_owned()));
        let telemetry = Arc::new(Telemetry::default());
        let backend = Backend {
            board: page.board(),
            monitor: page.clone(),
            silences: silences.map(|silences| Arc::new(silences) as _),
            acknowledgements: acknowledgements.map(|it| Arc::new(it) as _),
            history: history.map(|history| Arc::new(history) as _),
            otlp: Some(telemetry.clone()),
        };
        let shown_token =
            if chosen.is_some() { "UI_TOKEN".to_owned() } else { token.expose().to_owned() };
        let server = Server::start(address, token, backend)?;
        let local = server.local_address();
        let shown_address = format!("http://{local}/open/{shown_token}");
        let is_loopback = local.ip().is_loopback();
        Ok(Some(Ui { server, shown_address, is_loopback, telemetry }))
    }

    pub(super) const fn opens_browser(&self) -> bool {
        self.open
    }
}

impl Ui {
    /// Returns what agents send to the server.
    pub(super) fn telemetry(&self) -> Arc<Telemetry> {
        self.telemetry.clone()
    }

    /// Prints the address.
    pub(super) fn print_start(&self, output: &mut Output<'_>) {
        let mut text = format!("page: {}\n", self.shown_address);
        if !self.is_loopback {
            text.push_str("other machines can reach the page, and nothing is encrypted\n");
        }
        output.fail(&text);
    }

    /// Opens the page in the browser of the user, or prints why not.
    pub(super) fn open(&self, output: &mut Output<'_>) {
        let opened = self.server.single_use_path().and_then(|path| {
            let address = format!("http://{}{path}", self.server.local_address());
            let mut opener = Command::new(OPENER);
            let nowhere = Stdio::null;
            opener.arg(address).stdin(nowhere()).stdout(nowhere()).stderr(nowhere()).spawn()
        });
        let waiting = opened.and_then(|mut opener| {
            // A program that has ended stays in the table of processes until somebody waits.
            let wait = move || drop(opener.wait());
            thread::Builder::new().name("browser".to_owned()).spawn(wait)
        });
        if let Err(err) = waiting {
            let reason = match err.kind() {
                io::ErrorKind::NotFound => format!("`{OPENER}` is not installed"),
                _ => err.to_string(),
            };
            output.fail(&format!("warning: cannot open the browser: {reason}\n"));
        }
    }

    pub(super) fn stop(self) {
        self.server.stop();
    }
}

/// Returns the token that is stored in a folder. If there is none that only this user can read,
/// makes one: a page that is open continues after a restart.
fn stored_token(folder: &Path) -> io::Result<Token> {
    let path = folder.join(TOKEN_FILE);
    if is_private(&path)
        && let Ok(text) = fs::read_to_string(&path)
        && let Ok(token) = Token::new(&text)
    {
        return Ok(token);
    }
    let token = Token::random()?;
    // A link or a file that other users can read would stay.
    let _ = fs::remove_file(&path);
    let stored =
        create_private_folder(folder).and_then(|()| replace_file(&path, token.expose().as_bytes()));
    if let Err(err) = stored {
        tracing::warn!(target: "watchkeeper::ui", %err, "the token of the page is not stored");
    }
    Ok(token)
}

/// Returns whether a file is no link, and no other user can read it.
fn is_private(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    #[cfg(unix)]
    let is_private = {
        use std::os::unix::fs::PermissionsExt as _;

        metadata.permissions().mode() & 0o777 == 0o600
    };
    #[cfg(not(unix))]
    let is_private = true;
    metadata.is_file() && is_private
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{TOKEN_FILE, stored_token};

    #[test]
    fn the_token_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let token = stored_token(&folder).unwrap();
        assert_eq!(stored_token(&folder).unwrap(), token);
    }

    #[test]
    fn a_damaged_token_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let token = stored_token(folder.path()).unwrap();
        fs::write(folder.path().join(TOKEN_FILE), "short").unwrap();
        let new = stored_token(folder.path()).unwrap();
        assert_ne!(new, token);
        assert_eq!(stored_token(folder.path()).unwrap(), new);
    }

    #[cfg(unix)]
    #[test]
    fn a_token_that_others_can_read_is_replaced() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKEN_FILE);
        let token = stored_token(folder.path()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let new = stored_token(folder.path()).unwrap();
        assert_ne!(new, token);
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert_ne!(stored_token(folder.path()).unwrap(), new);
        assert_eq!(fs::read_to_string(elsewhere).unwrap(), new.expose());
    }

    #[test]
    fn a_folder_that_cannot_be_used_has_a_token_for_one_run() {
        let folder = tempfile::NamedTempFile::new().unwrap();
        let token = stored_token(folder.path()).unwrap();
        assert_ne!(stored_token(folder.path()).unwrap(), token);
    }
}

//! The hook of a client as a change of one file.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;
use watchkeeper_core::{Fingerprint, author::make_safe};
use watchkeeper_delivery::{create_private_folder, open_private_file};

use crate::{
    hook::Client,
    hook_settings::{HookCommand, SettingsError, with_hook, without_hook},
    opencode_plugin,
    output::quoted_path,
    replace_file::replace_file,
};

/// The largest file that is edited, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// The largest record that is read, in bytes. It has two texts as JSON.
const MAX_RECORD: u64 = 6 * MAX_FILE;
/// The attempts to edit a file that others change meanwhile.
const MAX_ATTEMPTS: usize = 5;
/// The folder of records in the state folder.
const RECORDS: &str = "installed";

/// A file in which a client looks for hooks.
#[derive(Debug)]
pub(crate) struct Installation {
    client: Client,
    file: PathBuf,
    /// The file with the settings as they were before the installation.
    record: Option<PathBuf>,
}

/// The content of a file before and after a change; `None` without a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// A hook that cannot be installed or removed.
#[derive(Debug, Error)]
pub(crate) enum InstallError {
    #[error("no home folder: set HOME, or use --project")]
    NoHome,
    #[error("the path of this program is unknown or no UTF-8, so that no client can call it")]
    NoProgram,
    #[error("{} is no UTF-8, so that no settings can name it", quoted_path(.0))]
    NotUtf8(PathBuf),
    #[error("cannot read {}", quoted_path(.path))]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", quoted_path(.path))]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot edit {}", quoted_path(.path))]
    Settings { path: PathBuf, source: SettingsError },
    #[error("{} is not a file", quoted_path(.0))]
    NotAFile(PathBuf),
    #[error("{} is larger than 4 MiB", quoted_path(.0))]
    TooLong(PathBuf),
    #[error("{} is read-only; make it writable, and try again", quoted_path(.0))]
    ReadOnly(PathBuf),
    #[error("{} is a plugin of someone else; move it, and try again", quoted_path(.0))]
    OtherPlugin(PathBuf),
    #[error("{} changes all the time; end the client, and try again", quoted_path(.0))]
    Busy(PathBuf),
}

/// The settings before and after an installation.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    before: Option<String>,
    after: String,
}

impl Installation {
    /// Creates the installation of a client's hook in a file. `state_folder` keeps the earlier
    /// content of the file.
    pub(crate) fn new(client: Client, file: PathBuf, state_folder: Option<&Path>) -> Self {
        let name = format!("{}.json", Fingerprint::of(file.as_os_str().as_encoded_bytes()));
        let record = state_folder.map(|folder| folder.join(RECORDS).join(name));
        Self { client, file, record }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the file. Returns `None` if there is none.
    pub(crate) fn read(&self) -> Result<Option<String>, InstallError> {
        read_settings(&self.file)
    }

    /// Adds the hook to the file, or returns the change only if it is `dry`.
    pub(crate) fn add(&self, command: &HookCommand, dry: bool) -> Result<Change, InstallError> {
        let change = self.change(dry, |before| {
            if self.client == Client::Opencode {
                if before.is_some_and(|text| !opencode_plugin::is_own(text)) {
                    return Err(InstallError::OtherPlugin(self.file.clone()));
                }
                return Ok(Some(opencode_plugin::text(&command.text(self.client))));
            }
            let with = with_hook(before.unwrap_or_default(), self.client, command);
            with.map(Some).map_err(|err| self.settings_error(err))
        })?;
        if !dry && change.is_any() {
            self.record(&change);
        }
        Ok(change)
    }

    /// Removes the hook from the file, or returns the change only if it is `dry`. The file gets
    /// its earlier content back, unless others have changed it since.
    pub(crate) fn remove(&self, dry: bool) -> Result<Change, InstallError> {
        let record = self.load_record();
        let change = self.change(dry, |before| {
            let Some(text) = before else { return Ok(None) };
            match &record {
                Some(record) if record.after == text => Ok(record.before.clone()),
                _ => self.without_hook(text),
            }
        })?;
        if !dry && let Some(record) = &self.record {
            // A record that stays is ignored: its settings differ from those of the file.
            let _ = fs::remove_file(record);
        }
        Ok(change)
    }

    fn without_hook(&self, text: &str) -> Result<Option<String>, InstallError> {
        if self.client == Client::Opencode {
            return Ok((!opencode_plugin::is_own(text)).then(|| text.to_owned()));
        }
        without_hook(text, self.client).map(Some).map_err(|err| self.settings_error(err))
    }

    /// Edits the file. Edits it again if it was changed since it was read.
    fn change(
        &self,
        dry: bool,
        edit: impl Fn(Option<&str>) -> Result<Option<String>, InstallError>,
    ) -> Result<Change, InstallError> {
        for _ in 0..MAX_ATTEMPTS {
            let before = self.read()?;
            let after = edit(before.as_deref())?;
            let change = Change { before, after };
            if dry || !change.is_any() {
                return Ok(change);
            }
            if self.read()? == change.before {
                self.write(change.after.as_deref())?;
                return Ok(change);
            }
        }
        Err(InstallError::Busy(self.file.clone()))
    }

    fn write(&self, text: Option<&str>) -> Result<(), InstallError> {
        let failed = |source| InstallError::Write { path: self.file.clone(), source };
        // A new file could take its place, although someone has protected it.
        if fs::metadata(&self.file).is_ok_and(|metadata| metadata.permissions().readonly()) {
            return Err(InstallError::ReadOnly(self.file.clone()));
        }
        let Some(text) = text else { return fs::remove_file(&self.file).map_err(failed) };
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        replace_file(&self.file, text.as_bytes()).map_err(failed)
    }

    /// Keeps the settings as they were without the hook.
    fn record(&self, change: &Change) {
        let (Some(path), Some(after)) = (&self.record, &change.after) else { return };
        let before = match (self.load_record(), &change.before) {
            (Some(earlier), Some(before)) if earlier.after == *before => earlier.before,
            (_, Some(before)) => self.without_hook(before).ok().flatten(),
            (_, None) => None,
        };
        let record = Record { before, after: after.clone() };
        let written = serde_json::to_vec(&record).map_err(io::Error::other).and_then(|record| {
            path.parent().map_or(Ok(()), create_private_folder)?;
            replace_file(path, &record)
        });
        if let Err(err) = written {
            let file = make_safe(&path.to_string_lossy());
            warn!(file, error = %err, "`uninstall` will edit the settings in place of restoring them");
        }
    }

    fn load_record(&self) -> Option<Record> {
        let mut record = Vec::new();
        let file = open_private_file(self.record.as_ref()?).ok()?;
        file.take(MAX_RECORD).read_to_end(&mut record).ok()?;
        serde_json::from_slice(&record).ok()
    }

    fn settings_error(&self, source: SettingsError) -> InstallError {
        InstallError::Settings { path: self.file.clone(), source }
    }
}

impl Change {
    /// Returns whether the change changes the file.
    pub(crate) fn is_any(&self) -> bool {
        self.before != self.after
    }
}

/// Reads a file with settings. Returns `None` if there is none.
pub(crate) fn read_settings(path: &Path) -> Result<Option<String>, InstallError> {
    let failed = |source| InstallError::Read { path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // A link to a file that does not exist is replaced by nobody.
        Err(err) if err.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            return Ok(None);
        }
        Err(err) => return Err(failed(err)),
    };
    if !metadata.is_file() {
        return Err(InstallError::NotAFile(path.to_owned()));
    }
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if MAX_FILE < text.len() as u64 {
        return Err(InstallError::TooLong(path.to_owned()));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::ValueEnum as _;

    use super::{InstallError, Installation};
    use crate::{hook::Client, hook_settings::HookCommand};

    fn command(program: &str) -> HookCommand {
        HookCommand::new(program, None)
    }

    fn installation(folder: &tempfile::TempDir, client: Client) -> Installation {
        let state = folder.path().join("state");
        Installation::new(client, folder.path().join("a/settings"), Some(&state))
    }

    #[test]
    fn the_removal_restores_every_byte() {
        for client in Client::value_variants() {
            for before in [None, Some("{\"hooks\":{\"x\":[ ]} ,\t\"a\":1}"), Some("{}"), Some("")] {
                let before = before.filter(|_| *client != Client::Opencode);
                let folder = tempfile::tempdir().unwrap();
                let installation = installation(&folder, *client);
                if let Some(text) = before {
                    fs::create_dir(folder.path().join("a")).unwrap();
                    fs::write(installation.file(), text).unwrap();
                }
                let change = installation.add(&command("watchkeeper"), false).unwrap();
                assert!(change.is_any());
                assert!(!installation.add(&command("watchkeeper"), false).unwrap().is_any());
                // A later version replaces the hook.
                installation.add(&command("/opt/watchkeeper"), false).unwrap();
                installation.remove(false).unwrap();
                assert_eq!(installation.read().unwrap().as_deref(), before, "{client:?}");
                assert!(!installation.remove(false).unwrap().is_any());
            }
        }
    }

    #[test]
    fn changes_of_others_after_the_installation_stay() {
        let folder = tempfile::tempdir().unwrap();
        let installation = installation(&folder, Client::ClaudeCode);
        installation.add(&command("watchkeeper"), false).unwrap();
        let text = installation.read().unwrap().unwrap();
        fs::write(installation.file(), text.replacen('{', "{ \"model\": \"opus\",", 1)).unwrap();
        installation.remove(false).unwrap();
        let text = installation.read().unwrap().unwrap();
        assert!(text.contains("opus") && !text.contains("hook"), "{text}");
    }

    #[test]
    fn a_dry_run_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let installation = installation(&folder, Client::Codex);
        assert!(installation.add(&command("watchkeeper"), true).unwrap().is_any());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn protected_files_and_broken_links_are_refused() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let folder = tempfile::tempdir().unwrap();
        let installation = installation(&folder, Client::Codex);
        let add = || installation.add(&command("watchkeeper"), false);
        fs::create_dir_all(installation.file()).unwrap();
        assert!(matches!(add(), Err(InstallError::NotAFile(_))));
        fs::remove_dir(installation.file()).unwrap();
        symlink("missing", installation.file()).unwrap();
        assert!(matches!(add(), Err(InstallError::Read { .. })));
        fs::remove_file(installation.file()).unwrap();
        fs::write(installation.file(), "{}").unwrap();
        fs::set_permissions(installation.file(), fs::Permissions::from_mode(0o444)).unwrap();
        assert!(matches!(add(), Err(InstallError::ReadOnly(_))));
        assert_eq!(installation.read().unwrap().unwrap(), "{}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let installation = installation(&folder, Client::Codex);
        let target = folder.path().join("dotfiles.json");
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(&target, "{}").unwrap();
        std::os::unix::fs::symlink(&target, installation.file()).unwrap();
        installation.add(&command("watchkeeper"), false).unwrap();
        assert!(installation.file().is_symlink());
        assert!(fs::read_to_string(&target).unwrap().contains("watchkeeper"));
        installation.remove(false).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "{}");
    }
}

//! The folders of agents in the home folder of a user.

use std::path::PathBuf;

use watchkeeper_core::author::Environment;

/// Returns folders in the home folder.
pub(crate) fn in_home(environment: &Environment<'_>, folders: &[&str]) -> Vec<PathBuf> {
    let home = environment("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.iter().flat_map(|home| folders.iter().map(|folder| home.join(folder))).collect()
}

/// Returns a folder in the user folder of each editor of the family of VS Code, on Linux and
/// macOS.
pub(crate) fn in_editors(environment: &Environment<'_>, folder: &str) -> Vec<PathBuf> {
    const EDITORS: &[&str] = &["Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf", "Trae"];
    in_home(environment, &[".config", "Library/Application Support"])
        .iter()
        .flat_map(|settings| EDITORS.iter().map(|it| settings.join(it).join("User").join(folder)))
        .collect()
}

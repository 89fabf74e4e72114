//! Replaces a file at once.

use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, Write as _},
    path::Path,
};

use watchkeeper_delivery::create_new_private_file;

/// The end of the names of new files, before they have their names.
pub(crate) const NEW: &str = ".new";

/// Replaces the content of a file, or creates it for its owner only. A reader sees the former
/// content or the new one, also after a crash. A link stays a link; the permissions and the owner of
/// an existing file stay.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let present = match fs::canonicalize(path) {
        Ok(path) => Some(path),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(err),
    };
    let path = present.as_deref().unwrap_or(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}{NEW}", std::process::id()));
    let written = create_new_private_file(&new).and_then(|mut file| {
        file.write_all(content)?;
        if present.is_some() {
            let metadata = fs::metadata(path)?;
            file.set_permissions(permissions(&file, &metadata)?)?;
        }
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Gives a file the owner and the group of another, such as the file of a user that an
/// administrator edits, and returns the permissions that are left to set. A user cannot give a file
/// to any group: the permissions of a group are not those of the user's own.
#[cfg(unix)]
fn permissions(file: &File, of: &Metadata) -> io::Result<Permissions> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

    const GROUP: u32 = 0o070;
    let (own, mut permissions) = (file.metadata()?, of.permissions());
    if (own.uid(), own.gid()) != (of.uid(), of.gid())
        && let Err(err) = fchown(file, Some(of.uid()), Some(of.gid()))
    {
        if own.uid() != of.uid() {
            return Err(err);
        }
        permissions.set_mode(permissions.mode() & !GROUP);
    }
    Ok(permissions)
}

/// Returns the permissions of another file: other platforms have no user ids.
#[cfg(not(unix))]
fn permissions(_: &File, of: &Metadata) -> io::Result<Permissions> {
    Ok(of.permissions())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    };

    use super::replace_file;

    #[test]
    fn a_new_file_is_for_its_owner_and_an_existing_one_keeps_its_mode_and_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a"), folder.path().join("link"));
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        replace_file(&file, b"1").unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode()), (b"1".to_vec(), 0o600));
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        symlink("a", &link).unwrap();
        replace_file(&link, b"2").unwrap();
        assert_eq!((fs::read(&file).unwrap(), mode()), (b"2".to_vec(), 0o644));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_owner_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "1").unwrap();
        if chown(&file, Some(1), Some(1)).is_err() {
            // Only an administrator can give a file away, and a container may have one user.
            return;
        }
        replace_file(&file, b"2").unwrap();
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1, 1));
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder");
        fs::create_dir(&path).unwrap();
        replace_file(&path, b"1").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

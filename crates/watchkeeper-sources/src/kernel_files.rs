//! Files of the kernel, which are no sessions.

use std::{fs::Metadata, io};

/// Returns an error for a file or folder of the kernel, such as those in `/proc`: reading such
/// a file can take forever, and links lead from there to all files of the machine.
pub(crate) fn refuse_kernel_file(metadata: &Metadata) -> io::Result<()> {
    if is_kernel_file(metadata) {
        return Err(io::Error::other("it belongs to the kernel"));
    }
    Ok(())
}

#[cfg(unix)]
fn is_kernel_file(metadata: &Metadata) -> bool {
    use std::{fs, os::unix::fs::MetadataExt as _, sync::LazyLock};

    static DEVICES: LazyLock<Vec<u64>> = LazyLock::new(|| {
        let device = |path| fs::metadata(path).ok().map(|metadata| metadata.dev());
        let root = device("/");
        // Without a file system of its own, a folder is an ordinary one.
        ["/proc", "/sys"].into_iter().filter_map(device).filter(|it| Some(*it) != root).collect()
    });
    DEVICES.contains(&metadata.dev())
}

#[cfg(not(unix))]
fn is_kernel_file(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn distinguishes_files_of_the_kernel_from_others() {
        let is_kernel = |path: &str| super::is_kernel_file(&std::fs::metadata(path).unwrap());
        assert!(is_kernel("/proc/self/status"));
        assert!(!is_kernel("/"));
        assert!(!is_kernel(env!("CARGO_MANIFEST_DIR")));
    }
}

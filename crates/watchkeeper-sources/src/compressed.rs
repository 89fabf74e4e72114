//! Session files that are compressed with zstd: Codex compresses old ones, and removes the
//! original.

use std::{
    ffi::OsString,
    fmt::Display,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

const SUFFIX: &str = ".zst";
/// The largest number of bytes that are read from a file. A small file can expand to terabytes.
const MAX_LEN: u64 = 1 << 30;

/// Returns the path of the original if `path` has the name of a compressed file.
pub(crate) fn original(path: &Path) -> Option<PathBuf> {
    let is_compressed = path.extension().is_some_and(|extension| extension == &SUFFIX[1..]);
    is_compressed.then(|| path.with_extension(""))
}

/// Returns whether the compressed form of a session file is beside the file, or has replaced it.
pub fn has_compressed_form(path: &Path) -> bool {
    let mut name = OsString::from(path);
    name.push(SUFFIX);
    Path::new(&name).is_file()
}

/// Opens a compressed file.
pub(crate) fn open(path: &Path) -> io::Result<Frames<BufReader<File>>> {
    Frames::new(BufReader::new(File::open(path)?), MAX_LEN)
}

/// The content of compressed frames that follow each other.
pub(crate) struct Frames<R: Read> {
    /// `None` after the last frame, or after an error.
    decoder: Option<StreamingDecoder<R, FrameDecoder>>,
    n_left: u64,
}

impl<R: io::BufRead> Frames<R> {
    fn new(reader: R, max_len: u64) -> io::Result<Self> {
        let decoder = StreamingDecoder::new(reader).map_err(damaged)?;
        Ok(Self { decoder: Some(decoder), n_left: max_len })
    }

    fn try_read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while let Some(mut decoder) = self.decoder.take() {
            let n_read = decoder.read(to).map_err(damaged)?;
            if 0 < n_read {
                let too_long = || io::Error::other("more than 1 GiB when it is decompressed");
                self.n_left = self.n_left.checked_sub(n_read as u64).ok_or_else(too_long)?;
                self.decoder = Some(decoder);
                return Ok(n_read);
            }
            let mut rest = decoder.into_inner();
            if !rest.fill_buf()?.is_empty() {
                self.decoder = Some(StreamingDecoder::new(rest).map_err(damaged)?);
            }
        }
        Ok(0)
    }
}

impl<R: io::BufRead> Read for Frames<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() { Ok(0) } else { self.try_read(to) }
    }
}

fn damaged(error: impl Display) -> io::Error {
    io::Error::other(format!("not valid zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, path::Path};

    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::{Frames, original};

    fn compressed(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn read(bytes: &[u8], max_len: u64) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        let read = Frames::new(bytes, max_len).and_then(|mut it| it.read_to_end(&mut text));
        read.map(|_| text).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_frames_that_follow_each_other() {
        let bytes = [compressed(b"one\n"), compressed(b""), compressed(b"two\n")].concat();
        assert_eq!(read(&bytes, 100), Ok(b"one\ntwo\n".to_vec()));
    }

    #[test]
    fn stops_at_the_limit_of_a_small_file_that_expands() {
        let bytes = compressed(&vec![b'x'; 1 << 20]);
        assert!(bytes.len() < 1 << 12, "{}", bytes.len());
        assert_eq!(read(&bytes, 1 << 20).map(|text| text.len()), Ok(1 << 20));
        let error = read(&bytes, (1 << 20) - 1).unwrap_err();
        assert_eq!(error, "more than 1 GiB when it is decompressed");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let mut bytes = compressed(b"some text, some text");
        for n in 0..bytes.len() {
            assert!(read(&bytes[..n], 100).is_err(), "the first {n} bytes");
        }
        bytes.push(b'?');
        let error = read(&bytes, 100).unwrap_err();
        assert!(error.starts_with("not valid zstd: "), "{error}");
    }

    #[test]
    fn a_name_tells_the_original() {
        let path = |name| original(Path::new(name));
        assert_eq!(path("a/r.jsonl.zst").as_deref(), Some(Path::new("a/r.jsonl")));
        assert_eq!(path("a/r.jsonl"), None);
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(
            text in "[ab]{0,200}",
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            let mut bytes = compressed(text.as_bytes());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _: Result<Vec<u8>, String> = read(&bytes, 1 << 16);
        }
    }
}

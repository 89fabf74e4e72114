//! Compares the follower with a naive model: after any operations on files, each line
//! that was complete at a scan is read once and in order, and a follower that starts again
//! recognizes each file.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;
use watchkeeper_core::{EventKind, Fingerprint, SignedDuration, Timestamp};
use watchkeeper_sources::{FollowOptions, Follower, Update};

use crate::plain::PLAIN;

/// Binary, with NUL bytes, and of invalid UTF-8.
const GARBAGE: [&[u8]; 3] = [b"\x7fELF\x02\x01\0\0\xff\xfe", b"\0\0\0\xff", b"\xc3\x28\xe2\x82"];
const NAMES: [&str; 4] = ["a.jsonl", "b.jsonl", "x/c.jsonl", "x/d.jsonl"];

#[derive(Clone, Debug)]
enum Action {
    /// Add lines to the file, and the beginning of another one.
    Append {
        name: usize,
        n_lines: usize,
        n_partial: usize,
    },
    /// Add a line that a source cannot read, behind a whole line.
    Garbage {
        name: usize,
        kind: usize,
    },
    /// Add a long line.
    Long {
        name: usize,
    },
    /// Rename the file to a new name.
    Rotate {
        name: usize,
    },
    /// Rename the file over another one.
    Rename {
        name: usize,
        to: usize,
    },
    /// Rewrite the file in place.
    Rewrite {
        name: usize,
        n_lines: usize,
    },
    /// Remove the unfinished line.
    TakeBack {
        name: usize,
    },
    Delete {
        name: usize,
    },
    /// Replace the file with a link to a file elsewhere.
    Link {
        name: usize,
    },
    /// Replace the file with a folder.
    Folder {
        name: usize,
    },
    /// Replace the file with a FIFO, or with a link to a device.
    Special {
        name: usize,
        is_device: bool,
    },
    /// Start another follower, as after the end of the process.
    Restart,
    /// Scan.
    Scan,
    /// Make a step.
    Step {
        after: i64,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let name = || 0..NAMES.len();
    prop_oneof![
        8 => (name(), 0..4_usize, 0..12_usize)
            .prop_map(|(name, n_lines, n_partial)| Action::Append { name, n_lines, n_partial }),
        1 => (name(), 0..GARBAGE.len()).prop_map(|(name, kind)| Action::Garbage { name, kind }),
        1 => name().prop_map(|name| Action::Long { name }),
        2 => name().prop_map(|name| Action::Rotate { name }),
        2 => (name(), name()).prop_map(|(name, to)| Action::Rename { name, to }),
        2 => (name(), 0..4_usize).prop_map(|(name, n_lines)| Action::Rewrite { name, n_lines }),
        1 => name().prop_map(|name| Action::TakeBack { name }),
        2 => name().prop_map(|name| Action::Delete { name }),
        1 => name().prop_map(|name| Action::Link { name }),
        1 => name().prop_map(|name| Action::Folder { name }),
        1 => (name(), any::<bool>())
            .prop_map(|(name, is_device)| Action::Special { name, is_device }),
        1 => Just(Action::Restart),
        6 => Just(Action::Scan),
        4 => (0..3_000_i64).prop_map(|after| Action::Step { after }),
    ]
}

/// The content of a file between two times at which it was empty.
#[derive(Debug, Default)]
struct Text {
    lines: Vec<String>,
    partial: String,
    /// The number of lines that the follower must have read.
    n_due: usize,
    n_seen: usize,
    /// The identity of the file.
    id: Option<Fingerprint>,
}

impl Text {
    /// Returns the line with a number, which no other text has.
    fn line(text: usize, number: usize, len: usize) -> String {
        format!("line {text} {number} {}", "é…🦀".repeat(len))
    }
}

struct Model {
    folder: TempDir,
    outside: TempDir,
    follower: Follower,
    now: Timestamp,
    texts: Vec<Text>,
    /// The text of the latest event of each file, by the name of the file.
    latest: HashMap<Arc<str>, usize>,
    poll_only: bool,
    /// The texts by name, including new names.
    at: [Option<usize>; NAMES.len()],
    kept: Vec<usize>,
    n_names: usize,
    n_writes: u64,
}

impl Model {
    fn new(poll_only: bool) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        let follower = Self::follower(&folder, poll_only);
        Self {
            folder,
            outside: TempDir::new().unwrap(),
            follower,
            now: Timestamp::from_second(1_000_000_000).unwrap(),
            texts: Vec::new(),
            latest: HashMap::new(),
            poll_only,
            at: [None; NAMES.len()],
            kept: Vec::new(),
            n_names: 0,
            n_writes: 0,
        }
    }

    fn follower(folder: &TempDir, poll_only: bool) -> Follower {
        let options = FollowOptions { poll_only, ..FollowOptions::default() };
        Follower::new(vec![folder.path().to_owned()], [&PLAIN], options)
    }

    fn path(&self, name: usize) -> PathBuf {
        self.folder.path().join(NAMES[name])
    }

    fn new_name(&mut self) -> String {
        self.n_names += 1;
        format!("new-{}.jsonl", self.n_names)
    }

    fn clear(&mut self, name: usize) {
        let path = self.path(name);
        if path.is_dir() {
            fs::remove_dir(path).unwrap();
        } else if path.symlink_metadata().is_ok() {
            fs::remove_file(path).unwrap();
        }
        self.at[name] = None;
    }

    fn write(&mut self, name: usize, n_lines: usize, n_partial: usize) {
        if self.at[name].is_none() {
            self.clear(name);
        }
        let text = self.at[name].unwrap_or_else(|| self.begin(name));
        let mut written = String::new();
        for n in 0..=n_lines {
            let Text { lines, partial, .. } = &mut self.texts[text];
            let whole = Text::line(text, lines.len(), lines.len() % 5 * 9);
            let rest = whole.strip_prefix(&**partial).unwrap().to_owned();
            if n < n_lines {
                written.extend([&*rest, "\n"]);
                lines.push(whole);
                partial.clear();
            } else {
                let end = rest.char_indices().nth(n_partial).map_or(rest.len(), |(at, _)| at);
                written += &rest[..end];
                partial.push_str(&rest[..end]);
            }
        }
        self.append(name, written.as_bytes());
    }

    /// Adds a text, and returns its index.
    fn begin(&mut self, name: usize) -> usize {
        self.texts.push(Text::default());
        *self.at[name].insert(self.texts.len() - 1)
    }

    fn append(&mut self, name: usize, bytes: &[u8]) {
        let path = self.path(name);
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        // Each change has its own time, also when changes are fast.
        self.n_writes += 1;
        let modified = SystemTime::from(self.now) + Duration::from_micros(self.n_writes);
        file.set_modified(modified).unwrap();
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Append { name, n_lines, n_partial } => self.write(name, n_lines, n_partial),
            Action::Garbage { name, kind } => {
                self.write(name, 1, 0);
                self.append(name, &[GARBAGE[kind], b"\n"].concat());
            }
            Action::Long { name } => {
                self.write(name, 1, 0);
                let text = self.at[name].unwrap();
                let line = Text::line(text, self.texts[text].lines.len(), 40_000);
                self.append(name, format!("{line}\n").as_bytes());
                self.texts[text].lines.push(line);
            }
            Action::Rotate { name } => {
                let Some(text) = self.at[name].take() else { return };
                let to = self.new_name();
                fs::rename(self.path(name), self.folder.path().join(to)).unwrap();
                self.kept.push(text);
            }
            Action::Rename { name, to } => {
                if name == to || self.at[name].is_none() {
                    return;
                }
                self.clear(to);
                fs::rename(self.path(name), self.path(to)).unwrap();
                self.at[to] = self.at[name].take();
            }
            Action::Rewrite { name, n_lines } => {
                if self.at[name].take().is_some() {
                    File::options().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
                    self.begin(name);
                    self.write(name, n_lines, 0);
                }
            }
            Action::TakeBack { name } => {
                let Some(text) = self.at[name] else { return };
                let text = &mut self.texts[text];
                let n_back = std::mem::take(&mut text.partial).len() as u64;
                let file = File::options().write(true).open(self.path(name)).unwrap();
                file.set_len(file.metadata().unwrap().len() - n_back).unwrap();
                self.write(name, 0, 0);
            }
            Action::Delete { name } => self.clear(name),
            Action::Link { name } => {
                self.clear(name);
                let to = self.new_name();
                let to = self.outside.path().join(to);
                std::os::unix::fs::symlink(to, self.path(name)).unwrap();
                self.begin(name);
                self.write(name, 1, 3);
            }
            Action::Folder { name } => {
                self.clear(name);
                fs::create_dir(self.path(name)).unwrap();
            }
            Action::Special { name, is_device } => {
                self.clear(name);
                let path = self.path(name);
                if is_device {
                    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
                } else {
                    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
                }
            }
            Action::Restart => {
                self.follower = Self::follower(&self.folder, self.poll_only);
                self.latest.clear();
                for text in &mut self.texts {
                    (text.n_due, text.n_seen) = (0, 0);
                }
            }
            Action::Scan => {
                for text in self.at.iter().flatten().chain(&self.kept) {
                    self.texts[*text].n_due = self.texts[*text].lines.len();
                }
                let Self { follower, texts, latest, .. } = self;
                follower.scan(self.now, &mut |it| see(texts, latest, it));
                for text in texts {
                    assert!(text.n_due <= text.n_seen, "{text:?}");
                }
            }
            Action::Step { after } => {
                self.now += SignedDuration::from_millis(after);
                let Self { follower, texts, latest, .. } = self;
                follower.step(self.now, Duration::ZERO, &mut |it| see(texts, latest, it));
            }
        }
    }
}

fn see(texts: &mut [Text], latest: &mut HashMap<Arc<str>, usize>, update: Update) {
    let event = match update {
        Update::Event(event) => event,
        Update::FirstLine { file, id } => {
            let text = &mut texts[latest[&file]];
            let known = *text.id.get_or_insert(id);
            assert_eq!(known, id, "{text:?}");
            return;
        }
        _ => return,
    };
    let EventKind::Message { text: line, .. } = event.kind else { unreachable!() };
    let text: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
    latest.insert(event.origin.unwrap().file, text);
    let text = &mut texts[text];
    assert_eq!(text.lines.get(text.n_seen).map(|it| &**it), Some(&*line), "lost, or seen twice");
    text.n_seen += 1;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_each_line_once_and_in_order(
        poll_only in any::<bool>(),
        actions in vec(action(), 1..60),
    ) {
        let mut model = Model::new(poll_only);
        for action in &actions {
            model.act(action);
        }
        model.act(&Action::Scan);
        let ids = || model.texts.iter().filter_map(|text| text.id);
        assert_eq!(ids().collect::<BTreeSet<_>>().len(), ids().count(), "{:?}", model.texts);
    }
}

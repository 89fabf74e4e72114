//! Reads the tests of a policy, which stand in a file beside it.

use std::{
    collections::BTreeSet,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de};
use toml::{Spanned, de::DeValue};
use watchkeeper_core::{Entry as _, Glob, Period, Registry, Severity, SignedDuration, Status};

use crate::{
    BUILTIN_DEFAULT, Diagnostic, DiagnosticLevel, Loaded, Loader, Policy, SourceFile,
    diagnostic::Fix,
    files::Files,
    layers,
    reader::Reader,
    rounds::Rounds,
    routes::MONITOR,
    tree::{self, Table, Value},
};

const FILE_KEYS: &[&str] = &["policy", "tests", "version"];
const TEST_KEYS: &[&str] = &[
    "advance",
    "events",
    "expect",
    "expect_no_others",
    "expect_sinks",
    "generate",
    "name",
    "start",
    "trace",
];

/// What came of reading the tests of a policy.
#[derive(Debug)]
pub struct LoadedTests {
    /// The tests and their policy; `None` if any of the diagnostics is an error.
    pub tests: Option<PolicyTests>,
    /// What is wrong with the tests and with the policy, in order of file and
    /// place.
    pub diagnostics: Vec<Diagnostic>,
    /// The files they were read from: first that of the tests.
    pub files: Vec<SourceFile>,
}

/// The tests of a policy.
#[derive(Debug)]
pub struct PolicyTests {
    /// The policy that is tested.
    pub policy: Policy,
    /// What it should do, in the order of the file.
    pub tests: Vec<PolicyTest>,
}

/// A session, and what a policy should find in it.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// What a person calls it.
    pub name: String,
    /// What happens.
    pub story: Story,
    /// How the session begins.
    pub start: SessionFacts,
    /// How much time passes after the last event.
    pub advance: Option<Period>,
    /// The findings that are due, in order; `None` if the test is not about them.
    pub expect: Option<Vec<ExpectedFinding>>,
    /// Whether these are all that may be open.
    pub expect_no_others: bool,
    /// The sinks that are told anything, sorted; `None` if the test is not about
    /// them.
    pub expect_sinks: Option<Vec<String>>,
}

/// What happens in a test.
#[derive(Clone, Debug)]
pub enum Story {
    /// The events in a file, which any source may read.
    Events {
        /// The file.
        path: PathBuf,
        /// Where the file of the tests names it.
        span: Range<usize>,
    },
    /// A trace, as `watchkeeper-testing` reads it.
    Trace {
        /// The trace.
        text: String,
        /// Where it stands in the file of the tests, quotation marks included.
        span: Range<usize>,
    },
    /// The same events, round after round.
    Generated(Rounds),
}

/// What is known of a session when it begins.
#[derive(Clone, Debug, Default)]
pub struct SessionFacts {
    /// The kind of source it is read by.
    pub source: Option<&'static str>,
    /// The folder it works in.
    pub cwd: Option<String>,
    /// Labels of its own, by name.
    pub labels: Vec<(String, String)>,
}

/// A finding that is due. What it does not say may be anything.
#[derive(Clone, Debug)]
pub struct ExpectedFinding {
    /// The name of the detector in the policy.
    pub detector: String,
    /// How severe it is.
    pub severity: Option<Severity>,
    /// Whether it opens or ends.
    pub status: Status,
    /// How often the condition has come true.
    pub count: Option<u64>,
    /// How long after the start of the session.
    pub at: Option<SignedDuration>,
    /// What it says.
    pub message: Option<Glob>,
}

impl Loader<'_> {
    /// Reads the tests in a file, and the policy that they are for: the one the
    /// file names, beside itself, or else the one at `policy`.
    pub fn load_tests(&self, path: &Path, policy: Option<&Path>) -> LoadedTests {
        let mut files = Files::default();
        let mut diagnostics = Vec::new();
        match (self.read_file)(path) {
            Ok(text) => {
                files.add(path, text);
            }
            Err(err) => {
                files.add(path, String::new());
                diagnostics.push(Diagnostic::error(0..0, format!("cannot read the tests: {err}")));
            }
        }
        let (tests, policy, policy_diagnostics, policy_files) =
            self.read_tests(path, policy, &files, &mut diagnostics);
        for it in &mut diagnostics {
            it.settle(&files);
        }
        diagnostics.sort_by_key(|it| it.span.start);
        let mut files = files.into_files();
        diagnostics.extend(policy_diagnostics.into_iter().map(|mut it| {
            it.file += files.len();
            it
        }));
        files.extend(policy_files);
        let is_wrong = diagnostics.iter().any(|it| it.level == DiagnosticLevel::Error);
        let tests = policy.filter(|_| !is_wrong).map(|policy| PolicyTests { policy, tests });
        LoadedTests { tests, diagnostics, files }
    }

    fn read_tests(
        &self,
        path: &Path,
        policy: Option<&Path>,
        files: &Files,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> (Vec<PolicyTest>, Option<Policy>, Vec<Diagnostic>, Vec<SourceFile>) {
        let nothing = (Vec::new(), None, Vec::new(), Vec::new());
        if !diagnostics.is_empty() {
            return nothing;
        }
        let Some((text, start)) = files.text(0) else { return nothing };
        let Some(mut table) = tree::parse(text, start, diagnostics) else { return nothing };
        layers::version(&table, "the test file", start, diagnostics);
        table.remove("version");
        let mut reader = Reader::new(self, files, diagnostics);
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = reader.take_string(&mut table, "policy").map(Spanned::into_inner);
        let named = named.map(|it| match it.as_str() {
            it if crate::builtin(Path::new(it)).is_some() => PathBuf::from(it),
            it => folder.join(it),
        });
        let policy = policy.map(Path::to_owned).or(named);
        let section = table.remove("tests");
        reader.refuse_rest(&table, FILE_KEYS);
        if policy.is_none() && reader.diagnostics.is_empty() {
            let fix = Fix::new("name it", start..start, "policy = \"policy.toml\"\n");
            let message = "the tests do not say which policy they are for";
            let note = format!("a file beside this one, or {BUILTIN_DEFAULT:?}");
            reader.push(Diagnostic::error(start..start, message).note(note).fix(fix));
        }
        let (policy, policy_diagnostics, policy_files) = match policy.map(|it| self.load(&it)) {
            Some(Loaded { policy, diagnostics, files }) => (policy, diagnostics, files),
            None => (None, Vec::new(), Vec::new()),
        };
        let mut tests = Tests { folder, policy: policy.as_ref(), reader, names: BTreeSet::new() };
        let list = tests.list(section, start);
        (list, policy, policy_diagnostics, policy_files)
    }
}

struct Tests<'a> {
    folder: &'a Path,
    /// `None` if it is wrong itself: then nobody knows what a test may expect.
    policy: Option<&'a Policy>,
    reader: Reader<'a>,
    /// What the tests so far are called.
    names: BTreeSet<String>,
}

impl Tests<'_> {
    fn list(&mut self, section: Option<Value<'_>>, start: usize) -> Vec<PolicyTest> {
        let note = "each test begins with `[[tests]]`";
        let Some(section) = section else {
            self.reader.push(Diagnostic::error(start..start, "there are no tests").note(note));
            return Vec::new();
        };
        let mut res = Vec::new();
        for it in self.items(section, "tests", note) {
            let Some(table) = self.reader.table(it) else { continue };
            res.extend(self.test(table));
        }
        res
    }

    fn items<'f>(&mut self, value: Value<'f>, key: &str, note: &str) -> Vec<Value<'f>> {
        let span = value.span();
        if let DeValue::Array(items) = value.into_inner() {
            return items.into_iter().collect();
        }
        self.reader.push(Diagnostic::error(span, format!("`{key}` is not a list")).note(note));
        Vec::new()
    }

    fn test(&mut self, table: Spanned<Table<'_>>) -> Option<PolicyTest> {
        let whole = table.span();
        let mut keys = table.into_inner();
        let name = self.reader.take_string(&mut keys, "name");
        match &name {
            None => self.reader.push(Diagnostic::error(whole.clone(), "the test has no `name`")),
            Some(it) if !self.names.insert(it.get_ref().clone()) => {
                let message = format!("another test is called `{}`, too", it.get_ref());
                self.reader.push(Diagnostic::warning(it.span(), message));
            }
            Some(_) => {}
        }
        let story = self.story(&mut keys, &whole);
        let start = keys.remove("start").and_then(|it| self.start(it));
        let advance = self.reader.take(&mut keys, "advance");
        let expect = keys.remove("expect").map(|it| self.expected(it));
        let expect_no_others = keys.remove_entry("expect_no_others");
        let expect_sinks = keys.remove("expect_sinks").map(|it| self.sinks(it));
        match (&expect_no_others, &expect) {
            (Some((key, _)), None) => {
                let message = "`expect_no_others` says nothing without `expect`";
                self.reader.push(Diagnostic::error(key.span(), message));
            }
            (None, None) if expect_sinks.is_none() => {
                let note = "write `expect = []` if nothing should be found";
                let message = "the test expects nothing: neither `expect` nor `expect_sinks`";
                self.reader.push(Diagnostic::error(whole, message).note(note));
            }
            _ => {}
        }
        let expect_no_others =
            expect_no_others.and_then(|(_, it)| self.reader.read(it)).unwrap_or(true);
        self.reader.refuse_rest(&keys, TEST_KEYS);
        Some(PolicyTest {
            name: name?.into_inner(),
            story: story?,
            start: start.unwrap_or_default(),
            advance,
            expect,
            expect_no_others,
            expect_sinks,
        })
    }

    fn story(&mut self, keys: &mut Table<'_>, whole: &Range<usize>) -> Option<Story> {
        let mut given: Vec<_> = ["events", "trace", "generate"]
            .into_iter()
            .filter_map(|key| Some((key, keys.remove(key)?)))
            .collect();
        let note = "a test has exactly one of `events`, `trace` and `generate`";
        if let Some((key, value)) = given.get(1) {
            let message = format!("`{key}` does not go with `{}`", given[0].0);
            self.reader.push(Diagnostic::error(value.span(), message).note(note));
            return None;
        }
        let Some((key, value)) = given.pop() else {
            let message = "the test does not say what happens";
            self.reader.push(Diagnostic::error(whole.clone(), message).note(note));
            return None;
        };
        let span = value.span();
        match key {
            "events" => {
                let path: String = self.reader.read(value)?;
                Some(Story::Events { path: self.folder.join(path), span })
            }
            "trace" => Some(Story::Trace { text: self.reader.read(value)?, span }),
            _ => self.reader.rounds(value).map(Story::Generated),
        }
    }

    fn start(&mut self, value: Value<'_>) -> Option<SessionFacts> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            source: Option<Spanned<String>>,
            cwd: Option<String>,
            #[serde(default)]
            labels: std::collections::BTreeMap<String, String>,
        }
        let Keys { source, cwd, labels } = self.reader.read(value)?;
        let source = source.and_then(|it| source_kind(&mut self.reader, &it));
        Some(SessionFacts { source, cwd, labels: labels.into_iter().collect() })
    }

    fn expected(&mut self, value: Value<'_>) -> Vec<ExpectedFinding> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            detector: Spanned<String>,
            severity: Option<Severity>,
            status: Option<ExpectedStatus>,
            count: Option<u64>,
            at: Option<Offset>,
            message: Option<String>,
        }
        let note = "write `expect = [{ detector = \"repeated_call\", severity = \"low\" }]`";
        let mut res = Vec::new();
        for it in self.items(value, "expect", note) {
            let span = it.span();
            let Some(keys) = self.reader.read::<Keys>(it) else { continue };
            if let (Some(_), Some(ExpectedStatus::Resolved)) = (keys.severity, &keys.status) {
                let message = "`severity` says nothing of what is resolved";
                self.reader.push(Diagnostic::error(span, message));
            }
            self.check_detector(&keys.detector);
            res.push(ExpectedFinding {
                detector: keys.detector.into_inner(),
                severity: keys.severity,
                status: keys.status.map_or(Status::Open, |it| match it {
                    ExpectedStatus::Open => Status::Open,
                    ExpectedStatus::Resolved => Status::Resolved,
                }),
                count: keys.count,
                at: keys.at.map(|Offset(it)| it),
                message: keys.message.map(Glob::new),
            });
        }
        res
    }

    fn check_detector(&mut self, detector: &Spanned<String>) {
        let Some(policy) = self.policy else { return };
        let name = detector.get_ref();
        // One that overrides change is there more than once.
        let mut ids: Vec<&str> = policy.detectors.iter().map(|it| &*it.id).collect();
        ids.dedup();
        if ids.contains(&name.as_str()) || name.starts_with(MONITOR) {
            return;
        }
        let message = format!("the policy has no detector `{name}` that is on");
        let fix = Fix::string(name, detector.span(), ids.iter().copied());
        let diagnostic = Diagnostic::error(detector.span(), message)
            .note(format!("on are: {}", ids.join(", ")))
            .fix(fix);
        self.reader.push(diagnostic);
    }

    fn sinks(&mut self, value: Value<'_>) -> Vec<String> {
        let note = "write a list: `expect_sinks = [\"console\"]`";
        let mut res = Vec::new();
        for it in self.items(value, "expect_sinks", note) {
            let span = it.span();
            let Some(name) = self.reader.read::<String>(it) else { continue };
            if let Some(policy) = self.policy
                && !policy.sinks.iter().any(|it| it.id == name)
            {
                let ids: Vec<&str> = policy.sinks.iter().map(|it| it.id.as_str()).collect();
                let fix = Fix::string(&name, span.clone(), ids.iter().copied());
                let message = format!("the policy has no sink `{name}` that is on");
                let note = format!("on are: {}", ids.join(", "));
                self.reader.push(Diagnostic::error(span, message).note(note).fix(fix));
            }
            res.push(name);
        }
        res.sort();
        res.dedup();
        res
    }
}

fn source_kind(reader: &mut Reader<'_>, name: &Spanned<String>) -> Option<&'static str> {
    let registry: &Registry = reader.registry;
    match registry.sources.get(name.get_ref()) {
        Ok(it) => Some(it.kind()),
        Err(err) => {
            reader.unknown_kind(err, name.span());
            None
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExpectedStatus {
    Open,
    Resolved,
}

/// A length of time that may be zero.
struct Offset(SignedDuration);

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        return deserializer.deserialize_str(Visitor);

        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Offset;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a time since the start such as "0s", "25s" or "1h 30m""#)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Offset, E> {
                let parsed = text.parse::<SignedDuration>().ok();
                let it = parsed.filter(|it| !it.is_negative());
                it.map(Offset).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
    }
}

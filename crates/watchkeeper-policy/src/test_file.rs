//! Reads test files, which contain the tests of a policy.

use std::{
    collections::BTreeSet,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de};
use toml::{Spanned, de::DeValue};
use watchkeeper_core::{
    Action, Severity, SignedDuration, Status,
    author::{Glob, Period},
    embed::{Entry as _, Registry},
};

use crate::{
    builtin::{BUILTIN_DEFAULT, builtin},
    diagnostic::{Diagnostic, Fix},
    diagnostic_list::DiagnosticList,
    files::{Files, SourceFile},
    generated_events::GeneratedEvents,
    globs::MONITOR,
    layers,
    loader::{Loaded, Loader, Policy, has_errors},
    reader::Reader,
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

/// The result of reading a test file.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadedTests {
    /// The tests and their policy; `None` if any of the diagnostics is an error.
    pub tests: Option<PolicyTests>,
    /// The errors and warnings about the tests and the policy, ordered by file and
    /// position.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read: the test file, then the files of the policy.
    pub files: Vec<SourceFile>,
}

/// The tests of a policy, and the policy.
#[derive(Debug)]
#[non_exhaustive]
pub struct PolicyTests {
    /// The policy to test.
    pub policy: Policy,
    /// The tests, in the order of the file.
    pub tests: Vec<PolicyTest>,
}

/// A session, and the findings and notifications that the policy should cause.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyTest {
    /// The name, unique in the file unless there is a warning.
    pub name: String,
    /// The events.
    pub input: TestInput,
    /// The facts that are known when the session starts.
    pub start: TestSession,
    /// The time that passes after the last event.
    pub advance: Option<Period>,
    /// The expected findings, in order; `None` if the test does not check them.
    pub expect: Option<Vec<ExpectedFinding>>,
    /// Set if further open findings make the test fail.
    pub expect_no_others: bool,
    /// The names of all sinks that receive a finding, sorted; `None` if the test
    /// does not check them.
    pub expect_sinks: Option<Vec<String>>,
}

/// The events of a test.
#[derive(Clone, Debug)]
pub enum TestInput {
    /// A recorded session, in the format of any source.
    Events {
        /// The path of the file.
        path: PathBuf,
        /// The location of the path in the test file, in bytes.
        span: Range<usize>,
    },
    /// A trace, in the format of `watchkeeper-testing`.
    Trace {
        /// The text of the trace.
        text: String,
        /// The location of the trace in the test file, in bytes, including quotes.
        span: Range<usize>,
    },
    /// Repeated events.
    Generated(GeneratedEvents),
}

/// The facts that are known when a session starts.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TestSession {
    /// The kind of source.
    pub source: Option<&'static str>,
    /// The working directory.
    pub cwd: Option<String>,
    /// The labels of the session: names and values.
    pub labels: Vec<(String, String)>,
}

/// An expected finding. `None` matches any value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExpectedFinding {
    /// The name of the detector in the policy.
    pub detector: String,
    /// The severity; `None` for a resolved finding.
    pub severity: Option<Severity>,
    /// The action that the policy suggests for the finding.
    pub action: Option<Action>,
    /// `Open` for a new or escalated finding, `Resolved` for its end.
    pub status: Status,
    /// The number of times that the condition was true.
    pub count: Option<u64>,
    /// The time since the start of the session.
    pub at: Option<SignedDuration>,
    /// A pattern for the message.
    pub message: Option<Glob>,
}

impl Loader<'_> {
    /// Reads a test file and its policy: the one at `policy`, or else the one that
    /// the test file names, relative to itself.
    pub fn load_tests(&self, path: &Path, policy: Option<&Path>) -> LoadedTests {
        let mut files = Files::default();
        let mut found = DiagnosticList::default();
        match self.read_file(path) {
            Ok(text) => {
                files.add(path, text);
            }
            Err(err) => {
                files.add(path, String::new());
                found.push(Diagnostic::error(0..0, format!("cannot read the tests: {err}")));
            }
        }
        let (tests, loaded) = self.read_tests(path, policy, &files, &mut found);
        let Loaded { policy, diagnostics: policy_diagnostics, files: policy_files, .. } = loaded;
        let left_out = found.left_out();
        let mut diagnostics = found.settled(&files);
        diagnostics.sort_by_key(|it| it.span.start);
        diagnostics.extend(left_out);
        let (mut files, _) = files.into_files();
        diagnostics.extend(policy_diagnostics.into_iter().map(|mut diagnostic| {
            diagnostic.file += files.len();
            diagnostic
        }));
        files.extend(policy_files);
        let has_errors = has_errors(&diagnostics);
        let tests = policy.filter(|_| !has_errors).map(|policy| PolicyTests { policy, tests });
        LoadedTests { tests, diagnostics, files }
    }

    fn read_tests(
        &self,
        path: &Path,
        policy: Option<&Path>,
        files: &Files,
        diagnostics: &mut DiagnosticList,
    ) -> (Vec<PolicyTest>, Loaded) {
        let mut loaded = Loaded::default();
        if !diagnostics.is_empty() {
            return (Vec::new(), loaded);
        }
        let parsed = files
            .text(0)
            .and_then(|(text, start)| Some((tree::parse(text, start, diagnostics)?, start)));
        let Some((mut table, start)) = parsed else { return (Vec::new(), loaded) };
        layers::check_version(&table, "the test file", start, diagnostics);
        table.remove("version");
        let mut reader = self.reader(files, diagnostics);
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = reader.take_string(&mut table, "policy").map(Spanned::into_inner);
        let named = named.map(|name| {
            let is_builtin = builtin(Path::new(&name)).is_some();
            if is_builtin { PathBuf::from(name) } else { folder.join(name) }
        });
        let policy = policy.map(Path::to_owned).or(named);
        let section = table.remove("tests");
        reader.reject_keys(&table, FILE_KEYS);
        if policy.is_none() && reader.diagnostics.is_empty() {
            let fix = Fix::new("name the policy", start..start, "policy = \"policy.toml\"\n");
            let message = "the test file has no `policy`";
            let note = format!("write a path relative to this file, or {BUILTIN_DEFAULT:?}");
            reader.push(Diagnostic::error(start..start, message).note(note).fix(fix));
        }
        if let Some(policy) = policy {
            loaded = self.load(&policy);
        }
        let policy = loaded.policy.as_ref();
        let mut tests = TestReader { folder, policy, reader, names: BTreeSet::new() };
        let tests = tests.tests(section, start);
        (tests, loaded)
    }
}

struct TestReader<'a> {
    /// The folder of the test file.
    folder: &'a Path,
    /// `None` if the policy is invalid: the names of detectors and sinks are then
    /// not checked.
    policy: Option<&'a Policy>,
    reader: Reader<'a>,
    /// The names of the tests so far.
    names: BTreeSet<String>,
}

impl TestReader<'_> {
    fn tests(&mut self, section: Option<Value<'_>>, start: usize) -> Vec<PolicyTest> {
        let note = "each test begins with `[[tests]]`";
        let Some(section) = section else {
            self.reader.push(Diagnostic::error(start..start, "the file has no tests").note(note));
            return Vec::new();
        };
        let mut tests = Vec::new();
        for item in self.items(section, "tests", note) {
            if self.reader.is_full() {
                break;
            }
            let Some(table) = self.reader.table(item) else { continue };
            tests.extend(self.test(table));
        }
        tests
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
            Some(name) if !self.names.insert(name.get_ref().clone()) => {
                let message = format!("another test has the name `{}`", name.get_ref());
                self.reader.push(Diagnostic::warning(name.span(), message));
            }
            Some(_) => {}
        }
        let input = self.input(&mut keys, &whole);
        let start = keys.remove("start").and_then(|it| self.start(it));
        let advance = self.reader.take(&mut keys, "advance");
        let expect = keys.remove("expect").map(|it| self.expected(it));
        let expect_no_others = keys.remove_entry("expect_no_others");
        let expect_sinks = keys.remove("expect_sinks").map(|it| self.sinks(it));
        match (&expect_no_others, &expect) {
            (Some((key, _)), None) => {
                let message = "`expect_no_others` requires `expect`";
                self.reader.push(Diagnostic::error(key.span(), message));
            }
            (None, None) if expect_sinks.is_none() => {
                let note = "write `expect = []` if the policy should report nothing";
                let message = "the test expects nothing: neither `expect` nor `expect_sinks`";
                self.reader.push(Diagnostic::error(whole, message).note(note));
            }
            _ => {}
        }
        let expect_no_others =
            expect_no_others.and_then(|(_, it)| self.reader.read(it)).unwrap_or(true);
        self.reader.reject_keys(&keys, TEST_KEYS);
        Some(PolicyTest {
            name: name?.into_inner(),
            input: input?,
            start: start.unwrap_or_default(),
            advance,
            expect,
            expect_no_others,
            expect_sinks,
        })
    }

    fn input(&mut self, keys: &mut Table<'_>, whole: &Range<usize>) -> Option<TestInput> {
        let mut given: Vec<_> = ["events", "trace", "generate"]
            .into_iter()
            .filter_map(|key| Some((key, keys.remove(key)?)))
            .collect();
        let note = "a test must have exactly one of `events`, `trace` and `generate`";
        if let Some((key, value)) = given.get(1) {
            let message = format!("`{key}` and `{}` cannot be used together", given[0].0);
            self.reader.push(Diagnostic::error(value.span(), message).note(note));
            return None;
        }
        let Some((key, value)) = given.pop() else {
            let message = "the test has no events";
            self.reader.push(Diagnostic::error(whole.clone(), message).note(note));
            return None;
        };
        let span = value.span();
        match key {
            "events" => {
                let path: String = self.reader.read(value)?;
                Some(TestInput::Events { path: self.folder.join(path), span })
            }
            "trace" => Some(TestInput::Trace { text: self.reader.read(value)?, span }),
            _ => self.reader.generated_events(value).map(TestInput::Generated),
        }
    }

    fn start(&mut self, value: Value<'_>) -> Option<TestSession> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            source: Option<Spanned<String>>,
            cwd: Option<Spanned<String>>,
            #[serde(default)]
            labels: std::collections::BTreeMap<String, String>,
        }
        let Keys { source, cwd, labels } = self.reader.read(value)?;
        let source = source.and_then(|it| source_kind(&mut self.reader, &it));
        let cwd = cwd.and_then(|cwd| {
            let span = cwd.span();
            self.reader.expand_home(cwd.into_inner(), &span)
        });
        Some(TestSession { source, cwd, labels: labels.into_iter().collect() })
    }

    fn expected(&mut self, value: Value<'_>) -> Vec<ExpectedFinding> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            detector: Spanned<String>,
            severity: Option<Severity>,
            action: Option<Action>,
            status: Option<ExpectedStatus>,
            count: Option<u64>,
            at: Option<Offset>,
            message: Option<String>,
        }
        let note = "write `expect = [{ detector = \"repeated_call\", severity = \"low\" }]`";
        let mut findings = Vec::new();
        for item in self.items(value, "expect", note) {
            let span = item.span();
            let Some(keys) = self.reader.read::<Keys>(item) else { continue };
            if let Some(ExpectedStatus::Resolved) = keys.status {
                let given =
                    [("severity", keys.severity.is_some()), ("action", keys.action.is_some())];
                for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
                    let message = format!("a resolved finding has no `{key}`");
                    self.reader.push(Diagnostic::error(span.clone(), message));
                }
            }
            self.check_detector(&keys.detector);
            findings.push(ExpectedFinding {
                detector: keys.detector.into_inner(),
                severity: keys.severity,
                action: keys.action,
                status: keys.status.map_or(Status::Open, |status| match status {
                    ExpectedStatus::Open => Status::Open,
                    ExpectedStatus::Resolved => Status::Resolved,
                }),
                count: keys.count,
                at: keys.at.map(|Offset(offset)| offset),
                message: keys.message.map(Glob::new),
            });
        }
        findings
    }

    fn check_detector(&mut self, detector: &Spanned<String>) {
        let Some(policy) = self.policy else { return };
        let name = detector.get_ref();
        // A detector that overrides change occurs several times, in sequence.
        let mut ids: Vec<&str> = policy.detectors.iter().map(|it| &*it.id).collect();
        ids.dedup();
        if ids.contains(&name.as_str()) || name.starts_with(MONITOR) {
            return;
        }
        let message = format!("the policy has no enabled detector `{name}`");
        let fix = Fix::string(name, detector.span(), ids.iter().copied());
        let diagnostic = Diagnostic::error(detector.span(), message)
            .note(format!("enabled detectors: {}", ids.join(", ")))
            .fix(fix);
        self.reader.push(diagnostic);
    }

    fn sinks(&mut self, value: Value<'_>) -> Vec<String> {
        let note = "write a list: `expect_sinks = [\"console\"]`";
        let mut names = Vec::new();
        for item in self.items(value, "expect_sinks", note) {
            let span = item.span();
            let Some(name) = self.reader.read::<String>(item) else { continue };
            if let Some(policy) = self.policy
                && !policy.sinks.iter().any(|it| it.id == name)
            {
                let ids: Vec<&str> = policy.sinks.iter().map(|it| it.id.as_str()).collect();
                let fix = Fix::string(&name, span.clone(), ids.iter().copied());
                let message = format!("the policy has no enabled sink `{name}`");
                let note = format!("enabled sinks: {}", ids.join(", "));
                self.reader.push(Diagnostic::error(span, message).note(note).fix(fix));
            }
            names.push(name);
        }
        names.sort();
        names.dedup();
        names
    }
}

fn source_kind(reader: &mut Reader<'_>, name: &Spanned<String>) -> Option<&'static str> {
    let registry: &Registry = reader.registry;
    match registry.sources.get(name.get_ref()) {
        Ok(entry) => Some(entry.kind()),
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

/// A duration of zero or more.
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
                let offset = parsed.filter(|it| !it.is_negative());
                offset.map(Offset).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
    }
}

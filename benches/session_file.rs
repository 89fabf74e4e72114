//! A generated session file in the format of Claude Code.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;
use watchkeeper_core::{SignedDuration, Timestamp};
use watchkeeper_testing::Dice;

/// Part of the file name. Increase it whenever the generated contents change.
const EDITION: u32 = 1;

/// Returns the path of a file of about `len` bytes, and writes the file if it does not exist. The
/// same `len` and number `n` give the same bytes on every machine.
pub(crate) fn path(len: u64, n: u64) -> io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let megabytes = len / 1_000_000;
    let path = folder.join(format!("session-{megabytes}mb-{n}-{EDITION}.jsonl"));
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(folder)?;
    // Renamed at the end, so that an interrupted run leaves no incomplete file.
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    let mut session = Session::new(BufWriter::new(File::create(&unfinished)?), n);
    while session.len < len {
        session.turn()?;
    }
    session.file.flush()?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

struct Session {
    file: BufWriter<File>,
    len: u64,
    dice: Dice,
    /// The text of which all others are parts.
    source: String,
    id: String,
    /// The id of the previous line.
    parent: Option<String>,
    at: Timestamp,
    n_calls: u64,
    cached_tokens: u64,
}

/// A tool call and its result.
struct Call {
    id: String,
    name: &'static str,
    input: String,
    output: String,
    /// The result in the tool's own format.
    result: String,
    is_error: bool,
}

impl Session {
    fn new(file: BufWriter<File>, n: u64) -> Self {
        let mut dice = Dice::new(17 + n);
        let source = source(&mut dice);
        let id = uuid(&mut dice);
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000);
        Self { file, len: 0, dice, source, id, parent: None, at, n_calls: 0, cached_tokens: 9_000 }
    }

    /// Writes a prompt and the work that follows.
    fn turn(&mut self) -> io::Result<()> {
        self.pass(20_000, 180_000);
        let prompt = self.text(40, 2_000);
        self.user(&quoted(&prompt), "")?;
        for _ in 0..self.dice.between(10, 70) {
            self.response()?;
        }
        let last = self.text(200, 3_000);
        let block = format!(r#"{{"type":"text","text":{}}}"#, quoted(&last));
        let [message, request] = self.message();
        self.pass(2_000, 9_000);
        self.assistant(&message, &request, &block, r#""end_turn""#)
    }

    /// Writes a response of the model with tool calls, and their results.
    fn response(&mut self) -> io::Result<()> {
        let [message, request] = self.message();
        self.pass(1_500, 12_000);
        if self.dice.is_below(20) {
            let thought = quoted(&self.text(100, 3_000));
            let signature = letters(&mut self.dice, 400);
            let block =
                format!(r#"{{"type":"thinking","thinking":{thought},"signature":"{signature}"}}"#);
            self.assistant(&message, &request, &block, "null")?;
        }
        if self.dice.is_below(15) {
            let text = quoted(&self.text(60, 800));
            let block = format!(r#"{{"type":"text","text":{text}}}"#);
            self.assistant(&message, &request, &block, "null")?;
        }
        let n_parallel = if self.dice.is_below(8) { 2 } else { 1 };
        let calls: Vec<Call> = (0..n_parallel).map(|_| self.call()).collect();
        for Call { id, name, input, .. } in &calls {
            self.pass(5, 300);
            let block =
                format!(r#"{{"type":"tool_use","id":"{id}","name":"{name}","input":{input}}}"#);
            self.assistant(&message, &request, &block, r#""tool_use""#)?;
        }
        for Call { id, output, result, is_error, .. } in &calls {
            self.pass(20, 3_000);
            let content = format!(
                r#"[{{"tool_use_id":"{id}","type":"tool_result","content":{output},"is_error":{is_error}}}]"#
            );
            self.user(&content, &format!(r#","toolUseResult":{result}"#))?;
        }
        Ok(())
    }

    fn call(&mut self) -> Call {
        self.n_calls += 1;
        let n = self.n_calls;
        let id = format!("toolu_01{}", letters(&mut self.dice, 22));
        let file = format!("/proj/harbor/src/{}_{n}.rs", self.dice.pick(WORDS));
        // Most results are short, and a few are long.
        let len = self.dice.skewed(200, 20_000);
        let text = self.cut(len);
        let is_error = self.dice.is_below(6);
        let (name, input, result) = match self.dice.below(10) {
            0..4 => {
                let (verb, noun) = (self.dice.pick(WORDS), self.dice.pick(WORDS));
                let command = quoted(&format!(
                    "cargo test -p {verb} -- {noun}_{n} 2>&1 | grep -v \"warning: \" | tail -{}",
                    self.dice.between(5, 80)
                ));
                let result = format!(
                    r#"{{"stdout":{},"stderr":"","interrupted":false,"isImage":false,"noOutputExpected":false}}"#,
                    quoted(&text)
                );
                let input =
                    format!(r#"{{"command":{command},"description":"Run the tests of {noun}"}}"#);
                ("Bash", input, result)
            }
            4..7 => {
                let (start, n_lines) = (self.dice.between(1, 900), text.lines().count());
                let input =
                    format!(r#"{{"file_path":"{file}","offset":{start},"limit":{n_lines}}}"#);
                let result = format!(
                    r#"{{"type":"text","file":{{"filePath":"{file}","content":{},"numLines":{n_lines},"startLine":{start},"totalLines":{}}}}}"#,
                    quoted(&text),
                    start + 2_000
                );
                ("Read", input, result)
            }
            7..9 => {
                let [old, new] = [(); 2].map(|()| quoted(&self.text(60, 900)));
                let input = format!(
                    r#"{{"file_path":"{file}","old_string":{old},"new_string":{new},"replace_all":false}}"#
                );
                let result = format!(
                    r#"{{"filePath":"{file}","oldString":{old},"newString":{new},"originalFile":{},"userModified":false,"replaceAll":false}}"#,
                    quoted(&text)
                );
                ("Edit", input, result)
            }
            _ => {
                let input = format!(
                    r#"{{"pattern":"fn {}_{n}\\(","path":"/proj/harbor","output_mode":"content","-n":true}}"#,
                    self.dice.pick(WORDS)
                );
                let result = format!(
                    r#"{{"mode":"content","numFiles":0,"filenames":[],"content":{},"numLines":{}}}"#,
                    quoted(&text),
                    text.lines().count()
                );
                ("Grep", input, result)
            }
        };
        Call { id, name, input, output: quoted(&text), result, is_error }
    }

    fn user(&mut self, content: &str, rest: &str) -> io::Result<()> {
        let body =
            format!(r#""type":"user","message":{{"role":"user","content":{content}}}{rest}"#);
        self.line(&body)
    }

    fn assistant(
        &mut self,
        message: &str,
        request: &str,
        block: &str,
        stop_reason: &str,
    ) -> io::Result<()> {
        // All lines of one response contain the same usage.
        let cached = self.cached_tokens;
        let (written, output) = (cached % 1_900, cached % 700 + 20);
        let body = format!(
            r#""message":{{"model":"claude-sonnet-4-5","id":"{message}","type":"message","role":"assistant","content":[{block}],"stop_reason":{stop_reason},"stop_sequence":null,"usage":{{"input_tokens":4,"cache_creation_input_tokens":{written},"cache_read_input_tokens":{cached},"cache_creation":{{"ephemeral_5m_input_tokens":{written},"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"service_tier":"standard"}}}},"requestId":"{request}","type":"assistant""#
        );
        self.line(&body)
    }

    fn line(&mut self, body: &str) -> io::Result<()> {
        let parent = self.parent.as_ref().map_or("null".to_owned(), |it| format!("\"{it}\""));
        let uuid = uuid(&mut self.dice);
        let line = format!(
            r#"{{"parentUuid":{parent},"isSidechain":false,"userType":"external","cwd":"/proj/harbor","sessionId":"{}","version":"2.1.200","gitBranch":"main",{body},"uuid":"{uuid}","timestamp":"{:.3}"}}"#,
            self.id, self.at
        );
        self.parent = Some(uuid);
        self.len += line.len() as u64 + 1;
        writeln!(self.file, "{line}")
    }

    /// Returns the ids of the model's next response and of its request.
    fn message(&mut self) -> [String; 2] {
        self.cached_tokens = 9_000 + (self.cached_tokens + 1_013) % 90_000;
        ["msg_01", "req_01"].map(|it| format!("{it}{}", letters(&mut self.dice, 22)))
    }

    /// Advances the time by `least` to `most` milliseconds.
    fn pass(&mut self, least: u64, most: u64) {
        let millis = self.dice.between(least, most);
        self.at += SignedDuration::from_millis(i64::try_from(millis).unwrap_or_default());
    }

    fn text(&mut self, least: u64, most: u64) -> String {
        let len = self.dice.skewed(least, most);
        self.cut(len)
    }

    fn cut(&mut self, len: usize) -> String {
        let start = self.dice.below(self.source.len() - len);
        let start = boundary(&self.source, start);
        self.source[start..boundary(&self.source, start + len)].to_owned()
    }
}

/// Returns the first character boundary at `at` or later.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|it| text.is_char_boundary(*it)).unwrap_or(text.len())
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn uuid(dice: &mut Dice) -> String {
    let (a, b) = (dice.roll(), dice.roll());
    let hex = format!("{a:016x}{b:016x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn letters(dice: &mut Dice, len: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz123456789";
    (0..len).map(|_| char::from(*dice.pick(LETTERS))).collect()
}

const WORDS: &[&str] = &[
    "anchor", "backlog", "beacon", "buffer", "cargo", "channel", "chart", "compass", "cursor",
    "deck", "depth", "drift", "engine", "entry", "ferry", "fleet", "gauge", "harbor", "heading",
    "helm", "index", "journal", "keel", "knot", "lantern", "ledger", "line", "lookup", "manifest",
    "marker", "mast", "offset", "packet", "pilot", "plan", "port", "queue", "range", "reader",
    "rope", "route", "rudder", "sail", "schedule", "segment", "session", "signal", "state",
    "storm", "tide", "token", "vessel", "voyage", "watch", "wave", "wharf", "wind", "writer",
];

/// Generates a megabyte of text that resembles Rust. Its quotes and line breaks matter, as they
/// have to be escaped in JSON.
fn source(dice: &mut Dice) -> String {
    let mut text = String::new();
    while text.len() < 1_000_000 {
        let [first, second, third, last] = [(); 4].map(|()| *dice.pick(WORDS));
        let n = dice.below(1_000);
        let line = match dice.below(14) {
            0 => format!(
                "fn {first}_{second}(&self, {third}: &str, {last}: u64) -> Result<{third}::Error> {{\n"
            ),
            1 => format!("    let {first} = self.{second}.{third}({last}, {n})?;\n"),
            2 => format!("        \"{first}-{second}\" => Some({third}::new(\"{last}\\n\")),\n"),
            3 => format!(
                "    /// Gives the {first} of a {second}, or the {third} where the {last} has none.\n"
            ),
            4 => format!("        let {first} = match {second}.get(&{third}) {{\n"),
            5 => {
                format!("            .filter(|it| it.{first} < {n} && it.{second}.is_{third}())\n")
            }
            6 => format!(
                "    assert_eq!({first}.{second}(\"{third}\"), Err(\"no {last}: {n}\".into()));\n"
            ),
            7 => format!("test {first}::{second}_{third}_{last} ... ok\n"),
            8 => format!(
                "warning: unused variable: `{first}`\n  --> src/{second}/{third}.rs:{n}:9\n"
            ),
            9 => format!("\t{first}\t{second}\t{n}\tC:\\{third}\\{last}\n"),
            10 => format!("// {first} → {second} — “{third}”, see §{n}\n"),
            11 => format!("use crate::{{{first}::{second}, {third}::{last}}};\n"),
            12 => "    }\n".to_owned(),
            _ => "\n".to_owned(),
        };
        text.push_str(&line);
    }
    text
}

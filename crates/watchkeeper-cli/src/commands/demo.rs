use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
};

use clap::Args;
use watchkeeper_core::{Finding, Status as FindingStatus, Timestamp, embed::Registry};
use watchkeeper_policy::Policy;

use crate::{
    demo::{self, Agent, Pace, terminal_svg},
    error::Error,
    global::Global,
    live::{LiveMonitor, Quiet, SignalListener},
    loading,
    numbers::counted,
    output::{Output, Status, safe_path},
    policy_file::PolicyFile,
    replay,
};

/// Name of the demo's session file.
const SESSION_FILE: &str = "demo-session.jsonl";
/// Session file and start time shown in the picture of `--svg`.
const SVG_SESSION: &str = "/tmp/demo-session.jsonl";
const SVG_START: &str = "2026-01-05T10:00:00Z";

/// Monitor a misbehaving demo agent for about ten seconds
///
/// A second process plays the agent and writes a session file as Claude Code does.
/// No data leaves this machine.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Play the demo in virtual time, and draw its output as an SVG picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Play the agent, and write its session to this file
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "svg")]
    as_agent: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        if let Some(file) = self.as_agent {
            Agent::new(&file, Pace::until_stdin_closes())?.play()?;
            return Ok(Status::Success);
        }
        let policy = match &global.policy {
            Some(path) => {
                let file = PolicyFile::Given(path.clone());
                loading::policy_with_secrets(&file, global, registry, |_| true, output)?
            }
            None => loading::embedded(registry, "demo.toml", demo::POLICY)
                .ok_or(Error::DemoDetectors)?,
        };
        match self.svg {
            Some(file) => draw(&file, policy, registry, global.quiet, output),
            None => play_live(policy, registry, global.quiet, output),
        }
    }
}

fn play_live(
    mut policy: Policy,
    registry: &Registry,
    quiet: bool,
    output: &mut Output<'_>,
) -> Result<Status, Error> {
    // The demo has no processes of clients.
    policy.monitor.processes = false;
    let folder = Folder::new()?;
    let file = folder.0.join(SESSION_FILE);
    // Create the file before the follower looks for it.
    File::create_new(&file)?;
    let live =
        LiveMonitor::new(policy, registry, vec![folder.0.clone()], None, Vec::new(), None, None);
    let signals = SignalListener::start(live.control(), output.styles.err_is_terminal)?;
    if !quiet {
        writeln!(output.err, "{}\n", intro(&safe_path(&file)))?;
    }

    let mut agent = start_agent(&file)?;
    // The agent stops when its standard input is closed.
    let stdin = agent.stdin.take();
    let control = live.control();
    let waiter = thread::spawn(move || {
        let status = agent.wait();
        control.stop();
        status
    });
    let outcome = live.run(&mut Quiet);
    drop(stdin);
    let agent = waiter.join().map_err(|_| io::Error::other("the demo agent was lost"))??;
    let is_interrupted = signals.finish();
    let outcome = outcome?;

    if !agent.success() && !is_interrupted {
        return Err(Error::DemoAgent);
    }
    let summary = summary(outcome.counts.findings, outcome.counts.events);
    writeln!(output.out, "\n{summary}")?;
    Error::of_losses(outcome).map_or(Ok(Status::Success), Err)
}

fn start_agent(file: &Path) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["demo", "--as-agent"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
}

/// Plays the demo in virtual time, and draws its terminal output.
fn draw(
    svg: &Path,
    policy: Policy,
    registry: &Registry,
    quiet: bool,
    output: &mut Output<'_>,
) -> Result<Status, Error> {
    let folder = Folder::new()?;
    let file = folder.0.join(SESSION_FILE);
    File::create_new(&file)?;
    let start: Timestamp = SVG_START.parse().map_err(io::Error::other)?;
    Agent::new(&file, Pace::Virtual(start))?.play()?;
    let (mut findings, n_events) = replay::routed_findings(policy, registry, &file)
        .map_err(|err| Error::DemoSession { source: err })?;

    let mut text = format!("$ watchkeeper demo\n{}\n\n", intro(SVG_SESSION));
    for finding in &mut findings {
        for location in &mut finding.evidence {
            location.file = location.file.take().map(|_| SVG_SESSION.into());
        }
        text.push_str(&watchkeeper_sinks::render_line(finding, true));
        text.push('\n');
    }
    let is_open = |finding: &&Finding| finding.status == FindingStatus::Open;
    let n_findings = findings.iter().filter(is_open).count() as u64;
    text.push('\n');
    text.push_str(&summary(n_findings, n_events));
    text.push('\n');
    fs::write(svg, terminal_svg("watchkeeper demo", &text))
        .map_err(|source| Error::Write { path: svg.to_owned(), source })?;
    if !quiet {
        writeln!(output.err, "wrote {}", safe_path(svg))?;
    }
    Ok(Status::Success)
}

fn intro(session_file: &str) -> String {
    format!("Monitoring a misbehaving agent, which writes {session_file}:")
}

fn summary(n_findings: u64, n_events: u64) -> String {
    let (findings, events) = (counted(n_findings, "finding"), counted(n_events, "event"));
    format!("{findings} in {events}. To monitor your own agents: watchkeeper watch")
}

/// A temporary folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let name = format!("watchkeeper-demo-{}", process::id());
        let path = std::env::temp_dir().join(name);
        // Fails if the path exists, so that no other user can prepare the folder.
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that remains among temporary files does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

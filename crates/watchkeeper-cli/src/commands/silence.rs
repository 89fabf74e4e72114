mod error;

use std::path::Path;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
#[cfg(unix)]
use nix::unistd::{User, getuid};
use watchkeeper_core::{
    Timestamp,
    author::{Period, make_safe},
    clock::{Clock as _, SystemClock},
    embed::Registry,
    quote,
};
use watchkeeper_policy::Policy;

pub(crate) use self::error::SilenceError;
use crate::{
    conditions::{Condition, Conditions, grouped, matcher, warn_of_unknown_names},
    error::Error,
    global::Global,
    loading::{self, LoadError},
    numbers::{counted, duration, to_second},
    output::{Output, Status},
    report::{TimeArgument, write_pretty},
    silences_file::{self, SilencesFileError, StoredSilence},
    state_folder::StateFolder,
};

/// Silence findings for a time
///
/// A silenced finding is sent to no sink, until the silence ends: then `watch` sends it if it is
/// still open. The end of a finding that was sent before is still sent. A `watch` that runs uses a change of the silences in its state folder within seconds.
/// With `watch --state-dir`, name the same folder here. A policy can contain silences, too: `watchkeeper explain silences`.
#[derive(Debug, Args)]
pub(crate) struct SilenceFindings {
    #[command(subcommand)]
    command: SilenceCommand,

    #[command(flatten)]
    folder: StateFolder,
}

#[derive(Debug, Subcommand)]
enum SilenceCommand {
    /// Add a silence, and print its id
    ///
    /// A finding that is still open when the silence ends is sent then. One that was sent before is
    /// not sent again, but its end is sent, also during the silence.
    Add(Add),
    /// Print the silences that have not ended
    List(List),
    /// End silences
    ///
    /// Findings that are still open are sent then.
    Expire(Expire),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("end").required(true).args(["period", "until"]))]
struct Add {
    /// Conditions that all have to hold, as in `match` of a route: `detector=call_loop`,
    /// `severity=low`, `label:env=dev`; `*` matches any text, and one of several values of a key
    /// has to match
    #[arg(value_name = "KEY=VALUE", required = true)]
    conditions: Vec<Condition>,

    /// Time until the end, such as 2h or 3d
    #[arg(long = "for", value_name = "TIME")]
    period: Option<Period>,

    /// End: a date, which is included, or a time; UTC
    #[arg(long, value_name = "TIME")]
    until: Option<TimeArgument>,

    /// Reason, for other people
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// Person who is responsible [default: the name of the user]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

#[derive(Debug, Args)]
struct List {
    /// Print also the silences that ended in the last seven days
    #[arg(long)]
    all: bool,

    /// Format of the list
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ListFormat,
}

#[derive(Debug, Args)]
struct Expire {
    /// Ids of silences, or unique beginnings of them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// Format of a list of silences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// For people
    Text,
    /// A JSON array
    Json,
}

impl SilenceFindings {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let now = SystemClock.now();
        let policy = self.policy(global, registry, output)?;
        let folder = self.folder.path(policy.as_ref()).ok_or(SilencesFileError::NoFolder);
        let folder = folder.map_err(SilenceError::from)?;
        match self.command {
            SilenceCommand::Add(add) => {
                let silence = add.silence(now)?;
                if let Some(policy) = &policy {
                    warn_of_unknown_names(&silence.conditions, policy, output);
                }
                let (id, until) = (silence.id.clone(), silence.until);
                let added = silences_file::change(&folder, now, |all| all.push(silence));
                added.map_err(SilenceError::from)?;
                writeln!(output.out, "{id}")?;
                if !global.quiet {
                    writeln!(output.err, "silenced until {}", to_second(until))?;
                }
            }
            SilenceCommand::List(list) => list.print(&folder, now, output)?,
            SilenceCommand::Expire(expire) => {
                let n = expire.expire(&folder, now)?;
                if !global.quiet {
                    writeln!(output.err, "ended {}", counted(n, "silence"))?;
                }
            }
        }
        output.out.flush()?;
        Ok(Status::Success)
    }

    /// Loads the policy, which may name the folder. With `--state-dir`, an invalid policy does
    /// not matter: `watch` still uses the one before.
    fn policy(
        &self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Option<Policy>, LoadError> {
        let file = loading::find(global.policy.as_deref(), output);
        if global.is_verbose() {
            loading::print_place(&file, output);
        }
        match loading::policy(&file, global, registry, output) {
            Err(_) if self.folder.given().is_some() => Ok(None),
            loaded => loaded.map(Some),
        }
    }
}

impl Add {
    fn silence(self, now: Timestamp) -> Result<StoredSilence, SilenceError> {
        let conditions = grouped(self.conditions);
        matcher(&conditions)?;
        let until = match (self.period, self.until) {
            (Some(period), _) => now.checked_add(period.get()).unwrap_or(Timestamp::MAX),
            (None, Some(until)) => until.end(now),
            (None, None) => now,
        };
        if until <= now {
            return Err(SilenceError::Ended);
        }
        if self.reason.trim().is_empty() {
            return Err(SilenceError::NoReason);
        }
        let author = self.author.filter(|text| !text.trim().is_empty());
        let author = author.or_else(user_name).ok_or(SilenceError::NoAuthor)?;
        Ok(StoredSilence::new(conditions, now, until, author, self.reason))
    }
}

/// Returns the name of the user, from the environment or the user database.
fn user_name() -> Option<String> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    #[cfg(unix)]
    let of_system = || Some(User::from_uid(getuid()).ok()??.name);
    #[cfg(not(unix))]
    let of_system = || variable("USERNAME");
    variable("USER").or_else(|| variable("LOGNAME")).or_else(of_system)
}

impl List {
    fn print(&self, folder: &Path, now: Timestamp, output: &mut Output<'_>) -> Result<(), Error> {
        let mut silences = silences_file::stored(folder).map_err(SilenceError::from)?;
        silences.retain(|it| self.all || it.is_active(now));
        if self.format == ListFormat::Json {
            return Ok(write_pretty(&silences, output.out)?);
        }
        for silence in &silences {
            let StoredSilence { id, until, author, reason, .. } = silence;
            let rest = until.duration_since(now);
            let end = if rest.is_positive() {
                format!("ends in {}", duration(rest))
            } else {
                "has ended".to_owned()
            };
            let line = format!(
                "{id}  {}  {end} ({})  {author}: {reason}",
                conditions_text(&silence.conditions),
                to_second(*until)
            );
            writeln!(output.out, "{}", make_safe(&line))?;
        }
        if silences.is_empty() {
            writeln!(output.err, "no silences")?;
        }
        Ok(())
    }
}

impl Expire {
    fn expire(self, folder: &Path, now: Timestamp) -> Result<u64, SilenceError> {
        silences_file::change(folder, now, |all| {
            let mut ends = Vec::new();
            for id in &self.ids {
                let begins =
                    |it: &(usize, &StoredSilence)| it.1.is_active(now) && it.1.id.starts_with(id);
                let mut matching = all.iter().enumerate().filter(begins);
                match (matching.next(), matching.next()) {
                    (Some((silence_idx, _)), None) => ends.push(silence_idx),
                    (None, _) => return Err(SilenceError::UnknownId(quote(id))),
                    _ => return Err(SilenceError::AmbiguousId(quote(id))),
                }
            }
            ends.sort_unstable();
            ends.dedup();
            for silence_idx in &ends {
                all[*silence_idx].until = now;
            }
            Ok(ends.len() as u64)
        })?
    }
}

/// Writes conditions as they are written on the command line.
fn conditions_text(conditions: &Conditions) -> String {
    let parts = conditions
        .iter()
        .flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={value}")));
    parts.collect::<Vec<_>>().join(" ")
}

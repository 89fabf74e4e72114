use std::{ffi::OsString, io};

use clap::Args;
use watchkeeper_core::{Action, author::Period, clock::Deadline, embed::Registry};

use crate::{
    causes::with_causes,
    global::Global,
    hook::{Act, Client, Hook, HookFolder, Log, Trouble, end_at_limit},
    loading,
    output::{Output, Status},
    policy_file::PolicyFile,
    state_folder::StateFolder,
};

/// The part of the time limit for reading the session, in percent.
const READ_PERCENT: u32 = 60;

/// Act on an agent from a hook of its client
///
/// A client calls this with the JSON of a hook on standard input. If a finding with an action is
/// open in the session now, the answer on standard output nudges the model, refuses the call, asks
/// the person, or ends the turn, as far as the client can. Otherwise nothing is printed.
///
/// The mode `enforce` of the policy, or `--act`, allows actions. Any trouble of this program lets
/// the agent go on: the exit status is 0, and the trouble is in `hooks/log` of the state folder.
#[derive(Debug, Args)]
pub(crate) struct RunHook {
    /// Client that calls the hook
    client: Client,

    /// Strongest action, in any mode. Findings of class `runaway` and `budget` without an action
    /// nudge from `medium` on, and lead to this one at `high`
    #[arg(long, value_name = "ACTION")]
    act: Option<Act>,

    /// Longest run. Then the client goes on without an answer
    #[arg(long, value_name = "TIME", default_value = "1s")]
    time_limit: Period,

    #[command(flatten)]
    folder: StateFolder,
}

impl RunHook {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Status {
        let limit = self.time_limit.get().unsigned_abs();
        let deadline = Deadline::after(limit * READ_PERCENT / 100);
        let usual = self.folder.path(None).as_deref().map(HookFolder::of);
        let log = Log::new(self.client.name(), usual);
        end_at_limit(limit, log.clone());
        if let Err(trouble) = self.answer(global, registry, deadline, &log, output) {
            log.add(&with_causes(&trouble));
        }
        Status::Success
    }

    fn answer(
        &self,
        global: &Global,
        registry: &Registry,
        deadline: Deadline,
        log: &Log,
        output: &mut Output<'_>,
    ) -> Result<(), Trouble> {
        let file = PolicyFile::find(global.policy.as_deref()).policy;
        let policy = loading::policy_without_text(&file, registry)?;
        let folder = self.folder.path(Some(&policy)).as_deref().map(HookFolder::of);
        log.continue_in(folder.clone());
        let act = self.act.map(Action::from);
        let hook = Hook { client: self.client, act, registry, folder, deadline };
        hook.run(io::stdin().lock(), policy, |answer| {
            output.out.write_all(format!("{answer}\n").as_bytes())?;
            output.out.flush()
        })
    }
}

/// Logs an error that a hook has printed before it could run, such as one in its arguments.
pub(crate) fn log_failure(args: &[OsString], printed: &[u8]) {
    let folder = StateFolder::of_args(args).as_deref().map(HookFolder::of);
    let text = String::from_utf8_lossy(printed);
    let lines: Vec<&str> =
        text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let error = lines.join(" ");
    Log::new("hook", folder).add(error.strip_prefix("error: ").unwrap_or(&error));
}

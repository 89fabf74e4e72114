use std::{io, process, thread, time::Duration};

use clap::Args;
use watchkeeper_core::{
    Action,
    author::make_safe,
    clock::{Clock as _, Deadline, SystemClock},
    embed::Registry,
};

use crate::{
    causes::with_causes,
    global::Global,
    hook::{Act, Client, Hook, HookFolder, Trouble},
    loading,
    output::{Output, Status},
    policy_file::PolicyFile,
    state_folder::StateFolder,
};

/// The longest run. Then the client goes on without an answer.
const MAX_TIME: Duration = Duration::from_secs(1);

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
        thread::spawn(|| {
            let deadline = Deadline::after(MAX_TIME);
            while !deadline.remaining().is_zero() {
                thread::park_timeout(deadline.remaining());
            }
            process::exit(0);
        });
        let usual = || self.folder.path(None).as_deref().map(HookFolder::of);
        if let Err(trouble) = self.answer(global, registry, output)
            && let Some(folder) = usual()
        {
            let (now, client) = (SystemClock.now(), self.client.name());
            let trouble = make_safe(&with_causes(&trouble).replace('\n', " "));
            // Without a log, the trouble is not known: the agent goes on in any case.
            let _ = folder.log(&format!("{now:.0} {client}: {trouble}"));
        }
        Status::Success
    }

    fn answer(
        &self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<(), Trouble> {
        let file = PolicyFile::find(global.policy.as_deref()).policy;
        let policy = loading::policy_without_text(&file, registry)?;
        let folder = self.folder.path(Some(&policy)).as_deref().map(HookFolder::of);
        let act = self.act.map(Action::from);
        let hook = Hook { client: self.client, act, registry, folder };
        if let Some(answer) = hook.run(io::stdin().lock(), policy)? {
            output.out.write_all(format!("{answer}\n").as_bytes())?;
            output.out.flush()?;
        }
        Ok(())
    }
}

// Written by `watchkeeper install opencode`; `watchkeeper uninstall opencode` removes it.
import { spawn } from "node:child_process"
import { homedir } from "node:os"
import { join } from "node:path"

const COMMAND = "#COMMAND#"
const DATA = process.env.XDG_DATA_HOME || join(homedir(), ".local", "share")
const DATABASE = join(DATA, "opencode", "opencode.db")

// Returns the answer of the hook. Without one, whatever the reason, the agent goes on.
function ask(payload) {
  return new Promise((resolve) => {
    let out = ""
    const hook = spawn(COMMAND, { shell: true, stdio: ["pipe", "pipe", "ignore"] })
    const timer = setTimeout(() => {
      hook.kill()
      resolve({})
    }, 5000)
    hook.on("error", () => resolve({}))
    hook.on("close", () => {
      clearTimeout(timer)
      try {
        resolve(JSON.parse(out))
      } catch {
        resolve({})
      }
    })
    hook.stdin.on("error", () => {})
    hook.stdout.on("data", (chunk) => (out += chunk))
    hook.stdin.end(JSON.stringify(payload))
  })
}

export const Watchkeeper = async ({ client, directory }) => {
  const payload = (event, input, args) => ({
    hook_event_name: event,
    session_id: input.sessionID,
    transcript_path: DATABASE,
    cwd: directory,
    tool_name: input.tool,
    tool_use_id: input.callID,
    tool_input: args,
  })
  return {
    "chat.message": async (input) => {
      await ask(payload("chat.message", input))
    },
    "tool.execute.before": async (input, output) => {
      const answer = await ask(payload("tool.execute.before", input, output.args))
      // After the error, whose text is the reason.
      const abort = () => client.session.abort({ path: { id: input.sessionID } }).catch(() => {})
      if (answer.stop) setTimeout(abort, 100)
      if (answer.deny) throw new Error(answer.deny)
    },
    "tool.execute.after": async (input, output) => {
      const answer = await ask(payload("tool.execute.after", input, input.args))
      if (answer.context) output.output = `${output.output ?? ""}\n\n${answer.context}`
    },
  }
}

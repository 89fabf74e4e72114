// A running `watch --ui`, and the sessions that it follows.
"use strict";

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const { createInterface } = require("node:readline");
const { BROWSER_FOLDER } = require("./chromium.js");

/** A policy with a limit for each session, and one that the sessions of a team share. */
const POLICY = `version = 1
extends = ["builtin:default"]

[detectors.budget]
kind = "token-burn"
max_cost_usd = 1.5

[detectors.team_budget]
kind = "token-burn"
max_cost_usd = 8
window = "day"
per = "label:team"

[sinks.log]
kind = "file"
path = "findings.jsonl"

[[routes]]
sinks = ["log"]
`;

/** The program with a folder of sessions. */
class Watching {
  constructor(name) {
    this.folder = path.join(BROWSER_FOLDER, name);
    this.sessions = path.join(this.folder, "sessions");
    this.policy = path.join(this.folder, "policy.toml");
    fs.rmSync(this.folder, { recursive: true, force: true });
    fs.mkdirSync(this.sessions, { recursive: true });
    fs.writeFileSync(this.policy, POLICY);
  }

  /** Starts the program, and waits for its address. */
  async start(ui) {
    const state = path.join(this.folder, "state");
    const args = ["--policy", this.policy, "watch", this.sessions, "--state-dir", state, "--ui", ui];
    this.child = spawn(process.env.WATCHKEEPER, args, { stdio: ["ignore", "ignore", "pipe"] });
    for await (const line of createInterface({ input: this.child.stderr })) {
      if (!line.startsWith("page: ")) continue;
      this.address = line.slice("page: ".length);
      return;
    }
    throw new Error("the program has printed no address");
  }

  /** Stops the program at once. */
  async kill() {
    const ended = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await ended;
  }

  /** Writes a session whose latest event is `age` seconds old. */
  write(name, text, age = 1) {
    const lines = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const late = Date.now() - age * 1000 - Date.parse(lines[lines.length - 1].at);
    const shifted = (at) => at && new Date(Date.parse(at) + late).toISOString();
    const recent = lines.map((line) =>
      JSON.stringify({ ...line, at: shifted(line.at), resets_at: shifted(line.resets_at) }),
    );
    fs.writeFileSync(path.join(this.sessions, name), `${recent.join("\n")}\n`);
  }
}

module.exports = { Watching };

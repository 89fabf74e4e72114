// Invented sessions for the tests of the page, in the neutral form.

/** Writes events of one session, each with a time. */
class Session {
  constructor(id, start, fields) {
    Object.assign(this, { id, at: Date.parse(start), lines: [], calls: 0, responses: 0 });
    this.event("session_start", fields);
  }

  event(event, fields = {}, agent) {
    const common = { at: new Date(this.at).toISOString(), session: this.id, event };
    this.lines.push(JSON.stringify({ ...common, ...(agent ? { agent } : {}), ...fields }));
    return this;
  }

  wait(secs) {
    this.at += secs * 1000;
    return this;
  }

  prompt(text) {
    return this.event("prompt", { text });
  }

  usage(input, output, agent, cached = 0) {
    const id = `m${this.responses++}`;
    return this.event(
      "model_call",
      {
        id,
        model: "claude-sonnet-4-5",
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: cached,
      },
      agent,
    );
  }

  call(tool, args, secs, ok, output, agent) {
    const id = `c${this.calls++}`;
    this.event("tool_call", { id, tool, arguments: args }, agent);
    if (ok === undefined) return this;
    return this.wait(secs).event("tool_result", { id, ok, output }, agent);
  }

  text() {
    return `${this.lines.join("\n")}\n`;
  }
}

/** An agent that runs the same failing command again and again, after some work. */
function looping() {
  const session = new Session("incident-7f3a", "2026-03-02T09:00:00Z", {
    cwd: "/home/dev/payments",
    model: "claude-sonnet-4-5",
    labels: { team: "payments" },
  });
  session.prompt("Make the checkout tests pass").wait(6);
  for (const file of ["src/checkout.rs", "src/cart.rs", "tests/checkout.rs"]) {
    session
      .usage(4200, 180, undefined, 22000)
      .call(
        "Read",
        { file_path: file },
        1,
        true,
        `contents of ${file}: ${"fn total() -> u64 { … } ".repeat(4)}`,
      )
      .wait(5);
  }
  // The developer is away for lunch.
  session.event("turn_end").wait(3000).prompt("Go on, please").wait(3);
  session
    .call(
      "Edit",
      { file_path: "src/checkout.rs", old_string: "a", new_string: "b" },
      1,
      true,
      "The file src/checkout.rs has been updated",
    )
    .usage(5000, 600, undefined, 31000)
    .wait(4);
  session.call("Task", { prompt: "Look for callers of total()" });
  session.event("agent_start", {}, "explorer").wait(2);
  for (const path of ["src/api.rs", "src/admin.rs", "src/jobs.rs"]) {
    session
      .call("Grep", { pattern: "total\\(", path }, 2, true, `${path}:14: cart.total()`, "explorer")
      .usage(1800, 90, "explorer", 6000)
      .wait(3);
  }
  session
    .event("agent_end", {}, "explorer")
    .event("tool_result", { id: "c4", ok: true, output: "three callers" })
    .wait(3);
  for (let n = 0; n < 14; n++) {
    session
      .usage(2600, 240, undefined, 40000 + 1500 * n)
      .call(
        "Bash",
        { command: "cargo test --test checkout" },
        9,
        false,
        "error[E0308]: mismatched types\n  --> src/checkout.rs:41:9\nexpected `u64`, found `u32`",
      )
      .wait(6);
  }
  return session.text();
}

/** Ordinary work that ends, with a wait for permission. */
function calm(n) {
  const session = new Session(
    `calm-${n}`,
    new Date(Date.parse("2026-03-01T08:00:00Z") + n * 7e6).toISOString(),
    { cwd: `/home/dev/service-${n % 5}`, model: "claude-sonnet-4-5" },
  );
  session.prompt(`Add endpoint ${n}`).wait(5);
  for (let step = 0; step < 4 + (n % 6); step++) {
    session
      .usage(1500 + 90 * n, 120 + step, undefined, 9000 + 800 * step)
      .call(
        step % 2 ? "Bash" : "Read",
        step % 2 ? { command: `cargo check --package p${step}` } : { file_path: `src/part${step}.rs` },
        2 + step,
        true,
        `output ${n} of step ${step}, different from all others: ${"x".repeat(step)}`,
      )
      .wait(4);
  }
  return session.event("message", { text: "Done." }).event("turn_end").event("session_end").text();
}

/** Work on an account whose limit of five hours is nearly used up. */
function limited() {
  const session = new Session("limited-1", "2026-03-02T09:00:00Z", {
    cwd: "/home/dev/search",
    model: "claude-sonnet-4-5",
    labels: { team: "search" },
  });
  const resets_at = new Date(session.at + 3 * 3600000).toISOString();
  session.prompt("Rank the results by date");
  for (let step = 0; step < 12; step++) {
    session
      .call("Read", { file_path: `src/rank${step}.rs` }, 20, true, `ranks of part ${step}: ${"y".repeat(step)}`)
      .usage(9000, 700, undefined, 60000 + 2000 * step)
      .event("quota", { name: "primary", used_percent: 52 + 3 * step, window_minutes: 300, resets_at })
      .wait(35);
  }
  return session.event("waiting", { for: "permission" }).text();
}

/** Names and texts that are markup, scripts, control characters and very long. */
function hostile() {
  const evil = "</script><script>globalThis.pwned = 1</script><img src=x onerror='globalThis.pwned = 1'>";
  const session = new Session(`${evil}\u202e\u0000\u001b[31m`, "2026-03-02T10:00:00Z", {
    cwd: `/w/${evil}`,
    model: `gpt-5${evil}`,
    labels: { [evil]: evil },
  });
  session.prompt(`${evil}\u2028${"x".repeat(1000)}`).wait(2);
  const name = `{{data}}${"N".repeat(1 << 20)}`;
  session.call(name, { command: evil }, 1, false, evil).wait(1);
  for (let n = 0; n < 9; n++) {
    session
      .usage(1000, 100)
      .call(`Bash${evil}`, { command: `${evil}\u202e\u0007` }, 1, false, `${evil}: no such file`)
      .wait(1);
  }
  return session.text();
}

/** A session with this number of calls, two events each. */
function long(n) {
  const session = new Session("long-1", "2026-03-03T09:00:00Z", {
    cwd: "/home/dev/monorepo",
    model: "claude-sonnet-4-5",
  });
  session.prompt("Migrate all packages");
  for (let idx = 0; idx < n; idx++) {
    if (idx % 5 === 0) session.usage(2000, 150, undefined, 30000 + (idx % 900) * 100);
    session
      .call(
        ["Read", "Bash", "Edit", "Grep"][idx % 4],
        { file_path: `src/file${idx}.rs` },
        1,
        idx % 9 !== 0,
        `result ${idx} ${"abcdefgh"[idx % 8].repeat(50)} of ${idx}`,
      )
      .wait(2);
  }
  return session.text();
}

module.exports = { looping, calm, limited, hostile, long };

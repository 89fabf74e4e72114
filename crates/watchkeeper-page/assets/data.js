// The data of the page, and what follows from them.

const DATA = JSON.parse(document.getElementById("data").textContent);
/** Whether the page comes from a server, and changes. Otherwise it is a report. */
const IS_LIVE = DATA.mode === "live";
const SEVERITIES = ["low", "medium", "high"];

const rowsById = new Map(DATA.sessions.map((row) => [row.session, row]));
const detailsById = new Map(DATA.details.map((detail) => [detail.row.session, detail]));
const findingsById = new Map();
let silences = [];

function indexFindings() {
  findingsById.clear();
  for (const finding of DATA.findings) {
    const findings = findingsById.get(finding.session);
    if (findings) findings.push(finding);
    else findingsById.set(finding.session, [finding]);
  }
}
indexFindings();

/** Returns the number of the highest severity of a session: 3 is high, 0 is none. */
function severityOf(row) {
  return SEVERITIES.findLastIndex((name) => 0 < row.findings[name]) + 1;
}

/** Returns the length of a session, or `null` for a session without times. */
function lengthOf(row) {
  return row.started_at === null ? null : Date.parse(row.last_event_at) - Date.parse(row.started_at);
}

function tokensOf(tokens) {
  return tokens.input + tokens.cache_read + tokens.cache_write + tokens.output;
}

/** Returns the name under which people know a session: its folder. */
function projectOf(row) {
  return row.cwd ? baseName(row.cwd) : "no folder";
}

function stateOf(row) {
  return row.is_looping ? "looping" : row.state.kind;
}

function statusOf(finding) {
  return finding.status === "open" ? (IS_LIVE ? "open" : "open at the end") : "resolved";
}

/** Returns the parts of the time of sessions: name, label, milliseconds, color. */
function timeParts(rows) {
  const sum = (key) => rows.reduce((total, row) => total + row.time[key], 0);
  return [
    { label: "model", value: sum("model_ms"), color: "model" },
    { label: "retries", value: sum("retrying_ms"), color: "retrying" },
    { label: "tools", value: sum("tools_ms"), color: "run" },
    { label: "waiting for a person", value: sum("person_ms"), color: "person" },
    { label: "idle", value: sum("idle_ms"), color: "idle" },
  ];
}

/** Returns the parts of tokens by class. */
function tokenParts(tokens) {
  return [
    { label: "input", value: tokens.input, color: "input" },
    { label: "cache read", value: tokens.cache_read, color: "cache_read" },
    { label: "cache write", value: tokens.cache_write, color: "cache_write" },
    { label: "output", value: tokens.output, color: "output" },
  ];
}

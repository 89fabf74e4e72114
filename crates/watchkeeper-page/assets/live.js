// The live page: what the server sends of sessions and findings. A report is without this file, and
// connects to nothing.

/** The shortest time between two drawings, in milliseconds. */
const DRAW_MS = 1000;
/** The time without a word of the server, which sends something every 15 seconds. */
const SILENT_MS = 40000;
const LONGEST_WAIT_MS = 15000;
const MAX_LIVE_FINDINGS = 2000;
/** The states in the order in which people have to look at them. */
const URGENCY = [
  "looping",
  "waiting_for_permission",
  "waiting_for_person",
  "retrying",
  "working",
  "waiting_for_model",
  "running_tool",
  "call_pending",
  "idle",
  "gone",
  "ended",
];

const connection = {
  source: null,
  heardAt: 0,
  lostAt: null,
  waitMs: 1000,
  retry: null,
  drawing: null,
  drawnAt: 0,
};

function startLive() {
  connect();
  setInterval(() => {
    // A connection that slept with its computer ends without an error.
    const isSilent = connection.heardAt + SILENT_MS < Date.now();
    if (isSilent && connection.source.readyState === EventSource.OPEN) connect();
  }, 5000);
}

function connect() {
  clearTimeout(connection.retry);
  connection.source?.close();
  const source = new EventSource("/api/v1/events");
  Object.assign(connection, { source, heardAt: Date.now() });
  source.addEventListener("changes", (event) => {
    heard();
    applyChanges(JSON.parse(event.data));
  });
  source.addEventListener("alive", heard);
  source.addEventListener("error", () => {
    connection.lostAt ??= new Date().toISOString();
    showConnection();
    // The browser connects again by itself, unless the server has refused it.
    if (source !== connection.source || source.readyState !== EventSource.CLOSED) return;
    connection.retry = setTimeout(connect, connection.waitMs);
    connection.waitMs = Math.min(2 * connection.waitMs, LONGEST_WAIT_MS);
  });
  source.addEventListener("open", () => loadSilences());
}

function heard() {
  Object.assign(connection, { heardAt: Date.now(), waitMs: 1000 });
  if (connection.lostAt === null) return;
  connection.lostAt = null;
  showConnection();
}

function showConnection() {
  const { lostAt } = connection;
  const text = `Disconnected since ${clockTime(lostAt)} UTC: what you see may be out of date. If this does not end, open the address that \`watchkeeper watch --ui\` has printed.`;
  document
    .getElementById("connection")
    .replaceChildren(...(lostAt === null ? [] : [el("p", { class: "notice error" }, text)]));
}

function applyChanges(changes) {
  if (changes.is_complete) {
    for (const map of [rowsById, detailsById, budgetsByKey]) map.clear();
    DATA.findings = [];
  }
  for (const id of changes.removed) {
    rowsById.delete(id);
    detailsById.delete(id);
    removeBudgetsOf(id);
  }
  changes.budgets.forEach(addBudget);
  quotas = changes.quotas;
  const viewed = viewedSession();
  for (const row of changes.sessions) {
    rowsById.set(row.session, row);
    if (row.session !== viewed) detailsById.delete(row.session);
  }
  for (const finding of changes.findings) addFinding(finding);
  DATA.findings.length = Math.min(DATA.findings.length, MAX_LIVE_FINDINGS);
  indexFindings();
  DATA.sessions = [...rowsById.values()].sort(byUrgency);
  DATA.totals = changes.totals;
  if (viewed === null || !detailsById.has(viewed)) drawSoon();
  else if (changes.sessions.some((row) => row.session === viewed)) showNews(viewed);
}

/** Adds a finding before the others, in place of an earlier one about the same episode. */
function addFinding(finding) {
  const isOther = (it) => it.fingerprint !== finding.fingerprint || it.at !== finding.at;
  DATA.findings = [finding, ...DATA.findings.filter(isOther)];
}

function byUrgency(a, b) {
  const order = URGENCY.indexOf(stateOf(a)) - URGENCY.indexOf(stateOf(b));
  return order || (a.last_event_at < b.last_event_at ? 1 : -1);
}

/** Returns the id of the session that the address names, or `null`. */
function viewedSession() {
  const [view, id] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  return view === "session" && id !== undefined ? id : null;
}

function drawSoon() {
  const wait = Math.max(100, connection.drawnAt + DRAW_MS - Date.now());
  connection.drawing ??= setTimeout(() => {
    connection.drawing = null;
    // Drawing would end a choice, or a selection that somebody wants to copy.
    const isInUse = document.activeElement?.matches("select") || !getSelection().isCollapsed;
    if (isInUse || document.querySelector("dialog[open]")) drawSoon();
    else drawAgain();
  }, wait);
}

/** Draws the view again, and keeps the focus and the caret. */
function drawAgain() {
  connection.drawnAt = Date.now();
  const focused = document.activeElement;
  const [id, link, caret] = [focused?.id, focused?.getAttribute("href"), focused?.selectionStart];
  render(id);
  if (id === "filter") document.getElementById(id)?.setSelectionRange(caret, caret);
  else if (!id && link) document.querySelector(`#main a[href="${CSS.escape(link)}"]`)?.focus();
}

/** Says that the timeline on the page is no longer the whole one. */
function showNews(id) {
  const update = () => {
    detailsById.delete(id);
    render();
  };
  document
    .getElementById("news")
    ?.replaceChildren("The session has gone on. ", el("button", { type: "button", click: update }, "Update"));
}

/** The sessions whose timelines are being loaded. */
const loading = new Set();

/** Loads the timeline of a session, unless it is being loaded, then draws it. */
async function loadDetail(id) {
  if (loading.has(id)) return;
  loading.add(id);
  try {
    detailsById.set(id, await request("GET", `/api/v1/sessions/${encodeURIComponent(id)}`));
  } catch (error) {
    document.getElementById("news")?.replaceChildren(`The timeline is not available: ${error.message}`);
    return;
  } finally {
    loading.delete(id);
  }
  if (viewedSession() === id) render();
}

/** Returns the answer of the server. Throws its reason if it refuses. */
async function request(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (!response.ok) throw new Error((await response.text()).trim());
  return response.json();
}

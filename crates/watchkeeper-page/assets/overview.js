// All sessions: totals, findings, and the table.

const PAGE_ROWS = 100;
const FIRST_FINDINGS = 6;

/** The sort and the filters of the table, which stay while sessions are looked at. */
const tableState = {
  key: null,
  down: true,
  text: "",
  state: "",
  findings: "",
  rows: PAGE_ROWS,
  allFindings: false,
};

const COLUMNS = [
  {
    key: "state",
    label: "State",
    value: stateOf,
    cell: stateCell,
  },
  {
    key: "session",
    label: "Session",
    value: (row) => projectOf(row) + row.session,
    isHead: true,
    cell: sessionCell,
  },
  {
    key: "findings",
    label: "Findings",
    value: severityRank,
    down: true,
    cell: (row) => findingBadges(row.findings),
  },
  {
    key: "cost",
    label: "Cost",
    class: "num",
    down: true,
    value: (row) => row.cost_usd ?? -1,
    cell: costCell,
  },
  {
    key: "tokens",
    label: "Tokens",
    class: "num w3",
    down: true,
    value: (row) => tokensOf(row.tokens),
    cell: (row) => short(tokensOf(row.tokens)),
  },
  {
    key: "calls",
    label: "Calls",
    class: "num w2",
    down: true,
    value: (row) => row.tool_calls,
    cell: callsCell,
  },
  {
    key: "length",
    label: "Time",
    class: "w2",
    down: true,
    value: (row) => lengthOf(row) ?? -1,
    cell: timeCell,
  },
  {
    key: "started",
    label: "Started (UTC)",
    class: "nowrap w3",
    down: true,
    value: (row) => row.started_at ?? "",
    cell: (row) => minute(row.started_at),
  },
  { key: "model", label: "Model", class: "w3 clip", value: (row) => row.model ?? "", cell: modelCell },
];

function overview() {
  const rows = DATA.sessions;
  const n = DATA.totals.sessions;
  const found = rows.filter((row) => 0 < severityOf(row)).length;
  const { low, medium, high } = DATA.totals.findings;
  const isWhole = DATA.omitted.rows + DATA.totals.dropped_sessions === 0;
  const times = rows
    .map((row) => row.started_at)
    .filter(Boolean)
    .sort();
  const headline =
    n === 0
      ? "No sessions"
      : low + medium + high === 0
        ? `No findings in ${counted(n, "session")}`
        : !isWhole
          ? `${counted(low + medium + high, "finding")} in ${counted(n, "session")}`
          : `${grouped(found)} of ${counted(n, "session")} ${found === 1 ? "has" : "have"} findings`;
  return [
    el(
      "section",
      { class: "headline" },
      el("h1", { tabindex: "-1" }, headline),
      times.length
        ? el("p", { class: "muted" }, `Started ${minute(times[0])} to ${minute(times[times.length - 1])} UTC`)
        : null,
      DATA.hidden.length
        ? el("p", { class: "muted" }, `Not in this report: ${DATA.hidden.join("; ")}`)
        : null,
    ),
    ...DATA.notices.map((notice) =>
      el(
        "p",
        { class: `notice${notice.is_error ? " error" : ""}` },
        el("b", null, notice.is_error ? "Error: " : "Warning: "),
        notice.file ? `${visible(notice.file)}: ` : "",
        visible(notice.text),
      ),
    ),
    n ? totalTiles(rows) : el("p", { class: "empty" }, "There is nothing to show: no session was read."),
    n ? findingsPanel() : null,
    IS_LIVE ? quotasPanel() : null,
    IS_LIVE ? budgetsPanel(usedBudgets(), false) : null,
    silences.length ? silencesPanel() : null,
    n ? daysPanel(rows) : null,
    n ? sessionsPanel(rows) : null,
  ];
}

function totalTiles(rows) {
  const { totals } = DATA;
  const { findings } = totals;
  const time = timeParts(rows);
  return el(
    "dl",
    { class: "tiles", "aria-label": "Totals" },
    tile("Findings", grouped(findings.high + findings.medium + findings.low), findingBadges(findings)),
    tile(
      "Cost",
      dollars(totals.cost_usd),
      totals.unpriced_calls
        ? `${counted(totals.unpriced_calls, "call")} without a known price`
        : `${counted(totals.model_calls, "model call")}`,
    ),
    tile(
      "Spent on repeats",
      dollars(totals.repeats_usd),
      `${percent(totals.repeats_usd, totals.cost_usd)} of the cost, at least`,
    ),
    tile("Tool calls", grouped(totals.tool_calls), `${grouped(totals.failed_results)} failed`),
    tile("Tokens", short(tokensOf(totals.tokens)), stack(tokenParts(totals.tokens), short)),
    tile("Time", duration(time.reduce((sum, part) => sum + part.value, 0)), stack(time, duration)),
  );
}

function findingsPanel() {
  const findings = DATA.findings;
  const shown = tableState.allFindings ? findings : findings.slice(0, FIRST_FINDINGS);
  const more = findings.length - shown.length;
  return el(
    "section",
    { class: "panel", "aria-labelledby": "findings-title" },
    el(
      "header",
      null,
      el("h2", { id: "findings-title" }, "Findings"),
      more
        ? el(
            "button",
            {
              type: "button",
              id: "all-findings",
              click: () => {
                tableState.allFindings = true;
                render("all-findings");
              },
            },
            `Show all ${grouped(findings.length)}`,
          )
        : null,
      IS_LIVE ? historyLink() : null,
    ),
    findings.length === 0
      ? el("p", { class: "empty" }, "The detectors of the policy reported nothing.")
      : el("ol", { class: "findings" }, shown.map(findingItem)),
  );
}

/** A finding in the list of all sessions. */
function findingItem(finding) {
  const row = rowsById.get(finding.session);
  return el(
    "li",
    null,
    badge(finding.severity, finding.severity),
    el(
      "div",
      { class: "what" },
      el(
        "a",
        { class: "cell-main", href: sessionLink(finding.session, finding.id) },
        words(visible(finding.detector)),
      ),
      el("span", { class: "message" }, visible(finding.message)),
      IS_LIVE ? findingNotes(finding) : null,
      el("span", { class: "cell-sub" }, `${row ? projectOf(row) : "no row"} · ${visible(finding.session)}`),
    ),
    el(
      "div",
      { class: "side small" },
      el("div", null, 0 < finding.cost_usd ? dollars(finding.cost_usd) : ""),
      el("div", { class: "muted" }, minute(finding.at)),
      el("div", { class: "muted" }, statusOf(finding)),
      IS_LIVE ? findingActions(finding) : null,
    ),
  );
}

/** Cost by day of the start, if there are several days. */
function daysPanel(rows) {
  const days = new Map();
  for (const row of rows) {
    if (row.started_at === null) continue;
    const day = row.started_at.slice(0, 10);
    const sum = days.get(day) ?? { cost: 0, repeats: 0, sessions: 0 };
    sum.cost += row.cost_usd ?? 0;
    sum.repeats += row.repeats_usd;
    sum.sessions += 1;
    days.set(day, sum);
  }
  if (days.size < 3) return null;
  const sorted = [...days].sort(([a], [b]) => (a < b ? -1 : 1)).slice(-60);
  const most = Math.max(...sorted.map(([, sum]) => sum.cost), 1e-9);
  const width = 1000 / sorted.length;
  const bars = sorted.flatMap(([day, sum], idx) => {
    const rect = (value, fill) =>
      svg("rect", {
        x: idx * width + 1,
        width: Math.max(1, Math.min(width - 2, 40)),
        y: 64 - (60 * value) / most,
        height: (60 * value) / most,
        fill,
      });
    return [
      svg(
        "g",
        null,
        svg(
          "title",
          null,
          `${day}: ${dollars(sum.cost)}, ${dollars(sum.repeats)} on repeats, ${counted(sum.sessions, "session")}`,
        ),
        rect(sum.cost, "var(--low-fill)"),
        rect(sum.repeats, "var(--high-fill)"),
      ),
    ];
  });
  return el(
    "section",
    { class: "panel", "aria-labelledby": "days-title" },
    el(
      "header",
      null,
      el("h2", { id: "days-title" }, "Cost by day of the start"),
      el(
        "ul",
        { class: "legend" },
        legendItem("low-fill", "cost"),
        legendItem("high-fill", "spent on repeats"),
        el("li", null, `highest day ${dollars(most)}`),
      ),
    ),
    svg(
      "svg",
      {
        class: "days",
        viewBox: "0 0 1000 66",
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `Cost on ${sorted.length} days, from ${sorted[0][0]} to ${sorted[sorted.length - 1][0]}; the highest is ${dollars(most)}`,
      },
      bars,
    ),
    el(
      "p",
      { class: "ends muted small" },
      el("span", null, sorted[0][0]),
      el("span", null, sorted[sorted.length - 1][0]),
    ),
  );
}

function sessionsPanel(rows) {
  const shown = selectedRows(rows);
  const visibleRows = shown.slice(0, tableState.rows);
  const more = shown.length - visibleRows.length;
  const options = (values) =>
    values.map(([value, label]) =>
      el("option", { value, selected: value === tableState[values.key] }, label),
    );
  const states = [
    ["", "any"],
    ...[...new Set(rows.map(stateOf))].sort().map((state) => [state, words(state)]),
  ];
  states.key = "state";
  const kinds = [
    ["", "any"],
    ["some", "with findings"],
    ["high", "high severity"],
    ["none", "without findings"],
  ];
  kinds.key = "findings";
  const change = (key) => (event) => {
    tableState[key] = event.target.value;
    tableState.rows = PAGE_ROWS;
    renderTable();
  };
  return el(
    "section",
    { class: "panel", id: "sessions", "aria-labelledby": "sessions-title" },
    el(
      "header",
      null,
      el("h2", { id: "sessions-title" }, "Sessions"),
      el(
        "div",
        { class: "filters" },
        el(
          "label",
          null,
          "Filter",
          el("input", {
            id: "filter",
            type: "search",
            value: tableState.text,
            placeholder: "session, folder, model, label",
            input: change("text"),
          }),
        ),
        el(
          "label",
          null,
          "State",
          el("select", { id: "filter-state", change: change("state") }, options(states)),
        ),
        el(
          "label",
          null,
          "Findings",
          el("select", { id: "filter-findings", change: change("findings") }, options(kinds)),
        ),
      ),
      el(
        "span",
        { class: "muted small", role: "status" },
        `${grouped(shown.length)} of ${grouped(rows.length)}`,
      ),
    ),
    shown.length === 0
      ? el("p", { class: "empty" }, "No session matches the filters.")
      : el(
          "div",
          { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Table of sessions" },
          el(
            "table",
            null,
            el("thead", null, el("tr", null, COLUMNS.map(columnHead))),
            el("tbody", null, visibleRows.map(tableRow)),
          ),
        ),
    more
      ? el(
          "button",
          {
            type: "button",
            id: "more",
            click: () => {
              tableState.rows += PAGE_ROWS;
              renderTable("more");
            },
          },
          `Show more (${grouped(more)})`,
        )
      : null,
  );
}

/** Draws the table again, and keeps the focus. */
function renderTable(focus = document.activeElement?.id) {
  const old = document.getElementById("sessions");
  const input = document.getElementById("filter");
  const caret = input.selectionStart;
  old.replaceWith(sessionsPanel(DATA.sessions));
  const focused = focus && document.getElementById(focus);
  focused?.focus();
  if (focus === "filter") focused.setSelectionRange(caret, caret);
}

function selectedRows(rows) {
  const terms = tableState.text.toLowerCase().split(/\s+/).filter(Boolean);
  const selected = rows.filter((row) => {
    const severity = severityOf(row);
    if (tableState.state && stateOf(row) !== tableState.state) return false;
    if (tableState.findings === "some" && severity === 0) return false;
    if (tableState.findings === "high" && severity < 3) return false;
    if (tableState.findings === "none" && 0 < severity) return false;
    if (terms.length === 0) return true;
    const labels = Object.entries(row.labels).map(([name, value]) => `${name}=${value}`);
    const detectors = (findingsById.get(row.session) ?? []).map((finding) => finding.detector);
    const text = [row.session, row.cwd, row.model, row.source, stateOf(row), ...labels, ...detectors]
      .join(" ")
      .toLowerCase();
    return terms.every((term) => text.includes(term));
  });
  const column = COLUMNS.find((it) => it.key === tableState.key);
  if (!column) return selected;
  const sign = tableState.down ? -1 : 1;
  return selected
    .map((row) => [column.value(row), row])
    .sort(([a], [b]) => (a < b ? -sign : b < a ? sign : 0))
    .map(([, row]) => row);
}

function columnHead(column) {
  const isSorted = tableState.key === column.key;
  const sort = () => {
    tableState.down = isSorted ? !tableState.down : Boolean(column.down);
    tableState.key = column.key;
    renderTable(`sort-${column.key}`);
  };
  return el(
    "th",
    {
      scope: "col",
      class: column.class,
      "aria-sort": isSorted ? (tableState.down ? "descending" : "ascending") : null,
    },
    el("button", { type: "button", id: `sort-${column.key}`, click: sort }, column.label),
  );
}

function tableRow(row) {
  const open = (event) => {
    if (!event.target.closest("a") && getSelection().isCollapsed) location.hash = sessionLink(row.session);
  };
  return el(
    "tr",
    { class: "link", click: open },
    COLUMNS.map((column) =>
      el(
        column.isHead ? "th" : "td",
        { class: column.class, scope: column.isHead ? "row" : null },
        column.cell(row),
      ),
    ),
  );
}

function sessionCell(row) {
  return [
    el("a", { class: "cell-main", href: sessionLink(row.session) }, projectOf(row)),
    el("div", { class: "cell-sub mono" }, visible(row.session)),
  ];
}

function costCell(row) {
  const isWaste = 0.005 <= row.repeats_usd;
  return [
    el("div", null, cost(row)),
    isWaste ? el("div", { class: "cell-sub" }, `${dollars(row.repeats_usd)} repeats`) : null,
  ];
}

/** The state; of a live session with its begin and its proof. */
function stateCell(row) {
  const { kind, since, proof } = row.state;
  const state = badge(stateOf(row), `state ${stateOf(row)}`);
  if (!IS_LIVE || !since) return state;
  const at = proof?.file ? `${visible(proof.file)}:${proof.line}` : "memory";
  const title = proof ? `${words(kind)}, since the ${words(proof.event)} in ${at}` : "";
  return [state, el("div", { class: "cell-sub", title }, `since ${clockTime(since)}`)];
}

function callsCell(row) {
  return [
    el("div", null, grouped(row.tool_calls)),
    row.failed_results ? el("div", { class: "cell-sub" }, `${grouped(row.failed_results)} failed`) : null,
  ];
}

function timeCell(row) {
  const length = lengthOf(row);
  return length === null ? "–" : [el("span", null, duration(length)), stack(timeParts([row]), duration)];
}

function modelCell(row) {
  return [
    el("div", { title: visible(row.model ?? "") }, visible(row.model ?? "unknown")),
    el("div", { class: "cell-sub" }, visible(row.source ?? "")),
  ];
}

function severityRank(row) {
  return severityOf(row) * 1e6 + row.findings.high + row.findings.medium + row.findings.low;
}

function sessionLink(session, finding) {
  return `#/session/${encodeURIComponent(session)}${finding ? `/${encodeURIComponent(finding)}` : ""}`;
}

// One session: its findings, its timeline, and what time and money went into.

const FIRST_EVENTS = 300;
/** The kinds of detectors whose evidence begins with a repetition. */
const REPETITIONS = new Set(["repeat-tool-call", "repeat-text", "error-loop", "runaway-loop"]);

function sessionView(id, findingId) {
  const row = rowsById.get(id);
  if (!row) return [el("h1", { tabindex: "-1" }, "No such session"), el("p", null, el("a", { href: "#/" }, "All sessions"))];
  const detail = detailsById.get(id);
  const findings = (findingsById.get(id) ?? []).map((finding, idx) => ({ ...finding, number: idx + 1 }));
  const length = lengthOf(row);
  const facts = [visible(row.source ?? ""), visible(row.model ?? "no model"), row.started_at ? `${minute(row.started_at)} UTC` : "no times", length === null ? null : duration(length), row.sub_agents ? counted(row.sub_agents, "sub-agent") : null];
  return [
    el("section", { class: "headline" },
      el("p", null, el("a", { href: "#/" }, "← All sessions")),
      el("h1", { tabindex: "-1" }, projectOf(row)),
      el("p", { class: "mono" }, visible(row.session)),
      el("p", { class: "muted" }, facts.filter(Boolean).join(" · ")),
      el("p", { class: "badges" }, row.is_looping ? badge("looping", "looping") : null, badge(row.state.kind, `state ${row.state.kind}`),
        row.state.proof?.line ? el("span", { class: "muted small" }, `at the end, since the ${words(row.state.proof.event)} in `, place(row.state.proof.file, row.state.proof.line)) : null)),
    sessionTiles(row),
    ...(detail ? detailPanels(row, detail, findings, findingId) : [
      findingList(row, findings, null),
      el("p", { class: "empty" }, "The report has no timeline of this session. To keep the file small, it has those of the sessions with findings, then of the most expensive and of the latest ones. Check the file of this session alone to see its timeline."),
    ]),
  ];
}

function sessionTiles(row) {
  const { context } = row;
  return el("dl", { class: "tiles", "aria-label": "Totals of the session" },
    tile("Cost", cost(row), row.unpriced_calls ? `${counted(row.unpriced_calls, "call")} without a known price` : counted(row.model_calls, "model call")),
    tile("Spent on repeats", dollars(row.repeats_usd), `${percent(row.repeats_usd, row.cost_usd)} of the cost, ${counted(row.repeated_results, "repeat")}`),
    tile("Tool calls", grouped(row.tool_calls), `${grouped(row.failed_results)} failed`),
    tile("Tokens", short(tokensOf(row.tokens)), stack(tokenParts(row.tokens), short)),
    tile("Context", context ? short(context.tokens) : "–", context?.window ? `${percent(context.tokens, context.window)} of ${short(context.window)}` : "window not known"),
    lengthOf(row) === null ? tile("Time", "–", "the session has no times") : tile("Time", duration(lengthOf(row)), stack(timeParts([row]), duration)));
}

function detailPanels(row, detail, findings, findingId) {
  for (const finding of findings) placeFinding(finding, detail);
  const inspector = el("div", { class: "inspector", role: "status" }, el("span", { class: "muted" }, "Select a bar or a finding to see what it is."));
  const timeline = new Timeline(detail, findings, (target) => {
    inspector.replaceChildren(...(target ? inspected(target, detail) : [el("span", { class: "muted" }, "Nothing is selected.")]));
    markCurrent(target?.finding);
  });
  const show = (finding) => {
    timeline.showFinding(finding);
    timeline.select({ finding });
    timeline.element.scrollIntoView({ block: "nearest" });
  };
  const wanted = findings.find((finding) => finding.id === findingId);
  requestAnimationFrame(() => wanted && (timeline.showFinding(wanted), timeline.select({ finding: wanted })));
  const empty = timeline.lanes.filter((lane) => lane.height === 0).length;
  const shorten = (event) => {
    const isShort = event.target.getAttribute("aria-pressed") !== "true";
    event.target.setAttribute("aria-pressed", String(isShort));
    timeline.shortenIdle(isShort);
  };
  const tool = (label, action) => el("button", { type: "button", click: action }, label);
  return [
    findingList(row, findings, show, detail),
    el("section", { class: "panel", "aria-labelledby": "timeline-title" },
      el("header", null, el("h2", { id: "timeline-title" }, "Timeline"),
        el("div", { class: "tools" }, tool("Zoom in", () => timeline.zoom(0.6)), tool("Zoom out", () => timeline.zoom(1.6)), tool("Show all", () => timeline.showAll()),
          timeline.shortScale.gaps.length ? el("button", { type: "button", "aria-pressed": "true", click: shorten }, "Shorten idle time") : null),
        el("span", { class: "muted small", id: "timeline-keys" }, "Drag to zoom. Keys: ← → move, + − zoom, 0 all, n p next and previous bar.")),
      timelineLegend(detail, timeline),
      timeline.element,
      inspector,
      empty ? el("p", { class: "muted small" }, `Of ${counted(empty, "sub-agent")}, the session contains no calls.`) : null,
      detail.resolution_ms ? el("p", { class: "muted small" }, `Bars of one kind that begin within ${duration(detail.resolution_ms)} are one bar.`) : null,
      eventTable(timeline)),
    sharesPanel(row, detail),
    factsPanel(row),
  ];
}

/** Sets the place of a finding on the timeline, as precisely as its times and lines allow. */
function placeFinding(finding, detail) {
  const lane = detail.lanes.findIndex((it) => it.agent === finding.agent);
  finding.lane = Math.max(0, lane);
  const start = detail.starts_at && Date.parse(detail.starts_at);
  const offset = (at) => Math.min(Math.max(Date.parse(at) - start, 0), detail.length_ms);
  const lines = finding.evidence.map((evidence) => offsetOfLine(evidence, detail)).filter((at) => at !== null);
  finding.at_ms = start && finding.at ? offset(finding.at) : lines.length ? Math.max(...lines) : detail.length_ms;
  finding.end_ms = start && finding.ended_at ? offset(finding.ended_at) : finding.status === "open" ? detail.length_ms : finding.at_ms;
  finding.first_ms = Math.min(finding.at_ms, ...lines);
}

function offsetOfLine({ file, line }, detail) {
  if (line === null || line === undefined) return null;
  for (const { bars } of detail.lanes) {
    const idx = bars.line.findIndex((it, at) => it === line && detail.files[bars.file[at]] === file);
    if (0 <= idx) return bars.start_ms[idx];
  }
  return null;
}

function markCurrent(finding) {
  for (const item of document.querySelectorAll(".findings > li")) {
    if (item.dataset.id === finding?.id) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
  }
}

function findingList(row, findings, show, detail) {
  return el("section", { class: "panel", "aria-labelledby": "findings-title" },
    el("header", null, el("h2", { id: "findings-title" }, findings.length ? `Findings (${grouped(findings.length)})` : "Findings")),
    findings.length === 0
      ? el("p", { class: "empty" }, "The detectors of the policy reported nothing in this session.")
      : el("ol", { class: "findings" }, findings.map((finding) => el("li", { "data-id": finding.id },
        el("div", null, badge(finding.severity, finding.severity)),
        el("div", { class: "what" },
          el("div", null, el("span", { class: "marker" }, String(finding.number)), " ", el("span", { class: "cell-main" }, words(visible(finding.detector))), finding.agent === null ? null : el("span", { class: "muted" }, ` in sub-agent ${visible(finding.agent)}`)),
          el("div", { class: "message" }, visible(finding.message)),
          evidenceList(finding),
          finding.replaces ? el("div", { class: "cell-sub" }, `Replaced ${words(visible(finding.replaces))}, as it explains the problem better`) : null,
          finding.resolution ? el("div", { class: "cell-sub" }, `Resolved: ${visible(finding.resolution)}`) : null,
          measured(finding, detail)),
        el("div", { class: "side small" },
          finding.cost_usd ? el("div", { class: "cell-main" }, dollars(finding.cost_usd)) : null,
          finding.tokens ? el("div", { class: "muted" }, `${short(finding.tokens)} tokens`) : null,
          finding.at ? el("div", { class: "muted" }, clockTime(finding.at)) : null,
          el("div", { class: "muted" }, finding.status === "open" ? "open at the end" : "resolved"),
          show ? el("button", { type: "button", click: () => show(finding) }, "Show") : null)))));
}

function evidenceList(finding) {
  const { evidence } = finding;
  if (evidence.length === 0) return null;
  const label = (idx) => (evidence.length === 1 ? "" : idx === 0 ? (REPETITIONS.has(finding.kind) ? "first repetition " : "began at ") : idx === evidence.length - 1 ? "reported at " : "");
  return el("ul", { class: "evidence" }, evidence.map((it, idx) => el("li", null, el("span", { class: "muted" }, label(idx)), place(it.file, it.line), el("span", { class: "muted" }, ` ${words(it.event)}`))));
}

/** What the detector of a finding measured, and the data of the finding. */
function measured(finding, detail) {
  const of = detail?.measures.find((it) => it.detector === finding.detector);
  const data = Object.entries(finding.data);
  const measurements = of ? of.measurements.filter((it) => it.agent === finding.agent) : [];
  if (measurements.length === 0 && data.length === 0) return null;
  const value = (it) => (it === null ? "" : of.unit === "percent" ? `${grouped(it)}%` : grouped(it));
  return el("details", null,
    el("summary", null, measurements.length ? "What the detector measured" : "Data of the finding"),
    el("div", { class: "panel" },
      1 < measurements.length ? measureChart(of, measurements, value, detail) : null,
      data.length ? el("dl", { class: "facts" }, data.flatMap(([name, it]) => [el("dt", null, words(visible(name))), el("dd", { class: "mono" }, visible(typeof it === "string" ? it : JSON.stringify(it)))])) : null,
      measurements.length ? el("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Measures" }, el("table", null,
        el("thead", null, el("tr", null, ["At", "Effect", "Measure", "Event", "Line"].map((label) => el("th", { scope: "col" }, label)))),
        el("tbody", null, measurements.map((it) => el("tr", null,
          el("td", { class: "nowrap" }, moment(it.at_ms, detail)),
          el("td", { class: "nowrap" }, it.severity && it.outcome !== "resolved" ? badge(`${it.outcome}, ${it.severity}`, it.severity) : words(it.outcome)),
          el("td", { class: "num" }, value(it.measure)),
          el("td", null, visible(it.event), el("div", { class: "cell-sub" }, visible(it.message))),
          el("td", null, it.line ? place(it.file, it.line) : "time"))))))
        : null,
      of?.omitted ? el("p", { class: "muted small" }, `${grouped(of.omitted)} later measures are left out; \`check --explain\` prints them.`) : null));
}

/** The measures of a detector as points, and the levels of the policy as lines. */
function measureChart(of, measurements, value, detail) {
  const points = measurements.filter((it) => it.measure !== null);
  if (points.length < 2) return null;
  const width = 560, height = 110, left = 34, right = 70, top = 8, bottom = 92;
  const levels = of.levels.filter((level) => level.at <= 3 * Math.max(...points.map((it) => it.measure)));
  const most = Math.max(...points.map((it) => it.measure), ...levels.map((level) => level.at));
  const [from, to] = [points[0].at_ms, points[points.length - 1].at_ms];
  const x = (at) => left + ((at - from) / Math.max(1, to - from)) * (width - left - right);
  const y = (measure) => bottom - (measure / most) * (bottom - top);
  // The labels of levels that are close do not overlap.
  const labels = [...levels].reverse().map((level) => y(level.at) + 3);
  labels.forEach((_, idx) => { if (0 < idx) labels[idx] = Math.max(labels[idx], labels[idx - 1] + 11); });
  labels.reverse();
  const path = points.map((it, idx) => `${idx ? "L" : "M"}${x(it.at_ms).toFixed(1)} ${y(it.measure).toFixed(1)}`).join("");
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Measures of ${visible(of.detector)}: from ${value(points[0].measure)} to ${value(most)}; the table has all of them` },
    svg("path", { d: `M${left} ${bottom}H${width - right}`, stroke: "var(--strong-line)" }),
    levels.map((level, idx) => [
      svg("path", { d: `M${left} ${y(level.at)}H${width - right}`, stroke: `var(--${level.severity}-fill)`, "stroke-dasharray": "4 3" }),
      svg("text", { x: width - right + 5, y: labels[idx] }, `${value(level.at)} ${level.severity}`)]).flat(),
    svg("path", { d: path, fill: "none", stroke: "var(--accent)", "stroke-width": 1.5 }),
    points.map((it) => svg("circle", { cx: x(it.at_ms), cy: y(it.measure), r: it.outcome === "below" || it.outcome === "counted" ? 2.2 : 4, fill: it.severity ? `var(--${it.severity}-fill)` : "var(--accent)" }, svg("title", null, `${value(it.measure)}, ${words(it.outcome)}, at ${moment(it.at_ms, detail)}`))),
    svg("text", { x: 2, y: y(most) + 4 }, value(most)), svg("text", { x: 2, y: bottom + 3 }, "0"),
    svg("text", { x: left, y: height - 4 }, moment(from, detail)), svg("text", { x: width - right, y: height - 4, "text-anchor": "end" }, moment(to, detail)));
}

function timelineLegend(detail, timeline) {
  const kinds = new Set(detail.lanes.flatMap((lane) => lane.bars.kind));
  const names = ["model", "retrying", "read", "write", "run", "wait", "ask", "delegate", "other", "permission", "person"].filter((kind) => kinds.has(kind));
  const has = (column) => detail.lanes.some((lane) => lane.bars[column].some((n) => 0 < n));
  return el("ul", { class: "legend", "aria-label": "Legend" }, names.map((kind) => legendItem(kind, kind === "permission" || kind === "person" ? `waits for ${kind === "person" ? "a person" : kind}` : kind)),
    has("failed") ? legendItem("", "failed", "failed") : null, has("repeats") ? legendItem("", "repeats an earlier result", "repeat") : null,
    timeline.shortScale.gaps.length ? legendItem("", "idle time, shortened", "gap") : null,
    kinds.has("prompt") ? el("li", null, "▼ prompt") : null, kinds.has("error") ? el("li", null, "■ error") : null, kinds.has("compaction") ? el("li", null, "● compaction") : null);
}

/** The bar or finding that is selected, as text. */
function inspected(target, detail) {
  const lines = describe(target, detail);
  const at = target.item ? place(detail.files[target.item.file], target.item.line) : null;
  return [el("div", null, el("b", null, lines[0]), at ? " " : null, at), ...lines.slice(1).map((line) => el("div", { class: "muted" }, line))];
}

/** All bars as a table, for those who do not see the timeline. */
function eventTable(timeline) {
  const { detail } = timeline;
  const items = timeline.lanes.flatMap((lane) => lane.items).sort((a, b) => a.start - b.start);
  const fill = (n) => {
    const rows = items.slice(0, n).map((item) => {
      const lines = describe({ item }, detail);
      const [what, ...more] = lines;
      return el("tr", null, el("td", { class: "nowrap" }, moment(item.start, detail)), el("td", { class: "w2" }, timeline.lanes[item.lane].label), el("td", null, what, el("div", { class: "cell-sub" }, more.join(" · "))), el("td", null, place(detail.files[item.file], item.line)));
    });
    return [
      el("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Events" }, el("table", null,
        el("thead", null, el("tr", null, el("th", { scope: "col" }, "At"), el("th", { scope: "col", class: "w2" }, "Agent"), el("th", { scope: "col" }, "What"), el("th", { scope: "col" }, "Line"))),
        el("tbody", null, rows))),
      n < items.length ? el("button", { type: "button", click: () => content.replaceChildren(...fill(n * 4)) }, `Show more (${grouped(items.length - n)})`) : null,
    ].filter(Boolean);
  };
  const content = el("div", { class: "panel" });
  const open = (event) => event.target.open && !content.hasChildNodes() && content.append(...fill(FIRST_EVENTS));
  return el("details", { toggle: open }, el("summary", null, `Events as a table (${grouped(items.length)})`), content);
}

function sharesPanel(row, detail) {
  const { costs } = detail;
  const isPriced = 0 < (row.cost_usd ?? 0);
  const unit = isPriced ? "Cost" : "Tokens";
  const format = isPriced ? dollars : short;
  const share = (share, unknown) => ({ label: share.name === null ? unknown : visible(share.name), value: isPriced ? share.cost_usd : share.tokens, more: [grouped(share.model_calls), short(share.tokens)] });
  const table = (title, shares, unknown) => shareTable(title, shares.slice(0, 12).map((it) => share(it, unknown)), format, [title.slice(3), unit, "Responses", "Tokens"]);
  const repeats = { label: "reading repeats", class: "waste", value: isPriced ? costs.repeats_usd : costs.repeats_tokens, more: ["", short(costs.repeats_tokens)] };
  const tools = costs.tools.slice(0, 12).map((it) => share(it, "prompts"));
  return el("div", { class: "split" },
    row.started_at === null ? null : el("section", { class: "panel", "aria-labelledby": "time-title" }, el("h2", { id: "time-title" }, "Where the time went"),
      shareTable("By state", timeParts([row]).filter((part) => part.value), duration, ["State", "Time"])),
    el("section", { class: "panel", "aria-labelledby": "money-title" }, el("h2", { id: "money-title" }, "Where the money went"),
      shareTable("By the tool whose results the model read", [...tools, repeats], format, ["Tool", unit, "Responses", "Tokens"]),
      el("p", { class: "muted small" }, "The cost of a response belongs to the results that it was the first to read. A repeat is a result that equals an earlier one of an equal call, since the latest prompt and the latest change. Repeats are a part of the tools above.")),
    el("section", { class: "panel", "aria-labelledby": "who-title" }, el("h2", { id: "who-title" }, "Who spent it"),
      table("By model", costs.models, "unknown"), 1 < costs.agents.length ? table("By agent", costs.agents, "main agent") : null));
}

function factsPanel(row) {
  const labels = Object.entries(row.labels);
  return el("section", { class: "panel", "aria-labelledby": "facts-title" }, el("h2", { id: "facts-title" }, "The session"),
    el("dl", { class: "facts" },
      el("dt", null, "id"), el("dd", { class: "mono" }, visible(row.session)),
      el("dt", null, "folder"), el("dd", { class: "mono" }, visible(row.cwd ?? "not known")),
      el("dt", null, "events"), el("dd", null, grouped(row.events)),
      labels.flatMap(([name, value]) => [el("dt", null, `label ${visible(name)}`), el("dd", null, visible(value))])));
}

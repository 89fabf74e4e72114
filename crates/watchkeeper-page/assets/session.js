// One session: its findings, its timeline, and what time and money went into.

const FIRST_EVENTS = 300;

function sessionView(id, findingId) {
  const row = rowsById.get(id);
  if (!row)
    return [
      el("h1", { tabindex: "-1" }, "No such session"),
      el("p", null, el("a", { href: "#/" }, "All sessions")),
    ];
  const detail = detailsById.get(id);
  const findings = (findingsById.get(id) ?? []).map((finding, idx) => ({ ...finding, number: idx + 1 }));
  const length = lengthOf(row);
  const facts = [
    visible(row.source ?? ""),
    visible(row.model ?? "no model"),
    row.started_at ? `${minute(row.started_at)} UTC` : "no times",
    length === null ? null : duration(length),
    row.sub_agents ? counted(row.sub_agents, "sub-agent") : null,
  ];
  return [
    el(
      "section",
      { class: "headline" },
      el("p", null, el("a", { href: "#/" }, "← All sessions")),
      el("h1", { tabindex: "-1" }, projectOf(row)),
      el("p", { class: "mono" }, visible(row.session)),
      el("p", { class: "muted" }, facts.filter(Boolean).join(" · ")),
      el(
        "p",
        { class: "badges" },
        row.is_looping ? badge("looping", "looping") : null,
        badge(row.state.kind, `state ${row.state.kind}`),
        row.state.proof?.line
          ? el(
              "span",
              { class: "muted small" },
              `${IS_LIVE ? "" : "at the end, "}since the ${words(row.state.proof.event)} in `,
              place(row.state.proof.file, row.state.proof.line),
            )
          : null,
      ),
      el("p", { id: "news", role: "status" }, IS_LIVE && !detail ? "Loading the timeline…" : null),
    ),
    sessionTiles(row),
    IS_LIVE ? budgetsPanel(budgetsOf(row), true) : null,
    ...(detail
      ? detailPanels(row, detail, findings, findingId)
      : [
          findingList(row, findings, null),
          IS_LIVE
            ? null
            : el(
                "p",
                { class: "empty" },
                "The report has no timeline of this session. To keep the file small, it has those of the sessions with findings, then of the most expensive and of the latest ones. Check the file of this session alone to see its timeline.",
              ),
        ]),
  ];
}

function sessionTiles(row) {
  const { context } = row;
  return el(
    "dl",
    { class: "tiles", "aria-label": "Totals of the session" },
    tile(
      "Cost",
      cost(row),
      row.unpriced_calls
        ? `${counted(row.unpriced_calls, "call")} without a known price`
        : counted(row.model_calls, "model call"),
    ),
    tile(
      "Spent on repeats",
      dollars(row.repeats_usd),
      `${percent(row.repeats_usd, row.cost_usd)} of the cost, ${counted(row.repeated_results, "repeat")}`,
    ),
    tile("Tool calls", grouped(row.tool_calls), `${grouped(row.failed_results)} failed`),
    tile("Tokens", short(tokensOf(row.tokens)), stack(tokenParts(row.tokens), short)),
    tile(
      "Context",
      context ? short(context.tokens) : "–",
      context?.window
        ? `${percent(context.tokens, context.window)} of ${short(context.window)}`
        : "window not known",
    ),
    lengthOf(row) === null
      ? tile("Time", "–", "the session has no times")
      : tile("Time", duration(lengthOf(row)), stack(timeParts([row]), duration)),
  );
}

function detailPanels(row, detail, findings, findingId) {
  for (const finding of findings) placeFinding(finding, detail);
  const inspector = el(
    "div",
    { class: "inspector", role: "status" },
    el("span", { class: "muted" }, "Select a bar or a finding to see what it is."),
  );
  const timeline = new Timeline(detail, findings, (target) => {
    inspector.replaceChildren(
      ...(target ? inspected(target, detail) : [el("span", { class: "muted" }, "Nothing is selected.")]),
    );
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
    el(
      "section",
      { class: "panel", "aria-labelledby": "timeline-title" },
      el(
        "header",
        null,
        el("h2", { id: "timeline-title" }, "Timeline"),
        el(
          "div",
          { class: "tools" },
          tool("Zoom in", () => timeline.zoom(0.6)),
          tool("Zoom out", () => timeline.zoom(1.6)),
          tool("Show all", () => timeline.showAll()),
          timeline.shortScale.gaps.length
            ? el("button", { type: "button", "aria-pressed": "true", click: shorten }, "Shorten idle time")
            : null,
        ),
        el(
          "span",
          { class: "muted small", id: "timeline-keys" },
          "Drag to zoom. Keys: ← → move, + − zoom, 0 all, n p next and previous bar.",
        ),
      ),
      timelineLegend(detail, timeline),
      timeline.element,
      inspector,
      empty
        ? el(
            "p",
            { class: "muted small" },
            `Of ${counted(empty, "sub-agent")}, the session contains no calls.`,
          )
        : null,
      detail.resolution_ms
        ? el(
            "p",
            { class: "muted small" },
            `Bars of one kind that begin within ${duration(detail.resolution_ms)} are one bar.`,
          )
        : null,
      eventTable(timeline),
    ),
    sharesPanel(row, detail),
    factsPanel(row),
  ];
}

function timelineLegend(detail, timeline) {
  const kinds = new Set(detail.lanes.flatMap((lane) => lane.bars.kind));
  const names = COLORED.filter((kind) => kinds.has(kind));
  const has = (column) => detail.lanes.some((lane) => lane.bars[column].some((n) => 0 < n));
  return el(
    "ul",
    { class: "legend", "aria-label": "Legend" },
    names.map((kind) =>
      legendItem(
        kind,
        kind === "permission" || kind === "person"
          ? `waits for ${kind === "person" ? "a person" : kind}`
          : kind,
      ),
    ),
    has("failed") ? legendItem("", "failed", "failed") : null,
    has("repeats") ? legendItem("", "repeats an earlier result", "repeat") : null,
    timeline.shortScale.gaps.length ? legendItem("", "idle time, shortened", "gap") : null,
    kinds.has("prompt") ? el("li", null, "▼ prompt") : null,
    kinds.has("error") ? el("li", null, "■ error") : null,
    kinds.has("compaction") ? el("li", null, "● compaction") : null,
  );
}

/** The bar or finding that is selected, as text. */
function inspected(target, detail) {
  const lines = describe(target, detail);
  const at = target.item ? place(detail.files[target.item.file], target.item.line) : null;
  return [
    el("div", null, el("b", null, lines[0]), at ? " " : null, at),
    ...lines.slice(1).map((line) => el("div", { class: "muted" }, line)),
  ];
}

/** All bars as a table, for those who do not see the timeline. */
function eventTable(timeline) {
  const { detail } = timeline;
  const items = timeline.lanes.flatMap((lane) => lane.items).sort((a, b) => a.start - b.start);
  const fill = (n) => {
    const rows = items.slice(0, n).map((item) => {
      const lines = describe({ item }, detail);
      const [what, ...more] = lines;
      return el(
        "tr",
        null,
        el("td", { class: "nowrap" }, moment(item.start, detail)),
        el("td", { class: "w2" }, timeline.lanes[item.lane].label),
        el("td", null, what, el("div", { class: "cell-sub" }, more.join(" · "))),
        el("td", null, place(detail.files[item.file], item.line)),
      );
    });
    return [
      dataTable("Events", ["At", { label: "Agent", class: "w2" }, "What", "Line"], rows),
      n < items.length
        ? el(
            "button",
            { type: "button", click: () => content.replaceChildren(...fill(n * 4)) },
            `Show more (${grouped(items.length - n)})`,
          )
        : null,
    ].filter(Boolean);
  };
  const content = el("div", { class: "panel" });
  const open = (event) =>
    event.target.open && !content.hasChildNodes() && content.append(...fill(FIRST_EVENTS));
  return el(
    "details",
    { toggle: open },
    el("summary", null, `Events as a table (${grouped(items.length)})`),
    content,
  );
}

function sharesPanel(row, detail) {
  const { costs } = detail;
  const isPriced = 0 < (row.cost_usd ?? 0);
  const unit = isPriced ? "Cost" : "Tokens";
  const format = isPriced ? dollars : short;
  const share = (share, unknown) => ({
    label: share.name === null ? unknown : visible(share.name),
    value: isPriced ? share.cost_usd : share.tokens,
    more: [grouped(share.model_calls), short(share.tokens)],
  });
  const table = (title, shares, unknown) =>
    shareTable(
      title,
      shares.slice(0, 12).map((it) => share(it, unknown)),
      format,
      [title.slice(3), unit, "Responses", "Tokens"],
    );
  const repeats = {
    label: "reading repeats",
    class: "waste",
    value: isPriced ? costs.repeats_usd : costs.repeats_tokens,
    more: ["", short(costs.repeats_tokens)],
  };
  const tools = costs.tools.slice(0, 12).map((it) => share(it, "prompts"));
  return el(
    "div",
    { class: "split" },
    row.started_at === null
      ? null
      : el(
          "section",
          { class: "panel", "aria-labelledby": "time-title" },
          el("h2", { id: "time-title" }, "Where the time went"),
          shareTable(
            "By state",
            timeParts([row]).filter((part) => part.value),
            duration,
            ["State", "Time"],
          ),
        ),
    el(
      "section",
      { class: "panel", "aria-labelledby": "money-title" },
      el("h2", { id: "money-title" }, "Where the money went"),
      shareTable("By the tool whose results the model read", [...tools, repeats], format, [
        "Tool",
        unit,
        "Responses",
        "Tokens",
      ]),
      el(
        "p",
        { class: "muted small" },
        "The cost of a response belongs to the results that it was the first to read. A repeat is a result that equals an earlier one of an equal call, since the latest prompt and the latest change. Repeats are a part of the tools above.",
      ),
    ),
    el(
      "section",
      { class: "panel", "aria-labelledby": "who-title" },
      el("h2", { id: "who-title" }, "Who spent it"),
      table("By model", costs.models, "unknown"),
      1 < costs.agents.length ? table("By agent", costs.agents, "main agent") : null,
    ),
  );
}

function factsPanel(row) {
  const labels = Object.entries(row.labels);
  return el(
    "section",
    { class: "panel", "aria-labelledby": "facts-title" },
    el("h2", { id: "facts-title" }, "The session"),
    el(
      "dl",
      { class: "facts" },
      el("dt", null, "id"),
      el("dd", { class: "mono" }, visible(row.session)),
      el("dt", null, "folder"),
      el("dd", { class: "mono" }, visible(row.cwd ?? "not known")),
      el("dt", null, "events"),
      el("dd", null, grouped(row.events)),
      labels.flatMap(([name, value]) => [
        el("dt", null, `label ${visible(name)}`),
        el("dd", null, visible(value)),
      ]),
    ),
  );
}

// The content of a timeline: where bars are, what charts show, and how both are described.

const MARKS = new Set(["prompt", "compaction", "error"]);
const STATES = new Set(["model", "retrying", "permission", "person"]);
/** The kinds of bars that have a color, in the order of the legend. */
const COLORED = [
  "model",
  "retrying",
  "read",
  "write",
  "run",
  "wait",
  "ask",
  "delegate",
  "other",
  "permission",
  "person",
];
/** Heights in pixels. */
const AXIS = 22,
  LABEL = 18,
  STATE_ROW = 9,
  CALL_ROW = 17,
  GAP = 2,
  LANE_GAP = 10,
  CHART = 58,
  CHART_LABEL = 16;
const MAX_CALL_ROWS = 4;

/** Returns the bars of a lane with their rows: marks, states, and calls that overlap. */
function layoutLane(lane, laneIdx, texts) {
  const { bars } = lane;
  const name =
    lane.agent === null
      ? "Main agent"
      : 1 < lane.agents
        ? `${grouped(lane.agents)} further sub-agents`
        : `Sub-agent ${visible(lane.agent)}`;
  const ends = [];
  const items = bars.start_ms.map((start, idx) => {
    const item = {
      lane: laneIdx,
      start,
      duration: bars.duration_ms[idx],
      kind: bars.kind[idx],
      outcome: bars.outcome[idx],
      text: texts[bars.text[idx]],
      count: bars.count[idx],
      failed: bars.failed[idx],
      repeats: bars.repeats[idx],
      file: bars.file[idx],
      line: bars.line[idx],
      tokens: bars.tokens[idx],
      micro_usd: bars.micro_usd[idx],
    };
    if (MARKS.has(item.kind)) item.y = LABEL;
    else if (STATES.has(item.kind)) item.y = LABEL + 9;
    else {
      let row = ends.findIndex((end) => end <= start);
      if (row < 0) row = Math.min(ends.length, MAX_CALL_ROWS - 1);
      ends[row] = start + item.duration;
      item.y = LABEL + 9 + STATE_ROW + GAP + row * (CALL_ROW + GAP);
    }
    return item;
  });
  // Of some sub-agents, only the start is recorded.
  const isEmpty = items.length === 0 && lane.agent !== null;
  const height = isEmpty ? 0 : LABEL + 9 + STATE_ROW + GAP + Math.max(1, ends.length) * (CALL_ROW + GAP);
  return { label: name, items, height };
}

function chartsOf(detail) {
  const { usage } = detail;
  const times = usage.at_ms;
  if (times.length === 0) return [];
  const last = times.length - 1;
  const indexAt = (ms) =>
    Math.max(
      0,
      times.findLastIndex((at) => at <= ms),
    );
  const classes = ["input", "cache_read", "cache_write", "output"];
  const sum = (idx) => classes.reduce((total, name) => total + usage[name][idx], 0);
  const time = (ms) => `at ${moment(Math.max(0, ms), detail)}`;
  const charts = [
    {
      label: "Tokens",
      summary: `${short(sum(last))}: ${classes.map((name) => `${words(name)} ${short(usage[name][last])}`).join(", ")}`,
      times,
      max: Math.max(sum(last), 1),
      series: classes.map((name) => ({ values: usage[name], fill: name })),
      describe: (ms) => [
        `${short(sum(indexAt(ms)))} tokens ${time(ms)}`,
        ...classes.map((name) => `${words(name)}: ${grouped(usage[name][indexAt(ms)])}`),
      ],
    },
  ];
  if (0 < usage.cost_usd[last]) {
    charts.push({
      label: "Cost",
      summary: dollars(usage.cost_usd[last]),
      times,
      max: usage.cost_usd[last],
      series: [{ values: usage.cost_usd, fill: "write" }],
      describe: (ms) => [`${dollars(usage.cost_usd[indexAt(ms)])} ${time(ms)}`],
    });
  }
  const most = Math.max(...usage.context);
  if (0 < most) {
    const limit = detail.row.context?.window ?? null;
    const fits = limit !== null && most <= limit;
    charts.push({
      label: "Context of the main agent",
      summary: `at most ${short(most)} tokens${fits ? `, ${percent(most, limit)} of ${short(limit)}` : ""}`,
      times,
      max: fits ? limit : most,
      limit: fits ? limit : null,
      series: [{ values: usage.context, fill: "read" }],
      describe: (ms) => [`${grouped(usage.context[indexAt(ms)])} tokens in the context ${time(ms)}`],
    });
  }
  return charts;
}

/** Returns the lines that describe a bar or a finding. */
function describe({ item, finding }, detail) {
  if (finding)
    return [
      `${finding.number}. ${words(visible(finding.detector))}, ${finding.severity}, at ${moment(finding.at_ms, detail)}`,
      visible(finding.message),
    ];
  const text = visible(item.text);
  const name =
    item.kind === "model" ? "Model" : MARKS.has(item.kind) || STATES.has(item.kind) ? words(item.kind) : text;
  const lines = [
    1 < item.count
      ? `${counted(item.count, "bar")} of ${words(item.kind)}, the longest: ${text || name}`
      : name,
  ];
  if (MARKS.has(item.kind) && text) lines.push(text);
  const facts = [`at ${moment(item.start, detail)}`];
  if (item.duration && detail.starts_at) facts.push(`for ${duration(item.duration)}`);
  if (!MARKS.has(item.kind) && !STATES.has(item.kind)) {
    facts.push(item.kind, item.outcome === "open" ? "no result" : words(item.outcome));
    if (item.count !== 1 && item.failed) facts.push(`${grouped(item.failed)} failed`);
    if (item.repeats)
      facts.push(1 < item.count ? `${grouped(item.repeats)} repeats` : "repeats an earlier result");
  }
  if (item.tokens) facts.push(`${short(item.tokens)} tokens`);
  if (item.micro_usd) facts.push(dollars(item.micro_usd / 1e6));
  lines.push(facts.join(" · "));
  return lines;
}

/** Returns a time since the start of a session, or the number of an event. */
function moment(ms, detail) {
  return detail.starts_at ? duration(ms) : `event ${Math.round(ms)}`;
}

// The findings of one session: their place on the timeline, and what their detectors measured.

/** The kinds of detectors whose evidence begins with a repetition. */
const REPETITIONS = new Set(["repeat-tool-call", "repeat-text", "error-loop", "runaway-loop"]);

/** Sets the place of a finding on the timeline, as precisely as its times and lines allow. */
function placeFinding(finding, detail) {
  const lane = detail.lanes.findIndex((it) => it.agent === finding.agent);
  finding.lane = Math.max(0, lane);
  const start = detail.starts_at && Date.parse(detail.starts_at);
  const offset = (at) => Math.min(Math.max(Date.parse(at) - start, 0), detail.length_ms);
  const lines = finding.evidence
    .map((evidence) => offsetOfLine(evidence, detail))
    .filter((at) => at !== null);
  finding.at_ms =
    start && finding.at ? offset(finding.at) : lines.length ? Math.max(...lines) : detail.length_ms;
  finding.end_ms =
    start && finding.ended_at
      ? offset(finding.ended_at)
      : finding.status === "open"
        ? detail.length_ms
        : finding.at_ms;
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
  return el(
    "section",
    { class: "panel", "aria-labelledby": "findings-title" },
    el(
      "header",
      null,
      el(
        "h2",
        { id: "findings-title" },
        findings.length ? `Findings (${grouped(findings.length)})` : "Findings",
      ),
    ),
    findings.length === 0
      ? el("p", { class: "empty" }, "The detectors of the policy reported nothing in this session.")
      : el(
          "ol",
          { class: "findings" },
          findings.map((finding) =>
            el(
              "li",
              { "data-id": finding.id },
              el("div", null, badge(finding.severity, finding.severity)),
              el(
                "div",
                { class: "what" },
                el(
                  "div",
                  null,
                  el("span", { class: "marker" }, String(finding.number)),
                  " ",
                  el("span", { class: "cell-main" }, words(visible(finding.detector))),
                  finding.agent === null
                    ? null
                    : el("span", { class: "muted" }, ` in sub-agent ${visible(finding.agent)}`),
                ),
                el("div", { class: "message" }, visible(finding.message)),
                IS_LIVE ? findingNotes(finding) : null,
                evidenceList(finding),
                finding.replaces
                  ? el(
                      "div",
                      { class: "cell-sub" },
                      `Replaced ${words(visible(finding.replaces))}, as it explains the problem better`,
                    )
                  : null,
                finding.resolution
                  ? el("div", { class: "cell-sub" }, `Resolved: ${visible(finding.resolution)}`)
                  : null,
                measured(finding, detail),
              ),
              el(
                "div",
                { class: "side small" },
                finding.cost_usd ? el("div", { class: "cell-main" }, dollars(finding.cost_usd)) : null,
                finding.tokens ? el("div", { class: "muted" }, `${short(finding.tokens)} tokens`) : null,
                finding.at ? el("div", { class: "muted" }, clockTime(finding.at)) : null,
                el("div", { class: "muted" }, statusOf(finding)),
                IS_LIVE ? findingActions(finding) : null,
                show ? el("button", { type: "button", click: () => show(finding) }, "Show") : null,
              ),
            ),
          ),
        ),
  );
}

function evidenceList(finding) {
  const { evidence } = finding;
  if (evidence.length === 0) return null;
  const label = (idx) =>
    evidence.length === 1
      ? ""
      : idx === 0
        ? REPETITIONS.has(finding.kind)
          ? "first repetition "
          : "began at "
        : idx === evidence.length - 1
          ? "reported at "
          : "";
  return el(
    "ul",
    { class: "evidence" },
    evidence.map((it, idx) =>
      el(
        "li",
        null,
        el("span", { class: "muted" }, label(idx)),
        place(it.file, it.line),
        el("span", { class: "muted" }, ` ${words(it.event)}`),
      ),
    ),
  );
}

/** What the detector of a finding measured, and the data of the finding. */
function measured(finding, detail) {
  const of = detail?.measures.find((it) => it.detector === finding.detector);
  const data = Object.entries(finding.data);
  const measurements = of ? of.measurements.filter((it) => it.agent === finding.agent) : [];
  if (measurements.length === 0 && data.length === 0) return null;
  const value = (it) => (it === null ? "" : of.unit === "percent" ? `${grouped(it)}%` : grouped(it));
  return el(
    "details",
    null,
    el("summary", null, measurements.length ? "What the detector measured" : "Data of the finding"),
    el(
      "div",
      { class: "panel" },
      1 < measurements.length ? measureChart(of, measurements, value, detail) : null,
      data.length
        ? el(
            "dl",
            { class: "facts" },
            data.flatMap(([name, it]) => [
              el("dt", null, words(visible(name))),
              el("dd", { class: "mono" }, visible(typeof it === "string" ? it : JSON.stringify(it))),
            ]),
          )
        : null,
      measurements.length
        ? dataTable(
            "Measures",
            ["At", "Effect", "Measure", "Event", "Line"],
            measurements.map((it) =>
              el(
                "tr",
                null,
                el("td", { class: "nowrap" }, moment(it.at_ms, detail)),
                el(
                  "td",
                  { class: "nowrap" },
                  it.severity && it.outcome !== "resolved"
                    ? badge(`${it.outcome}, ${it.severity}`, it.severity)
                    : words(it.outcome),
                ),
                el("td", { class: "num" }, value(it.measure)),
                el("td", null, visible(it.event), el("div", { class: "cell-sub" }, visible(it.message))),
                el("td", null, it.line ? place(it.file, it.line) : "time"),
              ),
            ),
          )
        : null,
      of?.omitted
        ? el(
            "p",
            { class: "muted small" },
            `${grouped(of.omitted)} later measures are left out; \`check --explain\` prints them.`,
          )
        : null,
    ),
  );
}

/** The measures of a detector as points, and the levels of the policy as lines. */
function measureChart(of, measurements, value, detail) {
  const points = measurements.filter((it) => it.measure !== null);
  if (points.length < 2) return null;
  const width = 560,
    height = 110,
    left = 34,
    right = 70,
    top = 8,
    bottom = 92;
  const levels = of.levels.filter((level) => level.at <= 3 * Math.max(...points.map((it) => it.measure)));
  const most = Math.max(...points.map((it) => it.measure), ...levels.map((level) => level.at));
  const [from, to] = [points[0].at_ms, points[points.length - 1].at_ms];
  const x = (at) => left + ((at - from) / Math.max(1, to - from)) * (width - left - right);
  const y = (measure) => bottom - (measure / most) * (bottom - top);
  // The labels of levels that are close do not overlap.
  const labels = [...levels].reverse().map((level) => y(level.at) + 3);
  labels.forEach((_, idx) => {
    if (0 < idx) labels[idx] = Math.max(labels[idx], labels[idx - 1] + 11);
  });
  labels.reverse();
  const path = points
    .map((it, idx) => `${idx ? "L" : "M"}${x(it.at_ms).toFixed(1)} ${y(it.measure).toFixed(1)}`)
    .join("");
  return svg(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `Measures of ${visible(of.detector)}: from ${value(points[0].measure)} to ${value(most)}; the table has all of them`,
    },
    svg("path", { d: `M${left} ${bottom}H${width - right}`, stroke: "var(--strong-line)" }),
    levels
      .map((level, idx) => [
        svg("path", {
          d: `M${left} ${y(level.at)}H${width - right}`,
          stroke: `var(--${level.severity}-fill)`,
          "stroke-dasharray": "4 3",
        }),
        svg("text", { x: width - right + 5, y: labels[idx] }, `${value(level.at)} ${level.severity}`),
      ])
      .flat(),
    svg("path", { d: path, fill: "none", stroke: "var(--accent)", "stroke-width": 1.5 }),
    points.map((it) =>
      svg(
        "circle",
        {
          cx: x(it.at_ms),
          cy: y(it.measure),
          r: it.outcome === "below" || it.outcome === "counted" ? 2.2 : 4,
          fill: it.severity ? `var(--${it.severity}-fill)` : "var(--accent)",
        },
        svg("title", null, `${value(it.measure)}, ${words(it.outcome)}, at ${moment(it.at_ms, detail)}`),
      ),
    ),
    svg("text", { x: 2, y: y(most) + 4 }, value(most)),
    svg("text", { x: 2, y: bottom + 3 }, "0"),
    svg("text", { x: left, y: height - 4 }, moment(from, detail)),
    svg("text", { x: width - right, y: height - 4, "text-anchor": "end" }, moment(to, detail)),
  );
}

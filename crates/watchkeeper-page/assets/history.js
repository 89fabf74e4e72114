// The findings of this run and earlier ones, as the ledgers of sinks have them.

/** `null` until they are loaded; a text if they cannot be. */
let pastFindings = null;

function historyView() {
  if (pastFindings === null) loadHistory();
  return [
    el(
      "section",
      { class: "headline" },
      el("p", null, el("a", { href: "#/" }, "← All sessions")),
      el("h1", { tabindex: "-1" }, "History"),
      el(
        "p",
        { class: "muted" },
        "The findings of this run and earlier ones, as far as the sinks of the policy store them. Sinks for a terminal store none.",
      ),
    ),
    pastFindings === null
      ? el("p", { role: "status" }, "Loading…")
      : typeof pastFindings === "string"
        ? el("p", { class: "notice error" }, pastFindings)
        : pastFindings.length === 0
          ? el("p", { class: "empty" }, "No finding is stored.")
          : el("ol", { class: "findings" }, pastFindings.map(pastItem)),
  ];
}

async function loadHistory() {
  try {
    pastFindings = (await request("GET", "/api/v1/history")).findings;
  } catch (error) {
    pastFindings = `The history is not available: ${error.message}`;
  }
  render();
}

function historyLink() {
  const load = () => {
    pastFindings = null;
  };
  return el("a", { href: "#/history", click: load }, "History");
}

function pastItem(finding) {
  const name = words(visible(finding.detector));
  return el(
    "li",
    null,
    badge(finding.severity, finding.severity),
    el(
      "div",
      { class: "what" },
      rowsById.has(finding.session)
        ? el("a", { class: "cell-main", href: sessionLink(finding.session) }, name)
        : el("span", { class: "cell-main" }, name),
      el("span", { class: "message" }, visible(finding.message)),
      el("span", { class: "cell-sub" }, visible(finding.session)),
      finding.resolution
        ? el("span", { class: "cell-sub" }, `Resolved: ${visible(finding.resolution)}`)
        : null,
    ),
    el(
      "div",
      { class: "side small" },
      el("div", { class: "muted" }, minute(finding.at)),
      el("div", { class: "muted" }, finding.status === "open" ? "no end is stored" : "resolved"),
      el(
        "div",
        { class: "muted" },
        finding.delivered_at === null
          ? `waits for ${visible(finding.sinks.join(", "))}`
          : `sent to ${visible(finding.sinks.join(", "))}`,
      ),
    ),
  );
}

// What people do with findings on the live page: silences and acknowledgements.

async function loadSilences() {
  try {
    silences = (await request("GET", "/api/v1/silences")).silences;
  } catch {
    silences = [];
  }
  drawSoon();
}

function silencesPanel() {
  const end = async (silence) => {
    try {
      await request("DELETE", `/api/v1/silences/${encodeURIComponent(silence.id)}`);
    } finally {
      loadSilences();
    }
  };
  const item = (silence) =>
    el(
      "li",
      null,
      el("span", { class: "muted" }, "silence"),
      el(
        "div",
        { class: "what" },
        el(
          "span",
          { class: "cell-main" },
          Object.entries(silence.match)
            .map(([key, values]) => visible(`${key}=${values.join(", ")}`))
            .join(" "),
        ),
        el("span", { class: "cell-sub" }, visible(`${silence.author}: ${silence.reason}`)),
      ),
      el(
        "div",
        { class: "side small" },
        el("div", { class: "muted" }, `until ${minute(silence.until)}`),
        el("button", { type: "button", id: `end-${silence.id}`, click: () => end(silence) }, "End"),
      ),
    );
  return el(
    "section",
    { class: "panel", "aria-labelledby": "silences-title" },
    el("h2", { id: "silences-title" }, "Silences"),
    el("ol", { class: "findings" }, silences.map(item)),
  );
}

/** The silence that hides a finding from sinks, and who has acknowledged the finding. */
function findingNotes({ silenced, acknowledged }) {
  return [
    silenced
      ? el(
          "div",
          { class: "cell-sub" },
          `Silenced until ${minute(silenced.until)} by ${visible(silenced.author)}: ${visible(silenced.reason)}`,
        )
      : null,
    acknowledged
      ? el(
          "div",
          { class: "cell-sub" },
          `Acknowledged at ${minute(acknowledged.at)} by ${visible(acknowledged.author)}: ${visible(acknowledged.reason)}`,
        )
      : null,
  ];
}

/** The buttons of a finding. */
function findingActions(finding) {
  const { id, acknowledged, status, silenced } = finding;
  const button = (name, label, click) => el("button", { type: "button", id: `${name}-${id}`, click }, label);
  const remove = () => request("DELETE", `/api/v1/acknowledgements/${encodeURIComponent(acknowledged.id)}`);
  return el(
    "div",
    { class: "tools" },
    acknowledged
      ? button("acknowledge", "Remove acknowledgement", remove)
      : button("acknowledge", "Acknowledge…", () => askForAcknowledgement(finding)),
    status === "open" && !silenced ? button("silence", "Silence…", () => askForSilence(finding)) : null,
  );
}

function askForAcknowledgement({ detector, fingerprint, at }) {
  ask(
    "Acknowledge the finding",
    `${words(visible(detector))} stays listed, with your name and the reason.`,
    [],
    "Acknowledge",
    (author, reason) => request("POST", "/api/v1/acknowledgements", { fingerprint, at, author, reason }),
  );
}

function askForSilence(finding) {
  const choice = (label, options) =>
    el(
      "label",
      null,
      label,
      el(
        "select",
        null,
        options.map(([value, text]) => el("option", { value }, text)),
      ),
    );
  const detector = words(visible(finding.detector));
  const scope = choice("Findings", [
    ["session", `${detector} in this session`],
    ["detector", `${detector} in all sessions`],
  ]);
  const hours = choice("For", [
    [1, "1 hour"],
    [8, "8 hours"],
    [24, "1 day"],
    [168, "7 days"],
  ]);
  ask(
    "Silence findings",
    "No sink receives them, until the time is over or you end the silence.",
    [scope, hours],
    "Silence",
    async (author, reason) => {
      const match = { detector: [finding.detector] };
      if (valueOf(scope) === "session") match.session = [finding.session];
      const until = new Date(Date.now() + valueOf(hours) * 3600000).toISOString();
      await request("POST", "/api/v1/silences", { match, until, author, reason });
      loadSilences();
    },
  );
}

function valueOf(label) {
  return label.lastElementChild.value;
}

/** Asks for a name and a reason, and calls `send` with both until it does not fail. */
function ask(title, text, fields, action, send) {
  const field = (label, value) =>
    el("label", null, label, el("input", { required: true, maxlength: 1000, value }));
  const author = field("Your name", stored("watchkeeper-author"));
  const reason = field("Reason", "");
  const problem = el("div", { role: "alert" });
  const refuse = (text) => problem.replaceChildren(el("p", { class: "notice error" }, text));
  const submit = async () => {
    if (!valueOf(author).trim() || !valueOf(reason).trim()) return refuse("Write your name and a reason.");
    try {
      await send(valueOf(author), valueOf(reason));
      store("watchkeeper-author", valueOf(author));
      dialog.close();
    } catch (error) {
      refuse(error.message);
    }
  };
  const dialog = el(
    "dialog",
    { "aria-labelledby": "dialog-title", close: () => dialog.remove() },
    el(
      "div",
      { class: "panel" },
      el("h2", { id: "dialog-title" }, title),
      el("p", { class: "muted small" }, text),
      fields,
      author,
      reason,
      problem,
      el(
        "div",
        { class: "tools" },
        el("button", { type: "button", click: submit }, action),
        el("button", { type: "button", click: () => dialog.close() }, "Cancel"),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

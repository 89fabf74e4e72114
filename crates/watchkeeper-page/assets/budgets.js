// Budgets of the policy on the live page: how much is used, how fast, and when a level is reached.

const FIRST_BUDGETS = 6;
/** The number of budgets that a server keeps. */
const MAX_BUDGETS = 2048;
/** The age from which on a measure has its time. */
const OLD_MS = 10 * 60000;

const budgetsByKey = new Map();
let quotas = [];
let allBudgets = false;

function addBudget(budget) {
  const { detector, subject, session, agent, group } = budget;
  const key = JSON.stringify([detector, subject, session, agent, group]);
  budgetsByKey.delete(key);
  budgetsByKey.set(key, budget);
  if (MAX_BUDGETS < budgetsByKey.size) budgetsByKey.delete(budgetsByKey.keys().next().value);
}

function removeBudgetsOf(session) {
  for (const [key, budget] of budgetsByKey) if (budget.session === session) budgetsByKey.delete(key);
}

/** Returns the budgets that are in use, the one that is used most first. */
function usedBudgets() {
  const isUsed = (budget) => !budget.has_ended && rowsById.get(budget.session)?.state.kind !== "gone";
  return [...budgetsByKey.values()].filter(isUsed).sort((a, b) => shareOf(b) - shareOf(a));
}

/** Returns the budgets that a session uses, also those that it shares with others. */
function budgetsOf(row) {
  const groups = { cwd: row.cwd ?? "unknown", model: row.model ?? "unknown" };
  for (const [name, value] of Object.entries(row.labels)) groups[`label:${name}`] = value;
  const isOwn = ({ session, per, group }) =>
    session === null ? groups[per] === group : session === row.session;
  return usedBudgets().filter(isOwn);
}

/** Returns the measure that fills a budget. */
function limitOf(budget) {
  return budget.unit === "percent" ? 100 : Math.max(1, ...budget.levels.map((level) => level.at));
}

function shareOf(budget) {
  return budget.measure / limitOf(budget);
}

function amountOf(budget, n) {
  return budget.unit === "percent" ? `${grouped(n)}%` : grouped(n);
}

function budgetsPanel(budgets, isOfSession) {
  if (budgets.length === 0) return null;
  const shown = allBudgets || isOfSession ? budgets : budgets.slice(0, FIRST_BUDGETS);
  const showAll = () => {
    allBudgets = true;
    render("all-budgets");
  };
  const columns = ["Budget", "Used", { label: "Rate", class: "w2" }, "Next level"];
  return el(
    "section",
    { class: "panel", "aria-labelledby": "budgets-title" },
    el(
      "header",
      null,
      el("h2", { id: "budgets-title" }, "Budgets"),
      shown.length < budgets.length
        ? el(
            "button",
            { type: "button", id: "all-budgets", click: showAll },
            `Show all ${grouped(budgets.length)}`,
          )
        : null,
    ),
    dataTable(
      "Table of budgets",
      columns,
      shown.map((budget) => budgetRow(budget, isOfSession)),
    ),
  );
}

function budgetRow(budget, isOfSession) {
  return el(
    "tr",
    null,
    el(
      "th",
      { scope: "row" },
      el("div", { class: "cell-main" }, words(visible(budget.detector))),
      el("div", { class: "cell-sub" }, ownerOf(budget, isOfSession)),
    ),
    el("td", null, budgetMeter(budget), el("div", { class: "cell-sub" }, visible(budget.message), asOf(budget.at))),
    el("td", { class: "nowrap w2" }, rate(budget.per_hour, budget.unit === "percent" ? "%" : "")),
    el("td", null, nextLevel(budget)),
  );
}

/** The session, or the sessions, that use a budget. */
function ownerOf({ session, agent, per, group }, isOfSession) {
  if (session === null) return `all sessions of ${visible(per.replace(/^label:/, ""))} ${visible(group)}`;
  const row = rowsById.get(session);
  const name = row ? projectOf(row) : visible(session);
  const owner = isOfSession ? "this session" : el("a", { href: sessionLink(session) }, name);
  return [owner, agent === null ? "" : `, sub-agent ${visible(agent)}`];
}

function asOf(at) {
  const isOld = at !== null && OLD_MS < Date.now() - Date.parse(at);
  return isOld ? ` (at ${clockTime(at).slice(0, 5)})` : "";
}

/** The used part of a budget as a bar, with a tick for each level. */
function budgetMeter(budget) {
  const reached = budget.levels.filter((level) => level.at <= budget.measure).pop();
  const full = Math.max(limitOf(budget), budget.measure);
  const ticks = budget.levels.map((level) => level.at / full);
  return [
    el("div", { class: "cell-main" }, amountOf(budget, budget.measure)),
    meter(budget.measure / full, reached ? `${reached.severity}-fill` : "input", ticks),
  ];
}

/** A bar that is filled to a share, with a tick at each of other shares. */
function meter(share, color, ticks) {
  const percent = (n) => `${Math.min(100, 100 * n)}%`;
  return el(
    "div",
    { class: "meter", "aria-hidden": "true" },
    el("i", { style: { width: percent(share), background: `var(--${color})` } }),
    ticks.filter((tick) => tick < 1).map((tick) => el("b", { style: { left: percent(tick) } })),
  );
}

function rate(perHour, unit) {
  if (perHour === null) return el("span", { class: "muted" }, "not known yet");
  const isFast = 60 <= Math.abs(perHour);
  const n = perHour / (isFast ? 60 : 1);
  const digits = Math.abs(n) < 10 ? 1 : 0;
  return `${0 < n ? "+" : ""}${n.toFixed(digits)}${unit} ${isFast ? "a minute" : "an hour"}`;
}

/** The next level, and when it is reached at the rate of the last minutes. */
function nextLevel(budget) {
  const next = budget.levels.find((level) => budget.measure < level.at);
  if (!next) return el("span", { class: "muted" }, "all levels are reached");
  const isAhead = next.reached_at !== null && Date.now() < Date.parse(next.reached_at);
  return [
    badge(`${amountOf(budget, next.at)} ${next.severity}`, next.severity),
    el("div", { class: "cell-sub" }, isAhead ? `at ${clockTime(next.reached_at).slice(0, 5)} at this rate` : ""),
  ];
}

/** The limits of accounts, and when they are used up. */
function quotasPanel() {
  if (quotas.length === 0) return null;
  return el(
    "section",
    { class: "panel", "aria-labelledby": "quotas-title" },
    el("header", null, el("h2", { id: "quotas-title" }, "Quotas")),
    dataTable(
      "Table of quotas",
      ["Quota", "Used", { label: "Rate", class: "w2" }, "Forecast", { label: "Stated in", class: "w2" }],
      [...quotas].reverse().map(quotaRow),
    ),
  );
}

function quotaRow(quota) {
  const { source, name, used_percent: used, at, per_hour: perHour, proof } = quota;
  const fill = 95 <= used ? "high-fill" : 80 <= used ? "medium-fill" : "input";
  return el(
    "tr",
    null,
    el(
      "th",
      { scope: "row" },
      el("div", { class: "cell-main" }, windowOf(quota)),
      el("div", { class: "cell-sub" }, `${visible(source ?? "memory")} · ${visible(name)}`),
    ),
    el(
      "td",
      null,
      el("div", { class: "cell-main" }, `${grouped(used)}%`),
      meter(used / 100, fill, []),
      el("div", { class: "cell-sub" }, asOf(at)),
    ),
    el("td", { class: "nowrap w2" }, rate(perHour, "%")),
    el("td", null, quotaForecast(quota)),
    el("td", { class: "w2" }, place(proof.file, proof.line)),
  );
}

/** `5 h window`, or the name of the limit. */
function windowOf({ name, window_minutes: minutes }) {
  if (minutes === null) return `${visible(name)} limit`;
  const [n, unit] =
    minutes % 1440 === 0 ? [minutes / 1440, "d"] : minutes % 60 === 0 ? [minutes / 60, "h"] : [minutes, "min"];
  return `${n} ${unit} window`;
}

function quotaForecast({ used_percent: used, empty_at: emptyAt, resets_at: resetsAt }) {
  const isAhead = (at) => at !== null && Date.now() < Date.parse(at);
  if (resetsAt !== null && !isAhead(resetsAt)) return `started again at ${dayTime(resetsAt)}`;
  const forecast = 100 <= used ? "used up" : isAhead(emptyAt) ? `empty at ${dayTime(emptyAt)}` : "";
  return [
    el("div", { class: "cell-main" }, forecast),
    el("div", { class: "cell-sub" }, resetsAt === null ? "" : `starts again at ${dayTime(resetsAt)}`),
  ];
}

/** `14:20`, or `12-01 14:20` on another day. */
function dayTime(at) {
  const isToday = at.slice(0, 10) === new Date().toISOString().slice(0, 10);
  return isToday ? at.slice(11, 16) : minute(at).slice(5);
}

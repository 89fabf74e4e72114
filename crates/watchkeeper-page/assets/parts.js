// Small parts that several views use.

function badge(name, classes) {
  return el("span", { class: `badge ${classes}` }, words(name));
}

function findingBadges(findings) {
  const names = [...SEVERITIES].reverse().filter((name) => findings[name]);
  if (names.length === 0) return el("span", { class: "muted" }, "none");
  return el(
    "div",
    { class: "badges" },
    names.map((name) => badge(`${grouped(findings[name])} ${name}`, name)),
  );
}

function tile(label, value, ...more) {
  return el(
    "div",
    { class: "tile" },
    el("dt", null, label),
    el("dd", null, el("div", { class: "value" }, value), el("div", { class: "cell-sub" }, ...more)),
  );
}

/** A bar of parts that fill the whole, with their values as text. */
function stack(parts, format) {
  const sum = parts.reduce((total, part) => total + part.value, 0);
  const shown = parts.filter((part) => 0 < part.value);
  const text = shown
    .map((part) => `${part.label} ${format(part.value)} (${percent(part.value, sum)})`)
    .join(", ");
  return el(
    "div",
    { class: "stack", role: "img", "aria-label": text || "nothing", title: text },
    shown.map((part) =>
      el("i", { style: { flexGrow: part.value / sum, background: `var(--${part.color})` } }),
    ),
  );
}

function legendItem(name, label, classes = "") {
  return el(
    "li",
    null,
    el("span", { class: `swatch ${classes}`, style: classes ? {} : { background: `var(--${name})` } }),
    label,
  );
}

/** A table that can be scrolled. A column is a label, or an object with a label and classes. */
function dataTable(name, columns, rows) {
  return el(
    "div",
    { class: "table-scroll", tabindex: "0", role: "region", "aria-label": name },
    el("table", null, tableHead(columns), el("tbody", null, rows)),
  );
}

function tableHead(columns) {
  const head = (column) => el("th", { scope: "col", class: column.class }, column.label ?? column);
  return el("thead", null, el("tr", null, columns.map(head)));
}

/** A table of parts with a bar for each. */
function shareTable(title, rows, format, columns) {
  const most = Math.max(...rows.map((row) => row.value), 0);
  const sum = rows.reduce((total, row) => total + (row.class ? 0 : row.value), 0);
  return el(
    "div",
    { class: "table-scroll" },
    el(
      "table",
      null,
      el("caption", null, title),
      tableHead([columns[0], ...columns.slice(1).map((label) => ({ label, class: "num" }))]),
      el(
        "tbody",
        null,
        rows.map((row) =>
          el(
            "tr",
            null,
            el(
              "th",
              { scope: "row" },
              row.label,
              el("span", {
                class: `share ${row.class ?? ""}`,
                style: {
                  width: `${most ? (100 * row.value) / most : 0}%`,
                  background: row.color ? `var(--${row.color})` : "",
                },
              }),
            ),
            el(
              "td",
              { class: "num" },
              format(row.value),
              el("span", { class: "muted" }, ` ${row.class ? "" : percent(row.value, sum)}`),
            ),
            (row.more ?? []).map((text) => el("td", { class: "num" }, text)),
          ),
        ),
      ),
    ),
  );
}

/** `file.jsonl:12`, with the whole path as a title. */
function place(file, line) {
  if (!file) return line ? `line ${line}` : "no file";
  return el("code", { title: visible(file) }, `${baseName(file)}${line ? `:${line}` : ""}`);
}

// The frame of the page: its header, the theme, and the view that the address names.

const THEMES = ["auto", "light", "dark"];
const darkScheme = matchMedia("(prefers-color-scheme: dark)");
let theme = THEMES.find((name) => name === stored("watchkeeper-theme")) ?? "auto";

/** Returns a stored text. Some browsers store nothing for files. */
function stored(name) {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function store(name, text) {
  try {
    localStorage.setItem(name, text);
  } catch {
    // It lasts until the page is closed.
  }
}

function applyTheme(isPrinting = false) {
  const isDark = theme === "dark" || (theme === "auto" && darkScheme.matches);
  document.documentElement.dataset.theme = isDark && !isPrinting ? "dark" : "light";
  // Canvases have the colors of the time when they were drawn.
  for (const canvas of document.querySelectorAll("canvas"))
    canvas.dispatchEvent(new PointerEvent("pointerleave"));
}

function themeButton() {
  const next = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    store("watchkeeper-theme", theme);
    button.textContent = `Theme: ${theme}`;
    applyTheme();
  };
  const button = el("button", { type: "button", id: "theme", click: next }, `Theme: ${theme}`);
  return button;
}

/** Draws the view of the address. `focus` is the id of the element with the focus afterwards. */
function render(focus) {
  const [view, id, finding] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const isSession = view === "session" && id !== undefined;
  const main = document.getElementById("main");
  if (isSession && IS_LIVE && rowsById.has(id) && !detailsById.has(id)) loadDetail(id);
  const content = () => {
    if (isSession) return sessionView(id, finding);
    return IS_LIVE && view === "history" ? historyView() : overview();
  };
  main.replaceChildren(...content().filter(Boolean), foot());
  document.title = `${main.querySelector("h1").textContent} – Watchkeeper`;
  document.getElementById(focus)?.focus();
}

/** Decodes a part of the address, which may be no valid text. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function foot() {
  const { omitted, version } = DATA;
  const left = [
    omitted.rows ? `${counted(omitted.rows, "session")} without a row` : null,
    omitted.findings ? `${counted(omitted.findings, "finding")} that are not listed` : null,
    omitted.details ? `${counted(omitted.details, "session")} without a timeline` : null,
    omitted.notices ? counted(omitted.notices, "warning") : null,
  ].filter(Boolean);
  return el(
    "footer",
    null,
    left.length
      ? el(
          "p",
          null,
          `To keep the file small, the report leaves out: ${left.join("; ")}. The totals include all of them.`,
        )
      : null,
    el("p", null, `Watchkeeper ${version}. Times are in UTC, costs in US dollars by list prices.`),
  );
}

document.getElementById("app").append(
  el(
    "a",
    {
      class: "skip",
      href: "#main",
      click: (event) => {
        event.preventDefault();
        document.querySelector("h1").focus();
      },
    },
    "Skip to the content",
  ),
  el(
    "header",
    { class: "bar" },
    el("a", { class: "brand", href: "#/" }, "Watchkeeper"),
    el("span", { class: "muted small" }, DATA.mode),
    el("span", { class: "spring" }),
    themeButton(),
  ),
  el("div", { id: "connection", role: "status" }),
  el("main", { id: "main" }),
);
applyTheme();
darkScheme.addEventListener("change", () => applyTheme());
addEventListener("beforeprint", () => applyTheme(true));
addEventListener("afterprint", () => applyTheme());
addEventListener("hashchange", () => {
  render();
  scrollTo(0, 0);
  document.querySelector("h1").focus({ preventScroll: true });
});
render();
if (IS_LIVE) startLive();

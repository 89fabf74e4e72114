// Numbers, times and texts for people.

const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cn}\p{DI}]/gu;

/** Returns a text in which every character is visible and keeps its place. */
function visible(text) {
  return String(text).replace(UNSAFE, (c) => (c === "\t" ? " " : `\\u{${c.codePointAt(0).toString(16)}}`));
}

/** `1,234,567` */
function grouped(n) {
  return Math.round(n).toLocaleString("en-US");
}

/** `1 call`, `2 calls` */
function counted(n, one) {
  return `${grouped(n)} ${one}${n === 1 ? "" : "s"}`;
}

/** `950`, `12.3k`, `4.56M` */
function short(n) {
  for (const [size, unit] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (size <= n) return `${(n / size).toPrecision(3)}${unit}`;
  }
  return String(Math.round(n));
}

/** `$0.42`, `$1,234.50`; `$0.0012` for less than a cent. */
function dollars(usd) {
  const digits = 0 < usd && usd < 0.01 ? 4 : 2;
  return `$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/** Returns a cost, with a `+` if some calls have no known price. */
function cost(row) {
  if (row.cost_usd === null) return "unknown";
  return dollars(row.cost_usd) + (0 < row.unpriced_calls ? "+" : "");
}

/** `230ms`, `12s`, `3m 20s`, `2h 05m`, `4d 3h` */
function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  const secs = Math.floor(ms / 1000);
  if (secs < 10) return `${(ms / 1000).toFixed(1)}s`;
  if (secs < 60) return `${secs}s`;
  const two = (n) => String(n).padStart(2, "0");
  if (secs < 3600) return `${Math.floor(secs / 60)}m ${two(secs % 60)}s`;
  if (secs < 86400) return `${Math.floor(secs / 3600)}h ${two(Math.floor(secs / 60) % 60)}m`;
  return `${Math.floor(secs / 86400)}d ${Math.floor(secs / 3600) % 24}h`;
}

/** `2026-03-01 10:00`; all times are in UTC. */
function minute(at) {
  return at === null ? "–" : at.slice(0, 16).replace("T", " ");
}

/** `10:00:07` */
function clockTime(at) {
  return at === null ? "–" : at.slice(11, 19);
}

/** `waiting for model` */
function words(name) {
  return name.replaceAll("_", " ");
}

/** Returns the last part of a path, which distinguishes folders and files. */
function baseName(path) {
  return visible(path)
    .replace(/[/\\]+$/, "")
    .split(/[/\\]/)
    .pop();
}

/** Returns a share in percent. */
function percent(part, whole) {
  if (!whole) return "0%";
  const share = (100 * part) / whole;
  return `${0 < share && share < 1 ? "<1" : Math.round(share)}%`;
}

// The browser of the tests, and the reports that it opens.
"use strict";

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");

/** The program, the browser, and a folder for files and pictures: `.ci/browser` sets them. */
const { WATCHKEEPER, CHROMIUM, BROWSER_FOLDER } = process.env;

/** Starts a browser that connects to nothing by itself. */
function launch() {
  const args = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ];
  return chromium.launch({ executablePath: CHROMIUM, args });
}

/** Writes a report of sessions, and returns its address. */
function report(name, files) {
  const folder = path.join(BROWSER_FOLDER, name);
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, file), text);
  const page = path.join(BROWSER_FOLDER, `${name}.html`);
  const args = ["check", folder, "--format", "html", "--output", page, "--fail-on", "high"];
  try {
    execFileSync(WATCHKEEPER, args, { stdio: ["ignore", "ignore", "inherit"] });
  } catch (error) {
    // Findings set the exit status to 1.
    assert.equal(error.status, 1);
  }
  assert.ok(fs.statSync(page).size < 5e6);
  return pathToFileURL(page).href;
}

module.exports = { BROWSER_FOLDER, launch, report };

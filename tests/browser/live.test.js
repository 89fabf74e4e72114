// The page of `watch --ui`, in Chromium. `.ci/browser` runs these tests.
"use strict";

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const { createInterface } = require("node:readline");
const { after, before, describe, it } = require("node:test");
const axe = require("axe-core");
const { BROWSER_FOLDER, launch } = require("./chromium.js");
const sessions = require("./sessions.js");

const FOLDER = path.join(BROWSER_FOLDER, "live");
const SESSIONS = path.join(FOLDER, "sessions");

/** Starts the program, and waits for its address. */
async function watch(ui) {
  const args = ["watch", SESSIONS, "--state-dir", path.join(FOLDER, "state"), "--ui", ui];
  const child = spawn(process.env.WATCHKEEPER, args, { stdio: ["ignore", "ignore", "pipe"] });
  for await (const line of createInterface({ input: child.stderr })) {
    if (line.startsWith("page: ")) return { child, address: line.slice("page: ".length) };
  }
  throw new Error("the program has printed no address");
}

/** Stops the program at once. */
async function kill({ child }) {
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

/** Writes a session whose events are recent. */
function write(name, text) {
  const lines = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const late = Date.now() - 1000 - Date.parse(lines[lines.length - 1].at);
  const recent = lines.map((line) =>
    JSON.stringify({ ...line, at: new Date(Date.parse(line.at) + late).toISOString() }),
  );
  fs.writeFileSync(path.join(SESSIONS, name), `${recent.join("\n")}\n`);
}

async function picture(page, name) {
  const folder = path.join(BROWSER_FOLDER, "screenshots");
  fs.mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
}

/** Fails if axe finds a serious fault. Its script runs by the debugger, not in the page's policy. */
async function assertAccessible(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ["violations"] }),
  );
  const serious = violations.filter((it) => it.impact === "serious" || it.impact === "critical");
  assert.deepEqual(
    serious.map((it) => `${it.id}: ${it.nodes.map((node) => node.html).join("\n  ")}`),
    [],
  );
}

describe("the live page", () => {
  let browser, watching, page;
  const faults = [];

  before(async () => {
    fs.rmSync(FOLDER, { recursive: true, force: true });
    fs.mkdirSync(SESSIONS, { recursive: true });
    browser = await launch();
    watching = await watch("127.0.0.1:0");
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on("pageerror", (error) => faults.push(error.stack));
    // The browser reports a server that is gone; nothing else is an error.
    page.on("console", (message) => message.text().includes("net::ERR_") || faults.push(message.text()));
    page.on(
      "request",
      (request) => new URL(request.url()).hostname === "127.0.0.1" || faults.push(request.url()),
    );
    await page.goto(watching.address);
    await page.getByRole("heading", { name: "No sessions" }).waitFor();
  });

  after(async () => {
    await browser.close();
    await kill(watching);
    assert.deepEqual(faults, []);
  });

  it("shows a loop within seconds, and its timeline", async () => {
    write("incident.ndjson", sessions.looping());
    await page.locator("#sessions .badge.looping").waitFor({ timeout: 5000 });
    await assertAccessible(page);
    await picture(page, "live");
    await page.locator(".findings a").first().click();
    await page.getByRole("heading", { name: "Timeline" }).waitFor();
    assert.equal(await page.locator("canvas").count(), 1);
    await page.getByRole("link", { name: "← All sessions" }).click();
  });

  it("keeps a text of an agent a text", async () => {
    write("hostile.ndjson", sessions.hostile());
    await page.locator("#sessions tbody tr").nth(1).waitFor();
    assert.equal(await page.locator("main script, main img, main iframe").count(), 0);
  });

  it("keeps what somebody writes while sessions change", async () => {
    await page.locator("#filter").fill("pay");
    write("calm.ndjson", sessions.calm(1));
    await page.getByText(/ of 3$/).waitFor();
    assert.equal(await page.locator("#filter").inputValue(), "pay");
    assert.equal(await page.evaluate(() => document.activeElement.id), "filter");
    await page.locator("#filter").fill("");
  });

  it("adds a silence with a reason, and ends it", async () => {
    await page.getByRole("button", { name: "Silence…" }).first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Silence" }).click();
    await dialog.getByText("Write your name and a reason.").waitFor();
    await dialog.getByLabel("Your name").fill("ada");
    await dialog.getByLabel("Reason").fill("a known loop");
    await assertAccessible(page);
    await dialog.getByRole("button", { name: "Silence" }).click();
    await page.getByText("ada: a known loop").waitFor();
    await page.getByRole("button", { name: "End" }).click();
    await page.getByText("ada: a known loop").waitFor({ state: "detached" });
  });

  it("says that it is disconnected, and continues after a restart", async () => {
    await kill(watching);
    await page.getByText(/^Disconnected since /).waitFor();
    await picture(page, "live-disconnected");
    watching = await watch(new URL(watching.address).host);
    await page.getByText(/^Disconnected since /).waitFor({ state: "detached" });
    await page.locator("#sessions .badge.looping").waitFor();
  });
});

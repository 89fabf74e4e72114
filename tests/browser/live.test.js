// The page of `watch --ui`, in Chromium. `.ci/browser` runs these tests.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const axe = require("axe-core");
const { BROWSER_FOLDER, launch } = require("./chromium.js");
const sessions = require("./sessions.js");
const { Watching } = require("./watching.js");

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
    browser = await launch();
    watching = new Watching("live");
    await watching.start("127.0.0.1:0");
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
    await watching.kill();
    assert.deepEqual(faults, []);
  });

  it("shows a loop within seconds, and its timeline", async () => {
    watching.write("incident.ndjson", sessions.looping());
    await page.locator("#sessions .badge.looping").waitFor({ timeout: 5000 });
    await assertAccessible(page);
    await picture(page, "live");
    await page.locator(".findings a").first().click();
    await page.getByRole("heading", { name: "Timeline" }).waitFor();
    assert.equal(await page.locator("canvas").count(), 1);
    await page.getByRole("link", { name: "← All sessions" }).click();
  });

  it("shows how much of a budget is used, and when a level is reached", async () => {
    const panel = page.getByRole("region", { name: "Budgets", exact: true });
    const row = panel.locator("tbody tr", { hasText: "all sessions of team payments" });
    await row.getByText(/ of \$8\.00 used on /).waitFor();
    await row.getByText(/^\+[\d.]+% an? (hour|minute)$/).waitFor();
    await panel.getByText(/^at \d\d:\d\d at this rate$/).first().waitFor();
    await panel.getByRole("link", { name: "payments" }).first().click();
    await page.getByRole("heading", { name: "Budgets" }).waitFor();
    assert.ok(2 <= (await panel.locator("tbody tr").count()));
    await page.getByRole("link", { name: "← All sessions" }).click();
  });

  it("shows when the quota of the account is used up, with the line that proves it", async () => {
    watching.write("limited.ndjson", sessions.limited());
    const row = page.getByRole("region", { name: "Quotas" }).locator("tbody tr");
    await row.getByText("5 h window").waitFor();
    await row.getByText(/^empty at (\d\d-\d\d )?\d\d:\d\d$/).waitFor();
    await row.getByText(/^limited\.ndjson:\d+$/).waitFor();
    await assertAccessible(page);
    await picture(page, "live-quota");
  });

  it("marks a finding that somebody has acknowledged", async () => {
    const finding = page.locator(".findings li").first();
    await finding.getByRole("button", { name: "Acknowledge…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Your name").fill("ada");
    await dialog.getByLabel("Reason").fill("a known failure");
    await dialog.getByRole("button", { name: "Acknowledge" }).click();
    await page.getByText(/^Acknowledged at .* by ada: a known failure$/).waitFor();
    await page.getByRole("button", { name: "Remove acknowledgement" }).waitFor();
  });

  it("lists what was found before", async () => {
    await page.getByRole("link", { name: "History" }).click();
    await page.getByRole("heading", { name: "History" }).waitFor();
    await page.locator(".findings li", { hasText: "sent to log" }).first().waitFor();
    await assertAccessible(page);
    await page.getByRole("link", { name: "← All sessions" }).click();
  });

  it("keeps a text of an agent a text", async () => {
    watching.write("hostile.ndjson", sessions.hostile());
    await page.locator("#sessions tbody tr").nth(2).waitFor();
    assert.equal(await page.locator("main script, main img, main iframe").count(), 0);
  });

  it("keeps what somebody writes while sessions change", async () => {
    await page.locator("#filter").fill("pay");
    watching.write("calm.ndjson", sessions.calm(1));
    await page.getByText(/ of 4$/).waitFor();
    assert.equal(await page.locator("#filter").inputValue(), "pay");
    assert.equal(await page.evaluate(() => document.activeElement.id), "filter");
    await page.locator("#filter").fill("");
  });

  it("adds a silence with a reason, and ends it", async () => {
    await page.getByRole("button", { name: "Silence…" }).first().click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Silence" }).click();
    await dialog.getByText("Write your name and a reason.").waitFor();
    await dialog.getByLabel("Findings").selectOption("detector");
    await dialog.getByLabel("Your name").fill("ada");
    await dialog.getByLabel("Reason").fill("a known loop");
    await assertAccessible(page);
    await dialog.getByRole("button", { name: "Silence" }).click();
    await page.getByText("ada: a known loop", { exact: true }).waitFor();
    // The monitor reads the silence at some time after the page shows it.
    const silenced = page.getByText(/^Silenced until .* by ada: a known loop$/).first();
    for (let n = 0; n < 10 && !(await silenced.isVisible()); n += 1) {
      watching.write(`again-${n}.ndjson`, sessions.looping().replaceAll("incident-7f3a", `incident-8b1c-${n}`));
      await silenced.waitFor({ timeout: 3000 }).catch(() => {});
    }
    await silenced.waitFor();
    await page.getByRole("button", { name: "End", exact: true }).click();
    await page.getByText("ada: a known loop", { exact: true }).waitFor({ state: "detached" });
  });

  it("says that it is disconnected, and continues after a restart", async () => {
    await watching.kill();
    await page.getByText(/^Disconnected since /).waitFor();
    await picture(page, "live-disconnected");
    await watching.start(new URL(watching.address).host);
    await page.getByText(/^Disconnected since /).waitFor({ state: "detached" });
    await page.getByText(/^Acknowledged at .* by ada: a known failure$/).waitFor();
    await page.locator("#sessions .badge.looping").first().waitFor();
  });
});

// The page of `check --format html`, in Chromium. `.ci/browser` runs these tests.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { after, before, describe, it } = require("node:test");
const axe = require("axe-core");
const { BROWSER_FOLDER, launch, report } = require("./chromium.js");
const sessions = require("./sessions.js");

const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const LOOP = "#/session/incident-7f3a";

let browser;

/** Opens an address, and fails after the test if the page reports an error or makes a request. */
async function open(t, address, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => faults.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(error.stack));
  page.on("request", (request) => {
    if (request.url().split("#")[0] !== address.split("#")[0]) faults.push(`request: ${request.url()}`);
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  await page.goto(address);
  await page.waitForSelector("h1");
  return page;
}

/** Fails if axe finds a serious fault. Its script runs by the debugger, not in the page's policy. */
async function assertAccessible(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { resultTypes: ["violations"] }),
  );
  const serious = violations.filter((it) => it.impact === "serious" || it.impact === "critical");
  const text = serious.map(
    (it) => `${it.id}: ${it.nodes.map((node) => `${node.html} ${node.failureSummary}`).join("\n  ")}`,
  );
  assert.deepEqual(text, []);
}

async function picture(page, name) {
  const folder = path.join(BROWSER_FOLDER, "screenshots");
  fs.mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
}

describe("the report", () => {
  let address;

  before(async () => {
    browser = await launch();
    const files = { "incident.ndjson": sessions.looping() };
    for (let n = 0; n < 12; n++) files[`calm-${n}.ndjson`] = sessions.calm(n);
    address = report("incident", files);
  });

  after(() => browser.close());

  it("shows the looping session, its first repetition and its cost in three clicks", async (t) => {
    const page = await open(t, address);
    // The first click leads to the session with the finding.
    await page.locator(".findings a").first().click();
    await page.getByRole("heading", { name: "payments", level: 1 }).waitFor();
    const finding = page.locator(".findings > li").first();
    const text = await finding.innerText();
    assert.match(text, /the same error occurred 14 times/);
    assert.match(text, /first repetition incident\.ndjson:32/);
    assert.match(text, /\$0\.32/);
    // The second opens the measures, the third selects the episode on the timeline.
    await finding.getByText("What the detector measured").click();
    await finding.getByRole("img", { name: /Measures of repeated_error/ }).waitFor();
    await finding.getByRole("button", { name: "Show" }).click();
    assert.equal(await finding.getAttribute("aria-current"), "true");
    assert.match(await page.locator(".inspector").innerText(), /1\. repeated error, high/);
    const repeats = page.locator(".tile", { hasText: "Spent on repeats" });
    assert.match(await repeats.innerText(), /\$0\.32\n65% of the cost, 13 repeats/);
  });

  it("describes bars under the mouse and on the keyboard", async (t) => {
    const page = await open(t, address + LOOP);
    // The calls at the end are repeats; one of these places is within a call.
    const texts = [];
    for (let x = 1000; x < 1100; x += 20) {
      await page.locator("canvas").hover({ position: { x, y: 76 } });
      texts.push(await page.locator(".tip").textContent());
    }
    assert.match(texts.join("\n"), /Bash.*cargo test.*run · failed · repeats an earlier result/);
    await page.locator("canvas").focus();
    for (let n = 0; n < 3; n++) await page.keyboard.press("n");
    assert.match(await page.locator(".inspector").innerText(), /incident\.ndjson:\d+/);
    // The break of 50 minutes is short, until someone wants to see its length.
    const shorten = page.getByRole("button", { name: "Shorten idle time", pressed: true });
    await shorten.click();
    await page.getByRole("button", { name: "Shorten idle time", pressed: false }).waitFor();
    await page.getByText("Events as a table").click();
    await page
      .getByRole("cell", { name: /cargo test.*failed/s })
      .first()
      .waitFor();
  });

  it("sorts and filters with the keyboard", async (t) => {
    const page = await open(t, address);
    const rows = page.locator("#sessions tbody tr");
    assert.equal(await rows.count(), 13);
    await page.locator("#filter").focus();
    await page.keyboard.type("service-2");
    assert.equal(await rows.count(), 2);
    await page.keyboard.press("Control+A");
    await page.keyboard.type("repeated_error");
    assert.equal(await rows.count(), 1);
    await page.locator("#filter").fill("");
    await page.locator("#sort-cost").focus();
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("th[aria-sort]").innerText(), "Cost");
    assert.match(await rows.first().innerText(), /payments/);
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("th[aria-sort]").getAttribute("aria-sort"), "ascending");
    assert.equal(await page.evaluate(() => document.activeElement.id), "sort-cost");
    await page.locator("#filter-state").selectOption("looping");
    assert.equal(await rows.count(), 1);
    // The skip link is the first stop of a new page.
    await page.reload();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  });

  for (const [name, options] of [
    ["light", {}],
    ["dark", { colorScheme: "dark" }],
    ["phone", { viewport: PHONE }],
  ]) {
    it(`is accessible: ${name}`, async (t) => {
      const page = await open(t, address, options);
      await assertAccessible(page);
      await picture(page, `sessions-${name}`);
      await page.locator(".findings a").first().click();
      await page.getByText("What the detector measured").click();
      await assertAccessible(page);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
      await picture(page, `session-${name}`);
    });
  }

  it("keeps the chosen theme, and prints on white", async (t) => {
    const page = await open(t, address);
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    assert.equal(await theme(), "light");
    await page.locator("#theme").click();
    await page.locator("#theme").click();
    assert.equal(await theme(), "dark");
    await page.reload();
    assert.equal(await theme(), "dark");
    await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
    assert.equal(await theme(), "light");
  });
});

describe("the report of hostile sessions", () => {
  before(async () => {
    browser = await launch();
  });

  after(() => browser.close());

  it("shows their text, and runs none of it", async (t) => {
    const page = await open(t, report("hostile", { "hostile.ndjson": sessions.hostile() }));
    const check = async () => {
      assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
      assert.equal(await page.locator("img, iframe, object").count(), 0);
      assert.equal(await page.locator("script").count(), 2);
      const text = await page.locator("body").innerText();
      assert.doesNotMatch(text, /[\u0000-\u0008\u001b\u202e\u2028]/);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
      return text;
    };
    assert.match(await check(), /<script>globalThis\.pwned = 1<\/script>/);
    await page.locator(".findings a").first().click();
    await page.getByText("Events as a table").click();
    assert.match(await check(), /\\u\{202e\}/);
    await assertAccessible(page);
  });

  it("names a session that does not exist", async (t) => {
    const page = await open(t, report("session-without-findings", { "calm.ndjson": sessions.calm(1) }));
    assert.equal(await page.locator("h1").innerText(), "No findings in 1 session");
    await page.goto(`${page.url().split("#")[0]}#/session/%E0%A4%A`);
    await page.getByRole("heading", { name: "No such session" }).waitFor();
  });

  it("draws 10,000 events within a second", async (t) => {
    const address = report("long", { "long.ndjson": sessions.long(4500) });
    const page = await open(t, address);
    const link = page.locator("#sessions tbody a");
    const millis = await link.evaluate(async (element) => {
      const start = performance.now();
      element.click();
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      return performance.now() - start;
    });
    t.diagnostic(`the timeline of 10,000 events took ${Math.round(millis)} ms`);
    assert.ok(millis < 1000, `${millis} ms`);
    await page.locator("canvas").waitFor();
    await picture(page, "long");
  });
});

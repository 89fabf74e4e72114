// Draws the pictures of the README: `.ci/browser --picture`.
"use strict";

const { launch, report } = require("./chromium.js");
const sessions = require("./sessions.js");
const { Watching } = require("./watching.js");

const WIDTH = 1120;

async function drawReport(page) {
  await page.goto(`${report("picture", { "incident.ndjson": sessions.looping() })}#/session/incident-7f3a`);
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: "docs/report.png", clip: { x: 0, y: 46, width: WIDTH, height: 749 } });
}

async function drawLive(page) {
  const watching = new Watching("picture-live");
  watching.write("calm.ndjson", sessions.calm(1), 900);
  watching.write("limited.ndjson", sessions.limited(), 20);
  watching.write("incident.ndjson", sessions.looping(), 5);
  await watching.start("127.0.0.1:0");
  await page.goto(watching.address);
  await page.locator("#sessions .badge.looping").waitFor();
  await page.getByText(/^empty at /).waitFor();
  await page.screenshot({ path: "docs/live.png", clip: { x: 0, y: 0, width: WIDTH, height: 900 } });
  await watching.kill();
}

async function main() {
  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 900 } });
  await drawReport(page);
  await drawLive(page);
  await browser.close();
}

main();

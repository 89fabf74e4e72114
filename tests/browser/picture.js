// Draws the picture of the README: `.ci/browser --picture`.
"use strict";

const { launch, report } = require("./chromium.js");
const sessions = require("./sessions.js");

async function main() {
  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1120, height: 900 } });
  await page.goto(`${report("picture", { "incident.ndjson": sessions.looping() })}#/session/incident-7f3a`);
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: "docs/report.png", clip: { x: 0, y: 46, width: 1120, height: 749 } });
  await browser.close();
}

main();

import assert from "node:assert/strict";
import { test } from "node:test";

import { everyDay, isPeriod, periodOf } from "../../page/periods.js";

test("periods are whole days, both ends included", () => {
  const cases = [
    ["this-month", "2026-11-22", "2026-11-01", "2026-11-22"],
    ["last-month", "2026-03-31", "2026-02-01", "2026-02-28"],
    ["last-month", "2026-01-01", "2025-12-01", "2025-12-31"],
    ["last-30-days", "2026-03-01", "2026-01-31", "2026-03-01"],
    ["last-90-days", "2026-11-22", "2026-08-25", "2026-11-22"],
    ["this-year", "2026-11-22", "2026-01-01", "2026-11-22"],
  ];
  for (const [name, today, from, to] of cases) assert.deepEqual(periodOf(name, today), { from, to }, name);
});

test("every day is listed once, over the change of clocks too", () => {
  assert.deepEqual(everyDay({ from: "2026-10-24", to: "2026-10-26" }), [
    "2026-10-24",
    "2026-10-25",
    "2026-10-26",
  ]);
});

test("what the API would refuse is no period", () => {
  assert.ok(isPeriod({ from: "2026-11-22", to: "2026-11-22" }));
  assert.ok(!isPeriod({ from: "2026-11-23", to: "2026-11-22" }));
  assert.ok(!isPeriod({ from: "", to: "2026-11-22" }));
  assert.ok(!isPeriod({ from: "2010-01-01", to: "2026-11-22" }));
});

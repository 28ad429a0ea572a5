import assert from "node:assert/strict";
import { test } from "node:test";

import { Money, compareAmounts, decimalText, parseDecimal, permille, round, sumText } from "../../page/money.js";

const dollars = new Money("en-GB", { code: "USD", per_usd: "1" });
const zloty = new Money("pl-PL", { code: "PLN", per_usd: "4.05" });
// Intl separates with no-break spaces of several kinds; which one is the browser's affair.
const plain = (text) => text.replace(/[\u00a0\u202f]/g, " ");

test("an amount is shown by the money rule", () => {
  const cases = [
    ["0", "$0.00"],
    ["0.002002", "$0.002002"],
    ["0.00999", "$0.009990"],
    ["0.01", "$0.01"],
    ["0.0000005", "$0.000001"],
    ["0.00000049", "<$0.000001"],
    ["0.000000000001", "<$0.000001"],
    ["-0.002002", "-$0.002002"],
    ["-0.000000000001", ">-$0.000001"],
    ["1.005", "$1.01"],
    ["-1.005", "-$1.01"],
    ["1234567.891", "$1,234,567.89"],
    ["9007199254740993.01", "$9,007,199,254,740,993.01"],
  ];
  for (const [amount, shown] of cases) assert.equal(plain(dollars.show(amount)), shown, amount);
});

test("another currency is converted exactly, then shown by the same rule", () => {
  const cases = [
    ["1", "4,05 zł"],
    ["0.002002", "0,008108 zł"],
    ["0.002", "0,008100 zł"],
    ["0.0025", "0,01 zł"],
    ["1000", "4 050,00 zł"],
    ["0", "0,00 zł"],
  ];
  for (const [amount, shown] of cases) assert.equal(plain(zloty.show(amount)), shown, amount);
});

test("the exact text keeps every digit", () => {
  assert.equal(dollars.exact("0.002002000001"), "0.002002000001 USD");
  assert.equal(zloty.exact("0.002002"), "0.0081081 PLN = 0.002002 USD");
});

test("unknown stays unknown", () => {
  assert.equal(dollars.show(null), null);
  assert.equal(dollars.exact(undefined), null);
  assert.equal(sumText(["1", null]), null);
  assert.equal(permille("1", "0"), null);
});

test("text that is no plain decimal is no amount", () => {
  for (const text of ["", "1e3", "abc", "1.", ".5", "NaN", " 1"])
    assert.equal(parseDecimal(text), null, text);
});

test("sums are exact", () => {
  assert.equal(sumText(["0.1", "0.2"]), "0.3");
  assert.equal(sumText(["0.000000000001", "1", "-1"]), "0.000000000001");
  assert.equal(sumText([]), "0");
});

test("amounts compare by value, not by text", () => {
  const sorted = ["10", "9", "0.1", "-3", "0.09"].sort(compareAmounts);
  assert.deepEqual(sorted, ["-3", "0.09", "0.1", "9", "10"]);
});

test("halves are rounded away from zero", () => {
  const rounded = (text, scale) => decimalText(round(parseDecimal(text), scale));
  assert.equal(rounded("2.5", 0), "3");
  assert.equal(rounded("-2.5", 0), "-3");
  assert.equal(rounded("2.4999", 0), "2");
  assert.equal(rounded("7", 2), "7");
});

test("shares are thousandths", () => {
  assert.equal(permille("1", "3"), 333);
  assert.equal(permille("2", "3"), 667);
  assert.equal(permille("15", "10"), 1500);
  assert.equal(permille("-1", "4"), -250);
});

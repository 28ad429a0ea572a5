import assert from "node:assert/strict";
import { test } from "node:test";

import { LANGUAGES, wordsOf } from "../../page/words.js";

/** Keys with the kind of what stands there, so that a sentence with a gap is one in both languages. */
const shape = (words) =>
  Object.fromEntries(
    Object.entries(words)
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([key, value]) => [
        key,
        typeof value === "object"
          ? shape(value)
          : `${typeof value} ${value.length > 0 && typeof value === "function" ? value.length : ""}`,
      ]),
  );

test("both languages say the same things", () => {
  assert.deepEqual(shape(LANGUAGES.pl), shape(LANGUAGES.en));
});

test("the first known language counts", () => {
  assert.equal(wordsOf(null, "pl-PL"), LANGUAGES.pl);
  assert.equal(wordsOf("de", "PL"), LANGUAGES.pl);
  assert.equal(wordsOf("", undefined), LANGUAGES.en);
});

// Periods of whole days, as `YYYY-MM-DD` text. `today` is always the organisation's, told by the API: the
// reader's own clock may stand in another zone.

export const PERIODS = ["this-month", "last-month", "last-30-days", "last-90-days", "this-year", "custom"];

/** More is refused by the API. */
const LONGEST_PERIOD_DAYS = 3660;

const MS_PER_DAY = 86_400_000;

/** `{from, to}`, both inclusive, of a named period that ends today at the latest. */
export function periodOf(name, today) {
  switch (name) {
    case "last-month": {
      const to = addDays(firstOfMonth(today), -1);
      return { from: firstOfMonth(to), to };
    }
    case "last-30-days":
      return { from: addDays(today, -29), to: today };
    case "last-90-days":
      return { from: addDays(today, -89), to: today };
    case "this-year":
      return { from: `${today.slice(0, 4)}-01-01`, to: today };
    default:
      return { from: firstOfMonth(today), to: today };
  }
}

export function isPeriod({ from, to }) {
  return isDay(from) && isDay(to) && from <= to && daysBetween(from, to) < LONGEST_PERIOD_DAYS;
}

export function firstOfMonth(day) {
  return `${day.slice(0, 8)}01`;
}

export function addDays(day, days) {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * MS_PER_DAY).toISOString().slice(0, 10);
}

export function daysBetween(from, to) {
  return (Date.parse(`${to}T00:00:00Z`) - Date.parse(`${from}T00:00:00Z`)) / MS_PER_DAY;
}

/** Every day of the period, oldest first. */
export function everyDay({ from, to }) {
  return Array.from({ length: daysBetween(from, to) + 1 }, (_, index) => addDays(from, index));
}

function isDay(text) {
  return /^\d{4}-\d\d-\d\d$/.test(text ?? "") && !Number.isNaN(Date.parse(`${text}T00:00:00Z`));
}

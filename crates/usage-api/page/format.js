// Values as elements: money, counts, days and instants in the reader's language and the organisation's time
// zone.

import { h, spoken } from "./dom.js";
import { Money } from "./money.js";

export class Format {
  constructor(words, me) {
    const { locale, numberLocale } = words;
    this.words = words;
    this.amounts = new Money(numberLocale, me.currency);
    this.integers = new Intl.NumberFormat(numberLocale, { useGrouping: "always" });
    this.compact = new Intl.NumberFormat(numberLocale, { notation: "compact", maximumFractionDigits: 1 });
    this.shares = new Intl.NumberFormat(numberLocale, {
      style: "percent",
      minimumFractionDigits: 1,
      maximumFractionDigits: 1,
    });
    const timeZone = me.organisation.time_zone;
    this.minutes = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short", timeZone });
    this.seconds = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium", timeZone });
    this.clock = new Intl.DateTimeFormat(locale, { timeStyle: "short", timeZone });
    // A day is a date without a zone; reading and writing it in UTC keeps it one.
    this.longDays = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeZone: "UTC" });
    this.shortDays = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone: "UTC" });
    this.weekdays = new Intl.DateTimeFormat(locale, { weekday: "short", timeZone: "UTC" });
    this.collator = new Intl.Collator(locale, { numeric: true, sensitivity: "base" });
  }

  /** Never known is not zero: a dash to the eye, a word to the ear. */
  unknown() {
    return h(
      "span",
      { class: "unknown" },
      h("span", { "aria-hidden": "true" }, "–"),
      spoken(this.words.unknown),
    );
  }

  /** Rounded for reading; `value` holds the API's exact dollars, the tooltip every digit of what is shown. */
  money(text) {
    const shown = this.amounts.show(text);
    return shown === null
      ? this.unknown()
      : h("data", { class: "money", value: text, title: this.amounts.exact(text) }, shown);
  }

  moneyText(text) {
    return this.amounts.show(text) ?? this.words.unknown;
  }

  count(number) {
    return number === null || number === undefined
      ? this.unknown()
      : h("data", { value: number }, this.integers.format(number));
  }

  countText(number) {
    return this.integers.format(number);
  }

  /** 1 234 567 as 1.2M. */
  compactText(number) {
    return this.compact.format(number);
  }

  shareText(permille) {
    return this.shares.format(permille / 1000);
  }

  instant(text) {
    return text
      ? h("time", { datetime: text, title: this.seconds.format(new Date(text)) }, this.instantText(text))
      : this.unknown();
  }

  instantText(text) {
    return this.minutes.format(new Date(text));
  }

  clockText(date) {
    return this.clock.format(date);
  }

  day(day) {
    const weekday = h("span", { class: "weekday" }, this.weekdays.format(utc(day)));
    return h("time", { datetime: day }, this.dayText(day), " ", weekday);
  }

  dayText(day) {
    return this.longDays.format(utc(day));
  }

  periodText({ from, to }) {
    return this.longDays.formatRange(utc(from), utc(to));
  }

  shortDayText(day) {
    return this.shortDays.format(utc(day));
  }
}

function utc(day) {
  return new Date(`${day}T00:00:00Z`);
}

// Exact decimal money. Amounts arrive as decimal text and stay exact: a BigInt of units and a scale, never a
// float, because 0.1 + 0.2 is not what anybody is billed.

/** Shown when an amount is too small for six decimals: never as 0.00, which would read as free. */
const SMALLEST_SHOWN = "0.000001";

/** "-0.002002" -> {units: -2002n, scale: 6}; `null` for anything that is no plain decimal. */
export function parseDecimal(text) {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text ?? "");
  if (!match) return null;
  const [, sign, whole, fraction = ""] = match;
  const units = BigInt(whole + fraction);
  return { units: sign ? -units : units, scale: fraction.length };
}

/** The shortest text of a decimal: no trailing zeros, no "-0". */
export function decimalText({ units, scale }) {
  const digits = absolute(units)
    .toString()
    .padStart(scale + 1, "0");
  const whole = digits.slice(0, digits.length - scale);
  const fraction = digits.slice(digits.length - scale).replace(/0+$/, "");
  return (units < 0n ? "-" : "") + whole + (fraction && `.${fraction}`);
}

export function add(a, b) {
  const scale = Math.max(a.scale, b.scale);
  return { units: atScale(a, scale) + atScale(b, scale), scale };
}

export function multiply(a, b) {
  return { units: a.units * b.units, scale: a.scale + b.scale };
}

/** Rounded to `scale` decimals, halves away from zero, as people round on paper. */
export function round(value, scale) {
  if (value.scale <= scale) return { units: atScale(value, scale), scale };
  const divisor = 10n ** BigInt(value.scale - scale);
  const half = value.units < 0n ? -divisor / 2n : divisor / 2n;
  return { units: (value.units + half) / divisor, scale };
}

/** The exact sum of amounts as text; `null` (unknown) as soon as one of them is unknown. */
export function sumText(texts) {
  let sum = { units: 0n, scale: 0 };
  for (const text of texts) {
    const value = parseDecimal(text);
    if (!value) return null;
    sum = add(sum, value);
  }
  return decimalText(sum);
}

/** -1, 0 or 1, for sorting; both are decimal text. */
export function compareAmounts(a, b) {
  const [left, right] = [parseDecimal(a), parseDecimal(b)];
  const { units } = add(left, { ...right, units: -right.units });
  return units < 0n ? -1 : Number(units > 0n);
}

/** `part` of `whole` in thousandths, rounded; `null` where there is no such share. */
export function permille(part, whole) {
  const [of, all] = [parseDecimal(part), parseDecimal(whole)];
  if (!of || !all || all.units === 0n) return null;
  const scale = Math.max(of.scale, all.scale);
  const thousandths = { units: (atScale(of, scale) * 10_000n) / atScale(all, scale), scale: 1 };
  return Number(round(thousandths, 0).units);
}

/**
 * How amounts are shown: `show` by the money rule (0 < |v| < 0.01 with six decimals, else two), `exact` with
 * every digit. Both take dollars as text and show them in the currency of the organisation.
 */
export class Money {
  constructor(locale, { code, per_usd }) {
    this.locale = locale;
    this.code = code;
    this.rate = parseDecimal(per_usd);
  }

  convert(text) {
    const value = parseDecimal(text);
    return value && multiply(value, this.rate);
  }

  show(text) {
    const value = this.convert(text);
    if (!value) return null;
    const isSmall = value.units !== 0n && absolute(value.units) * 100n < 10n ** BigInt(value.scale);
    const rounded = round(value, isSmall ? 6 : 2);
    if (isSmall && rounded.units === 0n) {
      return value.units > 0n
        ? `<${this.format(SMALLEST_SHOWN, 6)}`
        : `>${this.format(`-${SMALLEST_SHOWN}`, 6)}`;
    }
    return this.format(decimalText(rounded), rounded.scale);
  }

  exact(text) {
    const value = this.convert(text);
    if (!value) return null;
    const dollars = `${decimalText(parseDecimal(text))} USD`;
    return this.code === "USD" ? dollars : `${decimalText(value)} ${this.code} = ${dollars}`;
  }

  /** A float for the heights of a chart, and for nothing that is read as an amount. */
  forPixels(text) {
    const value = this.convert(text);
    return value ? Number(decimalText(value)) : 0;
  }

  /**
   * `Intl` reads decimal text exactly (ECMA-402, NumberFormat v3), and knows where each language puts the
   * sign.
   */
  format(text, decimals) {
    return new Intl.NumberFormat(this.locale, {
      style: "currency",
      currency: this.code,
      currencyDisplay: "narrowSymbol",
      minimumFractionDigits: decimals,
      maximumFractionDigits: decimals,
      useGrouping: "always",
    }).format(text);
  }
}

function atScale({ units, scale }, wanted) {
  return units * 10n ** BigInt(wanted - scale);
}

function absolute(units) {
  return units < 0n ? -units : units;
}

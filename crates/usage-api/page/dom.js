// Elements without markup: text only ever becomes a text node, so a name like `<img onerror=…>` stays a name.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element. `properties`: attributes, or listeners under `onclick` and the like; null leaves one out.
 */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Text that only screen readers read. */
export function spoken(text) {
  return h("span", { class: "spoken" }, text);
}

/**
 * A name that others chose: isolated, so that right-to-left letters do not turn their surroundings around.
 */
export function name(text, properties = {}) {
  return h("bdi", { dir: "auto", class: "name", title: text, ...properties }, text);
}

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

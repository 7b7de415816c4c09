/** Making elements. Text only ever becomes text nodes: nothing in this page parses HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} tag
 * @param {object} properties names with a dash and `role` become attributes, onX listeners,
 *   the rest properties
 * @param {...(Node|string|null)} children
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** One of the symbols at the end of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button that shows only an icon; its label is read and shown as a tooltip. */
export function iconButton(name, label, onclick) {
  const properties = { type: "button", className: "icon", title: label, "aria-label": label };
  return element("button", { ...properties, onclick }, icon(name));
}

export function byId(id) {
  return document.getElementById(id);
}

/** Puts text on the clipboard; pages from plain http have no navigator.clipboard. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = element("textarea", { value: text, className: "hidden", readOnly: true });
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!copied) throw new Error("the browser refused to copy");
}

/** A button that copies what `text()` gives and says so for a moment. */
export function copyButton(text, label) {
  const button = iconButton("copy", label, async () => {
    let outcome = ["check", "Copied"];
    try {
      await copyText(text());
    } catch {
      outcome = ["alert", "Could not copy"];
    }
    button.replaceChildren(icon(outcome[0]));
    button.setAttribute("aria-label", outcome[1]);
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.setAttribute("aria-label", label);
    }, 1500);
  });
  return button;
}

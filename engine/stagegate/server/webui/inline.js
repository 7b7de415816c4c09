/** The marks within a line of Markdown: code, emphasis, links, line breaks and escapes. */

import { element } from "./dom.js";

// In order of precedence. Lookarounds keep snake_case and 2 * 3 * 4 as they are.
const MARKS = [
  { pattern: /\\([\\`*_{}[\]()#+\-.!|<>~$])/, render: ([, sign]) => sign },
  {
    pattern: /(?<!`)(`+)(?!`)([^]*?[^`])\1(?!`)/,
    render: ([, , code]) => element("code", {}, code.replace(/\n/g, " ").replace(/^ (.+) $/, "$1")),
  },
  {
    pattern: /!?\[((?:[^[\]\\]|\\.|\[[^[\]]*\])*)\]\(<?([^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)>?(?:\s+"[^"]*")?\)/,
    render: ([source, text, address], depth) => link(source, text || address, address, depth),
  },
  {
    pattern: /<?(https?:\/\/[^\s<>"')\]]*[^\s<>"')\].,;:!?*_])>?/,
    render: ([source, address], depth) => link(source, null, address, depth),
  },
  {
    pattern: /\*\*(?=\S)([^]*?\S)\*\*(?!\*)|(?<!\w)__(?=\S)([^]*?\S)__(?!\w)/,
    render: (match, depth) => wrap("strong", match, depth),
  },
  {
    pattern: /(?<!\*)\*(?=[^\s*])([^]*?[^\s*])\*(?!\*)|(?<!\w)_(?=[^\s_])([^]*?[^\s_])_(?!\w)/,
    render: (match, depth) => wrap("em", match, depth),
  },
  { pattern: /~~(?=\S)([^]*?\S)~~/, render: (match, depth) => wrap("del", match, depth) },
  { pattern: /(?: {2,}|\\)\n/, render: () => element("br") },
];
const MAX_NESTING = 6;
// Patterns that look ahead for their end take quadratic time on text without one.
const MAX_LENGTH = 20000;

/** @returns {(Node|string)[]} */
export function renderInline(text, depth = 0) {
  if (depth > MAX_NESTING || text.length > MAX_LENGTH) return [text];
  const nodes = [];
  // The next match of each mark from `at` on; searched again only when it is passed.
  const next = MARKS.map(() => ({ start: -1, match: null }));
  let at = 0;
  while (at < text.length) {
    const found = earliest(text, at, next);
    if (!found) break;
    if (found.start > at) nodes.push(text.slice(at, found.start));
    nodes.push(MARKS[found.mark].render(found.match, depth));
    at = found.start + found.match[0].length;
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

function earliest(text, at, next) {
  let best = null;
  MARKS.forEach(({ pattern }, mark) => {
    const known = next[mark];
    if (known.start < at) {
      const sticky = new RegExp(pattern.source, "g");
      sticky.lastIndex = at;
      known.match = sticky.exec(text);
      known.start = known.match ? known.match.index : Number.POSITIVE_INFINITY;
    }
    if (known.match && (!best || known.start < best.start)) best = { ...known, mark };
  });
  return best;
}

function wrap(tag, match, depth) {
  return element(tag, {}, ...renderInline(match[1] ?? match[2], depth + 1));
}

/** A link that opens apart from the page; anything but http, https and mailto stays text. */
function link(source, text, address, depth) {
  if (!/^(https?:\/\/|mailto:)/i.test(address)) return source;
  const content = text === null ? [address] : renderInline(text, depth + 1);
  const properties = { href: address, target: "_blank", rel: "noopener noreferrer" };
  return element("a", { ...properties, title: text === null ? "" : address }, ...content);
}

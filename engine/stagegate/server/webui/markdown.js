/**
 * The Markdown that models write, as blocks: headings, paragraphs, fenced code, lists, quotes,
 * tables and rules. Raw HTML is text like any other, and images are links: showing one would
 * fetch it.
 *
 * `splitBlocks` cuts a source into blocks that render independently, so that a growing answer is
 * rendered again only from the block that grew.
 */

import { copyButton, element } from "./dom.js";
import { renderInline } from "./inline.js";

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:\s+|$)/;
const QUOTE = /^ {0,3}> ?/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const MAX_NESTING = 12;

/** @returns {Node[]} */
export function renderMarkdown(source) {
  return splitBlocks(source).map((block) => renderBlock(block, 0));
}

/** @returns {{kind: string, lines: string[]}[]} */
export function splitBlocks(source) {
  return splitLines(source.replace(/\r\n?/g, "\n").split("\n"));
}

export function renderBlock(block, depth = 0) {
  // What is nested deeper than anyone writes is shown as it stands.
  return depth > MAX_NESTING ? paragraph(block.lines) : RENDERERS[block.kind](block.lines, depth);
}

const RENDERERS = {
  paragraph,
  code: renderCode,
  list: renderList,
  quote: (lines, depth) =>
    element("blockquote", {}, ...nested(lines.map((line) => line.replace(QUOTE, "")), depth)),
  table: renderTable,
  rule: () => element("hr"),
  heading([line]) {
    const [, marks, text] = HEADING.exec(line);
    // The page has h1 and h2 of its own.
    return element(`h${Math.min(6, marks.length + 2)}`, {}, ...renderInline(text));
  },
};

function splitLines(lines) {
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    if (lines[at].trim() === "") {
      at += 1;
      continue;
    }
    const [kind, end] = blockAt(lines, at);
    blocks.push({ kind, lines: lines.slice(at, end) });
    at = end;
  }
  return blocks;
}

/** Kind of the block that starts at a line, and the line after its end. */
function blockAt(lines, at) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return ["code", endOfFence(lines, at, fence[2])];
  if (HEADING.test(line)) return ["heading", at + 1];
  if (RULE.test(line)) return ["rule", at + 1];
  if (QUOTE.test(line)) return ["quote", endWhere(lines, at, (next) => !QUOTE.test(next))];
  if (ITEM.test(line)) return ["list", endOfList(lines, at)];
  if (isTable(lines, at)) return ["table", endWhere(lines, at, (next) => !next.includes("|"))];
  const stop = (next, index) => next.trim() === "" || startsBlock(lines, index);
  return ["paragraph", endWhere(lines, at, stop)];
}

function startsBlock(lines, at) {
  const line = lines[at];
  const starts = [FENCE, HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line));
  return starts || isTable(lines, at);
}

function isTable(lines, at) {
  const rule = lines[at + 1];
  if (!lines[at].includes("|") || !rule?.includes("-") || !TABLE_RULE.test(rule)) return false;
  return cells(lines[at]).length === cells(rule).length;
}

function endWhere(lines, at, stops) {
  let end = at + 1;
  while (end < lines.length && !stops(lines[end], end)) end += 1;
  return end;
}

function endOfFence(lines, at, marks) {
  const closing = new RegExp(`^ {0,3}\\${marks[0]}{${marks.length},}\\s*$`);
  const end = endWhere(lines, at, (next) => closing.test(next));
  return Math.min(end + 1, lines.length);
}

/** A list goes on over blank lines while what follows is an item or indented. */
function endOfList(lines, at) {
  const ordered = isOrdered(lines[at]);
  return endWhere(lines, at, (next, index) => {
    if (next.trim() === "") {
      const after = lines.slice(index).find((line) => line.trim() !== "");
      return after === undefined || !(continuesList(after, ordered) || /^ {2,}/.test(after));
    }
    const item = ITEM.exec(next);
    if (item && item[1].length < 2) return isOrdered(next) !== ordered || RULE.test(next);
    const lazy = lines[index - 1].trim() !== "" && !startsBlock(lines, index);
    return !(/^ {2,}/.test(next) || lazy);
  });
}

function continuesList(line, ordered) {
  const item = ITEM.exec(line);
  return item !== null && item[1].length < 2 && isOrdered(line) === ordered;
}

function isOrdered(line) {
  return /\d/.test(ITEM.exec(line)[2]);
}

function nested(lines, depth) {
  return splitLines(lines).map((block) => renderBlock(block, depth + 1));
}

function paragraph(lines) {
  return element("p", {}, ...renderInline(lines.map((line) => line.trimStart()).join("\n")));
}

function renderCode(lines) {
  const [, indent, marks, language] = FENCE.exec(lines[0]);
  const closed = lines.length > 1 && lines.at(-1).trim().startsWith(marks);
  const body = lines.slice(1, closed ? -1 : undefined);
  const text = body.map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line));
  const code = element("code", {}, text.join("\n"));
  const name = language.trim().split(/\s/, 1)[0];
  const bar = element("figcaption", {}, element("span", {}, name || "text"));
  bar.append(copyButton(() => code.textContent, "Copy code"));
  const scrolled = { tabIndex: 0, role: "group", "aria-label": `Code, ${name || "text"}` };
  return element("figure", { className: "code" }, bar, element("pre", scrolled, code));
}

function renderList(lines, depth) {
  const base = ITEM.exec(lines[0])[1].length;
  const items = [];
  let width = 0;
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length < base + 2) {
      width = item[1].length + item[2].length + 1;
      items.push([line.slice(item[0].length)]);
    } else {
      const indent = line.length - line.trimStart().length;
      items.at(-1).push(line.slice(Math.min(indent, width)));
    }
  }
  const loose = lines.some((line, index) => line.trim() === "" && index < lines.length - 1);
  const ordered = isOrdered(lines[0]);
  const list = element(ordered ? "ol" : "ul");
  if (ordered) list.start = Number.parseInt(ITEM.exec(lines[0])[2], 10);
  for (const item of items) list.append(element("li", {}, ...itemContent(item, loose, depth)));
  return list;
}

/** Blocks of an item; the paragraphs of a tight list are bare text. */
function itemContent(lines, loose, depth) {
  const blocks = nested(lines, depth);
  if (loose) return blocks;
  return blocks.flatMap((block) => (block.tagName === "P" ? [...block.childNodes] : [block]));
}

function renderTable(lines) {
  const alignments = cells(lines[1]).map(alignmentOf);
  const row = (line, tag) => {
    const texts = cells(line);
    const made = alignments.map((alignment, column) =>
      element(tag, { className: alignment }, ...renderInline(texts[column] ?? "")),
    );
    return element("tr", {}, ...made);
  };
  const head = element("thead", {}, row(lines[0], "th"));
  const body = element("tbody", {}, ...lines.slice(2).map((line) => row(line, "td")));
  const scrolled = { className: "table", tabIndex: 0, role: "group", "aria-label": "Table" };
  return element("div", scrolled, element("table", {}, head, body));
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function alignmentOf(mark) {
  if (!mark.endsWith(":")) return "";
  return mark.startsWith(":") ? "center" : "right";
}

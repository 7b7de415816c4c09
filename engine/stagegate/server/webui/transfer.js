/** Conversations as a file: the export format, and reading one that anybody may have made. */

import { newId } from "./conversation.js";

const FORMAT = "stagegate-conversations";
const VERSION = 1;
const ROLES = ["user", "assistant"];
const STATES = ["done", "stopped", "interrupted", "failed"];

export class ImportError extends Error {}

export function toFile(conversations) {
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 1);
}

/**
 * @param {string} text
 * @param {(id: string) => boolean} isTaken ids that are in use get replaced
 * @returns {import("./conversation.js").Conversation[]} throws ImportError
 */
export function fromFile(text, isTaken) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new ImportError("This file is not JSON.");
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new ImportError("This file is not an export of this page.");
  }
  if (file.version !== VERSION) {
    throw new ImportError(`This file has version ${file.version}; this page reads ${VERSION}.`);
  }
  return file.conversations.map((given, index) => {
    const conversation = readConversation(given, `Conversation ${index + 1}`);
    return isTaken(conversation.id) ? { ...conversation, id: newId() } : conversation;
  });
}

function readConversation(given, name) {
  need(isObject(given) && isObject(given.messages), `${name} has no messages.`);
  need(typeof given.id === "string" && given.id !== "", `${name} has no id.`);
  const messages = Object.create(null);
  const children = readChildren(given, null, given.messages, messages, name);
  const now = Date.now();
  return {
    id: given.id,
    title: typeof given.title === "string" ? given.title : "",
    draft: typeof given.draft === "string" ? given.draft : "",
    created: timeOr(given.created, now),
    updated: timeOr(given.updated, now),
    ...children,
    messages: { ...messages },
  };
}

/** Reads a node's children and all below, each once: the result is a tree, whatever was given. */
function readChildren(node, parent, given, messages, name) {
  const root = { children: [], selected: 0 };
  const waiting = [{ source: node, parent, target: root }];
  while (waiting.length) {
    const { source, parent: above, target } = waiting.pop();
    need(Array.isArray(source.children), `${name} has a message without a list of children.`);
    for (const id of source.children) {
      need(typeof id === "string" && Object.hasOwn(given, id), `${name} lacks a message.`);
      need(!(id in messages), `${name} has a message twice.`);
      const message = readMessage(given[id], id, above, name);
      messages[id] = message;
      target.children.push(id);
      waiting.push({ source: given[id], parent: id, target: message });
    }
    const { selected } = source;
    const valid = Number.isInteger(selected) && selected >= 0 && selected < target.children.length;
    target.selected = valid ? selected : Math.max(0, target.children.length - 1);
  }
  return root;
}

function readMessage(given, id, parent, name) {
  need(isObject(given) && ROLES.includes(given.role), `${name} has a message of no known role.`);
  need(typeof given.content === "string", `${name} has a message without text.`);
  return {
    id,
    parent,
    role: given.role,
    content: given.content,
    reasoning: typeof given.reasoning === "string" ? given.reasoning : "",
    state: STATES.includes(given.state) ? given.state : "interrupted",
    created: timeOr(given.created, Date.now()),
    children: [],
    selected: 0,
    ...(typeof given.model === "string" && { model: given.model }),
    ...(isObject(given.sampling) && { sampling: given.sampling }),
    ...(hasNumbers(given.usage, USAGE) && { usage: given.usage }),
    ...(hasNumbers(given.timing, TIMING) && { timing: given.timing }),
    ...(typeof given.finishReason === "string" && { finishReason: given.finishReason }),
    ...(typeof given.error?.message === "string" && {
      error: { kind: "refused", message: given.error.message, parameter: null, retryAt: null },
    }),
  };
}

const USAGE = ["promptTokens", "cachedTokens", "completionTokens"];
const TIMING = ["ttftMs", "decodeMs", "chunks"];

function hasNumbers(value, names) {
  return isObject(value) && names.every((name) => Number.isFinite(value[name]));
}

function timeOr(value, otherwise) {
  return Number.isFinite(value) ? value : otherwise;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function need(condition, message) {
  if (!condition) throw new ImportError(message);
}

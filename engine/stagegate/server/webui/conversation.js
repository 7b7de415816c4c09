/**
 * A conversation is a tree: an edited question or another answer is a sibling of the old one, and
 * each node remembers which child is shown. Plain data, so that it can be stored and exported.
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {string|null} parent null for a first message
 * @property {"user"|"assistant"} role
 * @property {string} content
 * @property {string} reasoning what a reasoning model thought before it answered
 * @property {"streaming"|"done"|"stopped"|"interrupted"|"failed"} state
 * @property {string[]} children
 * @property {number} selected index of the child that is shown
 * @property {number} created milliseconds since the epoch
 * @property {string} [model] who answered, with which request fields, and how it went:
 * @property {object} [sampling]
 * @property {{promptTokens: number, cachedTokens: number, completionTokens: number}} [usage]
 * @property {{ttftMs: number, decodeMs: number, chunks: number}} [timing]
 * @property {string} [finishReason]
 * @property {{kind: string, message: string, parameter: string|null, retryAt: number|null}} [error]
 *
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title empty until the first message or a rename
 * @property {string} draft what stands in the message field
 * @property {number} created
 * @property {number} updated
 * @property {string[]} children first messages
 * @property {number} selected
 * @property {Object<string, Message>} messages
 */

const TITLE_LENGTH = 60;

export function newId() {
  // crypto.randomUUID exists on https and localhost only.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @returns {Conversation} */
export function newConversation() {
  const now = Date.now();
  const place = { children: [], selected: 0, messages: {} };
  return { id: newId(), title: "", draft: "", created: now, updated: now, ...place };
}

/** Adds a message below `parent` (null: at the top) and shows it. @returns {Message} */
export function addMessage(conversation, parent, fields) {
  const tree = { id: newId(), parent, children: [], selected: 0, created: Date.now() };
  const message = { content: "", reasoning: "", state: "done", ...fields, ...tree };
  conversation.messages[message.id] = message;
  const node = parentOf(conversation, message);
  node.selected = node.children.push(message.id) - 1;
  conversation.updated = message.created;
  if (!conversation.title) conversation.title = titleFor(message.content);
  return message;
}

/** The shown messages, first to last. @returns {Message[]} */
export function shownMessages(conversation) {
  const shown = [];
  let at = conversation;
  while (at.children.length) {
    at = conversation.messages[at.children[at.selected]];
    shown.push(at);
  }
  return shown;
}

/** The messages from the first down to this one. @returns {Message[]} */
export function messagesUpTo(conversation, message) {
  const path = [];
  for (let at = message; at; at = conversation.messages[at.parent]) path.unshift(at);
  return path;
}

/** The versions of a message and which is shown. @returns {{ids: string[], index: number}} */
export function versionsOf(conversation, message) {
  const ids = parentOf(conversation, message).children;
  return { ids, index: ids.indexOf(message.id) };
}

/** Shows another version of a message, with all that followed it. */
export function selectVersion(conversation, message, index) {
  parentOf(conversation, message).selected = index;
}

/** What the API wants as `messages`; answers that failed before their first word are left out. */
export function requestMessages(conversation, last, system) {
  const said = messagesUpTo(conversation, last)
    .filter((message) => message.content !== "")
    .map(({ role, content }) => ({ role, content }));
  return system ? [{ role: "system", content: system }, ...said] : said;
}

/** Whether there is anything in it worth keeping. */
export function isEmpty(conversation) {
  return conversation.children.length === 0 && !conversation.draft && !conversation.title;
}

function parentOf(conversation, message) {
  return message.parent === null ? conversation : conversation.messages[message.parent];
}

function titleFor(text) {
  const line = text.trim().split("\n", 1)[0];
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1).trimEnd()}…` : line;
}

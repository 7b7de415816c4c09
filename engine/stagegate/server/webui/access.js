/** The API key: kept for the tab, or in the browser when asked to, and asked for once at a time. */

import { byId } from "./dom.js";

const KEY = "stagegate-api-key";

let asking = null;

export function apiKey() {
  try {
    return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";
  } catch {
    return apiKey.held ?? "";
  }
}

/** @returns {Promise<boolean>} whether a key was given */
export function askForKey() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

function ask() {
  const dialog = byId("key-dialog");
  let given = false;
  byId("key").value = "";
  byId("key-form").onsubmit = (event) => {
    event.preventDefault();
    keep(byId("key").value.trim(), byId("keep-key").checked);
    given = true;
    dialog.close();
  };
  byId("key-cancel").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(given), { once: true });
  });
}

function keep(key, forLong) {
  try {
    localStorage.removeItem(KEY);
    sessionStorage.setItem(KEY, key);
    if (forLong) localStorage.setItem(KEY, key);
  } catch {
    apiKey.held = key; // no storage: until the page is left
  }
}

"use strict";
// Comforts only: everything the page has to say is there without them.

const textOf = (row, column) => row.cells[column]?.textContent.trim() ?? "";

function sortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column]?.dataset.sort ?? textOf(row, column);
      const compare = (a, b) => {
        const [left, right] = [key(a), key(b)];
        // Rows without a value stay below, whichever way the others go.
        if (!left || !right) return !left - !right;
        const numeric = head.classList.contains("n") ? left - right : NaN;
        const order = Number.isNaN(numeric)
          ? left.localeCompare(right, "en", { numeric: true })
          : numeric;
        return up ? order : -order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

function filterable(table) {
  const rows = [...table.tBodies[0].rows];
  const tools = document.createElement("form");
  tools.className = "tools";
  tools.addEventListener("submit", (event) => event.preventDefault());
  const search = Object.assign(document.createElement("input"), { type: "search" });
  const choice = document.createElement("select");
  const shown = document.createElement("output");
  choice.add(new Option("all", ""));
  for (const state of new Set(rows.map((row) => row.dataset.state))) {
    choice.add(new Option(state.replaceAll("-", " "), state));
  }
  for (const [name, control] of [["Find", search], ["Verdict", choice]]) {
    const label = document.createElement("label");
    label.append(name, control);
    tools.append(label);
  }
  tools.append(shown);
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = (choice.value && row.dataset.state !== choice.value)
        || !words.every((word) => text.includes(word));
    }
    shown.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown`;
  };
  tools.addEventListener("input", apply);
  table.parentElement.before(tools);
}

// The dots of a plot are one path; its points follow the rows of the table of the same numbers.
function hovering(figure) {
  const path = figure.querySelector(".dots, .past");
  const plot = figure.querySelector("svg");
  if (!path) return;
  const name = path.classList.contains("dots") ? "rounds" : "versions";
  const points = [...path.getAttribute("d").matchAll(/M([\d.-]+) ([\d.-]+)/g)]
    .map(([, x, y]) => [Number(x), Number(y)]);
  const column = Number(figure.dataset.column);
  const table = figure.closest("article").querySelector(`table.${name}`);
  const rows = [...table.tBodies[0].rows].filter((row) => textOf(row, column) !== "–");
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  tip.setAttribute("aria-hidden", "true");
  figure.append(tip);
  // The browser's own hint would cover ours.
  const title = plot.querySelector("title");
  plot.setAttribute("aria-label", title.textContent);
  title.remove();
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const scale = box.width / plot.viewBox.baseVal.width;
    const distance = ([x, y]) => Math.hypot(
      box.left + x * scale - event.clientX, box.top + y * scale - event.clientY);
    const nearest = points.reduce(
      (best, point, i) => (distance(point) < distance(points[best]) ? i : best), 0);
    tip.hidden = distance(points[nearest]) > 24;
    if (tip.hidden) return;
    tip.textContent = `${textOf(rows[nearest], 0)}: ${textOf(rows[nearest], column)}`;
    const [x, y] = points[nearest];
    const origin = figure.getBoundingClientRect();
    const left = box.left - origin.left + x * scale;
    const half = tip.offsetWidth / 2;
    tip.style.left = `${Math.min(Math.max(left, half), origin.width - half)}px`;
    tip.style.top = `${box.top - origin.top + y * scale}px`;
  });
  plot.addEventListener("pointerleave", () => { tip.hidden = true; });
}

function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const closed = target && target.closest("details:not([open])");
  if (!closed) return;
  closed.open = true;
  target.scrollIntoView();
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("table[data-filter]").forEach(filterable);
// Plots of a case wait until it is opened: there are many, and few are looked at.
document.querySelectorAll("details.case").forEach((details) => {
  details.addEventListener("toggle", () => {
    details.querySelectorAll("figure[data-column]").forEach(hovering);
  }, { once: true });
});
addEventListener("hashchange", openTarget);
openTarget();

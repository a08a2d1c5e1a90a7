// A table whose rows are filtered, sorted and paged, with its state in the address.
//
// A filter and an order apply to the rows that are loaded. Pages of the server are links, which the
// screen gives; a table without them divides its rows into pages itself. Texts in cells that are
// too long are cut by the style sheet, and whole in their titles.

import { el, fill, link } from "./dom.js";
import { counted, grouped } from "./time.js";
import { current, here, keep, lookAgain } from "./route.js";

/** Number of rows that a table shows at once if the server does not page. */
const ROWS_MAX = 100;

/** Makes the pages of a list that the server pages by cursors: the first one and the next one. */
export function cursorPages(parameters, next) {
  const isFirst = !parameters.has("cursor");
  return [
    { label: "First", href: isFirst ? null : here({ cursor: null }), key: "prev" },
    { label: "Next", href: next ? here({ cursor: next }) : null, key: "next" },
  ];
}

/**
 * Makes a table of `rows`. A column is `{ name, label, cell, value, kind }`: `cell` makes the
 * content, `value` gives what is sorted and filtered, and `kind` is a class: `number`, `time`,
 * `wide` or `main`. A column with `isControl` has buttons or boxes, whose label is only spoken.
 * `pages` are `{ label, href }` of the server's pages, and `loaded` is the noun of their rows with
 * the place. `name` tells the second table of a screen from the first in the address. `onShown` is
 * called with the rows that are shown, whenever they may have changed.
 */
export function table({ label, columns, rows, pages, empty, loaded, name, onShown }) {
  // Those of now: a table that is drawn again keeps its filter and order.
  const { parameters } = current();
  const key = (one) => (name ? `${name}-${one}` : one);
  const state = {
    filter: parameters.get(key("filter")) ?? "",
    sort: parameters.get(key("sort")) ?? "",
    page: Math.max(1, Number(parameters.get(key("page"))) || 1),
  };
  const box = el("div", { class: "table" });
  const body = el("tbody");
  const count = el("span", { class: "count", role: "status" });
  const pager = el("nav", { class: "pager", "aria-label": `Pages of ${label}` });
  const heads = columns.map((column) => head(column));
  const input = el("input", {
    type: "search",
    class: "filter",
    placeholder: "Filter these rows",
    value: state.filter,
    "aria-label": `Filter ${label}`,
    "aria-keyshortcuts": "/",
  });
  input.addEventListener("input", () => {
    state.filter = input.value;
    state.page = 1;
    keep({ [key("filter")]: state.filter, [key("page")]: null });
    show();
  });

  function head(column) {
    // A column of buttons has nothing to sort by.
    if (column.isControl)
      return el(
        "th",
        { scope: "col", class: column.kind },
        el("span", { class: "only-spoken" }, column.label),
      );
    const button = el("button", { type: "button" }, column.label);
    button.addEventListener("click", () => {
      state.sort =
        { [column.name]: `-${column.name}`, [`-${column.name}`]: "" }[state.sort] ?? column.name;
      keep({ [key("sort")]: state.sort });
      show();
    });
    return el("th", { scope: "col", class: column.kind }, button);
  }

  function show() {
    const matching = ordered(filtered(rows, columns, state.filter), columns, state.sort);
    const last = pages ? 1 : Math.max(1, Math.ceil(matching.length / ROWS_MAX));
    const page = Math.min(state.page, last);
    const from = pages ? 0 : (page - 1) * ROWS_MAX;
    const shown = pages ? matching : matching.slice(from, from + ROWS_MAX);
    fill(
      body,
      shown.map((row) => rowOf(row, columns)),
    );
    if (shown.length === 0) {
      const text = rows.length === 0 ? empty : "No row matches the filter.";
      fill(body, el("tr", {}, el("td", { colspan: columns.length, class: "empty" }, text)));
    }
    onShown?.(shown);
    mark(heads, columns, state.sort);
    fill(count, countText(matching.length, rows.length, loaded));
    fill(pager, pages ? pages.map(pageLink) : ownPages(page, last, key("page")));
  }

  show();
  return fill(
    box,
    el("div", { class: "tools" }, input, count, pager),
    el(
      "div",
      { class: "scroll" },
      el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, heads)), body),
    ),
  );
}

function rowOf(row, columns) {
  return el(
    "tr",
    {},
    columns.map((column) => {
      const content = column.cell(row);
      const isText = !(content instanceof Node) && !Array.isArray(content);
      const title = isText ? content : column.value(row);
      return el(
        "td",
        {
          class: column.kind,
          "data-label": column.label,
          title: String(title ?? "").slice(0, 400),
        },
        isText ? el("span", { class: "text" }, content) : content,
      );
    }),
  );
}

function filtered(rows, columns, filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  return rows.filter((row) => {
    const text = columns
      .map((column) => String(column.value(row) ?? ""))
      .join("\n")
      .toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

function ordered(rows, columns, sort) {
  const isDown = sort.startsWith("-");
  const column = columns.find((one) => one.name === sort.replace(/^-/, ""));
  if (!column) return rows;
  const sign = isDown ? -1 : 1;
  return [...rows].sort((one, other) => sign * compare(column.value(one), column.value(other)));
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one ?? "").localeCompare(String(other ?? ""), "en", { numeric: true });
}

function mark(heads, columns, sort) {
  heads.forEach((head, at) => {
    const { name } = columns[at];
    if (columns[at].isControl) return;
    const order = { [name]: "ascending", [`-${name}`]: "descending" }[sort] ?? "none";
    head.setAttribute("aria-sort", order);
  });
}

function countText(matching, all, [noun, place] = ["row", ""]) {
  if (matching === all) return `${counted(all, noun)}${place}`;
  return `${grouped(matching)} of ${counted(all, noun)}${place}`;
}

function pageLink({ label, href, key }) {
  if (!href) return el("span", { class: "off" }, label);
  return el("a", { href, rel: key, "aria-keyshortcuts": { prev: "[", next: "]" }[key] }, label);
}

function ownPages(page, last, key) {
  if (last === 1) return [];
  const at = (number) => (number >= 1 && number <= last ? here({ [key]: number }) : null);
  return [
    pageLink({ label: "Previous", href: at(page - 1), key: "prev" }),
    el("span", {}, `Page ${page} of ${last}`),
    pageLink({ label: "Next", href: at(page + 1), key: "next" }),
  ];
}

/** Makes a list of names with values, for one thing. Values of `null` are left out. */
export function facts(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined);
  return el(
    "dl",
    { class: "facts" },
    shown.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );
}

/** Makes a card: a number with its name, which leads to what it counts. */
export function card(label, value, href, note) {
  const content = [
    el("span", { class: "label" }, label),
    el("strong", {}, value),
    note && el("span", { class: "note" }, note),
  ];
  return href ? el("a", { class: "card", href }, content) : el("div", { class: "card" }, content);
}

/** Makes the note that stands until the content of a screen is read, or cannot be read. */
export function reading() {
  return el("p", { class: "muted reading", role: "status" }, "Reading …");
}

/** Makes a note in place of content. */
export function notice(kind, ...content) {
  return el("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : "note" }, content);
}

/** Makes the note of a problem, with further content. */
export function problemNotice(problem, ...content) {
  return notice(
    "error",
    el("strong", {}, problem.message),
    problem.advice && el("p", {}, problem.advice),
    content,
  );
}

/**
 * Makes the note of a problem that has ended the reading of a screen. If it may pass, a button reads
 * again.
 */
export function failureNotice(problem) {
  const { status } = problem;
  const mayPass = status === 0 || status === 408 || status === 429 || status >= 500;
  return problemNotice(
    problem,
    mayPass && el("button", { type: "button", class: "small", onclick: lookAgain }, "Try again"),
  );
}

/** Makes links in place of a choice. */
export function choice(label, options) {
  return el(
    "nav",
    { class: "choice", "aria-label": label },
    options.map(({ label: text, href, isOn }) =>
      isOn ? el("a", { href, "aria-current": "true" }, text) : link(href, text),
    ),
  );
}

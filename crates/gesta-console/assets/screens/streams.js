// Streams by category and prefix.

import { get } from "../api.js";
import { el, fill, link } from "../dom.js";
import { categoryOf } from "../events.js";
import { formLink } from "../form.js";
import { categoryHref, go, here, streamHref, to } from "../route.js";
import { choice, table } from "../table.js";

const PAGE_NAMES = 100;

export const title = "Streams";

export async function render(root, { parameters, program, signal }) {
  const prefix = parameters.get("prefix") ?? "";
  const after = parameters.get("after") ?? "";
  const [page, categories] = await Promise.all([
    get("v1/streams", { prefix, after, limit: PAGE_NAMES }, signal),
    get("v1/categories", { limit: 200 }, signal),
  ]);
  fill(
    root,
    el("h1", {}, "Streams"),
    el(
      "div",
      { class: "bar" },
      openForm(),
      program.kind === "server" && formLink("append", {}, "Append an event"),
    ),
    categoryChoice(categories, prefix),
    prefixForm(prefix),
    table({
      label: "streams",
      columns: COLUMNS,
      loaded: ["name", " on this page"],
      rows: page.names.map((name) => ({ name })),
      pages: [
        { label: "First", href: after ? here({ after: null }) : null, key: "prev" },
        { label: "Next", href: page.next ? here({ after: page.next }) : null, key: "next" },
      ],
      empty: prefix ? `No stream begins with “${prefix}”.` : "The store has no streams yet.",
    }),
  );
}

const COLUMNS = [
  {
    name: "name",
    label: "Stream",
    kind: "main wide",
    value: ({ name }) => name,
    cell: ({ name }) => link(streamHref(name), name),
  },
  {
    name: "category",
    label: "Category",
    kind: "name",
    value: ({ name }) => categoryOf(name) ?? "",
    cell: ({ name }) =>
      categoryOf(name) ? link(categoryHref(categoryOf(name)), categoryOf(name)) : "",
  },
];

function categoryChoice({ names, next }, prefix) {
  const options = names.map((name) => ({
    label: name,
    href: to("streams", { prefix: `${name}-` }),
    isOn: prefix === `${name}-`,
  }));
  options.unshift({ label: "All", href: to("streams"), isOn: prefix === "" });
  options.push({ label: "System", href: to("streams", { prefix: "$" }), isOn: prefix === "$" });
  return [
    choice("Categories", options),
    next && el("p", { class: "muted" }, "The first 200 categories."),
  ];
}

function prefixForm(prefix) {
  const input = el("input", {
    name: "prefix",
    value: prefix,
    placeholder: "order-",
    "aria-label": "Prefix",
  });
  const form = el(
    "form",
    { class: "line" },
    el("label", {}, "Begins with ", input),
    el("button", {}, "List"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(to("streams", { prefix: input.value }));
  });
  return form;
}

function openForm() {
  const input = el("input", {
    name: "stream",
    placeholder: "order-1, $ce-order, or the id of an event",
    "aria-label": "Stream or event id",
    size: 40,
  });
  const form = el(
    "form",
    { class: "line" },
    el("label", {}, "Open ", input),
    el("button", {}, "Open"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (text) go(/^[0-9a-f-]{36}$/i.test(text) ? to("event", { id: text }) : streamHref(text));
  });
  return form;
}

// Kinds of aggregates whose state the program shows, and a form that opens one of them.

import { get } from "../api.js";
import { el, fill, link } from "../dom.js";
import { go, to } from "../route.js";
import { table } from "../table.js";
import { aggregateHref } from "../states.js";
import { column } from "./parts.js";

export const title = "Aggregates";

export async function render(root, { signal }) {
  const { items } = await get("v1/aggregates", {}, signal);
  fill(
    root,
    el("h1", {}, "Aggregates"),
    el(
      "p",
      { class: "muted" },
      "The state that commands decide on: now, after each event, and as of a time.",
    ),
    items.length > 0 && openForm(items),
    table({
      label: "aggregates",
      columns: COLUMNS,
      rows: items,
      empty: "The application shows the state of no aggregate.",
    }),
  );
}

const COLUMNS = [
  column(
    "category",
    "Category",
    "name main",
    (one) => one.category,
    (one) => link(to("streams", { prefix: `${one.category}-` }), `Streams of ${one.category}`),
  ),
];

function openForm(items) {
  const category = el(
    "select",
    { "aria-label": "Category" },
    items.map((one) => el("option", { value: one.category }, one.category)),
  );
  const id = el("input", { name: "id", required: true, "aria-label": "Id", placeholder: "id", size: 30 });
  const form = el("form", { class: "line" }, "Open ", category, id, el("button", {}, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(aggregateHref(category.value, id.value));
  });
  return form;
}

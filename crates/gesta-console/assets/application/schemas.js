// Event types that the program knows.

import { get } from "../api.js";
import { el, fill, link } from "../dom.js";
import { to, typeHref } from "../route.js";
import { table } from "../table.js";
import { column } from "./parts.js";

export const title = "Schemas";

export const readTypes = async (signal) => (await get("v1/event-types", {}, signal)).items;

export async function render(root, { program, signal }) {
  const types = await readTypes(signal);
  fill(
    root,
    el("h1", {}, "Event types"),
    table({
      label: "event types",
      rows: types,
      columns: [
        ...COLUMNS,
        ...(program.can("readAll") ? [column("events", "Events", "name", () => "", eventsOf)] : []),
      ],
      empty: "The program has not registered its events.",
    }),
  );
}

const eventsOf = (one) => link(typeHref(one.type), "events");
const last = (one) => one.versions.at(-1);

const COLUMNS = [
  column(
    "type",
    "Type",
    "name main",
    (one) => one.type,
    (one) => link(to("schema", { type: one.type }), one.type),
  ),
  column("version", "Version", "number", (one) => last(one)?.version ?? "–"),
  column("older", "Older versions", "number", (one) => one.versions.length - 1),
  column("fields", "Fields", "words most", (one) => fieldNames(last(one))),
];

/** Returns the names of the fields at the first level. */
function fieldNames(version) {
  const places = (version?.fields ?? []).map(({ place }) => place);
  // Deeper places have a mark: `lines[].price`, `country?`.
  return places.filter((place) => !/[.[?]/.test(place)).join(", ");
}

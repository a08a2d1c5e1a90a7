// Projections of the server: scripts, their state and progress.

import { el, link } from "../dom.js";
import { formLink } from "../form.js";
import { projectionState, readProjections } from "../work.js";
import { here, to } from "../route.js";
import { choice, table } from "../table.js";
import { watch } from "../watch.js";

export const title = "Projections";

export async function render(root, { parameters, program, signal }) {
  const isAll = parameters.get("system") === "yes";
  await watch(
    root,
    signal,
    () => readProjections(signal),
    (all) => [
      el("h1", {}, "Projections"),
      el(
        "div",
        { class: "bar" },
        choice("Kinds", [
          { label: "Your own", href: here({ system: null }), isOn: !isAll },
          { label: "With those of the system", href: here({ system: "yes" }), isOn: isAll },
        ]),
        program.can("POST /v1/projections") && formLink("projection-form", {}, "New projection"),
      ),
      table({
        label: "projections",
        loaded: ["projection", ""],
        columns: COLUMNS,
        rows: all.filter((projection) => isAll || !projection.ofSystem),
        empty: "The server has no projections of yours.",
      }),
    ],
  );
}

const COLUMNS = [
  {
    name: "name",
    label: "Projection",
    kind: "name main",
    value: (one) => one.name,
    cell: (one) => link(to("projection", { name: one.name }), one.name),
  },
  {
    name: "status",
    label: "State",
    kind: "words most",
    value: (one) => projectionState(one).text,
    cell: (one) =>
      el(
        "span",
        { class: projectionState(one).isTrouble ? "bad" : "good" },
        projectionState(one).text,
      ),
  },
  { name: "mode", label: "Mode", kind: "name", value: (one) => one.mode, cell: (one) => one.mode },
  {
    name: "progress",
    label: "Progress",
    kind: "number",
    value: (one) => one.progressPercent,
    cell: (one) => `${one.progressPercent.toFixed(1)} %`,
  },
  {
    name: "position",
    label: "Position",
    kind: "number",
    value: (one) => one.position,
    cell: (one) => link(to("query", { after: one.position, direction: "forwards" }), one.position),
  },
  {
    name: "handled",
    label: "Handled",
    kind: "number",
    value: (one) => one.handled,
    cell: (one) => one.handled,
  },
];

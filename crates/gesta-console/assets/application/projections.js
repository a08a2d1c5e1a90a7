// Projections of an application, with their progress.

import { el, link } from "../dom.js";
import { to } from "../route.js";
import { table } from "../table.js";
import { Rates, watch } from "../watch.js";
import {
  column,
  countLink,
  lagText,
  projectionHref,
  rateText,
  readProjections,
  stateMark,
  timeLeft,
  withNodes,
} from "./parts.js";

export const title = "Projections";

export async function render(root, { signal }) {
  const rates = new Rates();
  const rated = (one) => ({
    ...one,
    rate: rates.take(one.name, one.rebuild?.position ?? one.position),
  });
  await watch(
    root,
    signal,
    () => readProjections(signal),
    (projections) => [
      el("h1", {}, "Projections"),
      table({
        label: "projections",
        columns: withNodes(COLUMNS, projections),
        rows: projections.map(rated),
        empty: "The application has no projections.",
      }),
    ],
  );
}

const COLUMNS = [
  column(
    "name",
    "Projection",
    "name main",
    (one) => one.name,
    (one) => link(projectionHref(one.name), one.name),
  ),
  column("version", "Version", "number", (one) => one.version),
  column("state", "State", "state", (one) => one.state, (one) => stateText(one)),
  column("position", "Position", "number", (one) => one.position),
  column("lag", "Lag", "number", (one) => one.lagEvents ?? 0, lagText),
  column("rate", "Rate", "number", (one) => one.rate ?? 0, (one) => rateText(one.rate)),
  column("left", "Time left", "number", (one) => one.lagEvents ?? 0, (one) =>
    timeLeft(one, one.rate),
  ),
  column(
    "deadLetters",
    "Dead letters",
    "number",
    (one) => one.deadLetters,
    (one) => countLink(one.deadLetters, to("dead-letters", { of: one.name })),
  ),
  column("node", "Node", "name", (one) => one.node ?? ""),
  column("error", "Trouble", "words most", (one) => one.error ?? ""),
];

/** Makes the state with the progress of a rebuild. A pause hides neither it nor its end. */
export function stateText({ state, rebuild, pendingSwitch }) {
  if (rebuild) return [stateMark(state), ` ${(rebuild.fraction * 100).toFixed(0)} %`];
  if (pendingSwitch && state === "paused")
    return [stateMark(state), ", ", stateMark("awaiting-confirmation")];
  return stateMark(state);
}

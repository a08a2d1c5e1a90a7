// Reactors of an application: the effects of events on the outside.

import { el, link } from "../dom.js";
import { to } from "../route.js";
import { table } from "../table.js";
import { Rates, watch } from "../watch.js";
import {
  column,
  countLink,
  lagText,
  rateText,
  reactorHref,
  readReactors,
  stateMark,
  withNodes,
} from "./parts.js";

export const title = "Reactors";

export async function render(root, { signal }) {
  const rates = new Rates();
  const rated = (one) => ({ ...one, rate: rates.take(one.name, one.position) });
  await watch(
    root,
    signal,
    () => readReactors(signal),
    (reactors) => [
      el("h1", {}, "Reactors"),
      table({
        label: "reactors",
        columns: withNodes(COLUMNS, reactors),
        rows: reactors.map(rated),
        empty: "The application has no reactors.",
      }),
    ],
  );
}

const COLUMNS = [
  column(
    "name",
    "Reactor",
    "name main",
    (one) => one.name,
    (one) => link(reactorHref(one.name), one.name),
  ),
  column("state", "State", "state", (one) => one.state, (one) => stateMark(one.state)),
  column("position", "Position", "number", (one) => one.position),
  column("lag", "Lag", "number", (one) => one.lagEvents ?? 0, lagText),
  column("rate", "Rate", "number", (one) => one.rate ?? 0, (one) => rateText(one.rate)),
  column("retrying", "Retrying", "number", (one) => one.retrying),
  column(
    "deadLetters",
    "Dead letters",
    "number",
    (one) => one.deadLetters,
    (one) => countLink(one.deadLetters, to("dead-letters", { of: one.name })),
  ),
  column("node", "Node", "name", (one) => one.node ?? ""),
  column("trouble", "Trouble", "words most", (one) => one.trouble ?? ""),
];

// One projection: its state, its place and its script.

import { copyButton, el, fill, link } from "../dom.js";
import { projectionState, readProjections } from "../work.js";
import { streamHref, to } from "../route.js";
import { facts, notice } from "../table.js";

export const title = ({ parameters }) => `Projection ${parameters.get("name")}`;

export async function render(root, { parameters, signal }) {
  const name = parameters.get("name");
  const projection = (await readProjections(signal)).find((one) => one.name === name);
  if (!projection) {
    fill(root, el("h1", {}, name), notice("empty", `There is no projection ${name}.`));
    return;
  }
  const { isTrouble, text } = projectionState(projection);
  fill(
    root,
    el("h1", { class: "name" }, name),
    facts([
      ["State", el("span", { class: isTrouble ? "bad" : "good" }, text)],
      ["Mode", projection.mode],
      ["Progress", `${projection.progressPercent.toFixed(1)} %`],
      [
        "Position",
        link(
          to("query", { after: projection.position, direction: "forwards" }),
          projection.position,
        ),
      ],
      ["Checkpoint", String(projection.checkpoint)],
      ["Handled since the start of the server", String(projection.handled)],
      ["Partitions in memory", String(projection.partitions)],
      [
        "Result",
        projection.ofSystem
          ? null
          : link(streamHref(`$projections-${name}-result`), `$projections-${name}-result`),
      ],
    ]),
    projection.query === undefined
      ? el(
          "p",
          { class: "muted" },
          "It is the store's index under another name, and has no script.",
        )
      : [
          el("h2", {}, "Script ", copyButton(projection.query)),
          el("pre", { class: "script" }, projection.query),
        ],
  );
}

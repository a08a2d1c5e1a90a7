// One projection of an application: its progress, its builds, and what an operator may do with it.

import { actButton, request } from "../acts.js";
import { el } from "../dom.js";
import { to } from "../route.js";
import { facts, notice, table } from "../table.js";
import { counted, duration, grouped } from "../time.js";
import { Rates, watch } from "../watch.js";
import { compareButton } from "./compare.js";
import {
  column,
  countLink,
  errorText,
  lagText,
  rateText,
  readProjections,
  timeLeft,
} from "./parts.js";
import { stateText } from "./projections.js";

export const title = ({ parameters }) => `Projection ${parameters.get("name")}`;

export async function render(root, { parameters, program, signal }) {
  const name = parameters.get("name") ?? "";
  const rates = new Rates();
  await watch(
    root,
    signal,
    () => readProjections(signal),
    (projections) => {
      const projection = projections.find((one) => one.name === name);
      if (!projection)
        return [el("h1", {}, name), notice("empty", `There is no projection ${name}.`)];
      const rate = rates.take(name, projection.rebuild?.position ?? projection.position);
      return [
        el("h1", { class: "name" }, name),
        projection.error && notice("error", el("strong", {}, projection.error)),
        acts(projection, program),
        el(
          "div",
          { class: "columns" },
          progress(projection, rate),
          el("section", {}, el("h2", {}, "Builds"), builds(projection)),
        ),
        projection.partitions.length > 0 && partitions(projection),
      ];
    },
  );
}

function acts({ name, state, inline, partitions, oldRows, pendingSwitch, rebuild }, { can }) {
  const order = (verb) => [request("POST", name, "projections", name, verb)];
  const isPausable = !inline && partitions.length === 0;
  const begin = rebuild ? "Begin the rebuild again" : "Rebuild";
  const about =
    "The projection runs from the first event into new rows, while the present ones answer queries.";
  const made = [
    // Neither build can reach the other one during a pause.
    can("compareRebuild") &&
      pendingSwitch &&
      isPausable &&
      state !== "paused" &&
      compareButton(name),
    can("confirmSwitch") &&
      pendingSwitch &&
      actButton("Switch over", {
        about: `Queries will be answered by the new rows${without(pendingSwitch)}. The present rows are kept.`,
        requests: order("confirm-switch"),
        kind: "primary",
      }),
    can("rebuildProjection") &&
      actButton(begin, {
        about: `${about} Then it switches over to the new ones, and keeps the present ones.`,
        requests: order("rebuild"),
      }),
    can("rebuildProjection") &&
      actButton(`${begin} and hold`, {
        about: `${about} The new ones wait for “Switch over” when they have caught up.`,
        requests: order("rebuild").map((one) => ({ ...one, path: `${one.path}?hold=true` })),
      }),
    can("pauseProjection") &&
      isPausable &&
      state !== "paused" &&
      actButton("Pause", {
        about:
          "No event is applied until it is resumed, and a rebuild stands still. Queries are answered by the rows as they are; those that wait for a later event fail at once.",
        requests: order("pause"),
      }),
    can("resumeProjection") &&
      state === "paused" &&
      actButton("Resume", {
        about: "It goes on from its position.",
        requests: order("resume"),
        kind: "primary",
      }),
    can("rollBackProjection") &&
      oldRows &&
      actButton("Roll back", {
        about: `The rows of build ${oldRows.build} catch up from position ${grouped(oldRows.position)}, and then answer queries again. The present ones are kept.`,
        requests: order("roll-back"),
        typed: name,
      }),
    can("dropOldRows") &&
      oldRows &&
      actButton("Drop old rows", {
        about: `The rows of build ${oldRows.build} are deleted. They cannot come back: there is no roll-back without them.`,
        requests: order("drop-old-rows"),
        typed: name,
      }),
  ].filter(Boolean);
  return made.length > 0 && el("div", { class: "bar acts" }, made);
}

/** Names what new rows lack. */
function without({ deadLetters }) {
  return deadLetters > 0 ? `, without the events of ${counted(deadLetters, "dead letter")}` : "";
}

function progress(projection, rate) {
  const { rebuild } = projection;
  return el(
    "section",
    {},
    el("h2", {}, "Progress"),
    facts([
      ["State", stateText(projection)],
      ["Version", projection.version],
      ["Position", grouped(projection.position)],
      ["Checkpoint", projection.checkpoint === undefined ? null : grouped(projection.checkpoint)],
      ["Lag", lagText(projection)],
      ["Rate", rateText(rate)],
      ["Time left", timeLeft(projection, rate)],
      [
        "Dead letters",
        countLink(projection.deadLetters, to("dead-letters", { of: projection.name })),
      ],
      ["Inline", projection.inline ? "yes: it changes with the append" : null],
      ["Node", projection.node ?? null],
      [
        "Rebuild",
        rebuild && [
          el("progress", { max: 1, value: rebuild.fraction, "aria-label": "Rebuild" }),
          ` ${(rebuild.fraction * 100).toFixed(1)} %, at ${grouped(rebuild.position)} of ${grouped(rebuild.head)}`,
          rebuild.remainingSeconds === undefined
            ? ""
            : `, ${duration(rebuild.remainingSeconds)} left`,
        ],
      ],
    ]),
  );
}

function builds({ oldRows, pendingSwitch }) {
  if (!oldRows && !pendingSwitch)
    return el("p", { class: "muted" }, "One build, and no older rows that are kept.");
  return facts([
    [
      "Waiting",
      pendingSwitch && [
        `A new build at position ${grouped(pendingSwitch.position)} waits for “Switch over”: `,
        pendingSwitch.held && "it is held, and ",
        "it has ",
        pendingSwitch.deadLetters > 0
          ? errorText(counted(pendingSwitch.deadLetters, "dead letter"))
          : "no dead letters",
        `. The present one has ${grouped(pendingSwitch.deadLettersBefore)}.`,
      ],
    ],
    [
      "Kept",
      oldRows &&
        `Build ${oldRows.build} by version ${oldRows.version}, as of position ${grouped(oldRows.position)}`,
    ],
  ]);
}

function partitions({ partitions }) {
  return [
    el("h2", {}, "Partitions"),
    table({
      label: "partitions",
      rows: partitions,
      columns: [
        column("index", "Partition", "number main", (one) => one.index),
        column("position", "Position", "number", (one) => one.position ?? "–"),
        column("node", "Node", "name", (one) => one.node ?? ""),
        column("error", "Trouble", "words most", (one) => one.error ?? ""),
      ],
      empty: "It is not divided.",
    }),
  ];
}

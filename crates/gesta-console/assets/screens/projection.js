// One projection: its progress, its state and result by partition, its script, and acts on it.

import { actButton, request, withContent } from "../acts.js";
import { get, getText, pathOf, Problem } from "../api.js";
import { copyButton, el, fill, link } from "../dom.js";
import { arrive, boxInput, formLink } from "../form.js";
import { memberOf } from "../json.js";
import { payloadView } from "../payload.js";
import { projectionState, readProjections } from "../work.js";
import { go, here, streamHref, to } from "../route.js";
import { choice, facts, failureNotice, notice } from "../table.js";
import { watch } from "../watch.js";

/** Partitions that are listed. */
const PARTITIONS_MAX = 50;

export const title = ({ parameters }) => `Projection ${parameters.get("name")}`;

export async function render(root, { parameters, program, signal }) {
  const name = parameters.get("name");
  const find = async () => (await readProjections(signal)).find((one) => one.name === name);
  const projection = await find();
  if (!projection) {
    fill(root, el("h1", {}, name), notice("empty", `There is no projection ${name}.`));
    return;
  }
  // The progress follows the projection. The state stays as it was read, because its tree is open.
  const head = el("div");
  const rest = el("div");
  fill(root, head, rest);
  const state = projection.ofSystem
    ? null
    : await stateSection(projection, parameters.get("partition") ?? "", program, signal);
  fill(rest, state, script(projection));
  await watch(head, signal, find, (now) =>
    now
      ? [el("h1", { class: "name" }, name), projectionFacts(now), advice(now), acts(now, program)]
      : [el("h1", {}, name), notice("empty", `There is no projection ${name}.`)],
  );
}

function projectionFacts(projection) {
  const { isTrouble, text } = projectionState(projection);
  const { name, position } = projection;
  return facts([
    ["State", el("span", { class: isTrouble ? "bad" : "good" }, text)],
    ["Mode", projection.mode],
    ["Progress", `${projection.progressPercent.toFixed(1)} %`],
    ["Position", link(to("query", { after: position, direction: "forwards" }), position)],
    ["Checkpoint", String(projection.checkpoint)],
    ["Handled since the start of the server", String(projection.handled)],
    ["Partitions in memory", String(projection.partitions)],
    [
      "Stream of results",
      projection.ofSystem
        ? null
        : link(streamHref(`$projections-${name}-result`), `$projections-${name}-result`),
    ],
  ]);
}

/** Says what to do with a projection that has failed. */
function advice({ status }) {
  if (!status.startsWith("Faulted")) return null;
  const text =
    "Change the script: it then goes on after its checkpoint, with the event that it has failed at. If the script is not the cause, start it again.";
  return el("p", { class: "muted" }, text);
}

const ACT = (verb) => `POST /v1/projections/{projection}/${verb}`;

function acts({ name, ofSystem, status }, { can }) {
  // The index under another name: it has nothing to stop.
  if (ofSystem) return null;
  const isRunning = status.startsWith("Running");
  const act = (verb) => request("POST", `projection ${name}`, "projections", name, verb);
  return el(
    "div",
    { class: "bar acts" },
    can("PUT /v1/projections/{projection}") &&
      formLink("projection-form", { name }, "Change the script"),
    !isRunning &&
      can(ACT("enable")) &&
      actButton("Start", {
        about: "It goes on after its checkpoint, also if it has failed.",
        requests: [act("enable")],
        kind: "primary",
      }),
    isRunning &&
      can(ACT("disable")) && [
        actButton("Stop", {
          about: "It writes a last checkpoint, and handles no events until it is started.",
          requests: [act("disable")],
        }),
        actButton("Stop without a checkpoint", {
          about:
            "What it has handled since its last checkpoint is handled again when it is started.",
          requests: [withContent(act("disable"), { parameters: { abort: "true" } })],
        }),
      ],
    can(ACT("reset")) &&
      actButton("Reset", {
        about:
          "Its states are lost, and it begins again with the first event.",
        requests: [act("reset")],
        typed: name,
      }),
    !isRunning && can("DELETE /v1/projections/{projection}") && deletion(name),
  );
}

function deletion(name) {
  const checkpoints = boxInput("checkpoints", false);
  const emitted = boxInput("emittedStreams", false);
  return el(
    "span",
    { class: "buttons group" },
    actButton("Delete", {
      about:
        "Its script is lost. Boxes that are ticked delete its checkpoints and states, and the streams that it emitted to, as well.",
      requests: () => {
        const made = request("DELETE", `projection ${name}`, "projections", name);
        const parameters = {
          checkpoints: checkpoints.checked ? "true" : null,
          emittedStreams: emitted.checked ? "true" : null,
        };
        return [withContent(made, { parameters })];
      },
      typed: name,
      then: () => arrive(to("projections")),
    }),
    el("label", {}, checkpoints, " with checkpoints and states"),
    el("label", {}, emitted, " with emitted streams"),
  );
}

async function stateSection({ name }, partition, { can }, signal) {
  if (!can("GET /v1/projections/{projection}/state")) return null;
  const section = el("section", {}, el("h2", {}, "State and result"));
  section.append(...(await partitionChoice(name, partition, signal)));
  try {
    const path = pathOf("projections", name, "state");
    const answer = await getText(path, { partition }, signal);
    const member = (key) => {
      const text = memberOf(answer.trim(), key);
      return text === undefined || text === "null" ? undefined : { text };
    };
    if (partition === "" && member("state") === undefined) {
      const text = "A projection with partitions has a state for each of them. Name one.";
      section.append(el("p", { class: "muted" }, text));
    }
    section.append(payloadView("State", member("state")), payloadView("Result", member("result")));
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status === 401) throw problem;
    section.append(failureNotice(problem));
  }
  return section;
}

/** Makes the choice of a partition: those whose states are stored, and a field for any. */
async function partitionChoice(name, partition, signal) {
  const [begin, end] = [`$projections-${name}:`, "-checkpoint"];
  let names = [];
  try {
    const page = await get("v1/streams", { prefix: begin, limit: PARTITIONS_MAX }, signal);
    names = page.names.filter((one) => one.endsWith(end));
  } catch (problem) {
    // A store may list no names, and a caller may not read them.
    if (!(problem instanceof Problem) || problem.status === 401) throw problem;
  }
  const options = names.map((one) => one.slice(begin.length, -end.length));
  const input = el("input", { name: "partition", value: partition, "aria-label": "Partition" });
  const form = el(
    "form",
    { class: "line" },
    el("label", {}, "Partition ", input),
    el("button", {}, "Show"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(here({ partition: input.value || null }));
  });
  return [
    form,
    ...(options.length > 0
      ? [
          choice("Partitions", [
            { label: "None", href: here({ partition: null }), isOn: partition === "" },
            ...options.map((one) => ({
              label: one,
              href: here({ partition: one }),
              isOn: one === partition,
            })),
          ]),
        ]
      : []),
  ];
}

function script({ query }) {
  if (query === null || query === undefined)
    return el(
      "p",
      { class: "muted" },
      "It is the store's index under another name, and has no script.",
    );
  return [
    el("h2", {}, "Script ", copyButton(query)),
    el("pre", { class: "script", tabindex: "0", role: "region", "aria-label": "Script" }, query),
  ];
}

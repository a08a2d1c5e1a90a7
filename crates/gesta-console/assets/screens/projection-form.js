// The form of a projection: a new one, or another script for one that exists.

import { request, withContent } from "../acts.js";
import { el, fill } from "../dom.js";
import {
  actForm,
  areaInput,
  arrive,
  boxField,
  boxInput,
  field,
  selectInput,
  textInput,
  UnusableValue,
  wideField,
} from "../form.js";
import { to } from "../route.js";
import { notice } from "../table.js";
import { readProjections } from "../work.js";

const EXAMPLE = `fromCategory("order").when({
  $init: () => ({ placed: 0 }),
  "order-placed": (state, event) => {
    state.placed += 1;
  },
});
`;

export const title = ({ parameters }) =>
  parameters.has("name") ? `Script of ${parameters.get("name")}` : "New projection";

export async function render(root, { parameters, signal }) {
  const name = parameters.get("name");
  if (name === null) return fill(root, el("h1", {}, "New projection"), createForm());
  const projection = (await readProjections(signal)).find((one) => one.name === name);
  const content =
    projection && !projection.ofSystem
      ? changeForm(projection)
      : notice("empty", `There is no projection ${name} with a script.`);
  fill(
    root,
    el("h1", { class: "name" }, name),
    el("p", { class: "muted" }, "The script of the projection."),
    content,
  );
}

function createForm() {
  const name = textInput("name", "", { required: true });
  const mode = selectInput("mode", "continuous", [
    ["continuous", "Continuous"],
    ["transient", "Transient"],
  ]);
  const emits = boxInput("emits", false);
  const tracks = boxInput("tracksStreams", false);
  const query = areaInput("query", EXAMPLE, { required: true, rows: 16 });
  return actForm({
    label: "Create the projection",
    fields: [
      field("Name", name),
      field("Mode", mode, "a transient one keeps its state in memory"),
      boxField("It may emit events", emits),
      boxField("It records the streams that it emits to", tracks, "to delete them with it"),
      wideField("Script", query),
    ],
    cancel: to("projections"),
    act() {
      if (tracks.checked && !emits.checked)
        throw new UnusableValue("Only a projection that may emit events records their streams.");
      const made = request("POST", `projection ${name.value}`, "projections");
      const body = {
        name: name.value,
        query: query.value,
        mode: mode.value,
        emits: emits.checked,
        tracksStreams: tracks.checked,
      };
      const after = to("projection", { name: name.value });
      return {
        about: "It starts at once, with the first event. A script that cannot run makes it Faulted.",
        requests: [withContent(made, { body: JSON.stringify(body) })],
        then: () => arrive(after),
      };
    },
  });
}

function changeForm({ name, query: kept }) {
  const query = areaInput("query", kept, { required: true, rows: 20 });
  const projection = to("projection", { name });
  return actForm({
    label: "Change the script",
    fields: [wideField("Script", query)],
    cancel: projection,
    act() {
      const made = request("PUT", `projection ${name}`, "projections", name);
      return {
        about:
          "The new script goes on with the state of the old one. Reset the projection afterwards to begin with the first event.",
        requests: [withContent(made, { body: JSON.stringify({ query: query.value }) })],
        then: () => arrive(projection),
      };
    },
  });
}

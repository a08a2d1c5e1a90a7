// The form of a consumer group: a new one, or the settings of one that exists.

import { request, withContent } from "../acts.js";
import { el, fill } from "../dom.js";
import {
  actForm,
  arrive,
  boxField,
  boxInput,
  field,
  namesOf,
  numberInput,
  selectInput,
  textInput,
  UnusableValue,
  wideField,
} from "../form.js";
import { to } from "../route.js";
import { notice } from "../table.js";
import { readGroups } from "../work.js";

/** The settings of official clients, for a new group. */
const USUAL = {
  startFrom: "end",
  resolveLinks: false,
  extraStatistics: false,
  messageTimeoutMs: 30_000,
  maxRetryCount: 10,
  minCheckpointCount: 10,
  maxCheckpointCount: 1_000,
  checkpointAfterMs: 2_000,
  maxSubscriberCount: 0,
  liveBufferSize: 500,
  readBatchSize: 20,
  historyBufferSize: 500,
  strategy: "RoundRobin",
};

const STRATEGIES = ["RoundRobin", "DispatchToSingle", "Pinned", "PinnedByCorrelation"];

const NUMBERS = [
  ["maxRetryCount", "Retries", "before an event is parked"],
  ["messageTimeoutMs", "Time for an answer, in ms", "0 waits for ever"],
  ["maxSubscriberCount", "Consumers at most", "0 has no limit"],
  ["checkpointAfterMs", "Time between checkpoints, in ms"],
  ["minCheckpointCount", "Events of a checkpoint at least"],
  ["maxCheckpointCount", "Events of a checkpoint at most"],
  ["liveBufferSize", "Live buffer, in events"],
  ["historyBufferSize", "History buffer, in events", "while the group catches up"],
  ["readBatchSize", "Events read at once", "fewer than the history buffer"],
];

const FILTERS = [
  ["", "All events"],
  ["stream prefixes", "Streams that begin with"],
  ["eventType prefixes", "Types that begin with"],
  ["stream regex", "Streams that match"],
  ["eventType regex", "Types that match"],
];

/** Largest value of a setting, which clients read with 32 bits. */
const SETTING_MAX = 2 ** 31 - 1;

export const title = ({ parameters }) =>
  parameters.has("name") ? `Settings of ${parameters.get("name")}` : "New group";

export async function render(root, { parameters, signal }) {
  const [source, name] = [parameters.get("source") ?? "", parameters.get("name")];
  if (name === null) return fill(root, el("h1", {}, "New group"), createForm(source));
  const groups = await readGroups(signal);
  const group = groups.find((one) => one.source === source && one.name === name);
  const content = group
    ? changeForm(group)
    : notice("empty", `There is no group ${name} of ${source}.`);
  fill(
    root,
    el("h1", { class: "name" }, name),
    el("p", { class: "muted" }, `The settings of the group, whose source is ${source}.`),
    content,
  );
}

function createForm(from) {
  const source = textInput("source", from, { required: true, placeholder: "order-1, $ce-order, $all" });
  const name = textInput("name", "", { required: true });
  const filter = filterFields();
  const settings = settingFields(USUAL);
  return actForm({
    label: "Create the group",
    fields: [
      field("Source", source, "a stream, or $all"),
      field("Name", name),
      settings.fields,
      filter.fields,
    ],
    cancel: to("groups"),
    act() {
      const body = { source: source.value, name: name.value, settings: settings.read() };
      const selected = filter.read(source.value);
      if (selected) body.filter = selected;
      const made = request("POST", `group ${name.value} of ${source.value}`, "groups");
      const after = to("group", { source: source.value, name: name.value });
      return {
        about: "Consumers may connect to it at once.",
        requests: [withContent(made, { body: JSON.stringify(body) })],
        then: () => arrive(after),
      };
    },
  });
}

function changeForm({ source, name, settings: kept }) {
  const settings = settingFields(kept);
  const group = to("group", { source, name });
  return actForm({
    label: "Change the settings",
    fields: settings.fields,
    cancel: group,
    act() {
      const made = request("PUT", `group ${name} of ${source}`, "groups", source, name);
      return {
        about: "Its consumers are disconnected, and connect again with the new settings.",
        requests: [withContent(made, { body: JSON.stringify(settings.read()) })],
        then: () => arrive(group),
      };
    },
  });
}

function settingFields(kept) {
  const isPlace = typeof kept.startFrom === "number";
  const start = selectInput("startFrom", isPlace ? "at" : kept.startFrom, [
    ["end", "The present end"],
    ["start", "The first event"],
    ["at", "A place"],
  ]);
  const place = numberInput("place", isPlace ? kept.startFrom : "", { "aria-label": "Place" });
  const strategy = selectInput(
    "strategy",
    kept.strategy,
    STRATEGIES.map((one) => [one, one]),
  );
  const resolveLinks = boxInput("resolveLinks", kept.resolveLinks);
  const extraStatistics = boxInput("extraStatistics", kept.extraStatistics);
  const numbers = NUMBERS.map(([name, label, hint]) => {
    const input = numberInput(name, kept[name], { required: true, max: SETTING_MAX });
    return { name, input, made: field(label, input, hint) };
  });
  return {
    fields: [
      field("Begins at", start),
      field("Place", place, "a revision, or a position of $all"),
      field("Strategy", strategy, "pinned: a stream or conversation has its consumer"),
      numbers.map(({ made }) => made),
      boxField("Targets of links are delivered", resolveLinks),
      boxField("Times of consumers are measured", extraStatistics),
    ],
    read() {
      if (start.value === "at" && place.value === "")
        throw new UnusableValue("Give the place at which the group begins.");
      return {
        startFrom: start.value === "at" ? Number(place.value) : start.value,
        strategy: strategy.value,
        resolveLinks: resolveLinks.checked,
        extraStatistics: extraStatistics.checked,
        ...Object.fromEntries(numbers.map(({ name, input }) => [name, Number(input.value)])),
      };
    },
  };
}

function filterFields() {
  const kind = selectInput("filter", "", FILTERS);
  const names = textInput("filterText", "", { placeholder: "order-, payment-" });
  return {
    fields: [
      field("Filter", kind, "of a group of $all"),
      wideField("Prefixes with commas, or an expression", names),
    ],
    read(source) {
      if (kind.value === "") return null;
      if (source !== "$all") throw new UnusableValue("Only a group of $all has a filter.");
      const [on, form] = kind.value.split(" ");
      return form === "regex"
        ? { on, regex: names.value }
        : { on, prefixes: namesOf("Prefixes", names.value) };
    },
  };
}

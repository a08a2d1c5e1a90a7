// Inputs that a process manager has set aside: the first one of a subject failed, and the others
// wait for it.

import { actButton, request } from "../acts.js";
import { el, link } from "../dom.js";
import { eventHref, streamHref } from "../route.js";
import { localTime, time } from "../time.js";
import { column, controlColumn, errorText, instanceHref } from "./parts.js";

/** Returns the columns of inputs, each with its `subject`. */
export const inputColumns = (process, program) => [
  column(
    "subject",
    "Of",
    "name main",
    (input) => input.subject,
    (input) => subjectLink(process, input.subject),
  ),
  column("input", "Input", "name", inputText, inputLink),
  column(
    "since",
    "Since",
    "time",
    (input) => localTime(input.since),
    (input) => time(input.since),
  ),
  column("attempts", "Attempts", "number", (input) => input.attempts),
  column("error", "Error", "error", errorOf, (input) =>
    input.error ? errorText(errorOf(input)) : el("span", { class: "muted" }, errorOf(input)),
  ),
  controlColumn("acts", "Acts", (input) => acts(process, input, program)),
];

function subjectLink(process, subject) {
  const [kind, name] = partsOf(subject);
  return kind === "instance"
    ? link(instanceHref(process, name), name)
    : link(streamHref(name), subject);
}

function partsOf(subject) {
  const end = subject.indexOf(":");
  return [subject.slice(0, end), subject.slice(end + 1)];
}

function inputText(input) {
  if (input.kind === "event") return input.eventType;
  return input.effect ? `${input.kind} ${input.effect}` : input.kind;
}

function inputLink(input) {
  return input.kind === "event" ? link(eventHref(input), input.eventType) : inputText(input);
}

function errorOf(input) {
  const error = input.error ?? "waits for the input before it";
  return input.refusal ? `${error} (${input.refusal})` : error;
}

function acts(process, input, { can }) {
  const path = ["processes", process, "set-aside", input.subject];
  const [, name] = partsOf(input.subject);
  return el(
    "span",
    { class: "buttons" },
    can("retryProcess") &&
      input.error !== undefined &&
      actButton("Retry", {
        about: `The inputs of ${name} are tried again, in order, up to the first one that fails.`,
        requests: [request("POST", name, ...path, "retry")],
        kind: "small",
      }),
    can("skipProcessInput") &&
      actButton("Skip", {
        about: `The process never sees this input (${inputText(input)}). The inputs behind it are tried again.`,
        requests: [request("POST", inputText(input), ...path, String(input.number), "skip")],
        typed: name,
        kind: "small",
      }),
  );
}

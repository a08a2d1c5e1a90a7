// Projections, process managers and reactors of an application: how they are read, named and shown.

import { get, pathOf } from "../api.js";
import { el, link } from "../dom.js";
import { to } from "../route.js";
import { counted, duration, grouped } from "../time.js";

const itemsOf = async (signal, ...parts) => (await get(pathOf(...parts), {}, signal)).items;

export const readProjections = (signal) => itemsOf(signal, "projections");
export const readProcesses = (signal) => itemsOf(signal, "processes");
export const readReactors = (signal) => itemsOf(signal, "reactors");

export const projectionHref = (name) => to("projection", { name });
export const processHref = (name, more = {}) => to("process", { name, ...more });
export const instanceHref = (name, id) => to("instance", { process: name, id });
export const reactorHref = (name) => to("reactor", { name });

const BAD = new Set(["halted", "corrupt", "awaiting-confirmation", "troubled"]);
const GOOD = new Set(["running", "waiting", "ended"]);

/** Makes the state of a part, in words and in its colour. */
export function stateMark(state) {
  const kind = BAD.has(state) ? "bad" : GOOD.has(state) ? "good" : "muted";
  return el("span", { class: kind }, state.replace("-", " "));
}

/** Returns a lag as text. */
export function lagText({ lagEvents, lagSeconds }) {
  if (!lagEvents && !lagSeconds) return "none";
  const events = lagEvents === undefined ? null : counted(lagEvents, "event");
  return [events, lagSeconds >= 1 ? duration(lagSeconds) : null].filter(Boolean).join(", ");
}

/** Returns a rate as text. */
export function rateText(rate) {
  if (rate === null) return "–";
  if (rate === 0) return "0/s";
  return rate < 10 ? `${rate.toFixed(1)}/s` : `${grouped(Math.round(rate))}/s`;
}

/** Returns the time until a part has caught up, as text. */
export function timeLeft({ lagEvents, rebuild }, rate) {
  if (rebuild?.remainingSeconds !== undefined) return duration(rebuild.remainingSeconds);
  if (!lagEvents) return "–";
  return rate > 0 ? duration(lagEvents / rate) : "unknown";
}

/** Makes a column of a table whose cell is its value. */
export const column = (name, label, kind, value, cell = value) => ({
  name,
  label,
  kind,
  value,
  cell,
});

/** Returns columns without that of the node, unless some part runs on a node with a name. */
export const withNodes = (columns, parts) =>
  parts.some(({ node }) => node) ? columns : columns.filter(({ name }) => name !== "node");

/** Makes a column of buttons or boxes. */
export const controlColumn = (name, label, cell) => ({
  name,
  label,
  kind: name,
  isControl: true,
  value: () => "",
  cell,
});

/** Makes a number that leads to what it counts; none is not a link. */
export function countLink(number, href) {
  return number > 0 ? link(href, grouped(number)) : grouped(number);
}

/** Makes an error, whole in its title. */
export const errorText = (text) => el("span", { class: "bad", title: text }, text);

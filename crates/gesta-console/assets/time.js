// Times in the viewer's zone, numbers with groups of digits, sizes.

import { el } from "./dom.js";

const DAY = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});
const NUMBER = new Intl.NumberFormat("en");

/** The zone of the viewer, such as Europe/Berlin. */
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Returns a time as `2026-01-31 12:00:00.000` in the viewer's zone. */
export function localTime(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : `${DAY.format(date)} ${CLOCK.format(date)}`;
}

/** Makes an element for a time. Its title has the time in UTC with all digits. */
export function time(text) {
  return el("time", { datetime: text, title: `${text}, shown in ${ZONE}` }, localTime(text));
}

/** Returns the time since a moment, such as `3 minutes ago`. */
export function ago(text) {
  const seconds = Math.max(0, (Date.now() - new Date(text).getTime()) / 1000);
  return `${duration(seconds)} ago`;
}

/** Returns a duration by its largest unit. */
export function duration(seconds) {
  const units = [
    [86_400, "day"],
    [3_600, "hour"],
    [60, "minute"],
    [1, "second"],
  ];
  const [size, unit] = units.find(([size]) => seconds >= size) ?? units[3];
  const number = Math.floor(seconds / size);
  return `${NUMBER.format(number)} ${unit}${number === 1 ? "" : "s"}`;
}

/** Returns a whole number with groups of digits. */
export function grouped(number) {
  return typeof number === "number" ? NUMBER.format(number) : String(number);
}

/** Returns a number with its noun, such as `1 event` or `1,000 events`. */
export function counted(number, noun) {
  return `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Returns a number of bytes, such as `12.5 MiB`. */
export function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? grouped(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

/** The last time that inputs take: years of five digits have no form that all programs read. */
const LAST_MOMENT = "9999-12-31T23:59:59";

/** Makes an input for a time of the viewer's zone. A form with one that cannot be read says so. */
export function momentInput(text, attributes = {}) {
  return el("input", {
    type: "datetime-local",
    step: 1,
    max: LAST_MOMENT,
    value: toInput(text),
    ...attributes,
  });
}

/** Returns the value of an input `datetime-local`, as a time with an offset; `""` if it is empty. */
export function ofInput(value) {
  return value ? new Date(value).toISOString() : "";
}

/** Returns a time as an input `datetime-local` shows it. */
function toInput(text) {
  if (!text) return "";
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return "";
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

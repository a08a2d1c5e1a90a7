// Query: events by category, type, tag, stream, conversation, time and text; as CSV and JSON.
//
// The server evaluates one filter of a selection only, so a page may need several of its answers.
// Their number is bounded; the next page goes on where this one stopped.

import { get, Problem } from "../api.js";
import { download, el, fill } from "../dom.js";
import { columnsFor, PAGE_EVENTS } from "../events.js";
import { payloadPreview } from "../payload.js";
import { go, here, to } from "../route.js";
import { matches, ofField, selectionOf, serverFilter, shownInField } from "../selection.js";
import { choice, notice, reading, table } from "../table.js";
import { counted, grouped, momentInput, ofInput } from "../time.js";

/** Events of one answer where some may be left out. */
const ANSWER_EVENTS = 500;
/** A page on the screen: its events, and the answers of the server that it may take. */
const PAGE = { events: PAGE_EVENTS, answers: 20 };
/** An export. */
const EXPORT = { events: 10_000, answers: 200 };

export const title = "Query";

export async function render(root, { parameters, signal }) {
  const wish = wishOf(parameters);
  const progress = reading();
  const found = el("div", {}, progress);
  // Drawn once, so that what is typed while events are read stays.
  fill(root, el("h1", {}, "Query"), queryForm(wish), found);
  const page = await readPage(wish, startOf(parameters), PAGE, signal, tellIn(progress));
  fill(
    found,
    el("div", { class: "bar" }, orders(wish), exportButtons(wish, signal)),
    page.isCut &&
      notice(
        "note",
        `Read ${counted(page.read, "event")} so far without filling this page. “Next” goes on.`,
      ),
    table({
      label: "events",
      rows: page.events,
      loaded: ["event", " on this page"],
      columns: columnsFor(page.events, "position", "stream", "type", "recorded", "tags", "data"),
      pages: pagesOf(wish, page, parameters),
      empty: "No event matches.",
    }),
  );
}

/** Reads the selection of an address, and its order. */
function wishOf(parameters) {
  const isBackward = !parameters.has("after") && parameters.get("direction") !== "forwards";
  return { ...selectionOf(parameters), isBackward };
}

function startOf(parameters) {
  return { after: parameters.get("after"), before: parameters.get("before") };
}

/** Returns `true` if no later event of the direction can match: times grow with positions. */
function isPast(event, wish) {
  const bound = wish.isBackward ? wish.from : wish.until;
  if (!bound) return false;
  const [time, limit] = [new Date(event.recordedAt), new Date(bound)];
  return wish.isBackward ? time < limit : time > limit;
}

/** Returns what tells in an element how many events a page or an export has read so far. */
function tellIn(element) {
  return ({ read, events }) =>
    fill(element, `Read ${counted(read, "event")} so far, ${grouped(events.length)} match …`);
}

/** Reads events that match, within the bounds of `size`. Tells of each answer but the last. */
async function readPage(wish, start, size, signal, tell) {
  const filter = serverFilter(wish);
  const page = { events: [], place: null, end: false, isCut: false, read: 0 };
  let place = wish.isBackward ? start.before : start.after;
  for (let answers = 0; answers < size.answers; answers += 1) {
    const answer = await get(
      "v1/all",
      {
        ...filter,
        ...placeOf(wish, place),
        limit: answers === 0 ? Math.min(size.events, ANSWER_EVENTS) : ANSWER_EVENTS,
      },
      signal,
    );
    for (const event of answer.events) {
      page.read += 1;
      if (isPast(event, wish)) return { ...page, end: true };
      page.place = event.position;
      if (matches(event, wish)) page.events.push(event);
      if (page.events.length === size.events) {
        const isLast = answer.end && event === answer.events.at(-1);
        return { ...page, end: isLast };
      }
    }
    if (answer.end) return { ...page, end: true };
    place = answer.position;
    page.place = place;
    tell(page);
  }
  return { ...page, isCut: true };
}

function placeOf(wish, place) {
  const direction = wish.isBackward ? "backwards" : "forwards";
  if (place) return wish.isBackward ? { direction, before: place } : { direction, after: place };
  // The first answer begins at the time, by the store's index of times.
  const fromTime = wish.isBackward ? wish.until : wish.from;
  return { direction, fromTime };
}

function pagesOf(wish, page, parameters) {
  const isFirst = !parameters.has("before") && !parameters.has("after");
  const next = wish.isBackward ? { before: page.place } : { after: page.place };
  return [
    {
      label: wish.isBackward ? "Newest" : "Oldest",
      href: isFirst
        ? null
        : here({
            before: null,
            after: null,
            ...(wish.isBackward ? {} : { direction: "forwards" }),
          }),
      key: "prev",
    },
    { label: "Next", href: page.end ? null : here(next), key: "next" },
  ];
}

function orders(wish) {
  const at = { before: null, after: null };
  return choice("Order", [
    { label: "Newest first", href: here({ ...at, direction: null }), isOn: wish.isBackward },
    { label: "Oldest first", href: here({ ...at, direction: "forwards" }), isOn: !wish.isBackward },
  ]);
}

const FIELDS = [
  ["category", "Category", "order"],
  ["type", "Type", "order-placed, order-paid"],
  ["tag", "Tags (all of them)", "customer:17850"],
  ["stream", "Stream", "order-1"],
  ["correlation", "Correlation id", ""],
  ["causation", "Causation id", ""],
  ["text", "Words in the data", ""],
];

function queryForm(wish) {
  const inputs = FIELDS.map(([name, label, placeholder]) =>
    el("label", {}, label, el("input", { name, placeholder, value: shownInField(wish, name) })),
  );
  const time = (name, label) => el("label", {}, label, momentInput(wish[name], { name }));
  const form = el(
    "form",
    { class: "fields" },
    inputs,
    time("from", "Recorded from"),
    time("until", "Recorded until"),
    el(
      "span",
      { class: "buttons" },
      el("button", {}, "Find"),
      el("a", { href: to("query") }, "Clear"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(to("query", ofForm(new FormData(form), wish)));
  });
  return form;
}

function ofForm(fields, wish) {
  const asked = { direction: wish.isBackward ? "" : "forwards" };
  for (const [name] of FIELDS) asked[name] = ofField(name, fields.get(name));
  return { ...asked, from: ofInput(fields.get("from")), until: ofInput(fields.get("until")) };
}

function exportButtons(wish, signal) {
  const note = el("span", { class: "muted", role: "status" });
  const save = (name, type, lay) => async () => {
    fill(note, "Reading …");
    try {
      const page = await readPage(wish, {}, EXPORT, signal, tellIn(note));
      download(name, type, lay(page.events));
      fill(note, `${counted(page.events.length, "event")}${page.end ? "" : ", the first of more"}`);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      fill(note, problem.message);
    }
  };
  return el(
    "span",
    { class: "buttons" },
    note,
    el(
      "button",
      { type: "button", class: "small", onclick: save("events.csv", "text/csv", csv) },
      "CSV",
    ),
    el(
      "button",
      { type: "button", class: "small", onclick: save("events.json", "application/json", json) },
      "JSON",
    ),
  );
}

const CSV_COLUMNS = [
  "position",
  "stream",
  "revision",
  "id",
  "type",
  "schemaVersion",
  "recordedAt",
  "correlationId",
  "causationId",
  "contentType",
];

function csv(events) {
  const lines = [[...CSV_COLUMNS, "tags", "data", "metadata"].join(",")];
  for (const event of events) {
    const cells = CSV_COLUMNS.map((name) => event[name] ?? "");
    const data = event.data?.text ?? event.dataBase64 ?? "";
    lines.push(
      [...cells, event.tags.join(" "), data, event.metadata?.text ?? event.metadataBase64 ?? ""]
        .map(csvCell)
        .join(","),
    );
  }
  return lines.map((line) => `${line}\r\n`);
}

/** Quotes a cell (RFC 4180). A text that a spreadsheet would run as a formula gets a quote mark. */
function csvCell(value) {
  let text = String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function json(events) {
  const members = events.map((event) => {
    const { data, metadata, ...rest } = event;
    const text = JSON.stringify(rest).slice(0, -1);
    const stored = [
      ["data", data],
      ["metadata", metadata],
    ].filter(([, value]) => value);
    return `${text}${stored.map(([name, value]) => `,"${name}":${value.text}`).join("")}}`;
  });
  return ["[\n", members.join(",\n"), "\n]\n"];
}

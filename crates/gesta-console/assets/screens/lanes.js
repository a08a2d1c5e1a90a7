// Swimlanes: the events of several streams, of a conversation or of a tag, side by side over time.
//
// Time runs downwards in the order of positions, and each stream has a lane. A pause between two
// events is named, so that a day and a millisecond do not look alike.

import { get } from "../api.js";
import { el, fill, link } from "../dom.js";
import { payloadPreview } from "../payload.js";
import { eventHref, go, here, streamHref, to } from "../route.js";
import { notice } from "../table.js";
import { counted, duration, localTime } from "../time.js";

const EVENTS_MAX = 300;
const LANES_MAX = 12;
/** Seconds between two events from which on the pause is named. */
const PAUSE_SECONDS = 1;

export const title = "Timeline";

export async function render(root, { parameters, signal }) {
  const wish = {
    stream: parameters.getAll("stream"),
    correlation: parameters.get("correlation") ?? "",
    tag: parameters.get("tag") ?? "",
  };
  const after = parameters.get("after");
  fill(root, el("h1", {}, "Timeline"), lanesForm(wish));
  const filter = filterOf(wish);
  if (!filter) {
    root.append(notice("note", "Name a conversation, a tag, or one or more streams."));
    return;
  }
  const page = await get("v1/all", { ...filter, after, limit: EVENTS_MAX }, signal);
  if (page.events.length === 0) {
    root.append(notice("empty", "No event matches."));
    return;
  }
  const lanes = lanesOf(page.events, wish.stream);
  root.append(
    el(
      "div",
      { class: "bar" },
      el(
        "span",
        { class: "muted" },
        `${counted(page.events.length, "event")} in ${counted(lanes.all, "stream")}`,
      ),
      el(
        "nav",
        { class: "pager" },
        after &&
          el("a", { href: here({ after: null }), rel: "prev", "aria-keyshortcuts": "[" }, "First"),
        !page.end &&
          el(
            "a",
            { href: here({ after: page.position }), rel: "next", "aria-keyshortcuts": "]" },
            "Later events",
          ),
      ),
    ),
    swimlanes(page.events, lanes),
  );
}

function filterOf(wish) {
  if (wish.correlation) return { correlationId: wish.correlation };
  if (wish.tag) return { tag: wish.tag };
  return wish.stream.length ? { stream: wish.stream } : null;
}

/** Returns the lane of each stream by the order of first events. The last lane has all others. */
function lanesOf(events, named) {
  const streams = [...new Set([...named, ...events.map((event) => event.stream)])];
  const own = streams.length > LANES_MAX ? streams.slice(0, LANES_MAX - 1) : streams;
  return {
    names: own,
    all: streams.length,
    at: (stream) => (own.includes(stream) ? own.indexOf(stream) : own.length),
  };
}

function swimlanes(events, lanes) {
  const grid = el("div", {
    class: "swimlanes",
    role: "table",
    "aria-label": "Events by stream over time",
  });
  const count = lanes.names.length + (lanes.all > lanes.names.length ? 1 : 0);
  grid.style.setProperty("--lanes", count);
  const heads = lanes.names.map((name) =>
    el(
      "div",
      { class: "lane-head", role: "columnheader", title: name },
      link(streamHref(name), name),
      removeLink(name),
    ),
  );
  if (count > lanes.names.length)
    heads.push(
      el(
        "div",
        { class: "lane-head", role: "columnheader" },
        `${lanes.all - lanes.names.length} other streams`,
      ),
    );
  grid.append(
    el(
      "div",
      { class: "lane-row head", role: "row" },
      el("div", { class: "lane-time", role: "columnheader" }, "Recorded"),
      heads,
    ),
  );
  let before = null;
  for (const event of events) {
    const pause = before && (new Date(event.recordedAt) - new Date(before.recordedAt)) / 1000;
    if (pause >= PAUSE_SECONDS)
      grid.append(
        el(
          "div",
          { class: "lane-pause", role: "row" },
          el("span", { role: "cell" }, `${duration(pause)} later`),
        ),
      );
    grid.append(laneRow(event, lanes, count, before));
    before = event;
  }
  return el("div", { class: "scroll" }, grid);
}

function laneRow(event, lanes, count, before) {
  const at = lanes.at(event.stream);
  const time = localTime(event.recordedAt);
  const isSameDay = before && localTime(before.recordedAt).slice(0, 10) === time.slice(0, 10);
  const cells = [];
  for (let lane = 0; lane < count; lane += 1) {
    cells.push(
      el(
        "div",
        { class: "lane", role: "cell" },
        lane === at && eventBox(event, at === lanes.names.length),
      ),
    );
  }
  return el(
    "div",
    { class: "lane-row", role: "row" },
    el(
      "div",
      { class: "lane-time", role: "rowheader", title: `${time} (${event.recordedAt})` },
      isSameDay ? time.slice(11) : time,
    ),
    cells,
  );
}

function eventBox(event, isOther) {
  return el(
    "a",
    {
      class: "lane-event",
      href: eventHref(event),
      title: `${event.type} in ${event.stream} @ ${event.revision}`,
    },
    el("strong", {}, event.type),
    isOther && el("span", { class: "muted" }, event.stream),
    el("span", { class: "lane-data" }, payloadPreview(event, 80)),
  );
}

function removeLink(name) {
  const { searchParams } = new URL(location.hash.slice(1), location.origin);
  const streams = searchParams.getAll("stream");
  if (streams.length < 2 || !streams.includes(name)) return null;
  return el(
    "a",
    {
      href: here({ stream: streams.filter((one) => one !== name) }),
      class: "remove",
      title: "Take this stream out",
      "aria-label": `Take out ${name}`,
    },
    "×",
  );
}

function lanesForm(wish) {
  const field = (name, label, value, placeholder) =>
    el("label", {}, label, el("input", { name, value, placeholder }));
  const form = el(
    "form",
    { class: "fields" },
    field("correlation", "Conversation (correlation id)", wish.correlation),
    field("tag", "Tag", wish.tag, "customer:17850"),
    field("stream", "Add a stream", "", "order-1"),
    el(
      "span",
      { class: "buttons" },
      el("button", {}, "Show"),
      el("a", { href: to("lanes") }, "Clear"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    const added = fields.get("stream").trim();
    const [correlation, tag] = [fields.get("correlation").trim(), fields.get("tag").trim()];
    // The store evaluates one kind of filter: what was just given counts.
    if (added) go(to("lanes", { stream: [...new Set([...wish.stream, added])] }));
    else if (correlation && correlation !== wish.correlation) go(to("lanes", { correlation }));
    else if (tag && tag !== wish.tag) go(to("lanes", { tag }));
    else go(to("lanes", correlation ? { correlation } : tag ? { tag } : { stream: wish.stream }));
  });
  return form;
}

// Events in tables, and links to what belongs to an event.

import { el, link } from "./dom.js";
import { payloadPreview } from "./payload.js";
import { eventHref, streamHref, tagHref, to, typeHref } from "./route.js";
import { localTime, time } from "./time.js";

/** Number of events of a page. */
export const PAGE_EVENTS = 50;

const COLUMNS = {
  position: {
    name: "position",
    label: "Position",
    kind: "number",
    value: (event) => event.position,
    cell: (event) => link(eventHref(event), event.position),
  },
  revision: {
    name: "revision",
    label: "Revision",
    kind: "number main",
    value: (event) => event.revision,
    cell: (event) => link(eventHref(event), event.revision),
  },
  stream: {
    name: "stream",
    label: "Stream",
    kind: "name",
    value: (event) => event.stream,
    cell: (event) => link(streamHref(event.stream), event.stream),
  },
  type: {
    name: "type",
    label: "Type",
    kind: "name",
    value: (event) => event.type,
    cell: (event) => link(typeHref(event.type), event.type),
  },
  recorded: {
    name: "recorded",
    label: "Recorded",
    kind: "time",
    value: (event) => localTime(event.recordedAt),
    cell: (event) => time(event.recordedAt),
  },
  tags: {
    name: "tags",
    label: "Tags",
    kind: "tags",
    value: (event) => event.tags.join(" "),
    cell: (event) =>
      event.tags
        .slice(0, 3)
        .map(tagChip)
        .concat(event.tags.length > 3 ? `+${event.tags.length - 3}` : []),
  },
  data: {
    name: "data",
    label: "Data",
    kind: "wide",
    value: (event) => payloadPreview(event),
    // A link without a text would have no name.
    cell: (event) => {
      const text = payloadPreview(event);
      return text ? link(eventHref(event), text) : "";
    },
  },
};

/** Returns columns by their names. The first one leads to the event. */
export function eventColumns(...names) {
  return names.map((name) => COLUMNS[name]);
}

/** Returns columns for these events: that of the tags only if some event has one. */
export function columnsFor(events, ...names) {
  const hasTags = events.some((event) => event.tags.length > 0);
  return eventColumns(...names.filter((name) => name !== "tags" || hasTags));
}

/** Makes a tag that leads to the events that have it. */
export function tagChip(tag) {
  return link(tagHref(tag), el("span", { class: "chip" }, tag));
}

/** Returns the category of a stream, or `null`. */
export function categoryOf(stream) {
  const end = stream.indexOf("-");
  return end > 0 ? stream.slice(0, end) : null;
}

/** Returns the address of a conversation over time. */
export const conversationHref = (correlation) => to("lanes", { correlation });

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Returns `true` if an id may be that of an event: causes may be commands, too. */
export function isEventId(id) {
  return UUID.test(id);
}

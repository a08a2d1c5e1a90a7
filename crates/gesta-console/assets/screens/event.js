// One event: its data to the digit, and its causes and effects as a tree.

import { get } from "../api.js";
import { copyButton, el, fill, link } from "../dom.js";
import { categoryOf, conversationHref, tagChip } from "../events.js";
import { payloadView } from "../payload.js";
import { categoryHref, eventHref, streamHref, to, typeHref } from "../route.js";
import { facts, notice } from "../table.js";
import { ago, time } from "../time.js";
import { causeTree } from "../causes.js";

export const title = ({ parameters }) =>
  parameters.has("stream")
    ? `${parameters.get("stream")} @ ${parameters.get("revision")}`
    : "Event";

export async function render(root, { parameters, program, signal }) {
  // Only an application knows the types of its events.
  const upcast = program.kind === "application" ? "true" : null;
  const events = await find(parameters, upcast, signal);
  if (events.length === 0) {
    const [stream, revision] = [parameters.get("stream"), Number(parameters.get("revision"))];
    fill(
      root,
      el("h1", {}, "Event"),
      stream &&
        el(
          "div",
          { class: "bar" },
          link(streamHref(stream), stream),
          neighbours({ stream, revision }),
        ),
      notice(
        "empty",
        "There is no event at this place: it was deleted, truncated or never recorded.",
      ),
    );
    return;
  }
  const [event, ...others] = events;
  const tree = el("section", { class: "causes" });
  fill(
    root,
    el("h1", { class: "name" }, event.type),
    el("div", { class: "bar" }, neighbours(event)),
    el("div", { class: "columns" }, eventFacts(event, others, program), tree),
    event.unreadable && notice("error", `This program cannot read the event: ${event.unreadable}`),
    payloadView(
      event.upcast ? "Data as stored" : "Data",
      event.data,
      event.dataBase64,
      event.contentType,
    ),
    event.upcast && payloadView("Data as the program reads it", event.upcast),
    payloadView("Metadata", event.metadata, event.metadataBase64),
  );
  await causeTree(tree, event, signal);
}

async function find(parameters, upcast, signal) {
  const id = parameters.get("id");
  if (id) return (await get(`v1/events/${encodeURIComponent(id)}`, { upcast }, signal)).events;
  const stream = encodeURIComponent(parameters.get("stream") ?? "");
  const revision = parameters.get("revision") ?? "0";
  const page = await get(`v1/streams/${stream}`, { from: revision, limit: 1, upcast }, signal);
  // A read skips events that are gone.
  return page.events.filter((event) => String(event.revision) === revision);
}

function neighbours(event) {
  const at = (revision) => eventHref({ stream: event.stream, revision });
  return el(
    "nav",
    { class: "pager", "aria-label": "Neighbours in the stream" },
    event.revision > 0
      ? el(
          "a",
          { href: at(event.revision - 1), rel: "prev", "aria-keyshortcuts": "[" },
          "Previous in the stream",
        )
      : null,
    el(
      "a",
      { href: at(event.revision + 1), rel: "next", "aria-keyshortcuts": "]" },
      "Next in the stream",
    ),
  );
}

function eventFacts(event, others, program) {
  const category = categoryOf(event.stream);
  return el(
    "section",
    {},
    el("h2", {}, "Event"),
    facts([
      ["Stream", link(streamHref(event.stream), event.stream)],
      ["Revision", String(event.revision)],
      ["Position", link(to("query", { after: event.position - 1 }), event.position)],
      [
        "Type",
        [
          link(typeHref(event.type), event.type),
          event.schemaVersion > 1 ? ` version ${event.schemaVersion}` : "",
        ],
      ],
      ["Category", category ? link(categoryHref(category), category) : null],
      ["Recorded", [time(event.recordedAt), ` (${ago(event.recordedAt)})`]],
      ["Id", [el("code", {}, event.id), " ", copyButton(event.id)]],
      [
        "Also in",
        others.length
          ? others.map((one) => [link(eventHref(one), `${one.stream} @ ${one.revision}`), " "])
          : null,
      ],
      ["Tags", event.tags.length ? event.tags.map((tag) => [tagChip(tag), " "]) : null],
      [
        "Correlation",
        event.correlationId
          ? [
              link(conversationHref(event.correlationId), event.correlationId),
              program.kind === "application" && [
                " (",
                link(to("story", { correlation: event.correlationId }), "the whole story"),
                ")",
              ],
            ]
          : null,
      ],
      [
        "Caused by",
        event.causationId
          ? link(to("query", { causation: event.causationId }), event.causationId)
          : null,
      ],
      ["Content type", event.contentType],
    ]),
  );
}

// A selection of events: by category, type, tag and stream, by conversation, and by time.
//
// The store evaluates one kind of filter. The narrowest one that is given goes to the server, and
// the page applies all of them to what it answers.

import { categoryOf } from "./events.js";

/**
 * Reads a selection from an address, where lists have a parameter for each of their names. `stream`
 * is the parameter of the stream.
 */
export function selectionOf(parameters, stream = "stream") {
  const one = (name) => parameters.get(name) ?? "";
  return {
    category: parameters.getAll("category"),
    type: parameters.getAll("type"),
    tag: parameters.getAll("tag"),
    stream: one(stream),
    correlation: one("correlation"),
    causation: one("causation"),
    from: one("from"),
    until: one("until"),
  };
}

/** Returns the one filter that the server evaluates. */
export function serverFilter(wish) {
  if (wish.tag.length) return { tag: wish.tag, type: wish.type };
  if (wish.causation) return { causationId: wish.causation };
  if (wish.correlation) return { correlationId: wish.correlation };
  if (wish.stream) return { stream: wish.stream };
  if (wish.type.length) return { type: wish.type };
  if (wish.category.length) return { category: wish.category };
  return {};
}

/** Returns whether an event is one of a selection. */
export function matches(event, wish) {
  return (
    (!wish.category.length || wish.category.includes(categoryOf(event.stream))) &&
    (!wish.type.length || wish.type.includes(event.type)) &&
    wish.tag.every((tag) => event.tags.includes(tag)) &&
    (!wish.stream || event.stream === wish.stream) &&
    (!wish.correlation || event.correlationId === wish.correlation) &&
    (!wish.causation || event.causationId === wish.causation) &&
    (!wish.from || new Date(event.recordedAt) >= new Date(wish.from)) &&
    (!wish.until || new Date(event.recordedAt) <= new Date(wish.until))
  );
}

/** Divides what was typed at its commas. `\,` is a comma of a name. */
export function listOf(text) {
  const parts = text.split(/(?<!\\),/).map((part) => part.trim().replaceAll("\\,", ","));
  return parts.filter(Boolean);
}

/** Returns names as a field shows them. */
export function listText(names) {
  return names.map((name) => name.replaceAll(",", "\\,")).join(", ");
}

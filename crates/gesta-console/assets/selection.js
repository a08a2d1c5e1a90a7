// A selection of events: by category, type, tag and stream, by conversation, by time, and by text.
//
// The store evaluates one kind of filter. The narrowest one that is given goes to the server, and
// the page applies all of them to what it answers. Text is a filter of the page alone.

import { categoryOf } from "./events.js";

/** The members that are lists of names. */
const LISTS = ["category", "type", "tag"];

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
    text: one("text"),
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
    (!wish.until || new Date(event.recordedAt) <= new Date(wish.until)) &&
    hasWords(event, wish.text)
  );
}

/** Returns whether each word is in the data of an event, in capitals or not. */
function hasWords(event, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const data = (event.data?.text ?? "").toLowerCase();
  return words.every((word) => data.includes(word));
}

/** Returns a member of a selection as its field shows it. */
export function shownInField(wish, name) {
  return LISTS.includes(name) ? listText(wish[name]) : wish[name];
}

/** Returns what was typed into the field of a member, as an address has it. */
export function ofField(name, text) {
  return LISTS.includes(name) ? listOf(text) : text.trim();
}

/** Divides what was typed at its commas. `\,` is a comma of a name. */
function listOf(text) {
  const parts = text.split(/(?<!\\),/).map((part) => part.trim().replaceAll("\\,", ","));
  return parts.filter(Boolean);
}

function listText(names) {
  return names.map((name) => name.replaceAll(",", "\\,")).join(", ");
}

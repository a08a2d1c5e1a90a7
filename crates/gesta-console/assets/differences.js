// Differences between two values of JSON, place by place and digit by digit.
//
// Members of objects are compared by their names, and those of lists by their places. The depth and
// the size of a value are not bounded by the stack: what is left to compare is in a list.

import { kindOf, split } from "./json.js";

/** Differences that are found at most. */
const DIFFERENCES_MAX = 500;

/**
 * Returns the places that differ, in the order of the later value: `{ place, before, after }` with
 * texts of JSON, of which one is `undefined` if only one value has the place. `isWhole` is `false`
 * if there are more.
 */
export function differences(before, after) {
  const found = [];
  const left = [{ place: "", before, after }];
  while (left.length > 0) {
    if (found.length >= DIFFERENCES_MAX) return { found, isWhole: false };
    const one = left.pop();
    if (one.before === one.after) continue;
    const inner = membersOf(one);
    if (!inner) found.push({ ...one, place: one.place || "." });
    else left.push(...inner.reverse());
  }
  return { found, isWhole: true };
}

/** Returns the members of two values of one kind as pairs, or `null` if they have none. */
function membersOf({ place, before, after }) {
  if (before === undefined || after === undefined) return null;
  const kind = kindOf(after);
  if (kindOf(before) !== kind || (kind !== "object" && kind !== "array")) return null;
  const name = ({ key }, at) => (key === undefined ? `${place}[${at}]` : place ? `${place}.${key}` : key);
  const old = new Map(split(before).members.map((one, at) => [name(one, at), one.text]));
  const now = new Map(split(after).members.map((one, at) => [name(one, at), one.text]));
  const places = [...now.keys(), ...[...old.keys()].filter((one) => !now.has(one))];
  return places.map((one) => ({ place: one, before: old.get(one), after: now.get(one) }));
}

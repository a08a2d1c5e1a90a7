// Links to the states of aggregates.

import { get } from "./api.js";
import { categoryOf } from "./events.js";
import { to } from "./route.js";

export const aggregateHref = (category, id, more = {}) => to("aggregate", { category, id, ...more });

/** Returns the categories whose states the program shows to this caller. */
export async function shownCategories(program, signal) {
  if (!program?.can?.("showAggregate") || !program.can("listAggregates")) return new Set();
  const { items } = await get("v1/aggregates", {}, signal);
  return new Set(items.map((one) => one.category));
}

/** Returns the address of the state of a stream's aggregate, or `null` if it is not shown. */
export function stateHref(stream, shown, more = {}) {
  const category = categoryOf(stream);
  if (category === null || !shown.has(category)) return null;
  return aggregateHref(category, stream.slice(category.length + 1), more);
}

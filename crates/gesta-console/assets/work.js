// Consumer groups and projections, and whether there is trouble with them.

import { get } from "./api.js";
import { counted } from "./time.js";

export const readGroups = async (signal) => (await get("v1/groups", {}, signal)).groups;

export const readProjections = async (signal) =>
  (await get("v1/projections", {}, signal)).projections;

/** Returns the state of a group in words, and whether it is trouble. */
export function groupState(group) {
  if (group.status === "failed") return { isTrouble: true, text: `failed: ${group.failure}` };
  const words = group.parked > 0 ? [counted(group.parked, "parked event")] : [];
  if (group.status === "replaying") words.push(replayText(group));
  else if (group.consumers.length === 0) words.push("no consumer");
  else if (words.length === 0) words.push(group.status);
  return { isTrouble: group.parked > 0, text: words.join(", ") };
}

/** Says what happens to parked events that are to be delivered again. */
function replayText({ consumers }) {
  return consumers.length === 0 ? "delivered again once a consumer connects" : "being delivered again";
}

/** Returns the number of events that a group has not finished, as of what it has read. */
export function groupLag(group) {
  if (group.lastKnown === null) return 0;
  return group.lastKnown - (group.checkpoint ?? (group.source === "$all" ? 0 : -1));
}

/** Returns the state of a projection in words, and whether it is trouble. */
export function projectionState(projection) {
  const isTrouble = projection.status === "Faulted";
  return {
    isTrouble,
    text: projection.reason ? `${projection.status}: ${projection.reason}` : projection.status,
  };
}

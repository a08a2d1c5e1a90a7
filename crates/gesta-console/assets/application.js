// The screens of an application.

import * as event from "./screens/event.js";
import * as lanes from "./screens/lanes.js";
import * as live from "./screens/live.js";
import * as query from "./screens/query.js";
import * as stream from "./screens/stream.js";
import * as streams from "./screens/streams.js";
import * as aggregate from "./application/aggregate.js";
import * as aggregates from "./application/aggregates.js";
import * as audit from "./application/audit.js";
import * as deadLetters from "./application/dead-letters.js";
import * as instance from "./application/instance.js";
import * as process from "./application/process.js";
import * as processes from "./application/processes.js";
import * as projection from "./application/projection.js";
import * as projections from "./application/projections.js";
import * as reactor from "./application/reactor.js";
import * as reactors from "./application/reactors.js";
import * as schema from "./application/schema.js";
import * as schemas from "./application/schemas.js";
import * as start from "./application/start.js";
import * as story from "./application/story.js";

export const screens = {
  start,
  projections,
  projection,
  "dead-letters": deadLetters,
  processes,
  process,
  instance,
  reactors,
  reactor,
  streams,
  stream,
  aggregates,
  aggregate,
  event,
  query,
  lanes,
  story,
  live,
  schemas,
  schema,
  audit,
};

/** Screens of the navigation, each with the operation without which it shows nothing. */
const PLACES = [
  { screen: "start", label: "Start", key: "h" },
  {
    screen: "projections",
    label: "Projections",
    key: "p",
    also: ["projection"],
    needs: "listProjections",
  },
  { screen: "dead-letters", label: "Dead letters", key: "d", needs: "listDeadLetters" },
  {
    screen: "processes",
    label: "Processes",
    key: "r",
    also: ["process", "instance"],
    needs: "listProcesses",
  },
  { screen: "reactors", label: "Reactors", key: "e", also: ["reactor"], needs: "listReactors" },
  {
    screen: "streams",
    label: "Streams",
    key: "s",
    also: ["stream", "event"],
    needs: "listStreams",
  },
  {
    screen: "aggregates",
    label: "Aggregates",
    key: "g",
    also: ["aggregate"],
    needs: "showAggregate",
  },
  { screen: "query", label: "Query", key: "q", needs: "readAll" },
  { screen: "lanes", label: "Timeline", key: "t", also: ["story"], needs: "readAll" },
  { screen: "live", label: "Live", key: "l", needs: "readAll" },
  { screen: "schemas", label: "Schemas", key: "c", also: ["schema"], needs: "listEventTypes" },
  { screen: "audit", label: "Audit", key: "a", needs: "readAll" },
];

/** Returns the screens of the navigation that the caller may use. */
export const places = ({ can }) => PLACES.filter(({ needs }) => !needs || can(needs));

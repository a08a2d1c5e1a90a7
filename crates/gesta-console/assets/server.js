// The screens of a server.

import * as event from "./screens/event.js";
import * as group from "./screens/group.js";
import * as groups from "./screens/groups.js";
import * as lanes from "./screens/lanes.js";
import * as live from "./screens/live.js";
import * as projection from "./screens/projection.js";
import * as projections from "./screens/projections.js";
import * as query from "./screens/query.js";
import * as start from "./screens/start.js";
import * as stream from "./screens/stream.js";
import * as streams from "./screens/streams.js";

export const screens = {
  start,
  streams,
  stream,
  event,
  lanes,
  live,
  query,
  groups,
  group,
  projections,
  projection,
};

/** Returns the screens of the navigation. */
export const places = () => [
  { screen: "start", label: "Start", key: "h" },
  { screen: "streams", label: "Streams", key: "s", also: ["stream", "event"] },
  { screen: "query", label: "Query", key: "q" },
  { screen: "lanes", label: "Timeline", key: "t" },
  { screen: "live", label: "Live", key: "l" },
  { screen: "groups", label: "Groups", key: "g", also: ["group"] },
  { screen: "projections", label: "Projections", key: "p", also: ["projection"] },
];

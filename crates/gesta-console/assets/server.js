// The screens of a server.

import * as append from "./screens/append.js";
import * as audit from "./screens/audit.js";
import * as event from "./screens/event.js";
import * as group from "./screens/group.js";
import * as groupForm from "./screens/group-form.js";
import * as groups from "./screens/groups.js";
import * as lanes from "./screens/lanes.js";
import * as live from "./screens/live.js";
import * as operations from "./screens/operations.js";
import * as projectionForm from "./screens/projection-form.js";
import * as projection from "./screens/projection.js";
import * as projections from "./screens/projections.js";
import * as query from "./screens/query.js";
import * as start from "./screens/start.js";
import * as stream from "./screens/stream.js";
import * as streamMetadata from "./screens/stream-metadata.js";
import * as streams from "./screens/streams.js";
import * as userForm from "./screens/user-form.js";
import * as user from "./screens/user.js";
import * as users from "./screens/users.js";

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
  "group-form": groupForm,
  projections,
  projection,
  "projection-form": projectionForm,
  append,
  "stream-metadata": streamMetadata,
  users,
  user,
  "user-form": userForm,
  operations,
  audit,
};

/** Screens of the navigation, each with the operation without which it shows nothing. */
const PLACES = [
  { screen: "start", label: "Start", key: "h" },
  {
    screen: "streams",
    label: "Streams",
    key: "s",
    also: ["stream", "event", "append", "stream-metadata"],
  },
  { screen: "query", label: "Query", key: "q" },
  { screen: "lanes", label: "Timeline", key: "t" },
  { screen: "live", label: "Live", key: "l" },
  { screen: "groups", label: "Groups", key: "g", also: ["group", "group-form"] },
  {
    screen: "projections",
    label: "Projections",
    key: "p",
    also: ["projection", "projection-form"],
  },
  {
    screen: "users",
    label: "Users",
    key: "u",
    also: ["user", "user-form"],
    needs: "GET /v1/users",
  },
  { screen: "operations", label: "Operations", key: "o", needs: "GET /v1/config" },
  // Administrators alone read the audit stream, and the list of users.
  { screen: "audit", label: "Audit", key: "a", needs: "GET /v1/users" },
];

/** Returns the screens of the navigation that the caller may use. */
export const places = ({ can }) => PLACES.filter(({ needs }) => !needs || can(needs));

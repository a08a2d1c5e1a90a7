// The users of a server.

import { get } from "../api.js";
import { el, fill, link } from "../dom.js";
import { formLink } from "../form.js";
import { to } from "../route.js";
import { notice, table } from "../table.js";
import { localTime, time } from "../time.js";

export const title = "Users";

export async function render(root, { program, signal }) {
  if (!program.secure) return fill(root, el("h1", {}, "Users"), noUsers());
  const { users } = await get("v1/users", {}, signal);
  fill(
    root,
    el("h1", {}, "Users"),
    program.can("POST /v1/users") &&
      el("div", { class: "bar" }, formLink("user-form", {}, "New user")),
    table({ label: "users", loaded: ["user", ""], rows: users, columns: COLUMNS, empty: "There are no users." }),
  );
}

/** Says that a server without users has none. */
export const noUsers = () =>
  notice("empty", "This server is insecure: it has no users, and keeps no audit stream.");

export const userHref = (login) => to("user", { login });

const COLUMNS = [
  {
    name: "login",
    label: "Login",
    kind: "name main",
    value: (user) => user.login,
    cell: (user) => link(userHref(user.login), user.login),
  },
  {
    name: "fullName",
    label: "Full name",
    kind: "wide",
    value: (user) => user.fullName,
    cell: (user) => user.fullName,
  },
  {
    name: "groups",
    label: "Groups",
    kind: "name",
    value: (user) => user.groups.join(", "),
    cell: (user) => user.groups.join(", "),
  },
  {
    name: "state",
    label: "State",
    kind: "state",
    value: (user) => stateOf(user),
    cell: (user) => el("span", { class: user.disabled ? "bad" : "good" }, stateOf(user)),
  },
  {
    name: "changed",
    label: "Changed",
    kind: "time",
    value: (user) => localTime(user.changedAt),
    cell: (user) => time(user.changedAt),
  },
];

/** Returns the state of a user in words. */
export const stateOf = (user) => (user.disabled ? "disabled" : "enabled");

// One user: who they are, and what administrators, and they themselves, may change.

import { actButton, request, withContent } from "../acts.js";
import { get, pathOf, setProof } from "../api.js";
import { el, fill } from "../dom.js";
import {
  actForm,
  arrive,
  field,
  namesOf,
  namesText,
  passwordFields,
  textInput,
} from "../form.js";
import { to } from "../route.js";
import { facts } from "../table.js";
import { time } from "../time.js";
import { GROUPS_HINT } from "./user-form.js";
import { noUsers, stateOf, userHref } from "./users.js";

export const title = ({ parameters }) => `User ${parameters.get("login")}`;

export async function render(root, { parameters, program, signal }) {
  const login = parameters.get("login") ?? "";
  if (!program.secure) return fill(root, el("h1", {}, login), noUsers());
  const user = await get(pathOf("users", login), {}, signal);
  const isSelf = program.login === login;
  fill(
    root,
    el("h1", { class: "name" }, login),
    facts([
      ["Full name", user.fullName || "–"],
      ["Groups", user.groups.join(", ") || "none"],
      ["State", el("span", { class: user.disabled ? "bad" : "good" }, stateOf(user))],
      ["Changed", time(user.changedAt)],
    ]),
    acts(user, program),
    program.can("PUT /v1/users/{login}") && [el("h2", {}, "Name and groups"), changeForm(user)],
    isSelf && [el("h2", {}, "Your password"), ownPasswordForm(login)],
    !isSelf &&
      program.can("POST /v1/users/{login}/reset-password") && [
        el("h2", {}, "Password"),
        resetForm(login),
      ],
  );
}

function acts({ login, disabled }, { can }) {
  const act = (verb) => request("POST", `user ${login}`, "users", login, verb);
  return el(
    "div",
    { class: "bar acts" },
    disabled &&
      can("POST /v1/users/{login}/enable") &&
      actButton("Enable", {
        about: "They can log in again.",
        requests: [act("enable")],
        kind: "primary",
      }),
    !disabled &&
      can("POST /v1/users/{login}/disable") &&
      actButton("Disable", {
        about: "They cannot log in until they are enabled again. Their subscriptions go on until they end.",
        requests: [act("disable")],
      }),
    can("DELETE /v1/users/{login}") &&
      actButton("Delete the user", {
        about: "They cannot log in any more. What they have done stays in the audit stream.",
        requests: [request("DELETE", `user ${login}`, "users", login)],
        typed: login,
        then: () => arrive(to("users")),
      }),
  );
}

function changeForm(user) {
  const fullName = textInput("fullName", user.fullName);
  const groups = textInput("groups", namesText(user.groups));
  const { login } = user;
  return actForm({
    label: "Change name and groups",
    fields: [field("Full name", fullName), field("Groups, with commas", groups, GROUPS_HINT)],
    act() {
      const body = { fullName: fullName.value, groups: namesOf("Groups", groups.value) };
      const made = request("PUT", `user ${login}`, "users", login);
      return {
        about: "The groups hold for the next request of the user.",
        requests: [withContent(made, { body: JSON.stringify(body) })],
        then: () => arrive(userHref(login)),
      };
    },
  });
}

function resetForm(login) {
  const password = passwordFields();
  return actForm({
    label: "Reset the password",
    fields: password.fields,
    act() {
      const made = request("POST", `user ${login}`, "users", login, "reset-password");
      return {
        about: "Their present password is of no use any more.",
        requests: [
          withContent(made, { body: JSON.stringify({ password: password.read() }) }),
        ],
        then: () => arrive(userHref(login)),
      };
    },
  });
}

function ownPasswordForm(login) {
  const current = el("input", {
    name: "currentPassword",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  const password = passwordFields();
  return actForm({
    label: "Change your password",
    fields: [field("Present password", current), password.fields],
    act() {
      const body = { currentPassword: current.value, password: password.read() };
      const made = request("POST", `user ${login}`, "users", login, "change-password");
      return {
        about: "You sign in again with the new password.",
        requests: [withContent(made, { body: JSON.stringify(body) })],
        then: () => setProof(null),
      };
    },
  });
}

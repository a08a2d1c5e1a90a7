// The form of a new user.

import { request, withContent } from "../acts.js";
import { el, fill } from "../dom.js";
import { actForm, arrive, field, namesOf, passwordFields, textInput } from "../form.js";
import { to } from "../route.js";
import { noUsers, userHref } from "./users.js";

export const title = "New user";

export async function render(root, { program }) {
  fill(root, el("h1", {}, "New user"), program.secure ? createForm() : noUsers());
}

function createForm() {
  const login = textInput("login", "", { required: true });
  const fullName = textInput("fullName", "");
  const groups = textInput("groups", "", { placeholder: "$ops, sales" });
  const password = passwordFields();
  return actForm({
    label: "Create the user",
    fields: [
      field("Login", login),
      field("Full name", fullName),
      field("Groups, with commas", groups, GROUPS_HINT),
      password.fields,
    ],
    cancel: to("users"),
    act() {
      const body = {
        login: login.value,
        fullName: fullName.value,
        groups: namesOf("Groups", groups.value),
        password: password.read(),
      };
      const after = userHref(login.value);
      return {
        about: "They can log in at once.",
        requests: [
          withContent(request("POST", `user ${login.value}`, "users"), {
            body: JSON.stringify(body),
          }),
        ],
        then: () => arrive(after),
      };
    },
  });
}

export const GROUPS_HINT = "$admins may do everything, $ops operate";

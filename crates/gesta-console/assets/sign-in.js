// The sign-in. What is typed goes to `api.js` and nowhere else.

import { basicProof, CERTIFICATE_PROOF, keyProof, setProof, tokenProof } from "./api.js";
import { el, fill } from "./dom.js";
import { notice } from "./table.js";

/**
 * Shows the form in place of a screen: for a server a login and a password first, for an
 * application an API key.
 */
export function askForSignIn(main, reason, isApplication) {
  const login = el("input", { name: "login", autocomplete: "username", required: true });
  const password = el("input", {
    name: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  const [key, token] = ["key", "token"].map((name) =>
    el("input", {
      name,
      type: "password",
      autocomplete: "off",
      required: true,
      // Headers take no others, and neither keys nor tokens have them.
      pattern: "\\s*[\\x21-\\x7e]+\\s*",
      title: "only Latin letters, digits and signs, without spaces: paste it as it was given to you",
    }),
  );
  const form = (label, fields, proof) => {
    const made = el(
      "form",
      { class: "fields" },
      fields,
      el("span", { class: "buttons" }, el("button", {}, label)),
    );
    made.addEventListener("submit", (event) => {
      event.preventDefault();
      setProof(proof());
      made.reset();
    });
    return made;
  };
  fill(
    main,
    el(
      "div",
      { class: "screen sign-in" },
      el("h1", {}, "Sign in"),
      reason && notice("error", reason),
      isApplication
        ? form("Sign in", el("label", {}, "API key", key), () => keyProof(key.value))
        : form(
            "Sign in",
            [el("label", {}, "Login", login), el("label", {}, "Password", password)],
            () => basicProof(login.value, password.value),
          ),
      el(
        "details",
        {},
        el("summary", {}, "With a bearer token"),
        form("Use the token", el("label", {}, "Token", token), () => tokenProof(token.value)),
      ),
      isApplication
        ? el(
            "details",
            {},
            el("summary", {}, "Through a proxy that has signed you in"),
            form("Go on", [], () => CERTIFICATE_PROOF),
          )
        : el(
            "details",
            {},
            el("summary", {}, "With a certificate of this browser"),
            form("Use the certificate", [], () => CERTIFICATE_PROOF),
          ),
      el(
        "p",
        { class: "muted" },
        "The page keeps this in its memory until it is closed or reloaded, and stores it nowhere.",
      ),
    ),
  );
  (isApplication ? key : login).focus();
}

// One event type: its versions, and what each of them has changed.

import { el, fill, link } from "../dom.js";
import { split } from "../json.js";
import { payloadView } from "../payload.js";
import { to, typeHref } from "../route.js";
import { facts, notice } from "../table.js";
import { readTypes } from "./schemas.js";

export const title = ({ parameters }) => `Event type ${parameters.get("type")}`;

export async function render(root, { parameters, program, signal }) {
  const name = parameters.get("type") ?? "";
  const type = (await readTypes(signal)).find((one) => one.type === name);
  if (!type) {
    fill(root, el("h1", {}, name), notice("empty", `The program knows no event type ${name}.`));
    return;
  }
  const versions = type.versions.map((version, at) => ({
    ...version,
    before: type.versions[at - 1],
    isCurrent: at === type.versions.length - 1,
  }));
  fill(
    root,
    el("h1", { class: "name" }, name),
    facts([
      ["All types", link(to("schemas"), "Schemas")],
      ["Events", program.can("readAll") ? link(typeHref(name), "events of this type") : null],
    ]),
    versions.toReversed().map(versionView),
    split(type.examples.text).members.map((example) => payloadView("Example", example)),
  );
}

function versionView({ version, rustType, contentType, fields, before, isCurrent }) {
  const earlier = new Map((before?.fields ?? []).map(({ place, kind }) => [place, kind]));
  const now = new Set(fields.map(({ place }) => place));
  const gone = [...earlier].filter(([place]) => !now.has(place));
  const row = (mark, place, kind) =>
    el(
      "tr",
      { class: mark },
      el("td", {}, place === "." ? el("span", { class: "muted" }, "the event") : el("code", {}, place)),
      el("td", {}, kind),
      before && el("td", { class: "muted" }, mark === "same" ? "" : mark),
    );
  const markOf = ({ place, kind }) => {
    if (!before) return "same";
    if (!earlier.has(place)) return "new";
    return earlier.get(place) === kind ? "same" : `was ${earlier.get(place)}`;
  };
  return el(
    "section",
    { class: "payload" },
    el(
      "h2",
      {},
      `Version ${version} `,
      el("span", { class: "chip" }, isCurrent ? "written now" : "read and upcast"),
    ),
    facts([
      ["Rust type", el("code", {}, rustType)],
      ["Content type", contentType],
    ]),
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { "aria-label": `Fields of version ${version}` },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["Field", "Kind", ...(before ? ["Change"] : [])].map((label) => el("th", { scope: "col" }, label)),
          ),
        ),
        el(
          "tbody",
          {},
          fields.map((field) => row(markOf(field), field.place, field.kind)),
          gone.map(([place, kind]) => row("gone", place, kind)),
        ),
      ),
    ),
  );
}

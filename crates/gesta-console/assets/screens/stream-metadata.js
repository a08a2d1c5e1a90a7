// The form of the metadata of a stream: what it keeps, and who may use it.
//
// A change replaces all metadata. It expects those that the form was filled with, so that it does
// not undo the change of somebody else.

import { request, withContent } from "../acts.js";
import { get, pathOf } from "../api.js";
import { el, fill } from "../dom.js";
import {
  actForm,
  areaInput,
  arrive,
  field,
  jsonText,
  namesOf,
  namesText,
  textInput,
  UnusableValue,
  wideField,
} from "../form.js";
import { kindOf, memberOf, split } from "../json.js";
import { streamHref } from "../route.js";

const LIMITS = [
  ["$maxCount", "Events to keep", "the last ones; empty keeps all"],
  ["$maxAge", "Seconds to keep events"],
  ["$tb", "First revision to keep", "earlier events are hidden"],
  ["$cacheControl", "Seconds to cache"],
];

const RIGHTS = [
  ["$r", "May read"],
  ["$w", "May append"],
  ["$d", "May delete"],
  ["$mr", "May read the metadata"],
  ["$mw", "May set the metadata"],
];

/** Stands for a list without names, which leaves a right to administrators. */
const ADMINS = "$admins";

export const title = ({ parameters }) => `Metadata of ${parameters.get("name")}`;

export async function render(root, { parameters, program, signal }) {
  const name = parameters.get("name") ?? "";
  const described = await get(pathOf("streams", name, "metadata"), {}, signal);
  fill(
    root,
    el("h1", { class: "name" }, name),
    el("p", { class: "muted" }, rightsHint(program)),
    metadataForm(name, described),
  );
}

function rightsHint({ secure }) {
  const lists =
    "The metadata of the stream. Rights are lists of logins and groups with commas. An empty field leaves it to the default lists; $admins alone leaves it to administrators, and $all to every user.";
  return secure ? lists : `${lists} This server has no users, so lists have no effect here.`;
}

function metadataForm(stream, { metadata, metadataRevision }) {
  const { text } = metadata;
  const acl = memberOf(text, "$acl") ?? "{}";
  const limits = LIMITS.map(([key, label, hint]) => {
    const input = textInput(key, memberOf(text, key) ?? "", { inputmode: "numeric" });
    return { key, label, input, made: field(label, input, hint) };
  });
  const rights = RIGHTS.map(([key, label]) => {
    const input = textInput(key, listText(memberOf(acl, key)));
    return { key, label, input, made: field(label, input) };
  });
  const others = areaInput("others", othersText(text), { rows: 5 });
  return actForm({
    label: "Change the metadata",
    fields: [
      limits.map(({ made }) => made),
      rights.map(({ made }) => made),
      wideField("Other entries, as a JSON object", others),
    ],
    cancel: streamHref(stream),
    act() {
      const members = [
        ...limits.map(limitMember).filter(Boolean),
        ...aclMember(rights, acl),
        ...otherMembers(others.value),
      ];
      const object = `{${members.map(([key, one]) => `${JSON.stringify(key)}:${one}`).join(",")}}`;
      const expected = metadataRevision === null ? '"no-stream"' : String(metadataRevision);
      const made = request("PUT", `metadata of ${stream}`, "streams", stream, "metadata");
      return {
        about:
          "The limits hide events from readers, and a scavenge removes hidden events for ever. The lists decide who may use the stream.",
        requests: [withContent(made, { body: `{"metadata":${object},"expected":${expected}}` })],
        then: () => arrive(streamHref(stream)),
      };
    },
  });
}

function limitMember({ key, label, input }) {
  const text = input.value.trim();
  if (text === "") return null;
  if (!/^\d+$/.test(text)) throw new UnusableValue(`“${label}” must be a whole number; got ${text}`);
  return [key, text.replace(/^0+(?=\d)/, "")];
}

/** Returns the lists of names, with entries that this form does not know. */
function aclMember(rights, before) {
  const known = new Set(RIGHTS.map(([key]) => key));
  const kept = split(before).members.filter(({ key }) => !known.has(key));
  const lists = rights
    .filter(({ input }) => input.value.trim() !== "")
    .map(({ key, label, input }) => ({
      key,
      text: JSON.stringify(namesOf(label, input.value)),
    }));
  const all = [...lists, ...kept].map(({ key, text }) => `${JSON.stringify(key)}:${text}`);
  return all.length === 0 ? [] : [["$acl", `{${all.join(",")}}`]];
}

/** Returns the names of a list, which may be one name without brackets. */
function listText(text) {
  if (text === undefined || text === "null") return "";
  const list = JSON.parse(text);
  const names = Array.isArray(list) ? list : [list];
  return names.length === 0 ? ADMINS : namesText(names.map(String));
}

const OWN = new Set([...LIMITS.map(([key]) => key), "$acl"]);

function othersText(text) {
  const others = split(text).members.filter(({ key }) => !OWN.has(key));
  if (others.length === 0) return "";
  const lines = others.map(({ key, text: value }) => `  ${JSON.stringify(key)}: ${value}`);
  return `{\n${lines.join(",\n")}\n}`;
}

function otherMembers(text) {
  const trimmed = text.trim();
  if (trimmed === "") return [];
  if (kindOf(jsonText("The other entries", trimmed)) !== "object")
    throw new UnusableValue("The other entries must be a JSON object.");
  const { members } = split(trimmed);
  const own = members.find(({ key }) => OWN.has(key));
  if (own) throw new UnusableValue(`${own.key} has fields of its own above.`);
  return members.map(({ key, text: value }) => [key, value]);
}

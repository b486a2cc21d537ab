/**
 * What Discord accepts as a message. `readDraft` checks a create, an edit or an interaction
 * response and returns it in the double's own terms; limits are those of the message resource.
 */
import { MessageFlags } from "discord-api-types/v10";
import type { AllowedMentions } from "../mentions.ts";
import { parseEverything } from "../mentions.ts";
import type { Draft } from "../messages.ts";
import type { UploadedFile } from "../rest/request.ts";
import { checkComponents, checkDisplayText } from "./components.ts";
import { fieldsOf, Form, isFields, lengthOf, listOf } from "./form.ts";
import type { Fields } from "./form.ts";

const contentMax = 2_000;
const nonceMax = 25;
const embedsMax = 10;
const embedTextMax = 6_000;
const attachmentsMax = 10;
const fileBytesMax = 10 * 1024 * 1024;
const pingIdsMax = 100;

/** Flags an author may set; every other bit is dropped, as Discord does. */
const settableFlags =
  MessageFlags.SuppressEmbeds | MessageFlags.SuppressNotifications | MessageFlags.IsComponentsV2;

/** Where an attachment keeps what was uploaded: under a symbol, so it is not on the wire. */
export const fileContent = Symbol("file content");

export interface Upload {
  readonly files: readonly UploadedFile[];
  /** Names attachments; given by the server so ids stay snowflakes. */
  readonly nextId: () => string;
}

/** Flags before this request: an edit may add V2 but never takes it back. */
export function readDraft(body: Fields, upload: Upload, flagsBefore = 0): Partial<Draft> {
  const form = new Form();
  const asked = typeof body["flags"] === "number" ? body["flags"] & settableFlags : null;
  const sticky = flagsBefore & ~(MessageFlags.SuppressEmbeds as number);
  const flags = asked === null ? flagsBefore : asked | sticky;
  const isV2 = (flags & MessageFlags.IsComponentsV2) !== 0;

  form.text(["content"], body["content"], { max: contentMax });
  checkNonce(form, body["nonce"]);
  checkEmbeds(form, body["embeds"]);
  if (body["components"] !== undefined && body["components"] !== null) {
    checkComponents(form, body["components"], { v2: isV2 });
  }
  if (isV2) refuseLegacyFields(form, body);
  const allowedMentions = readAllowedMentions(form, body["allowed_mentions"]);
  const attachments = readAttachments(form, body["attachments"], upload);
  form.settle();
  if (isV2) checkDisplayText(body["components"]);

  const nonce = body["nonce"];
  return {
    ...(body["content"] === undefined ? {} : { content: (body["content"] as string | null) ?? "" }),
    ...(body["embeds"] === undefined ? {} : { embeds: listOf(body["embeds"]) }),
    ...(body["components"] === undefined ? {} : { components: listOf(body["components"]) }),
    ...(attachments === null ? {} : { attachments }),
    ...(typeof nonce === "string" || typeof nonce === "number" ? { nonce } : {}),
    ...(allowedMentions === null ? {} : { allowedMentions }),
    flags,
  };
}

export const isEmpty = (draft: Partial<Draft>): boolean =>
  (draft.content ?? "").trim() === "" &&
  (draft.embeds ?? []).length === 0 &&
  (draft.components ?? []).length === 0 &&
  (draft.attachments ?? []).length === 0;

function checkNonce(form: Form, nonce: unknown): void {
  if (nonce === undefined || nonce === null || Number.isSafeInteger(nonce)) return;
  form.text(["nonce"], nonce, { max: nonceMax });
}

function refuseLegacyFields(form: Form, body: Fields): void {
  const message = "The 'content' and 'embeds' fields cannot be used with IS_COMPONENTS_V2";
  for (const field of ["content", "embeds"]) {
    const value = body[field];
    const given = Array.isArray(value) ? value.length > 0 : Boolean(value);
    if (given) form.fail([field], "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", message);
  }
}

function checkEmbeds(form: Form, value: unknown): void {
  form.list(["embeds"], value, { max: embedsMax });
  let total = 0;
  const check = (path: (string | number)[], text: unknown, max: number): void => {
    form.text(path, text, { max });
    if (typeof text === "string") total += lengthOf(text);
  };
  for (const [i, embed] of listOf(value).entries()) {
    const at = (...rest: (string | number)[]) => ["embeds", i, ...rest];
    check(at("title"), embed["title"], 256);
    check(at("description"), embed["description"], 4_096);
    check(at("footer", "text"), fieldsOf(embed["footer"])["text"], 2_048);
    check(at("author", "name"), fieldsOf(embed["author"])["name"], 256);
    form.list(at("fields"), embed["fields"], { max: 25 });
    for (const [j, field] of listOf(embed["fields"]).entries()) {
      check(at("fields", j, "name"), field["name"], 256);
      check(at("fields", j, "value"), field["value"], 1_024);
    }
  }
  if (total > embedTextMax) {
    const message = `Embed size exceeds maximum size of ${embedTextMax}`;
    form.fail(["embeds"], "MAX_EMBED_SIZE_EXCEEDED", message);
  }
}

/** null: the key is absent, so the default of the message's kind applies. */
function readAllowedMentions(form: Form, value: unknown): AllowedMentions | null {
  if (value === undefined || value === null) return null;
  const fields = fieldsOf(value);
  const strings = (name: string): string[] =>
    Array.isArray(fields[name]) ? (fields[name] as unknown[]).map(String) : [];
  const [parse, users, roles] = [strings("parse"), strings("users"), strings("roles")];
  for (const [i, type] of parse.entries()) {
    if (!parseEverything.parse.includes(type)) {
      const message = `Value must be one of ('roles', 'everyone', 'users').`;
      form.fail(["allowed_mentions", "parse", i], "BASE_TYPE_CHOICES", message);
    }
  }
  for (const [name, ids] of Object.entries({ users, roles })) {
    form.list(["allowed_mentions", name], ids, { max: pingIdsMax });
    if (ids.length > 0 && parse.includes(name)) {
      const message = `parse:["${name}"] and ${name}: [ids...] are mutually exclusive.`;
      form.fail(["allowed_mentions"], "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", message);
    }
  }
  return { parse, users, roles, repliedUser: fields["replied_user"] === true };
}

function readAttachments(form: Form, value: unknown, upload: Upload): readonly object[] | null {
  if (value === undefined && upload.files.length === 0) return null;
  for (const [i, file] of upload.files.entries()) {
    if (file.bytes > fileBytesMax) {
      form.fail(["files", i], "BASE_TYPE_MAX_LENGTH", "File exceeds the maximum size.");
    }
  }
  const described = listOf(value);
  const kept = described.filter(
    (entry) => isFields(entry) && /^\d{17,19}$/.test(String(entry["id"])),
  );
  const made = upload.files.map((file) => ({
    [fileContent]: file.content,
    id: upload.nextId(),
    filename: file.name,
    size: file.bytes,
    content_type: file.type,
    url: `https://cdn.discordapp.invalid/${file.name}`,
    proxy_url: `https://media.discordapp.invalid/${file.name}`,
  }));
  form.list(["attachments"], [...kept, ...made], { max: attachmentsMax });
  return [...kept, ...made];
}

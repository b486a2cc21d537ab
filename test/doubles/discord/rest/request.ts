/** One HTTP request in the double's terms, and the shape of a route. Bodies are JSON, forms, or files. */
import type { User } from "../world.ts";
import { badJson } from "./errors.ts";
import { fieldsOf } from "../rules/form.ts";
import type { Fields } from "../rules/form.ts";

export interface UploadedFile {
  readonly name: string;
  readonly type: string;
  readonly bytes: number;
  readonly content: Buffer;
}

export interface Call {
  /** Percent-decoded: clients send `@original` as `%40original`. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly files: readonly UploadedFile[];
  /** The bot, the user of a bearer token, or null on routes without authorisation. */
  readonly caller: User | null;
}

export interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Template such as `/channels/:channel/messages`. */
  readonly path: string;
  /** `token`: the interaction token in the path is the authorisation. */
  readonly auth: "bot" | "bot-or-user" | "token" | "none";
  readonly handle: (call: Call) => Answer | Promise<Answer>;
}

export const routeName = (route: Pick<Route, "method" | "path">): string =>
  `${route.method} ${route.path}`;

export const ok = (body: unknown): Answer => ({ status: 200, body });
export const noContent: Answer = { status: 204 };

export const bodyOf = (call: Call): Fields => fieldsOf(call.body);

/** `:name` of the path; a route that asks for a parameter it does not have is a bug of ours. */
export function param(call: Call, name: string): string {
  const value = call.params[name];
  if (value === undefined) throw new TypeError(`route has no parameter ${name}`);
  return value;
}

/** Reads JSON, urlencoded and multipart (`payload_json` + `files[n]`) bodies. */
export async function readBody(
  raw: Buffer | undefined,
  contentType: string,
): Promise<{ body: unknown; files: UploadedFile[] }> {
  if (!raw || raw.length === 0) return { body: undefined, files: [] };
  if (contentType.startsWith("multipart/form-data")) {
    const bytes = new Uint8Array(raw);
    const parsed = new Response(bytes, { headers: { "content-type": contentType } });
    return readMultipart(await parsed.formData());
  }
  const text = raw.toString("utf8");
  if (contentType.startsWith("application/x-www-form-urlencoded")) {
    return { body: Object.fromEntries(new URLSearchParams(text)), files: [] };
  }
  return { body: parseJson(text), files: [] };
}

async function readMultipart(form: FormData): Promise<{ body: unknown; files: UploadedFile[] }> {
  const payload = form.get("payload_json");
  const files: UploadedFile[] = [];
  for (const [, value] of form) {
    if (value instanceof File) {
      const content = Buffer.from(await value.arrayBuffer());
      files.push({ name: value.name, type: value.type, bytes: value.size, content });
    }
  }
  const body = typeof payload === "string" ? parseJson(payload) : Object.fromEntries(form);
  return { body, files };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw badJson();
  }
}

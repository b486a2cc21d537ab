/**
 * A Hugging Face-compatible hub: what a repository holds, and the bytes of one file.
 *
 * The token goes to the hub's own origin and nowhere else; redirects are followed by hand for that.
 * An answer that is no success is an `EyrieError` that says what a person can do, or a `Setback`
 * when trying again may help. The proxy of the environment is used once `useProxy` was called.
 */
import http from "node:http";
import { z } from "zod";
import { EyrieError } from "#infra/errors/error.ts";

export interface Digest {
  /** Large files are known by SHA-256, others by their git blob id: SHA-1 of a header and the bytes. */
  readonly algorithm: "sha256" | "git-sha1";
  readonly hex: string;
}

export interface RemoteFile {
  readonly repo: string;
  readonly path: string;
  readonly bytes: number;
  readonly digest: Digest;
}

export interface Repository {
  readonly repo: string;
  readonly commit: string;
  readonly files: readonly RemoteFile[];
}

/** Something that may pass: the same request may succeed later. */
export class Setback extends Error {
  /** What the server asked us to wait; null when it did not say. */
  readonly retryAfterMs: number | null;

  constructor(reason: string, options: { retryAfterMs?: number | null; cause?: unknown } = {}) {
    super(reason, { cause: options.cause });
    this.name = "Setback";
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

export interface Download {
  readonly response: Response;
  /** Where the bytes come from: an `ETag` means something at that origin only. */
  readonly origin: string;
  /** The SHA-256 that the hub itself names for the file, if it does. */
  readonly linkedSha256: string | null;
}

const redirectsMax = 8;
/** A list of files; the largest repositories stay far below. */
const listBytesMax = 16 * 1024 ** 2;
const listMsMax = 30_000;

const infoSchema = z.object({
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: z.int().min(0),
      blobId: z.string().regex(/^[0-9a-f]{40}$/),
      lfs: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().min(0) }).nullish(),
    }),
  ),
});

/**
 * Sends the requests of this process through the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY
 * name, as programs on a server are expected to do. Returns what undoes it.
 */
export function useProxy(environment: Readonly<Record<string, string | undefined>>): () => void {
  const names = ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"];
  const set = names.find((name) => (environment[name] ?? "") !== "");
  if (set === undefined) return () => {};
  try {
    return http.setGlobalProxyFromEnv({ ...environment });
  } catch (cause) {
    throw new EyrieError(
      "CONFIG_INVALID",
      { key: set, reason: "no address of a proxy" },
      { cause },
    );
  }
}

export class Hub {
  readonly endpoint: string;
  readonly #token: string | undefined;

  constructor(endpoint: string, token?: string) {
    this.endpoint = endpoint.replace(/\/+$/, "");
    this.#token = token;
  }

  /** The files of a repository with their sizes and digests, and the commit that `revision` means. */
  async list(repo: string, revision: string, signal: AbortSignal): Promise<Repository> {
    const url = `${this.endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`;
    const inTime = AbortSignal.any([signal, AbortSignal.timeout(listMsMax)]);
    const { response } = await this.#request(url, { repo, what: repo, signal: inTime });
    const info = infoSchema.safeParse(await readJson(response, url));
    if (!info.success) {
      const reason = "the list of files lacks sizes or digests";
      throw new EyrieError("HUB_ANSWER", { url: withoutQuery(url), reason });
    }
    const files = info.data.siblings.map(({ rfilename: path, size, blobId, lfs }) => ({
      repo,
      path,
      bytes: lfs?.size ?? size,
      digest: lfs
        ? ({ algorithm: "sha256", hex: lfs.sha256 } as const)
        : ({ algorithm: "git-sha1", hex: blobId } as const),
    }));
    return { repo, commit: info.data.sha, files };
  }

  /** Asks for a file from `fromByte` on; a server may send all of it all the same (status 200). */
  download(file: RemoteFile, options: DownloadOptions): Promise<Download> {
    const path = file.path.split("/").map(encodeURIComponent).join("/");
    const url = `${this.endpoint}/${file.repo}/resolve/${encodeURIComponent(options.revision)}/${path}`;
    const what = `${file.repo}/${file.path}`;
    return this.#request(url, { ...options, repo: file.repo, what });
  }

  async #request(start: string, request: Request): Promise<Download> {
    let url = start;
    let linkedSha256: string | null = null;
    for (let hop = 0; hop <= redirectsMax; hop++) {
      const response = await this.#fetch(url, request);
      linkedSha256 ??= sha256In(response.headers.get("x-linked-etag"));
      const location = response.headers.get("location");
      if (response.status < 300 || response.status >= 400 || location === null) {
        if (!response.ok && response.status !== 416) await refuse(response, url, request);
        return { response, origin: new URL(url).origin, linkedSha256 };
      }
      await response.body?.cancel();
      url = redirected(url, location);
    }
    throw new EyrieError("HUB_ANSWER", { url: start, reason: "it redirects without end" });
  }

  async #fetch(url: string, request: Request): Promise<Response> {
    const { origin } = new URL(url);
    const headers: Record<string, string> = {
      "user-agent": "eyrie",
      // Sizes and ranges count the file's own bytes.
      "accept-encoding": "identity",
    };
    if (this.#token !== undefined && origin === new URL(this.endpoint).origin) {
      headers["authorization"] = `Bearer ${this.#token}`;
    }
    if (request.fromByte !== undefined && request.fromByte > 0) {
      headers["range"] = `bytes=${request.fromByte}-`;
      const { ifRange } = request;
      if (ifRange?.origin === origin) headers["if-range"] = ifRange.etag;
    }
    try {
      return await fetch(url, { headers, redirect: "manual", signal: request.signal });
    } catch (cause) {
      throw new Setback(networkReason(cause), { cause });
    }
  }
}

export interface DownloadOptions {
  readonly revision: string;
  readonly fromByte: number;
  readonly ifRange: { readonly etag: string; readonly origin: string } | null;
  readonly signal: AbortSignal;
}

interface Request extends Partial<Pick<DownloadOptions, "fromByte" | "ifRange">> {
  readonly repo: string;
  readonly what: string;
  readonly signal: AbortSignal;
}

async function refuse(response: Response, url: string, request: Request): Promise<never> {
  await response.body?.cancel();
  const { status } = response;
  if (status === 401 || status === 403) {
    throw new EyrieError("HUB_DENIED", { repo: request.repo, status });
  }
  if (status === 404 || status === 410) {
    throw new EyrieError("HUB_NOT_FOUND", { what: request.what });
  }
  if (status === 408 || status === 429 || status >= 500) {
    const retryAfterMs = readRetryAfter(response.headers.get("retry-after"), Date.now());
    throw new Setback(`HTTP ${status}`, { retryAfterMs });
  }
  throw new EyrieError("HUB_ANSWER", { url: withoutQuery(url), reason: `HTTP ${status}` });
}

function redirected(from: string, location: string): string {
  const url = URL.parse(location, from);
  const secure = from.startsWith("https:");
  if (url !== null && (url.protocol === "https:" || (!secure && url.protocol === "http:"))) {
    return url.href;
  }
  const reason = "it redirects to an address that is not safe to follow";
  throw new EyrieError("HUB_ANSWER", { url: withoutQuery(from), reason });
}

/** Seconds or a date (RFC 9110 §10.2.3); null when absent or neither. */
export function readRetryAfter(text: string | null, nowMs: number): number | null {
  if (text === null) return null;
  if (/^\d+$/.test(text.trim())) return 1000 * Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : Math.max(0, date - nowMs);
}

function sha256In(etag: string | null): string | null {
  return /^(?:W\/)?"?([0-9a-f]{64})"?$/.exec(etag ?? "")?.[1] ?? null;
}

async function readJson(response: Response, url: string): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length;
      if (bytes > listBytesMax) break;
      chunks.push(chunk);
    }
  } catch (cause) {
    throw new Setback(networkReason(cause), { cause });
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch (cause) {
    const reason = "not JSON; a proxy or a login page may have answered instead";
    throw new EyrieError("HUB_ANSWER", { url: withoutQuery(url), reason }, { cause });
  }
}

/** What `fetch` hides in its cause. */
export function networkReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof Error) return networkReason(error.cause);
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  // The names of the system are known to people, those of the HTTP client are not.
  return code === "" || code.startsWith("UND_ERR") ? error.message : code;
}

/** Signed addresses carry a secret in their query. */
export function withoutQuery(url: string): string {
  return url.replace(/\?.*$/, "");
}

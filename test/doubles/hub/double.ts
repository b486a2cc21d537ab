/**
 * A stand-in for a Hugging Face-compatible hub, with repositories in memory.
 *
 * Two origins on 127.0.0.1: the hub (lists, small files, redirects) and its storage, which large files
 * are redirected to as the real one does. Every request is noted, and the switches in `faults` make
 * either of them misbehave. Nothing here is imported by Eyrie itself.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface SeenRequest {
  readonly origin: "hub" | "storage";
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  readonly authorization: string | undefined;
  /** As answered; 0 while nothing was. */
  status: number;
}

export interface Faults {
  /** One number per answer with bytes of a file: the socket is destroyed after so many of them. */
  cutAfter: number[];
  /** One number per answer with bytes of a file: nothing comes after so many, and no end. */
  silentAfter: number[];
  /** Answers in place of what was asked for, each to one request. */
  refusals: { status: number; headers?: Record<string, string> }[];
  /** Added to the length that the next answers promise. */
  lengthLie: number;
  /** Send chunks without a length, with as many bytes too many. */
  extraBytes: number | null;
  /** Flip a bit of every file. */
  wrongBytes: boolean;
  /** Answer a range with the whole file. */
  noRanges: boolean;
  /** Name no version of a file, as some mirrors do. */
  noEtag: boolean;
  /** Continue whatever `If-Range` says. */
  ignoresIfRange: boolean;
  /** A login page instead of anything that was asked for. */
  html: boolean;
  /** Redirect to itself for ever. */
  redirectLoop: boolean;
  /** Bytes per 5 ms; 0: as fast as it goes. */
  slowBytes: number;
  /** Sizes that the list tells in place of the real ones, by path. */
  listedSizes: Map<string, number>;
  /** Only requests with this token are answered. */
  gate: string | null;
}

interface Stored {
  readonly content: Buffer;
  readonly lfs: boolean;
}

export class HubDouble {
  readonly faults: Faults = {
    cutAfter: [],
    silentAfter: [],
    refusals: [],
    lengthLie: 0,
    extraBytes: null,
    wrongBytes: false,
    noRanges: false,
    noEtag: false,
    ignoresIfRange: false,
    html: false,
    redirectLoop: false,
    slowBytes: 0,
    listedSizes: new Map(),
    gate: null,
  };
  readonly requests: SeenRequest[] = [];
  readonly #repos = new Map<string, Map<string, Stored>>();
  readonly #hub: Server;
  readonly #storage: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#hub = this.#serve("hub", (request, response) => this.#answerHub(request, response));
    this.#storage = this.#serve("storage", (request, response) => {
      const [, repo = "", path = ""] =
        /^\/lfs\/([^/]+\/[^/]+)\/(.+)\?/.exec(request.url ?? "") ?? [];
      return this.#send(this.#repos.get(repo)?.get(path), request, response);
    });
  }

  static async start(): Promise<HubDouble> {
    const double = new HubDouble();
    await Promise.all([double.#hub, double.#storage].map((server) => listen(server)));
    return double;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get port(): number {
    return (this.#hub.address() as AddressInfo).port;
  }

  /** Large files are those that live in storage; `small` ones come from the hub itself. */
  put(
    repo: string,
    path: string,
    content: Buffer | string,
    kind: "large" | "small" = "large",
  ): void {
    const files = this.#repos.get(repo) ?? new Map<string, Stored>();
    files.set(path, { content: Buffer.from(content), lfs: kind === "large" });
    this.#repos.set(repo, files);
  }

  remove(repo: string, path: string): void {
    this.#repos.get(repo)?.delete(path);
  }

  /** Requests for bytes of a file, without those that were redirected. */
  downloads(): SeenRequest[] {
    return this.requests.filter(
      ({ origin, path }) =>
        origin === "storage" || (path.includes("/resolve/") && !this.#isLarge(path)),
    );
  }

  /** Breaks every connection there is. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    const servers = [this.#hub, this.#storage];
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  }

  #serve(
    origin: "hub" | "storage",
    answer: (request: IncomingMessage, response: ServerResponse) => Promise<void> | void,
  ): Server {
    const server = createServer((request, response) => {
      const { range, authorization } = request.headers;
      const ifRange = request.headers["if-range"] as string | undefined;
      const path = request.url ?? "";
      const seen: SeenRequest = { origin, path, range, ifRange, authorization, status: 0 };
      this.requests.push(seen);
      response.once("close", () => (seen.status = response.statusCode));
      if (!this.#misbehaves(request, response)) void answer(request, response);
    });
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    return server;
  }

  /** True when a fault has answered already. */
  #misbehaves(request: IncomingMessage, response: ServerResponse): boolean {
    const refusal = this.faults.refusals.shift();
    if (refusal !== undefined) {
      response.writeHead(refusal.status, refusal.headers).end("no");
    } else if (this.faults.html) {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
      response.end("<!doctype html><title>Log in to the network</title>");
    } else if (this.faults.redirectLoop) {
      response.writeHead(302, { location: request.url ?? "/" }).end();
    } else {
      return false;
    }
    return true;
  }

  #answerHub(request: IncomingMessage, response: ServerResponse): Promise<void> | void {
    const { gate } = this.faults;
    if (gate !== null && request.headers.authorization !== `Bearer ${gate}`) {
      response.writeHead(request.headers.authorization === undefined ? 401 : 403).end();
      return undefined;
    }
    const path = request.url ?? "";
    const [, listed] =
      /^\/api\/models\/([^/]+\/[^/]+)\/revision\/[^?]+\?blobs=true$/.exec(path) ?? [];
    if (listed !== undefined) return this.#list(listed, response);
    const file = this.#named(path);
    if (file === undefined) {
      response.writeHead(404).end();
      return undefined;
    }
    if (!file.stored.lfs) return this.#send(file.stored, request, response);
    const { port } = this.#storage.address() as AddressInfo;
    response.writeHead(302, {
      location: `http://127.0.0.1:${port}/lfs/${file.repo}/${file.path}?signature=secret`,
      "x-linked-size": String(file.stored.content.length),
      "x-linked-etag": `"${sha256(file.stored.content)}"`,
    });
    response.end();
    return undefined;
  }

  #list(repo: string, response: ServerResponse): void {
    const files = this.#repos.get(repo);
    if (files === undefined) {
      response.writeHead(404).end();
      return;
    }
    const siblings = [...files].map(([rfilename, { content, lfs }]) => {
      const size = this.faults.listedSizes.get(rfilename) ?? content.length;
      const pointer = { sha256: sha256(content), size, pointerSize: 134 };
      return { rfilename, size, blobId: gitSha1(content), ...(lfs ? { lfs: pointer } : {}) };
    });
    const sha = createHash("sha1").update(JSON.stringify(siblings)).digest("hex");
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ id: repo, sha, siblings }));
  }

  async #send(
    stored: Stored | undefined,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (stored === undefined) {
      response.writeHead(404).end();
      return;
    }
    const { faults } = this;
    const content = Buffer.from(stored.content);
    const etag = `"${gitSha1(content)}"`;
    if (faults.wrongBytes) content[content.length - 1]! ^= 1;
    const from = this.#rangeStart(request, etag);
    if (from !== null && from >= content.length) {
      response.writeHead(416, { "content-range": `bytes */${content.length}` }).end();
      return;
    }
    const body = content.subarray(from ?? 0);
    const range = `bytes ${from ?? 0}-${content.length - 1}/${content.length}`;
    response.writeHead(from === null ? 200 : 206, {
      "content-type": "application/octet-stream",
      ...(faults.noEtag ? {} : { etag }),
      ...(from === null ? {} : { "content-range": range }),
      ...(faults.extraBytes === null
        ? { "content-length": String(body.length + faults.lengthLie) }
        : {}),
    });
    await this.#write(response, Buffer.concat([body, Buffer.alloc(faults.extraBytes ?? 0)]));
  }

  #rangeStart(request: IncomingMessage, etag: string): number | null {
    const [, start] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
    if (start === undefined || this.faults.noRanges) return null;
    const ifRange = request.headers["if-range"];
    if (ifRange !== undefined && ifRange !== etag && !this.faults.ignoresIfRange) return null;
    return Number(start);
  }

  async #write(response: ServerResponse, body: Buffer): Promise<void> {
    const silent = this.faults.silentAfter.shift();
    const cut = silent === undefined ? this.faults.cutAfter.shift() : undefined;
    const bytes = body.subarray(0, silent ?? cut);
    const step = this.faults.slowBytes || Math.max(1, bytes.length);
    for (let at = 0; at < bytes.length && !response.destroyed; at += step) {
      await new Promise((done) => response.write(bytes.subarray(at, at + step), done));
      if (this.faults.slowBytes > 0) await sleep(5);
    }
    if (silent !== undefined) return;
    if (cut === undefined) {
      response.end();
      return;
    }
    // A client drops what it has not read yet when it learns of the cut: give it the time to.
    await sleep(20);
    response.destroy();
  }

  #named(path: string): { repo: string; path: string; stored: Stored } | undefined {
    const [, repo = "", name = ""] = /^\/([^/]+\/[^/]+)\/resolve\/[^/]+\/(.+)$/.exec(path) ?? [];
    const stored = this.#repos.get(repo)?.get(decodeURIComponent(name));
    return stored === undefined ? undefined : { repo, path: decodeURIComponent(name), stored };
  }

  #isLarge(path: string): boolean {
    return this.#named(path)?.stored.lfs ?? false;
  }
}

export function listen(server: Server): Promise<void> {
  return new Promise((done) => server.listen(0, "127.0.0.1", done));
}

export function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

export function gitSha1(content: Buffer): string {
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

/**
 * A bad line to a redis-server: passes bytes on late, slowly, or not at all, or breaks.
 *
 * `swallow` is the worst of them: both ends stay connected and nothing arrives, as when a peer's
 * machine has lost its power. What was swallowed is gone; `mend` breaks such lines, as TCP would.
 */
import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Line =
  | { readonly kind: "good" }
  | { readonly kind: "swallow" }
  /** Nothing passes and nobody can connect. */
  | { readonly kind: "broken" }
  | { readonly kind: "late"; readonly ms: number }
  | { readonly kind: "slow"; readonly bytesPerSecond: number };

export class Relay {
  /** Socket to connect to. */
  readonly url: string;
  readonly #target: string;
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #line: Line = { kind: "good" };

  private constructor(url: string, target: string) {
    this.url = url;
    this.#target = target;
    this.#server = createServer((near) => this.#pair(near));
  }

  /** In front of the server whose socket is `target`; a door beside it. */
  static async open(target: string, name: string): Promise<Relay> {
    const url = target.replace(/[^/]*$/, `${name}.sock`);
    rmSync(url, { force: true });
    const relay = new Relay(url, target);
    await new Promise<void>((done) => relay.#server.listen(url, done));
    return relay;
  }

  become(line: Line): void {
    this.#line = line;
    if (line.kind === "broken") this.#breakAll();
  }

  /** A good line again; those that lost bytes have to be opened anew. */
  mend(): void {
    const lossy = this.#line.kind === "swallow";
    this.#line = { kind: "good" };
    if (lossy) this.#breakAll();
  }

  async close(): Promise<void> {
    this.#breakAll();
    await new Promise((done) => this.#server.close(done));
  }

  #breakAll(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  #pair(near: Socket): void {
    near.on("error", () => near.destroy());
    if (this.#line.kind === "broken") return void near.destroy();
    const far = connect(this.#target);
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    far.on("error", () => far.destroy());
    for (const socket of pair) {
      socket.once("close", () => {
        this.#pairs.delete(pair);
        for (const each of pair) each.destroy();
      });
    }
    void this.#carry(near, far);
    void this.#carry(far, near);
  }

  /** In order; ends with the sockets. */
  async #carry(from: Socket, to: Socket): Promise<void> {
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        const line = this.#line;
        if (line.kind === "swallow") continue;
        if (line.kind === "late") await sleep(line.ms);
        if (line.kind === "slow") await sleep((1_000 * chunk.length) / line.bytesPerSecond);
        if (!to.write(chunk)) await drained(to);
      }
    } catch {
      // The line broke.
    }
    to.destroy();
  }
}

async function drained(socket: Socket): Promise<void> {
  await new Promise<void>((done) => {
    socket.once("drain", done);
    socket.once("close", () => done());
  });
}

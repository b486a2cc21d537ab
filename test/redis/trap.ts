/**
 * A door in front of a redis-server that springs at one of our scripts: what goes in at the moment
 * that script is called, or its answer, is held back. A test that then kills the caller has killed it
 * at exactly that boundary: before the script ran, or after, unheard. One that acts and then calls
 * `letGo` has acted in between.
 */
import { createHash } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { createServer, connect, type Server, type Socket } from "node:net";
import { join } from "node:path";

const scripts = join(import.meta.dirname, "../../infra/redis/scripts");

export interface Boundary {
  /** Name of the script's file, without its ending. */
  readonly script: string;
  readonly side: "before" | "after";
}

export class Trap {
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #boundary: Boundary | null = null;
  #sprung = Promise.withResolvers<void>();
  #letGo: () => void = () => undefined;

  private constructor(url: string, server: Server) {
    this.url = url;
    this.#server = server;
  }

  /** In front of the server whose socket is `target`; a door beside it. */
  static async open(target: string, name: string): Promise<Trap> {
    const url = target.replace(/[^/]*$/, `${name}.sock`);
    rmSync(url, { force: true });
    const server = createServer();
    const trap = new Trap(url, server);
    server.on("connection", (inside) => trap.#pass(inside, connect(target)));
    await new Promise<void>((done) => server.listen(url, done));
    return trap;
  }

  /** Springs once, at the next call of this script; resolves when it has. */
  async set(boundary: Boundary): Promise<void> {
    this.#boundary = boundary;
    this.#sprung = Promise.withResolvers();
    return this.#sprung.promise;
  }

  /** What is held back goes on. */
  letGo(): void {
    this.#letGo();
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }

  #pass(caller: Socket, redis: Socket): void {
    const held: Record<Boundary["side"], Buffer[] | null> = { before: null, after: null };
    for (const socket of [caller, redis]) {
      this.#sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.once("close", () => {
        this.#sockets.delete(socket);
        caller.destroy();
        redis.destroy();
      });
    }
    const letGo = (): void => {
      for (const chunk of held.before ?? []) redis.write(chunk);
      for (const chunk of held.after ?? []) caller.write(chunk);
      held.before = held.after = null;
    };
    caller.on("data", (chunk: Buffer) => {
      const boundary = this.#boundary;
      if (boundary !== null && namesOf(boundary.script).some((name) => chunk.includes(name))) {
        this.#boundary = null;
        this.#letGo = letGo;
        held[boundary.side] = [];
        if (boundary.side === "before") this.#sprung.resolve();
      }
      if (held.before === null) redis.write(chunk);
      else held.before.push(chunk);
    });
    redis.on("data", (chunk: Buffer) => {
      if (held.after === null) return caller.write(chunk);
      held.after.push(chunk);
      this.#sprung.resolve();
    });
  }
}

/** As a call names it: by digest, or, the first time on a connection, by its text. */
function namesOf(script: string): string[] {
  const text = readFileSync(join(scripts, `${script}.lua`), "utf8");
  const opening = text.split("\n").slice(1, 3).join("\n");
  return [createHash("sha1").update(text).digest("hex"), opening];
}

/**
 * The processes of the platform as children: started, watched, restarted, ended.
 *
 * A child that fails before it is ready has a reason that will not go away: the start ends with it.
 * One that dies later is started again with growing pauses, as machines fail and conversations must
 * go on.
 */
import { fork, type ChildProcess } from "node:child_process";
import { resolve } from "node:path";
import { heapArguments } from "#infra/process/heap.ts";
import type { ReadyMessage } from "#infra/process/process.ts";
import type { Log } from "#infra/telemetry/log.ts";

const projectRoot = resolve(import.meta.dirname, "../..");
const restartMsMin = 250;
const restartMsMax = 10_000;
/** A child that ran this long had a good life: the next pause is short again. */
const settledMs = 30_000;
const killAfterMs = 30_000;

/** Thrown when a child could not start; it has said why on standard error. */
export class ChildFailed extends Error {
  readonly exitCode: number;
  constructor(name: string, exitCode: number) {
    super(`${name} ended with code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

export class Child {
  readonly name: string;
  readonly #script: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #log: Log;
  #process: ChildProcess | null = null;
  #ending = false;
  #pauseMs = restartMsMin;
  #restart: NodeJS.Timeout | null = null;

  constructor(
    name: string,
    script: string,
    options: { readonly environment: NodeJS.ProcessEnv; readonly log: Log },
  ) {
    this.name = name;
    this.#script = resolve(projectRoot, script);
    this.#environment = options.environment;
    this.#log = options.log;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts it and waits until it says that it is ready; returns the port of its health pages. */
  async start(): Promise<number> {
    const child = this.#fork();
    const { promise, resolve: done, reject } = Promise.withResolvers<number>();
    child.once("message", (message: ReadyMessage) => done(message.port));
    child.once("exit", (code) => reject(new ChildFailed(this.name, code ?? 1)));
    const port = await promise;
    this.#keepAlive(child);
    return port;
  }

  async end(): Promise<void> {
    this.#ending = true;
    if (this.#restart !== null) clearTimeout(this.#restart);
    const child = this.#process;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((done) => child.once("exit", () => done()));
    child.kill("SIGTERM");
    const patience = setTimeout(() => child.kill("SIGKILL"), killAfterMs);
    await gone;
    clearTimeout(patience);
  }

  #fork(): ChildProcess {
    const execArgv = [...process.execArgv, ...heapArguments];
    const child = fork(this.#script, { env: this.#environment, cwd: projectRoot, execArgv });
    this.#process = child;
    return child;
  }

  #keepAlive(child: ChildProcess): void {
    const startedMs = performance.now();
    child.once("exit", (code, signal) => {
      if (this.#ending) return;
      if (performance.now() - startedMs > settledMs) this.#pauseMs = restartMsMin;
      const pauseMs = this.#pauseMs;
      this.#pauseMs = Math.min(2 * pauseMs, restartMsMax);
      this.#log.warn(`${this.name} died, starting it again`, { code, signal, pauseMs });
      this.#restart = setTimeout(() => this.#keepAlive(this.#fork()), pauseMs);
    });
  }
}

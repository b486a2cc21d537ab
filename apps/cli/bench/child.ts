/**
 * A program of ours in a process of its own: asked one thing at a time, it answers or fails.
 *
 * A benchmark needs processes and not threads: what an engine keeps in memory is then the process's
 * own, and nothing of one engine is left when the next is measured.
 */
import { type ChildProcess, fork } from "node:child_process";
import { resolve } from "node:path";
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import { ModelError } from "#kernels/errors.ts";

const projectRoot = resolve(import.meta.dirname, "../../..");

type Reply<A> =
  | { readonly answer: A }
  | {
      readonly failure: {
        readonly message: string;
        /** Of a ModelError. */
        readonly code?: string;
        readonly values?: Readonly<Record<string, string | number>>;
      };
    };

export class BenchChild<Q extends object, A> {
  readonly #process: ChildProcess;

  /** `script` counts from the root of the project. */
  constructor(script: string, argument = "") {
    this.#process = fork(resolve(projectRoot, script), [argument], {
      cwd: projectRoot,
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  async ask(question: Q): Promise<A> {
    const { promise, resolve: done, reject } = Promise.withResolvers<Reply<A>>();
    const onExit = (code: number | null, signal: string | null): void =>
      reject(new Error(`a measuring process ended with ${code ?? signal}`));
    this.#process.once("message", done);
    this.#process.once("exit", onExit);
    try {
      this.#process.send(question);
      const reply = await promise;
      if ("answer" in reply) return reply.answer;
      const { code, values, message } = reply.failure;
      throw code === undefined ? new Error(message) : new EyrieError(code as ErrorCode, values);
    } finally {
      this.#process.off("message", done);
      this.#process.off("exit", onExit);
    }
  }

  /** A child with processes of its own is asked to end them first, by SIGTERM. */
  async end(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((done) => this.#process.once("exit", done));
    this.#process.kill(signal);
    await gone;
  }
}

/** The other side: answers until whoever asks is gone. */
export function answerQuestions<A>(answer: (question: never) => Promise<A> | A): void {
  const send = (reply: Reply<A>): void => {
    process.send?.(reply);
  };
  process.on("disconnect", () => process.exit());
  // Ctrl-C reaches this process too; the one that asks decides when it ends.
  process.on("SIGINT", () => {});
  process.on("message", (question: unknown) => {
    void reply(question as never);
  });
  const reply = async (question: never): Promise<void> => {
    try {
      send({ answer: await answer(question) });
    } catch (error) {
      send({ failure: failureOf(error) });
    }
  };
}

function failureOf(error: unknown): {
  message: string;
  code?: string;
  values?: ModelError["values"];
} {
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof ModelError)) return { message };
  return { message, code: error.code, values: error.values };
}

/** A thread that runs seeds, one after another, as it is told them. */
import assert from "node:assert/strict";
import { parentPort, workerData } from "node:worker_threads";
import type { SeedResult } from "./run.ts";

export interface ThreadOptions {
  readonly turns: number;
  readonly breakName: string | null;
  readonly trace: boolean;
}

export type ThreadReply =
  /** It listens: what is told before may be lost on libraries that listen too. */
  | { readonly kind: "ready" }
  | { readonly kind: "result"; readonly result: SeedResult }
  | { readonly kind: "failed"; readonly seed: number; readonly reason: string }
  | { readonly kind: "trace"; readonly line: string };

assert(parentPort !== null, "runs in a worker thread only");
const port = parentPort;
const { breakName, trace, turns } = workerData as ThreadOptions;
// Aborting is daily work here, and each abort would write down where it was called from.
Error.stackTraceLimit = trace ? 20 : 0;

// Before anything of the platform is loaded.
const { apply, breakNamed } = await import("./breaks.ts");
const edit = breakName === null ? undefined : apply(breakNamed(breakName));
const { loadTranslator } = await import("#infra/i18n/i18n.ts");
const { Lua } = await import("./redis/lua.ts");
const { runSeed } = await import("./run.ts");
const shared = { lua: await Lua.open(), translator: await loadTranslator(), turns };
const say = (reply: ThreadReply): void => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
  port.postMessage(reply);
};

/** A promise nobody waits for has failed: a process of the platform would have ended there. */
let stray: string | null = null;
process.on("unhandledRejection", (error) => {
  stray ??= error instanceof Error ? (error.stack ?? error.message) : String(error);
});

port.on("message", (seed: number) => {
  stray = null;
  const options = {
    ...shared,
    seed,
    ...(edit === undefined ? {} : { edit }),
    ...(trace
      ? {
          trace: (line: string) =>
            say({
              kind: "trace",
              line,
            }),
        }
      : {}),
  };
  runSeed(options).then(
    (result) =>
      say(
        stray === null
          ? { kind: "result", result }
          : { kind: "failed", seed, reason: `nobody waited for what failed: ${stray}` },
      ),
    (error: unknown) => {
      const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
      say({ kind: "failed", seed, reason });
    },
  );
});
say({ kind: "ready" });

/**
 * Loaded with `--import` before one of our processes: the scripted backend in its engine thread, and
 * labels (labels.ts) in its main thread. Nothing of ours refers to this file but tests.
 */
import { registerHooks } from "node:module";
import { isMainThread } from "node:worker_threads";
import type { Armed, Deed, Label, LabelName, Order } from "./labels.ts";

const backends = "/apps/worker/engine/backends.ts";
const scriptedBackends = new URL("../doubles/backend/backends.ts", import.meta.url).href;

if (isMainThread) await listenForOrders();
else if (process.env["EYRIE_TEST_BACKEND"] === "scripted") replaceBackends();

function replaceBackends(): void {
  registerHooks({
    resolve(specifier, context, next) {
      const resolved = next(specifier, context);
      if (!resolved.url.endsWith(backends)) return resolved;
      return { ...resolved, url: scriptedBackends };
    },
  });
}

async function listenForOrders(): Promise<void> {
  const { labels } = await import("./labels.ts");
  const armed = new Map<LabelName, { deed: Deed; left: number }>();
  for (const [name, label] of Object.entries(labels)) {
    wrap(label, () => {
      const order = armed.get(name as LabelName);
      if (order === undefined || --order.left > 0) return;
      armed.delete(name as LabelName);
      perform(order.deed);
    });
  }
  process.on("message", ({ arm, deed, passing }: Order) => {
    armed.set(arm, { deed, left: passing });
    process.send?.({ armed: arm } satisfies Armed);
  });
}

/** Calls `pass` at the label, whatever the method does. */
function wrap({ prototype, method, side, counts }: Label, pass: () => void): void {
  const methods = prototype as Record<string, (...values: unknown[]) => Promise<unknown>>;
  const original = methods[method];
  if (original === undefined) throw new RangeError(`no method ${method}`);
  methods[method] = async function wrapped(this: unknown, ...values) {
    if (side === "before") pass();
    const result = await original.apply(this, values);
    if (side === "after" && counts(result)) pass();
    return result;
  };
}

function perform(deed: Deed): void {
  switch (deed.kind) {
    case "nothing":
      return;
    case "kill":
      process.kill(process.pid, "SIGKILL");
      return;
    case "stop":
      process.kill(process.pid, "SIGSTOP");
      return;
    case "block":
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, deed.ms);
  }
}

/**
 * Loaded with `--import` before one of our processes: the scripted backend in its engine thread,
 * labels (labels.ts) and a clock that can go wrong in its main thread. Nothing of ours refers to this
 * file but tests.
 */
import { registerHooks } from "node:module";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { BroadcastChannel, isMainThread } from "node:worker_threads";
import type { Deed, Done, Label, LabelName, Order } from "./labels.ts";

const backends = "/apps/worker/engine/backends.ts";
const scriptedBackends = new URL("../doubles/backend/backends.ts", import.meta.url).href;

/** Between the threads of a process: who is asked to collect answers with what it holds, bytes. */
const collections = new BroadcastChannel("collections");
collections.unref();
/** An engine thread that computes answers behind its step. */
const collectMsMax = 2_000;

let skewMs = 0;

if (isMainThread) {
  replaceClock();
  await listenForOrders();
} else {
  collections.addEventListener("message", (event) => {
    if ((event as MessageEvent).data === "collect") tell(collect());
  });
  if (process.env["EYRIE_TEST_BACKEND"] === "scripted") replaceBackends();
}

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
  process.on("message", (order: Order) => {
    const done: Done = { done: order.kind };
    if (order.kind === "skew") skewMs = order.ms;
    else if (order.kind === "arm")
      armed.set(order.label, { deed: order.deed, left: order.passing });
    if (order.kind !== "collect") process.send?.(done);
    else void collectEverywhere().then((heapBytes) => process.send?.({ ...done, heapBytes }));
  });
}

/** Of this thread and of the engine's, where there is one. */
async function collectEverywhere(): Promise<number> {
  const hasEngine = process.argv[1]?.includes("worker") === true;
  const others = await new Promise<number>((done) => {
    if (!hasEngine) return done(0);
    const late = setTimeout(() => done(0), collectMsMax);
    const answered = (event: Event): void => {
      clearTimeout(late);
      done(Number((event as MessageEvent).data));
    };
    collections.addEventListener("message", answered, { once: true });
    tell("collect");
  });
  return others + collect();
}

function tell(message: number | "collect"): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
  collections.postMessage(message);
}

/** Collects what nobody refers to and returns how much this thread still holds, bytes. */
function collect(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { external, heapUsed } = process.memoryUsage();
  return heapUsed + external;
}

function replaceClock(): void {
  const RealDate = Date;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args) =>
      Reflect.construct(target, args.length === 0 ? [RealDate.now() + skewMs] : args) as Date,
    get: (target, name) =>
      name === "now" ? () => RealDate.now() + skewMs : (Reflect.get(target, name) as unknown),
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
      return;
    case "hog":
      for (const hoard: number[][] = []; ;)
        hoard.push(Array.from({ length: 1 << 16 }, Math.random));
  }
}

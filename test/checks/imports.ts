/** Who may import whom: DESIGN §3 as a function of two paths. */
import type { Import } from "./tree.ts";

/** Rooms of infra that every other room of infra may use. */
const sharedInfra = ["turn", "redis", "errors", "config", "clock", "telemetry", "setup"];
/** Put rooms together, to start one of our processes or to act on a whole conversation; for apps. */
const composingInfra = ["process", "conversation"];
const appsWithKernels = ["worker", "cli"];
/** A room of kernels may use the rooms below it, and all of them the error they throw. */
const kernelLevels: Readonly<Record<string, number>> = {
  "errors.ts": -1,
  model: 0,
  tokenizer: 1,
  sampler: 1,
  state: 1,
  ops: 2,
  backends: 3,
  native: 3,
  train: 4,
};
/** Packages that stand for a world which the kernels do not know. */
const foreignToKernels = /^(ioredis|bullmq|discord|@discordjs\/|fastify|@fastify\/|i18next|pino)/;

/** Why `from` may not import `target`, or undefined. */
export function violation(from: string, { target, typeOnly }: Import): string | undefined {
  if (from.startsWith("test/") || !from.includes("/")) return undefined;
  if (target.startsWith("test/") || target.startsWith("vitest")) {
    return "only tests import from test/";
  }
  const [area, room] = roomOf(from);
  if (target === "node:worker_threads" && !from.startsWith("apps/worker/engine/")) {
    return "only apps/worker/engine makes threads";
  }
  if (area === "infra") return infraViolation(room, target);
  if (area === "kernels") return kernelsViolation(room, { target, typeOnly });
  if (area === "apps") return appsViolation(from, { target, typeOnly });
  return undefined;
}

function roomOf(path: string): [area: string, room: string] {
  const [area = "", room = ""] = path.split("/");
  return [area, room];
}

function isOurs(target: string): boolean {
  return /^(apps|infra|kernels|locales|test)\//.test(target);
}

function infraViolation(room: string, target: string): string | undefined {
  const [area, targetRoom] = roomOf(target);
  if (!isOurs(target) || (area === "infra" && targetRoom === room)) return undefined;
  if (room === "turn") return "infra/turn imports nothing of ours";
  if (area === "locales") return undefined;
  if (area !== "infra") return `infra knows no ${area}`;
  if (sharedInfra.includes(targetRoom) || composingInfra.includes(room)) return undefined;
  return "rooms of infra do not import each other";
}

function kernelsViolation(room: string, { target, typeOnly }: Import): string | undefined {
  const [area, targetRoom] = roomOf(target);
  if (!isOurs(target)) {
    return foreignToKernels.test(target) ? "kernels hold numbers only" : undefined;
  }
  if (area !== "kernels") return "kernels import only kernels";
  if (targetRoom === room) return undefined;
  // The contract is the words that all of them share: no code comes with it.
  if (typeOnly && target === "kernels/backends/contract.ts") return undefined;
  const [own, other] = [kernelLevels[room], kernelLevels[targetRoom]];
  if (own === undefined || other === undefined) return "this room has no place in the order yet";
  return other < own ? undefined : "kernels import downwards only";
}

function appsViolation(from: string, { target, typeOnly }: Import): string | undefined {
  const [, room] = roomOf(from);
  const [area, targetRoom] = roomOf(target);
  const web = "apps/dashboard/web/";
  if (from.startsWith(web) && isOurs(target) && area !== "locales") {
    if (!target.startsWith(web) && !typeOnly) return "dashboard/web imports types only";
  }
  const scheduler = "apps/worker/scheduler/";
  if (from.startsWith(scheduler) && !typeOnly) {
    const pure = target.startsWith(scheduler) || target.startsWith("infra/turn/");
    if (!pure && target !== "node:assert/strict") return "the scheduler is pure";
  }
  if (area === "apps" && targetRoom !== room) return "apps never import each other";
  if (area === "kernels" && !appsWithKernels.includes(room)) {
    return "only worker and cli import kernels";
  }
  return undefined;
}

/**
 * Random faults, one after the other, from a seed: what a soak does to its scene. Each leaves the
 * platform as it should be: dead processes are started again, signals undone, lines mended.
 *
 * Losing all snapshots is not among them: the log of a long conversation is trimmed to what snapshots
 * hold, so that loses memory by design (row 14 shows that a whole log brings everything back).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { wakePrefix } from "#infra/redis/keys.ts";
import { type LabelName, labels } from "./labels.ts";
import type { Scene } from "./scene.ts";

export type Random = () => number;

export type Mischief = (scene: Scene, random: Random) => Promise<void>;

const post = "POST /channels/:channel/messages";
const edit = "PATCH /channels/:channel/messages/:message";
/** Past a lease, so that somebody else takes over. */
const frozenMs = 4_500;
const downMsMax = 2_000;
/** How long a label stays armed before it is given up: its moment may not come. */
const armedMsMax = 3_000;

/** They end processes of ours. */
const deaths: Readonly<Record<string, Mischief>> = {
  "a worker is killed": async (scene, random) => {
    const worker = pick(scene.workers, random);
    await worker?.end("SIGKILL");
  },
  "a worker is asked to end": async (scene, random) => {
    const worker = pick(scene.workers, random);
    await worker?.end("SIGTERM");
  },
  "a worker is killed at a label": async (scene, random) => {
    const worker = pick(scene.workers, random);
    const label = pick(workerLabels, random);
    if (worker === undefined || label === undefined) return;
    await scene.arm(worker, label, { kind: "kill" });
    await Promise.race([worker.ended, sleep(armedMsMax)]);
    if (worker.running) await scene.disarm(worker, label);
  },
  "the gateway is killed": async ({ gateway }) => {
    await gateway?.end("SIGKILL");
  },
  "the gateway is asked to end": async ({ gateway }) => {
    await gateway?.end("SIGTERM");
  },
  "the gateway is killed at a label": async (scene, random) => {
    const { gateway } = scene;
    const label = pick(gatewayLabels, random);
    if (gateway === null || label === undefined) return;
    await scene.arm(gateway, label, { kind: "kill" });
    await Promise.race([gateway.ended, sleep(armedMsMax)]);
    if (gateway.running) await scene.disarm(gateway, label);
  },
};

/** They leave our processes alive, for as long as it takes to see whether their memory grows. */
export const nuisances: Readonly<Record<string, Mischief>> = {
  "a worker is frozen": async (scene, random) => {
    const worker = pick(scene.workers, random);
    worker?.signal("SIGSTOP");
    await sleep(frozenMs);
    worker?.signal("SIGCONT");
  },
  "the truth Redis is killed": async ({ platform }, random) => {
    await platform.truthServer.kill();
    await sleep(random() * downMsMax);
    await platform.truthServer.restart();
  },
  "the state Redis is killed": async ({ platform }, random) => {
    await platform.stateServer.kill();
    await sleep(random() * downMsMax);
    await platform.stateServer.restart();
  },
  "all wakes are lost": async ({ platform }) => {
    const keys = await platform.truth.keys(`${wakePrefix}:*`);
    if (keys.length > 0) await platform.truth.del(...keys);
  },
  "connections to Discord are cut": async ({ double }) => {
    double.gateway.cutSockets();
  },
  "events come twice": async ({ double }, random) => {
    double.deliveryFaults.set({ duplicateChance: 0.3, seed: Math.floor(random() * 1e6) });
    await sleep(armedMsMax);
    double.deliveryFaults.clear();
  },
  "Discord's answers are lost": async ({ double }) => {
    for (const route of [post, edit]) {
      double.restFaults.next(route, { kind: "lose-answer" }, { times: 3 });
      double.restFaults.next(route, { kind: "lose-request" }, { times: 2 });
    }
  },
  "Discord says 429 and 500": async ({ double }) => {
    double.restFaults.next("*", { kind: "rate-limit", retryAfterMs: 200 }, { times: 5 });
    double.restFaults.next("*", { kind: "server-error" }, { times: 3 });
  },
};

export const mischiefs = { ...deaths, ...nuisances };

const ofGateway: ReadonlySet<LabelName> = new Set([
  "event-read",
  "turn-queued",
  "bell-silent",
  "message-unnoted",
  "ending-unshown",
  "delivery-unmarked",
]);
const names = Object.keys(labels) as LabelName[];
const gatewayLabels = names.filter((name) => ofGateway.has(name));
const workerLabels = names.filter((name) => !ofGateway.has(name));

export function pick<T>(from: readonly T[], random: Random): T | undefined {
  return from[Math.floor(random() * from.length)];
}

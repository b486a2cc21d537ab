/** The state of a reply in progress goes from one worker to the next to the last bit, or not at all. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { States, type StateEngine } from "#apps/worker/turnloop/states.ts";
import { systemClock } from "#infra/clock/clock.ts";
import type { Claim } from "#infra/mailbox/mailbox.ts";
import { snapshotKey } from "#infra/redis/keys.ts";
import { unconfirmedSeconds } from "#infra/snapshot/snapshot.ts";
import { createLog } from "#infra/telemetry/log.ts";
import { type ModelConfig, stateLength } from "#kernels/model/config.ts";
import { Workshop } from "../../infra/conversation/workshop.ts";
import { aConversation, aTurn } from "../../infra/turns.ts";

const config: ModelConfig = {
  version: "5.2",
  layers: 2,
  width: 128,
  heads: 2,
  headSize: 64,
  ffnWidth: 448,
  vocabSize: 65_536,
  groupNormEps: 64e-5,
  layerNormEps: 1e-5,
};
const fed = [5, 6, 7, 300];

let shop: Workshop;

beforeAll(async () => {
  shop = await Workshop.open();
});

beforeEach(async () => shop.empty());

afterAll(async () => {
  await shop.close();
});

interface Bench {
  readonly states: States;
  /** What lies in its slots. */
  readonly slots: Float32Array<ArrayBuffer>[];
}

function aWorker(fingerprint = "model"): Bench {
  const slots = Array.from({ length: 2 }, () => new Float32Array(stateLength(config)));
  const engine = {
    info: { config, numericClass: "test", stateCodec: "int8", slots: slots.length },
    readState: async (slot: number) => Float32Array.from(slots[slot]!),
    writeState: async (slot: number, state: Float32Array<ArrayBuffer> | null) => {
      slots[slot] = state ?? new Float32Array(stateLength(config));
    },
  };
  const log = createLog({ process: "worker", level: "silent", readable: false });
  const states = new States(engine as unknown as StateEngine, shop, {
    fingerprint,
    clock: systemClock,
    log,
  });
  return { states, slots };
}

/** Numbers that no coarser codec would keep. */
function aState(): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: stateLength(config) }, (_, index) => Math.sin(index + 1) / 3);
}

async function aClaim(): Promise<Claim> {
  const conversation = aConversation("handed");
  await shop.exchange(conversation, 1);
  await shop.mailbox.append(aTurn(2, { conversation }));
  return shop.claim(conversation);
}

async function handedOver(claim: Claim): Promise<void> {
  const leaving = aWorker();
  leaving.slots[1] = aState();
  await leaving.states.handOver(1, claim, fed);
}

test("whoever comes next has it to the bit, and nothing of it is left", async () => {
  const claim = await aClaim();
  const before = await shop.snapshots.heads(claim.conversation);
  await handedOver(claim);
  const [head = ""] = await shop.snapshots.heads(claim.conversation);
  const ttl = await shop.state.ttl(snapshotKey(claim.conversation, head));
  expect(ttl).toBeGreaterThan(0);
  expect(ttl).toBeLessThanOrEqual(unconfirmedSeconds);
  const next = aWorker();
  expect(await next.states.takeUp(0, claim, fed)).toBe(true);
  expect(next.slots[0]).toEqual(aState());
  await expect.poll(() => shop.snapshots.heads(claim.conversation)).toEqual(before);
});

test("a state behind other tokens, of another model, damaged or gone is not taken", async () => {
  const claim = await aClaim();
  await handedOver(claim);
  const empty = new Float32Array(stateLength(config));
  const other = aWorker();
  expect(await other.states.takeUp(0, claim, [...fed, 8])).toBe(false);
  expect(await other.states.takeUp(0, claim, fed.slice(1))).toBe(false);
  const stranger = aWorker("other weights");
  expect(await stranger.states.takeUp(0, claim, fed)).toBe(false);
  const [head = ""] = await shop.snapshots.heads(claim.conversation);
  const key = snapshotKey(claim.conversation, head);
  const chunk = (await shop.state.hgetBuffer(key, "0")) ?? Buffer.alloc(0);
  chunk[chunk.length >> 1]! ^= 1;
  await shop.state.hset(key, "0", chunk);
  expect(await other.states.takeUp(0, claim, fed)).toBe(false);
  await shop.state.del(key);
  expect(await other.states.takeUp(0, claim, fed)).toBe(false);
  expect([other.slots[0], stranger.slots[0]]).toEqual([empty, empty]);
});

test("a poisoned state stays where it is", async () => {
  const claim = await aClaim();
  const before = await shop.snapshots.heads(claim.conversation);
  const leaving = aWorker();
  leaving.slots[0] = aState().fill(Number.NaN, 3, 4);
  await leaving.states.handOver(0, claim, fed);
  expect(await shop.snapshots.heads(claim.conversation)).toEqual(before);
});

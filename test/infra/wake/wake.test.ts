import { Queue } from "bullmq";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Mailbox } from "#infra/mailbox/mailbox.ts";
import { bucketKeys, bucketOf, wakePrefix, wakeQueueName } from "#infra/redis/keys.ts";
import type { ScriptedRedis } from "#infra/redis/scripts.ts";
import { answerWakes, sweepMs, type Wake, WakeBell } from "#infra/wake/wake.ts";
import { announceWorker, liveWorkers, withdrawWorker } from "#infra/wake/workers.ts";
import { RedisServer } from "#test/redis/server.ts";
import { aConversation, aTurn } from "../turns.ts";

let server: RedisServer;
let truth: ScriptedRedis;
let bell: WakeBell;

beforeAll(async () => {
  server = await RedisServer.start();
  truth = await server.client();
  bell = new WakeBell(truth);
});

afterAll(async () => {
  await bell.close();
  truth.disconnect();
  await server.stop();
});

function aWake(name: string, model: string): Wake {
  return { conversation: aConversation(name), headTurnId: "1", model, traceId: "t" };
}

test("many rings are one wake, and one rung while it is answered is the next", async () => {
  for (let ring = 0; ring < 5; ring++) await bell.ring(aWake("busy", "ring"));
  let answered = 0;
  const gate = Promise.withResolvers<void>();
  const worker = await answerWakes(truth, { model: "ring", concurrency: 4 }, async () => {
    answered++;
    if (answered === 1) await gate.promise;
  });
  await expect.poll(() => answered).toBe(1);
  for (let ring = 0; ring < 5; ring++) await bell.ring(aWake("busy", "ring"));
  gate.resolve();
  await expect.poll(() => answered).toBe(2);
  await worker.close();
  expect(answered).toBe(2);
});

test("a job holds ids only", async () => {
  await bell.ring(aWake("ids", "quiet"));
  const queue = new Queue(wakeQueueName("quiet"), { connection: truth, prefix: wakePrefix });
  const [job] = await queue.getWaiting();
  await queue.close();
  expect(Object.keys(job?.data as object).sort()).toEqual([
    "conversation",
    "headTurnId",
    "model",
    "traceId",
  ]);
});

test("a lost wake is rung again by the sweep, for its own model only", async () => {
  const conversation = aConversation("forgotten");
  await new Mailbox(truth).append(aTurn(1, { conversation, model: "swept" }));
  expect(await bell.sweep("swept")).toBe(0);
  const { dirty } = bucketKeys(bucketOf(conversation));
  await truth.zincrby(dirty, -2 * sweepMs, conversation);
  expect(await bell.sweep("another")).toBe(0);
  expect(await bell.sweep("swept")).toBe(1);
  const heard: string[] = [];
  const worker = await answerWakes(truth, { model: "swept", concurrency: 1 }, async (wake) => {
    heard.push(wake.conversation);
  });
  await expect.poll(() => heard).toEqual([conversation]);
  await worker.close();
});

test("mail of a conversation that a worker holds is swept when nobody holds it any more", async () => {
  const conversation = aConversation("held");
  const mailbox = new Mailbox(truth);
  await mailbox.append(aTurn(1, { conversation, model: "holding" }));
  await truth.zincrby(bucketKeys(bucketOf(conversation)).dirty, -2 * sweepMs, conversation);
  const outcome = await mailbox.claim(conversation, "worker");
  if (outcome.kind !== "claimed") throw new Error(outcome.kind);
  expect(await bell.sweep("holding")).toBe(0);
  await mailbox.release(outcome.claim, { forgive: true });
  expect(await bell.sweep("holding")).toBe(1);
});

test("a model's name may hold anything", async () => {
  const model = "owner/name: v5 (7B)";
  await bell.ring(aWake("odd", model));
  let answered = 0;
  const worker = await answerWakes(truth, { model, concurrency: 1 }, async () => {
    answered++;
  });
  await expect.poll(() => answered).toBe(1);
  await worker.close();
});

test("workers are alive while they say so", async () => {
  const info = { id: "a", model: "m", backend: "onnx", numericClass: "x", slots: 4 };
  expect(await liveWorkers(truth, "m")).toEqual([]);
  await announceWorker(truth, info);
  expect(await liveWorkers(truth, "m")).toEqual([info]);
  await withdrawWorker(truth, info);
  expect(await liveWorkers(truth, "m")).toEqual([]);
});

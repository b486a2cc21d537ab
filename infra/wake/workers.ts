/** Which workers live, by model: each says so every second and is forgotten three seconds later. */
import type { Redis } from "ioredis";
import { redisTimeMs } from "#infra/redis/client.ts";
import { workersKey } from "#infra/redis/keys.ts";

export interface WorkerInfo {
  readonly id: string;
  readonly model: string;
  readonly backend: string;
  readonly numericClass: string;
  readonly slots: number;
}

const aliveMs = 3_000;

export async function announceWorker(truth: Redis, info: WorkerInfo): Promise<void> {
  const untilMs = (await redisTimeMs(truth)) + aliveMs;
  await truth.zadd(workersKey(info.model), untilMs, JSON.stringify(info));
}

export async function withdrawWorker(truth: Redis, info: WorkerInfo): Promise<void> {
  await truth.zrem(workersKey(info.model), JSON.stringify(info));
}

export async function liveWorkers(truth: Redis, model: string): Promise<WorkerInfo[]> {
  const key = workersKey(model);
  const nowMs = await redisTimeMs(truth);
  await truth.zremrangebyscore(key, "-inf", nowMs);
  const members = await truth.zrangebyscore(key, nowMs, "+inf");
  return members.map((member) => JSON.parse(member) as WorkerInfo);
}

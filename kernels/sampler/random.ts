/**
 * The random number of a draw, as a pure function of (seed, draw): no generator state to save, move
 * or replay, and a backend on a device can be handed the same number.
 *
 * SHA-256 over `eyrie-draw:<draw>:<seed>` in UTF-8; its first 53 bits (big-endian) over 2^53.
 */
import { hash } from "node:crypto";

/** Uniform in [0, 1). */
export function uniform(seed: string, draw: number): number {
  const digest = hash("sha256", `eyrie-draw:${draw}:${seed}`, "buffer");
  return (digest.readUInt32BE(0) * 2 ** 21 + (digest.readUInt32BE(4) >>> 11)) / 2 ** 53;
}

/**
 * What encryption at rest costs a turn: time to seal (and open) everything that one turn writes, at the
 * size of a 7B state, beside the limits of this machine measured in the same run: AES-256-GCM over one
 * large buffer, and a plain copy of the same bytes.
 * Run: `node eyrie.mjs --run test/bench/seal.ts`; writes `results/seal.json` beside this file.
 */
import { execFileSync } from "node:child_process";
import { createCipheriv, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { encodePastTurn } from "#infra/ledger/past-turn.ts";
import { encodeBlock } from "#infra/ledger/tokenlog.ts";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import {
  blockPlace,
  framePlace,
  mailboxPlace,
  pastTurnPlace,
  replyPlace,
  snapshotPlace,
} from "#infra/redis/places.ts";
import { plainRecords, Records } from "#infra/redis/records.ts";
import { stateLength } from "#kernels/model/config.ts";
import { encodedBytes } from "#kernels/state/codec.ts";
import { conversationId, turnId, userId } from "#infra/turn/index.ts";

const rounds = 30;
const conversation = conversationId("discord-1234567890123456789");
const shape = { layers: 32, width: 4096, headSize: 64 };
const elements = stateLength(shape as Parameters<typeof stateLength>[0]);
const snapshot = randomBytes(encodedBytes("int8", elements, shape.headSize));
const head = { epoch: 0, tokens: 30_000, crc: 4_000_000_000 };
const key = { turn: turnId("1300000000000000000"), attempt: 0 };
const tokens = Array.from({ length: 100 }, (_, index) => (index * 641) % 65_530);
const text = "What a user says, and what the bot answers to it, in some words. ".repeat(8);
const record = { ...key, conversation, text, origin: { kind: "cli" }, sampling: {}, seq: 12 };
const past = { ...key, seq: 12, author: userId("1200000000000000000"), from: head };
/** One every 75 ms while a reply is written; this many for a reply of ten seconds. */
const framesPerTurn = 130;

function records(sealing: Records): void {
  sealing.decode(sealing.encode(record, mailboxPlace(conversation)), mailboxPlace(conversation));
  sealing.decode(
    sealing.encode(record, replyPlace(conversation, key)),
    replyPlace(conversation, key),
  );
  sealing.seal(encodeBlock(head, tokens), blockPlace(conversation));
  sealing.seal(encodePastTurn(past), pastTurnPlace(conversation));
}

function frames(sealing: Records): void {
  for (let frame = 0; frame < framesPerTurn; frame++) {
    const place = framePlace(conversation);
    sealing.openText(sealing.sealText(JSON.stringify({ at: 0, text }), place), place);
  }
}

/** Median of some rounds, ms. */
function time(work: () => unknown): number {
  const samples: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now();
    work();
    samples.push(performance.now() - startMs);
  }
  return samples.sort((a, b) => a - b)[rounds >> 1] ?? 0;
}

const sealing = new Records(KeyRing.parse(newKey()));
const place = snapshotPlace(conversation, "0:30000:4000000000");
const sealed = sealing.seal(snapshot, place);
const aesKey = randomBytes(32);
const target = Buffer.alloc(snapshot.length);
const ms = {
  copy: time(() => snapshot.copy(target)),
  aes: time(() => createCipheriv("aes-256-gcm", aesKey, randomBytes(12)).update(snapshot)),
  sealSnapshot: time(() => sealing.seal(snapshot, place)),
  openSnapshot: time(() => sealing.open(sealed, place)),
  recordsSealed: time(() => records(sealing)),
  recordsPlain: time(() => records(plainRecords)),
  framesSealed: time(() => frames(sealing)),
  framesPlain: time(() => frames(plainRecords)),
};
const perTurnMs =
  ms.sealSnapshot + (ms.recordsSealed - ms.recordsPlain) + (ms.framesSealed - ms.framesPlain);
const result = {
  commit: execFileSync("git", ["rev-parse", "--short", "HEAD"]).toString().trim(),
  cpu: cpus()[0]?.model ?? "",
  snapshotBytes: snapshot.length,
  ms,
  ratios: {
    "seal a snapshot / AES-256-GCM alone": ms.sealSnapshot / ms.aes,
    "open a snapshot / AES-256-GCM alone": ms.openSnapshot / ms.aes,
    "seal a snapshot / plain copy": ms.sealSnapshot / ms.copy,
    "all of a turn / AES-256-GCM of its snapshot": perTurnMs / ms.aes,
    "a turn's records and frames / all of it": 1 - ms.sealSnapshot / perTurnMs,
  },
};
console.log(JSON.stringify(result, null, 2));
writeFileSync(
  join(import.meta.dirname, "results/seal.json"),
  `${JSON.stringify(result, null, 2)}\n`,
);

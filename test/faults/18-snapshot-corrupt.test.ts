/**
 * Fault: a snapshot in the state Redis rots: a bit of each of its fields, a checksum turned over, the
 *   end cut off, another model's fingerprint, another version.
 * Expected: refused by name, then the older snapshot, else the whole token log.
 * Invariant: no wrong state is ever used: the next reply is what the oracle foretells.
 * Bound: 0 wrong states.
 */
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { snapshotIndexKey, snapshotKey } from "#infra/redis/keys.ts";
import { check } from "./check.ts";
import { Scene } from "./scene.ts";

type Damage = (snapshot: Buffer) => Buffer;

/** Byte table in kernels/state/format.md. */
const fields = { magic: 0, version: 8, codec: 10, position: 16, logChecksum: 24, fingerprint: 40 };

const damages: Readonly<Record<string, Damage>> = {
  ...Object.fromEntries(
    Object.entries(fields).map(([name, at]) => [`one bit of the ${name}`, flip(at, 0x01)]),
  ),
  "another version, well signed": (bytes) => signed(flip(fields.version, 0x04)(bytes)),
  "another model, well signed": (bytes) => signed(flip(fields.fingerprint, 0x01)(bytes)),
  "another place in the log, well signed": (bytes) => signed(flip(fields.position, 0x01)(bytes)),
  "one bit in the middle": (bytes) => flip(bytes.length >> 1, 0x10)(bytes),
  "the last byte turned over": (bytes) => flip(bytes.length - 1, 0xff)(bytes),
  "the end cut off": (bytes) => bytes.subarray(0, bytes.length - 5),
  "nothing left": () => Buffer.alloc(0),
  "only zeros": (bytes) => Buffer.alloc(bytes.length),
};

/** With the checksum that belongs to it. */
function signed(bytes: Buffer): Buffer {
  const end = bytes.length - 4;
  bytes.writeUInt32LE(crc32(bytes.subarray(0, end)), end);
  return bytes;
}

function flip(at: number, bits: number): Damage {
  return (bytes) => {
    const damaged = Buffer.from(bytes);
    damaged[at] = (damaged[at] ?? 0) ^ bits;
    return damaged;
  };
}

test(
  "a rotten snapshot is refused by name and the state comes from elsewhere",
  {
    timeout: 300_000,
  },
  async () => {
    const names = Object.keys(damages);
    const scene = await Scene.open({ channels: names.length });
    const everywhere = async (text: string): Promise<void> => {
      for (const channel of scene.channels) scene.say(text, channel);
      await scene.settled();
    };
    try {
      await everywhere("the first of three");
      await replaceWorker(scene);
      await everywhere("the second of three");
      // Its end saves a second snapshot of each conversation; the first is kept as well.
      await scene.workers.splice(0)[0]?.end("SIGTERM");
      for (const [index, name] of names.entries()) {
        // Every other channel loses both, and has only its log.
        await rot(scene, index, { damage: damages[name]!, both: index % 2 === 0 });
      }
      await scene.startWorker();
      await everywhere("the third of three");
      await check(scene);
      for (const [index, said] of scene.said.slice(-names.length).entries()) {
        const record = await scene.record(said);
        expect(record?.replayedTokens, `replayed after: ${names[index]}`).toBeGreaterThan(0);
      }
      const refused = scene.platform.output.split('"snapshot refused"').length - 1;
      expect(refused).toBeGreaterThanOrEqual(names.length - 1);
    } finally {
      await scene.close();
    }
  },
);

async function replaceWorker(scene: Scene): Promise<void> {
  await scene.workers.splice(0)[0]?.end("SIGTERM");
  await scene.startWorker();
}

async function rot(
  scene: Scene,
  index: number,
  { damage, both }: { readonly damage: Damage; readonly both: boolean },
): Promise<void> {
  const conversation = scene.conversation(scene.channels[index]);
  const { state } = scene.platform;
  const heads = await state.zrevrange(snapshotIndexKey(conversation), 0, -1);
  expect(heads).toHaveLength(2);
  for (const head of both ? heads : heads.slice(0, 1)) {
    const key = snapshotKey(conversation, head);
    const bytes = await state.hgetBuffer(key, "0");
    await state.hset(key, "0", damage(bytes ?? Buffer.alloc(0)));
  }
}

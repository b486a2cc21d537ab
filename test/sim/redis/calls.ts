/** Random calls of every script, from so few names and values that they meet each other. */
import { bucketKeys, conversationKeys, outboxMember, snapshotIndexKey } from "#infra/redis/keys.ts";
import { conversationId, turnId } from "#infra/turn/index.ts";
import type { Random } from "../random.ts";

/** A script's method name, its keys and arguments; byte strings. */
export interface Call {
  readonly script: string;
  readonly keys: readonly string[];
  readonly args: readonly string[];
}

const conversation = conversationId("cli-a");
const keys = conversationKeys(conversation);
/** Of one that nothing is said in, and only a backup may hold. */
const other = conversationKeys(conversationId("cli-b"));
const heads = ["0:0:0", "0:2:7", "0:4:9", "1:0:0"];
const starts = ["0:0", "2:7"];
const entries = ["record", "a\u0000b\u00ff", "", "x".repeat(300)];
/** Far apart, so that a slow machine does not mix them up. */
const seconds = ["100", "500", "3000"];

/** An entry of the mailbox, as `append-turn.lua` puts it there. */
const entryOf = (random: Random): string => `${1 + random.below(2)} ${mail(random)}`;

type Draw = (random: Random) => Omit<Call, "script">;

const turn = (random: Random) => ({
  turn: turnId(String(1 + random.below(2))),
  attempt: random.below(2),
});
const lease = (random: Random): string => `${1 + random.below(3)}:r`;
const leaseMs = "3000000";
const mail = (random: Random): string => {
  const { attempt, turn: id } = turn(random);
  return `${id} ${attempt} record`;
};
const operation = (random: Random): string => `op-${random.below(3)}`;

const draws: Readonly<Record<string, Draw>> = {
  appendTurn: (random) => {
    const { attempt, turn: id } = turn(random);
    const { active, dirty, mailbox, meta } = keys;
    return {
      keys: [mailbox, meta, keys.known(id), dirty, active],
      args: [
        id,
        String(attempt),
        random.chance(0.8) ? "record" : random.pick(entries),
        conversation,
        "model",
        String(1 + random.below(4)),
        random.pick(seconds),
        random.pick(["", "5"]),
      ],
    };
  },
  claimConversation: (random) => ({
    keys: [keys.lease, keys.meta, keys.mailbox, keys.partial],
    args: ["r", leaseMs, "worker", random.pick(["", "1", "2"])],
  }),
  renewLease: (random) => {
    const key = turn(random);
    return {
      keys: [keys.lease, keys.mailbox, keys.meta, keys.partial],
      args: [
        lease(random),
        leaseMs,
        key.turn,
        String(key.attempt),
        random.pick(heads),
        random.pick(["", ...entries]),
        random.pick(seconds),
      ],
    };
  },
  releaseLease: (random) => ({
    keys: [keys.lease, keys.mailbox, keys.meta],
    args: [lease(random), random.pick(["", "1 0", "1 1", "2 0"])],
  }),
  handOver: (random) => {
    const key = turn(random);
    return {
      keys: [keys.lease, keys.mailbox, keys.meta, keys.partial],
      args: [
        lease(random),
        key.turn,
        String(key.attempt),
        random.pick(heads),
        random.pick(entries),
        random.pick(seconds),
      ],
    };
  },
  commitTurn: (random) => {
    const key = turn(random);
    const { dirty, last, log, mailbox, meta, outbox, partial, turns } = keys;
    return {
      keys: [keys.lease, meta, mailbox, log, keys.reply(key), outbox, dirty, turns, last, partial],
      args: [
        lease(random),
        key.turn,
        String(key.attempt),
        random.pick(heads),
        random.pick(entries),
        random.pick(heads),
        "record",
        conversation,
        random.pick(["0", ...seconds]),
        random.pick(entries),
        String(1 + random.below(3)),
        random.pick(seconds),
      ],
    };
  },
  endDamaged: (random) => {
    const key = turn(random);
    const { dirty, last, mailbox, meta, outbox, partial } = keys;
    const known = random.chance(0.7);
    const told = ["record", outboxMember(conversation, key), random.pick(["0", ...seconds])];
    return {
      keys: [keys.lease, meta, mailbox, last, partial, dirty, outbox].concat(
        known ? keys.reply(key) : [],
      ),
      args: [lease(random), entryOf(random), conversation, ...(known ? told : [])],
    };
  },
  holdConversation: (random) => ({
    keys: [keys.lease, keys.meta],
    args: ["r", leaseMs, random.pick(heads)],
  }),
  readConversation: () => ({ keys: [keys.meta, keys.log, keys.turns, keys.last], args: [] }),
  rewindConversation: (random) => ({
    keys: [
      keys.meta,
      keys.log,
      keys.turns,
      keys.last,
      keys.partial,
      keys.rewound(operation(random)),
    ],
    args: [
      random.pick(heads),
      random.pick(["1", "2", "all"]),
      random.pick(heads),
      "rewound",
      random.pick(seconds),
    ],
  }),
  regenerateTurn: (random) => {
    const key = turn(random);
    const next = { ...key, attempt: key.attempt + 1 };
    const { dirty, last, log, mailbox, meta, outbox, turns } = keys;
    return {
      keys: [
        meta,
        log,
        turns,
        last,
        keys.rewound(operation(random)),
        mailbox,
        dirty,
        outbox,
        keys.known(key.turn),
        keys.reply(key),
        keys.delivery(key),
        keys.delivery(next),
        keys.active,
        keys.stop(key.turn),
      ],
      args: [
        `${random.below(2)} ${1 + random.below(3)} ${mail(random)}`,
        random.pick(heads),
        random.pick(heads),
        "rewound",
        random.pick(seconds),
        mail(random),
        outboxMember(conversation, key),
        conversation,
        random.pick(seconds),
      ],
    };
  },
  plantConversation: (random) => {
    const [blocks, turns] = [random.below(3), random.below(3)];
    const rest = Array.from({ length: blocks + turns }, () => random.pick(entries));
    return {
      keys: [keys.meta, keys.log, keys.turns, keys.active],
      args: [
        random.pick(heads),
        random.pick(starts),
        "model",
        operation(random),
        conversation,
        random.pick(["", "5"]),
        "cli-b",
        String(blocks),
        String(turns),
        ...rest,
      ],
    };
  },
  deleteConversation: (random) => {
    const key = turn(random);
    const { active, dirty, mailbox, meta, outbox } = keys;
    return {
      keys: [meta, mailbox, dirty, outbox, active, keys.log, keys.reply(key), keys.known(key.turn)],
      args: [
        conversation,
        String(random.below(3)),
        String(random.below(3)),
        outboxMember(conversation, key),
      ],
    };
  },
  trimLog: (random) => ({
    keys: [keys.lease, keys.meta, keys.log],
    args: [
      lease(random),
      random.pick(starts),
      String(random.below(3)),
      random.pick(starts),
      String(random.below(2)),
    ],
  }),
  notePart: (random) => {
    const key = turn(random);
    return {
      keys: [keys.delivery(key), keys.known(key.turn), keys.reply(key)],
      args: [String(random.below(3)), String(random.below(1_000)), random.pick(seconds)],
    };
  },
  markDelivered: (random) => {
    const key = turn(random);
    return {
      keys: [keys.reply(key), keys.delivery(key), keys.outbox],
      args: [outboxMember(conversation, key), random.pick(seconds)],
    };
  },
  nameSnapshot: (random) => ({
    keys: [snapshotIndexKey(conversation)],
    args: [
      String(random.below(3) * 2 ** 40 + random.below(5)),
      random.pick(heads),
      random.pick(seconds),
    ],
  }),
  copyConversation: (random) => ({
    keys: [keys.meta, keys.log, keys.mailbox, keys.last, keys.lease, keys.reply(turn(random))],
    args: [],
  }),
  restoreConversation: (random) => {
    const place = random.chance(0.5) ? keys : other;
    const { active, dirty, last, log, mailbox, meta, outbox } = place;
    const members = random.below(3);
    const kept = (kind: string, values: readonly string[]): string[] =>
      [kind, random.pick(["-1", leaseMs]), String(values.length)].concat(values);
    const fields = ["fence", "1", "logHead", random.pick(heads), "seq", "2"];
    const mails = Array.from({ length: random.below(3) }, () => entryOf(random));
    return {
      keys: [meta, active, dirty, outbox, log, mailbox, last],
      args: [
        conversation,
        random.pick(["0", "1"]),
        String(members),
        ...Array.from({ length: members }, () => outboxMember(conversation, turn(random))),
        ...kept("hash", fields),
        ...kept("list", [random.pick(entries)]),
        ...kept("list", mails),
        ...kept("string", ["last"]),
      ],
    };
  },
  forgetTurns: (random) => {
    const key = turn(random);
    const { dirty, last, lease: held, mailbox, meta, outbox, partial } = keys;
    const mails = Array.from({ length: random.below(3) }, () => entryOf(random));
    return {
      keys: [mailbox, meta, held, last, partial, dirty, outbox].concat(
        random.chance(0.5) ? [keys.reply(key), keys.known(key.turn)] : [],
      ),
      args: [
        conversation,
        random.pick(["", "last", ...entries]),
        String(mails.length),
        ...mails,
        ...(random.chance(0.5) ? [outboxMember(conversation, key)] : []),
      ],
    };
  },
  replaceValue: (random) =>
    random.pick([
      {
        keys: [random.pick([keys.mailbox, keys.log])],
        args: [
          "list",
          random.pick(["0", "1", "-1"]),
          random.pick([entryOf(random), "record", ...entries]),
          entryOf(random),
        ],
      },
      {
        keys: [keys.meta],
        args: [
          "hash",
          random.pick(["fence", "headClaims", "logHead"]),
          random.pick(["1", "2", ...heads]),
          random.pick(["1", "2"]),
          random.pick(["fence", "headClaims"]),
          random.pick(["", "1", "2"]),
        ],
      },
      {
        keys: [random.pick([keys.last, keys.reply(turn(random)), keys.lease])],
        args: ["string", "", random.pick(["record", "1:r", "last", ...entries]), "2:r"],
      },
    ]),
  replaceSnapshot: (random) => {
    const names = [keys.meta, keys.log, keys.turns, keys.last, keys.lease, other.meta];
    return { keys: [random.pick(names), random.pick(names)], args: [] };
  },
};

export const scriptNames = Object.keys(draws);

export function drawCall(random: Random, script: string): Call {
  const draw = draws[script];
  if (draw === undefined) throw new RangeError(`no calls of ${script} are known`);
  return { script, ...draw(random) };
}

/** Keys whose scores are times: those of two servers differ by nature. */
export const timedKeys: ReadonlySet<string> = new Set(Object.values(bucketKeys(0)).map(suffix));

export function suffix(key: string): string {
  return key.slice(key.lastIndexOf(":") + 1);
}

/** Any key of the conversation, to be deleted (as if it had run out) or to hold what it should not. */
export function anyKey(random: Random): string {
  const key = turn(random);
  const { active, dirty, last, log, mailbox, meta, outbox, turns } = keys;
  const names = [keys.lease, meta, mailbox, log, turns, last, dirty, active, outbox];
  const { turn: id } = key;
  return random.pick([
    ...names,
    keys.reply(key),
    keys.delivery(key),
    keys.known(id),
    keys.stop(id),
  ]);
}

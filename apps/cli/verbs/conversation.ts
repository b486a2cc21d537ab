/**
 * `eyrie conversation …`: the operator's view of one conversation. It works on the two Redis alone,
 * so it needs no worker and no gateway, and may run while they do.
 */
import { loadConfig } from "#infra/config/config.ts";
import { readModelCard } from "#infra/config/model-card.ts";
import type { Conversations } from "#infra/conversation/conversations.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { formatLogHead } from "#infra/ledger/tokenlog.ts";
import { type ConversationId, isConversationId, isUserId } from "#infra/turn/index.ts";
import { ModelError } from "#kernels/errors.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import type { Forgotten } from "#infra/conversation/forget-user.ts";
import type { Export } from "#infra/conversation/export.ts";
import { confirmed } from "../confirm.ts";
import { bytes, table } from "../output.ts";
import { withStores } from "../stores.ts";
import { print, say, spoken } from "../words.ts";
import { openTokenizer } from "./tokenize.ts";

interface Json {
  readonly json?: true;
}

interface Opened {
  readonly id: ConversationId;
  readonly conversations: Conversations;
  readonly ledger: Ledger;
  /** Everything that is stored of it. */
  readonly exported: Export;
}

export async function inspect(text: string, options: Json): Promise<void> {
  await withConversation(text, async ({ exported, id, ledger }) => {
    const facts = { conversation: id, ...(await collect(id, ledger, exported)) };
    if (options.json === true) print(facts);
    else process.stdout.write(describe(facts));
  });
}

/** What is stored, as JSON; token ids get their text where this machine has the vocabulary. */
export async function exportAll(text: string): Promise<void> {
  await withConversation(text, async ({ exported }) => {
    const tokenizer = await vocabularyOf(exported);
    print(tokenizer === null ? exported : withTexts(exported, tokenizer));
  });
}

export async function undo(text: string, options: Json & { turns: number }): Promise<void> {
  await withConversation(text, async ({ conversations, id }) => {
    const rewound = await conversations.undo(id, options.turns);
    const count = rewound?.turns.length ?? 0;
    if (options.json === true)
      print({ conversation: id, turns: count, tokens: rewound?.tokens ?? 0 });
    else await say(count === 0 ? "undoNothing" : "undone", { count });
  });
}

export async function reset(text: string, options: Json): Promise<void> {
  await withConversation(text, async ({ conversations, id }) => {
    const count = await conversations.reset(id);
    if (options.json === true) print({ conversation: id, tokens: count });
    else await say("forgotten", { count });
  });
}

export interface RemoveOptions extends Json {
  readonly yes?: true;
  readonly user?: string;
}

export async function remove(text: string | undefined, options: RemoveOptions): Promise<void> {
  if (options.user !== undefined) return removeUser(text, options.user, options);
  if (text === undefined)
    throw new EyrieError("USAGE", { reason: "which conversation, or --user?" });
  await withConversation(text, async ({ conversations, id }) => {
    if (options.yes !== true && !(await agreed("conversation.remove", { id }))) return;
    const keys = await conversations.delete(id);
    if (options.json === true) print({ conversation: id, keys });
    else await say("conversation.deleted", { id });
  });
}

/** One person, in one conversation or in all of them; tells for each what it took. */
async function removeUser(
  text: string | undefined,
  user: string,
  options: RemoveOptions,
): Promise<void> {
  if (!isUserId(user)) throw new EyrieError("USAGE", { reason: "a user is named by a number" });
  if (text !== undefined) assertConversationId(text);
  const question = text === undefined ? "conversation.removeUser" : "conversation.removeUserHere";
  await withStores(loadConfig(process.env), async ({ conversations }) => {
    if (options.yes !== true && !(await agreed(question, { user, id: text ?? "" }))) return;
    const found = text === undefined ? conversations.ofUser(user) : [text];
    const outcomes: ({ readonly conversation: string } & Forgotten)[] = [];
    for await (const id of found) {
      const forgotten = await conversations.forgetUser(id, user);
      if (forgotten.kind === "nothing") continue;
      outcomes.push({ conversation: id, ...forgotten });
      if (options.json === true) continue;
      const count = forgotten.kind === "rolled-back" ? forgotten.turns : 0;
      await say(`conversation.forgot.${forgotten.kind}`, { id, count });
    }
    if (options.json === true) print({ user, conversations: outcomes });
    else await say("conversation.userDeleted", { count: outcomes.length, user });
  });
}

async function agreed(question: string, values: Record<string, string>): Promise<boolean> {
  return confirmed(await spoken(question, values), await spoken("conversation.yes"));
}

function assertConversationId(text: string): asserts text is ConversationId {
  if (isConversationId(text)) return;
  const reason = "a conversation is named like discord-123456789012345678 or cli-me";
  throw new EyrieError("USAGE", { reason });
}

/** USAGE for what is no id, CONVERSATION_UNKNOWN for one of which nothing is stored. */
async function withConversation(
  text: string,
  work: (opened: Opened) => Promise<void>,
): Promise<void> {
  assertConversationId(text);
  await withStores(loadConfig(process.env), async ({ conversations, records, truth }) => {
    const exported = await conversations.export(text);
    const { inProgress, undelivered, waits } = exported;
    const names = [exported.truth, exported.state].flatMap(Object.keys);
    if (names.length + undelivered.length + inProgress.length === 0 && !waits) {
      throw new EyrieError("CONVERSATION_UNKNOWN", { id: text });
    }
    await work({ id: text, conversations, ledger: new Ledger(truth, records), exported });
  });
}

async function collect(id: ConversationId, ledger: Ledger, { state, truth }: Export) {
  const { blocks, fence, logHead, turns, waiting } = await ledger.summary(id);
  const meta = (truth["meta"]?.value ?? {}) as Readonly<Record<string, string>>;
  const snapshots = Object.entries(state).flatMap(([name, { value }]) =>
    name.startsWith("snapshot:")
      ? [{ logHead: name.slice(9), ...(value as { bytes: number }) }]
      : [],
  );
  return {
    model: meta["model"] ?? null,
    worker: meta["worker"] ?? null,
    tokens: logHead.tokens,
    logHead: formatLogHead(logHead),
    logStart: meta["logStart"] ?? "0:0",
    blocks,
    committedSeq: turns,
    fence,
    waiting,
    turnsToUndo: ((truth["turns"]?.value ?? []) as unknown[]).length,
    replies: Object.keys(truth).filter((name) => name.startsWith("reply:")).length,
    truthKeys: Object.keys(truth).length,
    snapshots,
  };
}

function describe(facts: Awaited<ReturnType<typeof collect>> & { conversation: string }): string {
  const { snapshots, ...rest } = facts;
  const rows = Object.entries(rest).map(([name, value]) => [name, String(value ?? "–")] as const);
  const states = snapshots.map(
    ({ logHead, bytes: size }) => ["snapshot", `${logHead}, ${bytes(size)}`] as const,
  );
  return table([...rows, ...states]);
}

/** Of the model that the conversation runs on, if it is the one that this machine is set to. */
async function vocabularyOf({ truth }: Export): Promise<Tokenizer | null> {
  const { EYRIE_MODEL } = loadConfig(process.env);
  const meta = (truth["meta"]?.value ?? {}) as Readonly<Record<string, string>>;
  try {
    const { name } = await readModelCard(EYRIE_MODEL);
    return name === meta["model"] ? await openTokenizer(EYRIE_MODEL) : null;
  } catch (error) {
    // An export is worth as much without.
    if (error instanceof ModelError || error instanceof EyrieError) return null;
    throw error;
  }
}

function withTexts(exported: Export, tokenizer: Tokenizer): Export {
  const log = exported.truth["log"];
  if (log === undefined) return exported;
  const blocks = (log.value as { readonly tokens?: readonly number[] }[]).map((block) => {
    const { tokens } = block;
    if (tokens === undefined) return block;
    return { ...block, text: Buffer.from(tokenizer.decode(tokens)).toString() };
  });
  return { ...exported, truth: { ...exported.truth, log: { ...log, value: blocks } } };
}

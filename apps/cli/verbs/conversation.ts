/**
 * `eyrie conversation …`: the operator's view of one conversation. It works on the two Redis alone,
 * so it needs no worker and no gateway, and may run while they do.
 */
import { loadConfig } from "#infra/config/config.ts";
import { readModelCard } from "#infra/config/model-card.ts";
import { Conversations } from "#infra/conversation/conversations.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { Ledger } from "#infra/ledger/ledger.ts";
import { formatLogHead } from "#infra/ledger/tokenlog.ts";
import { connectRedis } from "#infra/redis/client.ts";
import { type ConversationId, isConversationId } from "#infra/turn/index.ts";
import { WakeBell } from "#infra/wake/wake.ts";
import { ModelError } from "#kernels/errors.ts";
import type { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";
import type { Export } from "#infra/conversation/export.ts";
import { confirmed } from "../confirm.ts";
import { bytes, table } from "../output.ts";
import { findPlatform } from "../platform.ts";
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

export async function remove(text: string, options: Json & { yes?: true }): Promise<void> {
  await withConversation(text, async ({ conversations, id }) => {
    const [question, yes] = [
      await spoken("conversation.remove", { id }),
      await spoken("conversation.yes"),
    ];
    if (options.yes !== true && !(await confirmed(question, yes))) return;
    const keys = await conversations.delete(id);
    if (options.json === true) print({ conversation: id, keys });
    else await say("conversation.deleted", { id });
  });
}

/** USAGE for what is no id, CONVERSATION_UNKNOWN for one of which nothing is stored. */
async function withConversation(
  text: string,
  work: (opened: Opened) => Promise<void>,
): Promise<void> {
  if (!isConversationId(text)) {
    const reason = "a conversation is named like discord-123456789012345678 or cli-me";
    throw new EyrieError("USAGE", { reason });
  }
  const { stateUrl, truthUrl } = findPlatform(loadConfig(process.env));
  await using stack = new AsyncDisposableStack();
  const truth = await connectRedis(truthUrl);
  stack.defer(() => truth.disconnect());
  const state = await connectRedis(stateUrl);
  stack.defer(() => state.disconnect());
  const bell = new WakeBell(truth);
  stack.defer(async () => bell.close());
  const conversations = new Conversations({ truth, state }, bell);
  const exported = await conversations.export(text);
  const { inProgress, undelivered, waits } = exported;
  const names = [exported.truth, exported.state].flatMap(Object.keys);
  if (names.length + undelivered.length + inProgress.length === 0 && !waits) {
    throw new EyrieError("CONVERSATION_UNKNOWN", { id: text });
  }
  await work({ id: text, conversations, ledger: new Ledger(truth), exported });
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

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

async function say(key: string, values: Record<string, string | number>): Promise<void> {
  process.stdout.write(`${await spoken(key, values)}\n`);
}

async function spoken(key: string, values: Record<string, string | number> = {}): Promise<string> {
  const translator = await loadTranslator();
  return translator.text(loadConfig(process.env).EYRIE_LOCALE, `terminal:${key}`, values);
}

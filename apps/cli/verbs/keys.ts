/**
 * `eyrie keys …`: the keys that encrypt what people said. `new` makes one, `status` says what is
 * sealed with which, `rotate` seals everything with the first one, `forget` gives up a lost one.
 */
import { resolve } from "node:path";
import { loadConfig } from "#infra/config/config.ts";
import { forgetKey, keyUse, rotate as rotateAll } from "#infra/conversation/rotation.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { addKeyToFile } from "#infra/redis/key-file.ts";
import { KeyRing, newKey } from "#infra/redis/keyring.ts";
import { keysInUseKey } from "#infra/redis/keys.ts";
import { confirmed } from "../confirm.ts";
import { table } from "../output.ts";
import { withStores } from "../stores.ts";
import { print, progressBar, say, spoken } from "../words.ts";

interface Json {
  readonly json?: true;
}

/** Prints a key, or puts it in front of those in a file. */
export async function make(options: Json & { readonly file?: string }): Promise<void> {
  if (options.file === undefined) {
    const key = newKey();
    const { primary: id } = KeyRing.parse(key);
    process.stdout.write(options.json === true ? `${JSON.stringify({ id, key })}\n` : `${key}\n`);
    return;
  }
  const file = resolve(options.file);
  const ring = addKeyToFile(file);
  if (options.json === true) return print({ id: ring.primary, file, keys: ring.ids });
  await say("keys.made", { id: ring.primary, file });
}

export async function status(options: Json): Promise<void> {
  const config = loadConfig(process.env);
  await withStores(
    config,
    async (stores) => {
      const bar = await progressBar("keys status", { amount: String });
      const use = await keyUse(stores, bar.update);
      bar.clear();
      const ids = stores.records.ring?.ids ?? [];
      const used = await stores.truth.smembers(keysInUseKey);
      const rows = [...new Set([...ids, ...used, ...use.byKey.keys()])].map((id) => ({
        id,
        records: use.byKey.get(id) ?? 0,
        role: roleOf(id, ids),
        inUse: used.includes(id),
      }));
      const facts = { keys: rows, plain: use.plain, damaged: use.damaged };
      if (options.json === true) return print(facts);
      const translator = await loadTranslator();
      const word = (key: string, values = {}): string =>
        translator.text(config.EYRIE_LOCALE, `terminal:keys.${key}`, values);
      process.stdout.write(
        table([
          ...rows.map(({ id, records: count, role }) => [id, word(role, { count })] as const),
          [word("clear"), word("records", { count: use.plain })],
          [word("damaged"), word("records", { count: use.damaged })],
        ]),
      );
    },
    { anyKeys: true },
  );
}

export async function rotate(options: Json): Promise<void> {
  const config = loadConfig(process.env);
  await withStores(config, async (stores) => {
    const bar = await progressBar("keys rotate", { amount: String });
    const rotated = await rotateAll(stores, bar.update);
    bar.clear();
    if (options.json === true) return print(rotated);
    const { damaged, resealed, retired } = rotated;
    await say("keys.rotated", { count: resealed });
    if (retired.length > 0) await say("keys.retired", { keys: retired.join(", ") });
    if (damaged > 0) await say("keys.left", { count: damaged });
  });
}

export async function forget(id: string, options: Json & { readonly yes?: true }): Promise<void> {
  const config = loadConfig(process.env);
  await withStores(
    config,
    async (stores) => {
      if (stores.records.ring?.ids.includes(id) === true) {
        throw new EyrieError("USAGE", { reason: `EYRIE_KEYS holds ${id}: use eyrie keys rotate` });
      }
      const question = await spoken("keys.forgetAsk", { id });
      if (options.yes !== true && !(await confirmed(question, await spoken("conversation.yes")))) {
        return;
      }
      const conversations = await forgetKey(stores, id, async (conversation) =>
        stores.conversations.delete(conversation),
      );
      if (options.json === true) print({ key: id, conversations });
      else await say("keys.forgotten", { count: conversations.length, id });
    },
    { anyKeys: true },
  );
}

function roleOf(id: string, ring: readonly string[]): "first" | "older" | "missing" {
  if (!ring.includes(id)) return "missing";
  return id === ring[0] ? "first" : "older";
}

/** `eyrie backup FILE` and `eyrie restore FILE`: every conversation in one file, and back. */
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { loadConfig } from "#infra/config/config.ts";
import { backUp } from "#infra/conversation/backup.ts";
import { restore as restoreAll } from "#infra/conversation/restore.ts";
import { confirmed } from "../confirm.ts";
import { bytes } from "../output.ts";
import { askedToStop } from "../stop.ts";
import { withStores } from "../stores.ts";
import { print, progressBar, say, spoken } from "../words.ts";

interface Json {
  readonly json?: true;
}

export async function backup(file: string, options: Json & { force?: true }): Promise<void> {
  const config = loadConfig(process.env);
  const path = resolve(file);
  const signal = askedToStop();
  await withStores(config, async (stores) => {
    const bar = await progressBar("backup", { amount: String });
    const done = await backUp(stores, path, {
      replace: options.force === true,
      progress: bar.update,
      signal,
    });
    bar.clear();
    if (options.json === true) return print({ path, ...done });
    const { conversations: count, damaged, snapshots } = done;
    await say("backup.done", { path, count, snapshots, size: bytes(done.bytes) });
    if (damaged.length > 0) await say("backup.damaged", { ids: damaged.join(", ") });
  });
}

export interface RestoreOptions extends Json {
  readonly replace?: true;
  readonly yes?: true;
}

export async function restore(file: string, options: RestoreOptions): Promise<void> {
  const config = loadConfig(process.env);
  const path = resolve(file);
  await withStores(config, async (stores) => {
    const question = await spoken("backup.replace");
    const asks = options.replace === true && options.yes !== true;
    if (asks && !(await confirmed(question, await spoken("conversation.yes")))) return;
    // Read twice: once to check all of it, once to put it back.
    const total = existsSync(path) ? 2 * statSync(path).size : 0;
    const bar = await progressBar("restore");
    const done = await restoreAll(stores, path, {
      progress: (read) => bar.update(read, total),
      ...(options.replace === true
        ? { replace: async (id) => stores.conversations.delete(id) }
        : {}),
    });
    bar.clear();
    if (options.json === true) return print({ path, ...done });
    const { conversations: count, damaged, snapshots } = done;
    await say("backup.restored", { count, snapshots });
    if (damaged.length > 0) await say("backup.damaged", { ids: damaged.join(", ") });
  });
}

/**
 * `eyrie model pull`: brings the files of a model to this machine and says what to do next.
 *
 * Ctrl-C keeps what came and prints the command that goes on from there.
 */
import { resolve } from "node:path";
import { styleText } from "node:util";
import { systemClock } from "#infra/clock/clock.ts";
import { loadConfig } from "#infra/config/config.ts";
import { EyrieError } from "#infra/errors/error.ts";
import { Hub, useProxy } from "#infra/hub/hub.ts";
import { pull as pullModel, type Pulled, type PullWatcher } from "#infra/hub/pull.ts";
import { modelsDirectory } from "#infra/hub/store.ts";
import { loadTranslator } from "#infra/i18n/i18n.ts";
import { exitWithParent } from "#infra/setup/parent.ts";
import { bytes } from "../output.ts";
import { ProgressBar } from "../progress.ts";
import { askedToStop } from "../stop.ts";
import { describeFolder, type Folder, quoted } from "./models.ts";

export interface PullVerbOptions {
  readonly out?: string;
  readonly revision?: string;
  readonly json?: true;
}

type Text = (key: string, values?: Readonly<Record<string, string | number>>) => string;

export async function pull(wanted: string, options: PullVerbOptions): Promise<void> {
  exitWithParent();
  const config = loadConfig(process.env);
  useProxy(process.env);
  const translator = await loadTranslator();
  const text: Text = (key, values = {}) =>
    translator.text(config.EYRIE_LOCALE, `terminal:pull.${key}`, values);
  const asked = askedToStop();
  const terminal = watchInTerminal(text);
  try {
    const pulled = await pullModel(wanted, {
      hub: new Hub(config.HF_ENDPOINT, config.HF_TOKEN),
      modelsDirectory: modelsDirectory(config.EYRIE_HOME),
      ...(options.out === undefined ? {} : { directory: resolve(options.out) }),
      ...(options.revision === undefined ? {} : { revision: options.revision }),
      clock: systemClock,
      signal: asked,
      watcher: terminal,
    });
    terminal.clear();
    const folder = await describeFolder(pulled.directory, pulled.name, pulled.files);
    if (options.json === true) {
      process.stdout.write(
        `${JSON.stringify({ ...pulled, status: folder.status, next: folder.next }, null, 2)}\n`,
      );
    } else {
      process.stdout.write(describe(pulled, folder, text));
    }
  } catch (cause) {
    terminal.clear();
    if (!asked.aborted) throw cause;
    throw new EyrieError("PULL_STOPPED", { command: sameCommand(wanted, options) }, { cause });
  }
}

function describe(pulled: Pulled, folder: Folder, text: Text): string {
  const { directory, files, unchanged } = pulled;
  const lines = [text(unchanged ? "unchanged" : "done", { directory })];
  for (const file of files) lines.push(`  ${file.name}  ${bytes(file.bytes)}`);
  if (folder.next !== null) {
    lines.push("", text(folder.status === "ready" ? "run" : "convert"));
    lines.push(`  ${styleText("bold", folder.next)}`);
  }
  return `${lines.join("\n")}\n`;
}

function watchInTerminal(text: Text): PullWatcher & { clear(): void } {
  let bar: ProgressBar | undefined;
  const say = (line: string): void => {
    bar?.clear();
    process.stderr.write(`${line}\n`);
  };
  return {
    waiting: () => say(text("waiting")),
    file: (name, { index, count, bytes: size }) => {
      say(text("file", { name, index, count, size: bytes(size) }));
      bar = new ProgressBar(`${index}/${count}`, size, {
        timeLeft: (time) => text("left", { time }),
      });
    },
    bytes: (received) => bar?.update(received),
    retry: (reason, waitMs) => say(text("retry", { reason, seconds: Math.ceil(waitMs / 1000) })),
    clear: () => bar?.clear(),
  };
}

function sameCommand(wanted: string, { out, revision, json }: PullVerbOptions): string {
  return [
    "npx eyrie model pull",
    quoted(wanted),
    ...(out === undefined ? [] : ["--out", quoted(out)]),
    ...(revision === undefined ? [] : ["--revision", quoted(revision)]),
    ...(json === true ? ["--json"] : []),
  ].join(" ");
}

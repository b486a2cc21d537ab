/** Every verb with its words; the code behind one is loaded when it is called. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { workloadNames } from "./bench/platform.ts";
import { shapeNames } from "./bench/shapes.ts";
import { undoTurnsMax } from "#infra/ledger/past-turn.ts";
import { defaultSampling } from "#infra/config/model-card.ts";
import { blockDefault, blockSizes, quantisations } from "#kernels/model/quantise/layout.ts";

const backends = ["onnx", "reference"];

export function describeVerbs(program: Command): Command {
  program
    .description("A streaming Discord chat-bot platform on RWKV-v5 Eagle.")
    .usage("<verb> [options]")
    .version("0.1.0")
    .showSuggestionAfterError()
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ outputError: () => {} });

  verb(program, "start")
    .description("run the platform: Redis, a worker and, with DISCORD_TOKEN, the gateway")
    .option("--only <parts>", "comma-separated: gateway, worker", parts)
    .option("--workers <n>", "worker processes", positive, 1)
    .addOption(quantiseOption())
    .action(async (options) => (await import("./verbs/start.ts")).start(options));

  verb(program, "chat")
    .description("talk to the bot in the terminal, by the same way as in Discord")
    .option("--once <text>", "say one thing, print the reply only, and end")
    .option("--conversation <id>", "conversation to go on with", "me")
    .action(async (options) => (await import("./verbs/chat.ts")).chat(options));

  sampled(verb(program, "generate"))
    .description("continue a prompt with the model alone, without Redis")
    .requiredOption("--model <dir>", "model directory")
    .option("--prompt <text>", "text to continue, as it is")
    .option("--tokens <ids>", "comma-separated token ids to continue; prints ids", tokenIds)
    .option("--max-tokens <n>", "tokens at most", positive, 256)
    .option("--seed <text>", "equal seeds repeat a text", "0")
    .addOption(backendOption())
    .addOption(quantiseOption())
    .option("--json", "print one JSON object instead of text")
    .action(async (options) => (await import("./verbs/generate.ts")).generate(options));

  verb(program, "logits")
    .description("print the logits after the last of the given tokens")
    .requiredOption("--model <dir>", "model directory")
    .requiredOption("--tokens <ids>", "comma-separated token ids", tokenIds)
    .addOption(backendOption())
    .addOption(quantiseOption())
    .option("--top <n>", "print only the n most likely tokens", positive)
    .option("--json", "accepted for symmetry: the output is always JSON")
    .action(async (options) => (await import("./verbs/logits.ts")).logits(options));

  verb(program, "tokenize")
    .description("print the token ids of a text")
    .argument("<text>", "text to tokenize")
    .requiredOption("--model <dir>", "model directory")
    .option("--json", "print ids and pieces as JSON")
    .action(async (text, options) => (await import("./verbs/tokenize.ts")).tokenize(text, options));

  const model = verb(program, "model").description("weights on this machine");
  verb(model, "inspect")
    .description("what a model is, and what it takes on disk and in memory")
    .argument("[path]", "model directory, or weights as downloaded; default: the model Eyrie runs")
    .option("--fingerprint", "hash the weights however large they are; over 1 GiB it takes a while")
    .option("--json", "print JSON")
    .action(async (dir, options) => (await import("./verbs/inspect.ts")).inspect(dir, options));

  verb(model, "pull")
    .description("download a model: a World model by its short name, or from a repository")
    .argument(
      "<model>",
      "world-0.4b, world-1.5b, world-3b, eagle-7b, owner/repo or owner/repo/file",
    )
    .option("--out <dir>", "folder to put the files in; default: EYRIE_HOME/models/NAME")
    .option("--revision <name>", "branch, tag or commit of the repository; default: main")
    .option("--json", "print JSON")
    .action(async (name, options) => (await import("./verbs/pull.ts")).pull(name, options));
  verb(model, "convert")
    .description("turn weights into a model directory: .pth, .safetensors, .st, Hugging Face")
    .argument("<in>", "file of weights, index of shards, or directory that holds one")
    .requiredOption("--out <dir>", "model directory to write; it appears whole or not at all")
    .option("--vocab <file>", "vocabulary to put with it; without one it runs by token ids")
    .option(
      "--group-norm-eps <e>",
      "eps of the per-head norm; default: 64e-5, as World models",
      eps,
    )
    .option("--name <name>", "what to call the model; default: the name of <in>", modelName)
    .option(
      "--quantise <list>",
      "comma-separated: none (the weights as they are), q8, q4",
      listOf(quantisations),
      ["none"],
    )
    .addOption(
      new Option("--block <n>", "numbers per scale; 128 is faster, but replies may vary with load")
        .choices(blockSizes.map(String))
        .default(String(blockDefault)),
    )
    .option("--no-quality", "do not measure what quantisation costs")
    .option("--force", "replace a model directory that is there")
    .option("--json", "print what `model inspect --json` prints")
    .action(async (input, options) => (await import("./verbs/convert.ts")).convert(input, options));
  verb(model, "list")
    .description("the models of this machine, and what each needs to run")
    .option("--json", "print JSON")
    .action(async (options) => (await import("./verbs/models.ts")).list(options));
  verb(model, "remove")
    .description("delete a pulled or converted model")
    .argument("<name>", "its exact name, as `model list` prints it")
    .option("--json", "print JSON")
    .action(async (name, options) => (await import("./verbs/models.ts")).remove(name, options));

  describeBench(program);
  const conversation = verb(program, "conversation").description("one conversation, by its id");
  const id = "such as discord-123456789012345678 or cli-me";
  verb(conversation, "inspect")
    .description("what is stored of it, in figures")
    .argument("<id>", id)
    .option("--json", "print JSON")
    .action(async (name, options) =>
      (await import("./verbs/conversation.ts")).inspect(name, options),
    );
  verb(conversation, "undo")
    .description("take back what was said last, as if it had never been")
    .argument("<id>", id)
    .option("--turns <n>", `exchanges, 1 to ${undoTurnsMax}`, undoable, 1)
    .option("--json", "print JSON")
    .action(async (name, options) => (await import("./verbs/conversation.ts")).undo(name, options));
  verb(conversation, "reset")
    .description("forget what was said; the next message starts afresh")
    .argument("<id>", id)
    .option("--json", "print JSON")
    .action(async (name, options) =>
      (await import("./verbs/conversation.ts")).reset(name, options),
    );
  verb(conversation, "export")
    .description("print everything that is stored of it, as JSON")
    .argument("<id>", id)
    .option("--json", "accepted for symmetry: the output is always JSON")
    .action(async (name) => (await import("./verbs/conversation.ts")).exportAll(name));
  verb(conversation, "delete")
    .description("delete everything that is stored of it, or of one person in it or in all")
    .argument("[id]", `${id}; may be left out with --user`)
    .option("--user <id>", "only this Discord user: their turns, and what was said after the first")
    .option("--yes", "do not ask")
    .option("--json", "print JSON")
    .action(async (name, options) =>
      (await import("./verbs/conversation.ts")).remove(name, options),
    );

  verb(program, "backup")
    .description("write every conversation into one file while the platform runs")
    .argument(
      "<file>",
      "file to write; it appears whole or not at all, encrypted if EYRIE_KEYS is set",
    )
    .option("--force", "replace a file that is there")
    .option("--json", "print JSON")
    .action(async (file, options) => (await import("./verbs/backup.ts")).backup(file, options));
  verb(program, "restore")
    .description("put the conversations of a backup back")
    .argument("<file>", "file that eyrie backup wrote")
    .option("--replace", "delete conversations that are there and put the backup's in their place")
    .option("--yes", "do not ask")
    .option("--json", "print JSON")
    .action(async (file, options) => (await import("./verbs/backup.ts")).restore(file, options));

  describeKeys(program);
  verb(program, "doctor")
    .description("what is missing on this machine and how to mend it")
    .option("--json", "print JSON")
    .action(async (options) => (await import("./verbs/doctor.ts")).doctor(options));
  return program;
}

function describeKeys(program: Command): void {
  const keys = verb(program, "keys").description("the keys that encrypt what people said");
  verb(keys, "new")
    .description("make a key; the first one in EYRIE_KEYS encrypts, all of them decrypt")
    .option("--file <path>", "put it in front of the keys in this file; default: print it")
    .option("--json", "print JSON")
    .action(async (options) => (await import("./verbs/keys.ts")).make(options));
  verb(keys, "status")
    .description("how much is encrypted with which key")
    .option("--json", "print JSON")
    .action(async (options) => (await import("./verbs/keys.ts")).status(options));
  verb(keys, "rotate")
    .description("encrypt everything with the first key; may be stopped and run again")
    .option("--json", "print JSON")
    .action(async (options) => (await import("./verbs/keys.ts")).rotate(options));
  verb(keys, "forget")
    .description("give up a lost key: delete the conversations that only it can open")
    .argument("<id>", "the key's id, as the error names it")
    .option("--yes", "do not ask")
    .option("--json", "print JSON")
    .action(async (id, options) => (await import("./verbs/keys.ts")).forget(id, options));
}

function describeBench(program: Command): void {
  const bench = verb(program, "bench").description(
    "figures of this machine, as ratios to its limits",
  );
  verb(bench, "engine")
    .description("tokens per second of the engines on random weights, beside the memory's speed")
    .option("--backend <names>", `comma-separated: ${backends.join(", ")}`, listOf(backends), [
      "onnx",
    ])
    .option("--shape <names>", `comma-separated: ${shapeNames.join(", ")}`, listOf(shapeNames), [
      "eaglet",
      "0.4B",
    ])
    .option(
      "--quantise <kinds>",
      `comma-separated: ${quantisations.join(", ")}`,
      listOf(quantisations),
      [...quantisations],
    )
    .option("--block <sizes>", "comma-separated: 32, 128", blocks, [32])
    .option("--batch <sizes>", "streams in one step, comma-separated", numbers, [1, 8])
    .option("--prefill <n>", "tokens of the prompt that is timed; 0: none", wholeNumber, 256)
    .option("--rounds <n>", "samples of every figure", positive, 12)
    .option("--threads <n>", "threads of an engine; default: physical cores", positive)
    .option("--plot <file>", "where to draw it; default: bench-engine.svg in EYRIE_HOME")
    .option("--history <file>", "add the figures to this file, one line of JSON a run")
    .option("--json", "print JSON")
    .action(async (options) => (await import("./verbs/bench.ts")).engine(options));
  verb(bench, "platform")
    .description("what the platform takes around the model, under planned loads; a scripted model")
    .requiredOption(
      "--workload <names>",
      `comma-separated: ${workloadNames.join(", ")}`,
      listOf(workloadNames),
    )
    .option("--minutes <m>", "length of each; default: the workload's own", minutes)
    .option("--runs <n>", "runs of each workload", positive, 1)
    .option("--seed <n>", "equal seeds give equal arrivals; every run takes the next", positive, 1)
    .option("--strict", "exit with 1 when a goal is missed")
    .option("--plot <file>", "where to draw it; default: bench-platform.svg in EYRIE_HOME")
    .option("--history <file>", "add the figures to this file, one line of JSON a run")
    .option("--json", "print JSON")
    .action(async (options) => (await import("./verbs/bench-platform.ts")).platform(options));
}

/** Sub-commands inherit neither silence nor exceptions by themselves. */
function verb(parent: Command, name: string): Command {
  return parent.command(name).copyInheritedSettings(parent);
}

function sampled(command: Command): Command {
  return command
    .option("--temperature <t>", "0 is greedy", notNegative, defaultSampling.temperature)
    .option("--top-p <p>", "nucleus, 0 to 1", share, defaultSampling.topP)
    .option("--presence-penalty <p>", "once per word used", number, defaultSampling.presencePenalty)
    .option("--frequency-penalty <p>", "per use", number, defaultSampling.frequencyPenalty);
}

function backendOption(): Option {
  return new Option("--backend <name>", "engine").choices(backends).default("onnx");
}

function quantiseOption(): Option {
  const words = "weights to run; default: as they came, else q8, else q4";
  return new Option("--quantise <kind>", words).choices(quantisations);
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("not a number");
  return value;
}

function notNegative(text: string): number {
  const value = number(text);
  if (value < 0) throw new InvalidArgumentError("below 0");
  return value;
}

function share(text: string): number {
  const value = number(text);
  if (value < 0 || value > 1) throw new InvalidArgumentError("not 0 to 1");
  return value;
}

function minutes(text: string): number {
  const value = number(text);
  if (value <= 0 || value > 24 * 60) throw new InvalidArgumentError("not above 0 and at most 1440");
  return value;
}

function eps(text: string): number {
  const value = number(text);
  if (value <= 0 || value > 1) throw new InvalidArgumentError("not above 0 and at most 1");
  return value;
}

function modelName(text: string): string {
  if (text.length === 0 || text.length > 100) throw new InvalidArgumentError("1 to 100 characters");
  return text;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("not a whole number");
  return value;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("not a whole number");
  return value;
}

function numbers(text: string): number[] {
  return text.split(",").map((part) => positive(part));
}

function blocks(text: string): number[] {
  return listOf(blockSizes.map(String))(text).map(Number);
}

function listOf<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) =>
    text.split(",").map((part) => {
      const found = known.find((one) => one === part.trim());
      if (found === undefined) throw new InvalidArgumentError(`not one of ${known.join(", ")}`);
      return found;
    });
}

function undoable(text: string): number {
  const value = positive(text);
  if (value > undoTurnsMax) throw new InvalidArgumentError(`not 1 to ${undoTurnsMax}`);
  return value;
}

function tokenIds(text: string): number[] {
  return text.split(",").map((part) => {
    if (!/^\s*\d+\s*$/.test(part)) throw new InvalidArgumentError(`not a token id: "${part}"`);
    return Number(part);
  });
}

function parts(text: string): string[] {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !["gateway", "worker"].includes(name));
  if (unknown !== undefined) throw new InvalidArgumentError(`unknown part "${unknown}"`);
  return names;
}

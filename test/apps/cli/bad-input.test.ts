/**
 * What goes wrong for people: each time one line with a code and a way out, the right exit code, and
 * no stack trace.
 */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GatewayCloseCodes } from "discord.js";
import { DiscordDouble } from "#test/doubles/discord/index.ts";
import { TestPlatform } from "#test/platform/platform.ts";
import { errorLines, eyrie, type Outcome } from "./eyrie.ts";

const eaglet = resolve(import.meta.dirname, "../../../kernels/models/eaglet");
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "eyrie-bad-"));
});

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

function expectError(outcome: Outcome, code: string, exitCode: 1 | 2): void {
  expect(errorLines(outcome)).toEqual([expect.stringMatching(new RegExp(`^${code}: .{20,}`))]);
  expect(outcome.code).toBe(exitCode);
}

/** A home of its own, so that tests do not meet each other's platform. */
function home(): NodeJS.ProcessEnv {
  return {
    EYRIE_HOME: mkdtempSync(join(directory, "home-")),
    EYRIE_WORKER_PORT: "0",
    EYRIE_GATEWAY_PORT: "0",
  };
}

describe("bad usage ends with 2", () => {
  test.each([
    [["dance"], "unknown command"],
    [["strat"], "Did you mean start"],
    [["chat", "--loud"], "unknown option"],
    [["logits", "--model", eaglet], "--tokens"],
    [["logits", "--model", eaglet, "--tokens", "1,two"], "two"],
    [["logits", "--model", eaglet, "--tokens", "1", "--backend", "abacus"], "abacus"],
    [["generate", "--model", eaglet, "--prompt", "x", "--max-tokens", "-3"], "-3"],
    [["generate", "--model", eaglet, "--prompt", ""], "--prompt"],
    [["generate", "--model", eaglet, "--prompt", "x", "--top-p", "5"], "--top-p"],
    [["generate", "--model", eaglet, "--prompt", "x", "--temperature", "-1"], "--temperature"],
    [["start", "--only", "kitchen"], "kitchen"],
    [["chat", "--conversation", "a b", "--once", "x"], "--conversation"],
  ])("%j", async (args, named) => {
    const outcome = await eyrie(args);
    expectError(outcome, "USAGE", 2);
    expect(outcome.err).toContain(named);
    expect(outcome.out).toBe("");
  });

  test("a token that the model does not have", async () => {
    const outcome = await eyrie(["logits", "--model", eaglet, "--tokens", "1,65000"]);
    expectError(outcome, "TOKEN_OUT_OF_RANGE", 2);
  });

  test("a setting that is wrong", async () => {
    const outcome = await eyrie(["doctor"], { environment: { EYRIE_SLOTS: "plenty" } });
    expectError(outcome, "CONFIG_INVALID", 2);
    expect(outcome.err).toContain("EYRIE_SLOTS");
    expect(outcome.err).not.toContain("plenty");
  });

  test("errors come in the operator's language", async () => {
    const outcome = await eyrie(["dance"], { environment: { EYRIE_LOCALE: "de" } });
    expect(outcome.err).toMatch(/^USAGE: .*(?:Befehl|Aufruf)/);
  });
});

/** Eaglet's directory again, with something wrong in it. */
function spoiled(name: string, spoil: (path: string) => void): string {
  const path = join(directory, name);
  cpSync(eaglet, path, { recursive: true });
  spoil(path);
  return path;
}
function inspect(path: string): Promise<Outcome> {
  return eyrie(["model", "inspect", path]);
}

describe("weights", () => {
  test("a directory without a model", async () => {
    const empty = join(directory, "empty");
    mkdirSync(empty);
    expectError(await inspect(empty), "MODEL_NOT_FOUND", 1);
    const nowhere = await inspect(join(directory, "nowhere"));
    expectError(nowhere, "MODEL_NOT_FOUND", 1);
    expect(nowhere.err).toContain("Check the path");
  });

  test("truncated, garbled and foreign files", async () => {
    const cut = spoiled("cut", (path) =>
      truncateSync(join(path, "weights.safetensors"), 1_000_000),
    );
    expectError(await inspect(cut), "MODEL_BROKEN", 1);
    const garbled = spoiled("garbled", (path) => {
      writeFileSync(join(path, "weights.safetensors"), Buffer.alloc(4096, 0xff));
    });
    expectError(await inspect(garbled), "MODEL_BROKEN", 1);
    const json = spoiled("json", (path) => writeFileSync(join(path, "model.json"), "{"));
    expectError(await inspect(json), "MODEL_BROKEN", 1);
  });

  test("a model of another version", async () => {
    const path = spoiled("v6", (at) => {
      const file = join(at, "weights.safetensors");
      const bytes = readFileSync(file);
      // The header is JSON of fixed length: renaming within it keeps the file whole.
      const text = bytes.toString("latin1").replaceAll("att.time_mix_k", "att.time_maa_k");
      writeFileSync(file, Buffer.from(text, "latin1"));
    });
    expectError(await inspect(path), "MODEL_VERSION", 1);
  });

  test("a broken and a missing vocabulary", async () => {
    const broken = spoiled("vocab", (path) => writeFileSync(join(path, "vocab.txt"), "1 'a' 7\n"));
    expectError(await eyrie(["tokenize", "--model", broken, "x"]), "VOCABULARY_BROKEN", 1);
    const missing = spoiled("none", (path) => rmSync(join(path, "vocab.txt")));
    expectError(await eyrie(["tokenize", "--model", missing, "x"]), "VOCABULARY_MISSING", 1);
  });

  test("a start with them ends at once, with everything it had started", async () => {
    const cut = spoiled("start", (path) => truncateSync(join(path, "weights.safetensors"), 99));
    const outcome = await eyrie(["start"], { environment: { ...home(), EYRIE_MODEL: cut } });
    expectError(outcome, "MODEL_BROKEN", 1);
  });
});

describe("Redis", () => {
  test("none, and no way to get one", async () => {
    const environment = {
      ...home(),
      PATH: join(directory, "no-programs"),
      EYRIE_PROFILE: "production",
    };
    expectError(await eyrie(["start"], { environment }), "REDIS_NOT_FOUND", 1);
  });

  test("not there", async () => {
    const environment = { ...home(), REDIS_URL: "redis://127.0.0.1:1" };
    expectError(await eyrie(["start"], { environment }), "REDIS_UNAVAILABLE", 1);
    expectError(await eyrie(["chat", "--once", "hi"], { environment }), "REDIS_UNAVAILABLE", 1);
  }, 40_000);

  test("there, but it evicts", async () => {
    const platform = await TestPlatform.start();
    try {
      await platform.truth.config("SET", "maxmemory-policy", "allkeys-lru");
      const environment = { ...home(), REDIS_URL: platform.truthServer.url };
      const outcome = await eyrie(["start"], { environment });
      expectError(outcome, "REDIS_UNSAFE", 1);
      expect(outcome.err).toContain("maxmemory-policy");
    } finally {
      await platform.stop();
    }
  });
});

describe("Discord", () => {
  let double: DiscordDouble;
  let platform: TestPlatform;
  beforeAll(async () => {
    double = await DiscordDouble.start();
    platform = await TestPlatform.start();
  });
  afterAll(async () => {
    await platform.stop();
    await double.close();
  });
  const startWith = (values: NodeJS.ProcessEnv): Promise<Outcome> => {
    const { EYRIE_HOME: _, ...servers } = platform.environment;
    const environment = { ...home(), ...servers, DISCORD_API_URL: double.restUrl, ...values };
    return eyrie(["start", "--only", "gateway"], { environment });
  };

  test("a wrong token", async () => {
    const outcome = await startWith({ DISCORD_TOKEN: "bm9wZQ.wrong.token" });
    expectError(outcome, "DISCORD_TOKEN_INVALID", 1);
    expect(outcome.err).not.toContain("bm9wZQ");
  });

  test("a missing privileged intent", async () => {
    double.gateway.refuseIdentify(GatewayCloseCodes.DisallowedIntents);
    const outcome = await startWith({ DISCORD_TOKEN: double.token });
    expectError(outcome, "DISCORD_INTENT_MISSING", 1);
    expect(outcome.err).toContain("Developer Portal");
  });

  test("nobody there", async () => {
    const outcome = await startWith({
      DISCORD_TOKEN: double.token,
      DISCORD_API_URL: "http://127.0.0.1:1/api",
    });
    expectError(outcome, "DISCORD_UNREACHABLE", 1);
  }, 60_000);
});

test("a port in use", async () => {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  const port = typeof address === "object" ? String(address?.port) : "";
  const platform = await TestPlatform.start();
  try {
    const environment = { ...platform.environment, ...home(), EYRIE_WORKER_PORT: port };
    const outcome = await eyrie(["start"], { environment });
    expectError(outcome, "PORT_IN_USE", 1);
    expect(outcome.err).toContain(port);
  } finally {
    await platform.stop();
    server.close();
  }
});

describe("messages", () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await TestPlatform.start();
  });
  afterAll(async () => {
    await platform.stop();
  });
  const once = (text: string): Promise<Outcome> =>
    eyrie(["chat", "--once", text], { environment: platform.environment });

  test("no platform, no worker", async () => {
    const nowhere = await eyrie(["chat", "--once", "hi"], { environment: home() });
    expectError(nowhere, "PLATFORM_NOT_RUNNING", 1);
    expectError(await once("hi"), "WORKER_MISSING", 1);
  });

  test("empty, and 100 kB", async () => {
    await platform.worker();
    expectError(await once(" \n\t "), "MESSAGE_EMPTY", 1);
    expectError(await once("word ".repeat(20_000)), "MESSAGE_TOO_LONG", 1);
    expect((await once("Hello!")).code).toBe(0);
  });

  test("a Redis that takes nothing more", async () => {
    await platform.truth.config("SET", "maxmemory", "1");
    expectError(await once("Hello!"), "BUSY_TRY_LATER", 1);
    await platform.truth.config("SET", "maxmemory", "0");
  });

  test("the interactive chat says it and goes on", async () => {
    const input = "/dance\nHello!\n/reset\n/quit\n";
    const outcome = await eyrie(["chat"], { environment: platform.environment, input });
    expect(outcome.code).toBe(0);
    expect(outcome.out).toContain("There is no /dance here");
    expect(outcome.out).toMatch(/Forgotten: \d+ tokens/);
  });
});

import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Hub, useProxy } from "#infra/hub/hub.ts";
import { readPullNote, removeModel } from "#infra/hub/store.ts";
import { ProxyDouble } from "#test/doubles/hub/proxy.ts";
import { sha256 } from "#test/doubles/hub/double.ts";
import { Bench } from "./bench.ts";

const repo = "ada/eagle-small";
const folder = "ada--eagle-small";
const weights = randomBytes(600_000);
const vocabulary = "1 'a' 1\n2 'b' 1\n";
let bench: Bench;

beforeEach(async () => {
  bench = await Bench.start();
  bench.hub.put(repo, "eagle.pth", weights);
  bench.hub.put(repo, "rwkv_vocab_v20230424.txt", vocabulary, "small");
  bench.hub.put(repo, "README.md", "# Eagle", "small");
});

afterEach(() => bench.close());

function expectWhole(): void {
  expect(bench.read(folder, "eagle.pth").equals(weights)).toBe(true);
  expect(bench.read(folder, "rwkv_vocab_v20230424.txt").toString()).toBe(vocabulary);
  const files = readdirSync(join(bench.models, folder)).sort();
  expect(files).toEqual([".pull.json", "eagle.pth", "rwkv_vocab_v20230424.txt"]);
}

describe("a hub that behaves", () => {
  test("gives weights and vocabulary, and nothing twice", async () => {
    const first = await bench.pull(repo);
    expectWhole();
    expect(first).toMatchObject({ name: folder, unchanged: false });
    expect(first.files.map(({ name, digest }) => [name, digest])).toContainEqual([
      "eagle.pth",
      sha256(weights),
    ]);
    expect(bench.hub.downloads()).toHaveLength(2);
    expect(await bench.pull(repo)).toMatchObject({ unchanged: true });
    expect(bench.hub.downloads()).toHaveLength(2);
  });

  test("gives one file by its path, into the folder that was asked for", async () => {
    bench.hub.put(repo, "old/v1.bin", "old");
    const directory = join(bench.models, "elsewhere");
    const pulled = await bench.pull(`${repo}/old/v1.bin`, { directory });
    expect(pulled.files.map(({ name }) => name)).toEqual(["v1.bin"]);
    expect(bench.read("elsewhere", "v1.bin").toString()).toBe("old");
  });

  test("an empty file is a file", async () => {
    bench.hub.put(repo, "empty.txt", "", "small");
    await bench.pull(`${repo}/empty.txt`);
    expect(bench.read(`${folder}--empty.txt`, "empty.txt")).toHaveLength(0);
  });

  test("the token goes to the hub and not to its storage", async () => {
    bench.hub.faults.gate = "hf_secret";
    await bench.pull(repo, { token: "hf_secret" });
    expectWhole();
    const seen = (origin: string) =>
      bench.hub.requests.filter((one) => one.origin === origin).map((one) => one.authorization);
    expect(new Set(seen("hub"))).toEqual(new Set(["Bearer hf_secret"]));
    expect(seen("storage")).toEqual([undefined]);
    expect(JSON.stringify(readPullNote(join(bench.models, folder)))).not.toContain("secret");
  });
});

describe("a line that breaks", () => {
  test("goes on where it was, as often as it takes", async () => {
    // More cuts than tries: each brings something, so none of them is the last.
    bench.hub.faults.cutAfter = Array.from({ length: 10 }, () => 50_000);
    await bench.pull(`${repo}/eagle.pth`);
    expect(bench.read(`${folder}--eagle.pth`, "eagle.pth").equals(weights)).toBe(true);
    const downloads = bench.hub.downloads();
    expect(downloads.length).toBeGreaterThan(10);
    // A reset may throw away what the reader had not yet read: then that try starts where the one
    // before it did. None ever goes back behind what was kept.
    const starts = downloads.map(({ range }) => Number(/bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0));
    expect(starts).toEqual(starts.toSorted((x, y) => x - y));
    expect(starts.at(-1)).toBeGreaterThan(0);
    for (const { range, ifRange } of downloads)
      expect(ifRange !== undefined).toBe(range !== undefined);
  });

  test("goes on after a restart of the program", async () => {
    const stop = new AbortController();
    bench.onBytes = (received) => received > 200_000 && stop.abort();
    bench.hub.faults.slowBytes = 60_000;
    await expect(bench.pull(repo, { signal: stop.signal })).rejects.toThrow("aborted");
    bench.hub.faults.slowBytes = 0;
    bench.onBytes = () => {};
    await bench.pull(repo);
    expectWhole();
    const [, second] = bench.hub.downloads();
    expect(Number(/bytes=(\d+)-/.exec(second?.range ?? "")?.[1])).toBeGreaterThan(200_000);
  });

  test("that falls silent is given up and taken up again", async () => {
    bench.hub.faults.silentAfter = [50_000];
    await bench.pull(repo, { silenceMsMax: 100 });
    expectWhole();
    expect(bench.told).toContain("retry: the connection fell silent");
    expect(bench.hub.downloads()[1]?.range).toBe("bytes=50000-");
  });

  test("that is slow but not silent is left to it", async () => {
    bench.hub.faults.slowBytes = 2_000;
    await bench.pull(repo, { silenceMsMax: 1_000 });
    expectWhole();
    expect(bench.waits).toEqual([]);
  });

  test("begins anew when the server cannot continue, and stops when that leads nowhere", async () => {
    bench.hub.faults.noRanges = true;
    bench.hub.faults.cutAfter = [50_000, 100_000];
    await bench.pull(repo);
    expectWhole();
    bench.hub.put(repo, "again.bin", weights);
    bench.hub.faults.cutAfter = Array.from({ length: 50 }, () => 50_000);
    expect((await bench.refusal(`${repo}/again.bin`)).code).toBe("HUB_UNREACHABLE");
    expect(bench.hub.faults.cutAfter.length).toBeGreaterThan(40);
  });

  test.each([false, true])(
    "a file that changed meanwhile is taken anew (no etag: %s)",
    async (none) => {
      const changed = randomBytes(weights.length);
      bench.hub.faults.noEtag = none;
      await stopEarly();
      bench.hub.put(repo, "eagle.pth", changed);
      await bench.pull(repo);
      expect(bench.read(folder, "eagle.pth").equals(changed)).toBe(true);
    },
  );

  test.each([false, true])(
    "the same file under another etag (If-Range ignored: %s)",
    async (ignored) => {
      await stopEarly();
      const [note = ""] = readdirSync(join(bench.models, folder)).filter((name) =>
        name.endsWith(".json"),
      );
      const path = join(bench.models, folder, note);
      writeFileSync(
        path,
        bench
          .read(folder, note)
          .toString()
          .replace(/\\"[0-9a-f]+/, '\\"other'),
      );
      bench.hub.faults.ignoresIfRange = ignored;
      await bench.pull(repo);
      expectWhole();
      const weightsAgain = bench.hub.requests.filter(({ origin }) => origin === "storage");
      expect(weightsAgain[0]?.ifRange).toBe('"other"');
      expect(weightsAgain.map(({ status }) => status)).toEqual(ignored ? [206, 200] : [200]);
    },
  );
});

describe("a hub that has enough of us", () => {
  test("is given the time it asks for, up to a cap", async () => {
    bench.hub.faults.refusals = [
      { status: 429, headers: { "retry-after": "7" } },
      { status: 429, headers: { "retry-after": "86400" } },
      { status: 503 },
    ];
    await bench.pull(repo);
    expectWhole();
    expect(bench.waits.slice(0, 2)).toEqual([7_000, 120_000]);
    expect(bench.told).toContain("retry: HTTP 429");
  });

  test.each([429, 500, 502])("is left alone in the end (%i)", async (status) => {
    bench.hub.faults.refusals = Array.from({ length: 100 }, () => ({ status }));
    const error = await bench.refusal(repo);
    expect(error.code).toBe("HUB_UNREACHABLE");
    expect(error.values["reason"]).toBe(`HTTP ${status}`);
    expect(bench.waits.length).toBe(5);
    expect(bench.waits.toSorted((a, b) => a - b)).toEqual(bench.waits);
  });

  test("nobody there", async () => {
    const gone = await ProxyDouble.start(0);
    const { url } = gone;
    await gone.close();
    const error = await bench.refusal(repo, { hub: new Hub(url) });
    expect(error.code).toBe("HUB_UNREACHABLE");
    expect(error.values["reason"]).toContain("ECONNREFUSED");
  });
});

describe("what is refused, and leaves nothing behind", () => {
  afterEach(() => {
    expect(readdirSync(bench.models).filter((name) => !name.startsWith("."))).toEqual([]);
  });

  test.each([401, 403])("a gated repository (%i)", async (status) => {
    bench.hub.faults.gate = "hf_other";
    const error = await bench.refusal(repo, status === 403 ? { token: "hf_mine" } : {});
    expect(error.code).toBe("HUB_DENIED");
    expect(error.values).toEqual({ repo, status });
  });

  test.each(["ada/nothing", `${repo}/nothing.pth`])(
    "what the hub does not have: %s",
    async (name) => {
      expect((await bench.refusal(name)).code).toBe("HUB_NOT_FOUND");
    },
  );

  test("a repository without weights, and one with a choice of them", async () => {
    bench.hub.put("ada/words", "README.md", "words", "small");
    expect((await bench.refusal("ada/words")).code).toBe("HUB_NOT_FOUND");
    bench.hub.put(repo, "other.pth", weights);
    const error = await bench.refusal(repo);
    expect(error.code).toBe("PULL_AMBIGUOUS");
    expect(error.values["files"]).toBe("eagle.pth, other.pth");
  });

  test.each(["world-9000b", "Eagle-7b"])("a name nobody knows: %s", async (name) => {
    const error = await bench.refusal(name);
    expect(error.code).toBe("MODEL_UNKNOWN");
    expect(error.values["names"]).toContain("world-0.4b");
  });

  test.each([
    "../x",
    "ada/..",
    "ada//x",
    "/etc/passwd",
    "ada/eagle/../../x",
    "",
    "a b/c",
    ".hidden",
  ])("a name that is no name: %j", async (name) => {
    expect((await bench.refusal(name)).code).toBe("USAGE");
    expect(bench.hub.requests).toEqual([]);
  });

  test("wrong bytes", async () => {
    bench.hub.faults.wrongBytes = true;
    const error = await bench.refusal(repo);
    expect(error.code).toBe("PULL_CORRUPT");
    expect(error.values["file"]).toBe("eagle.pth");
    expect(error.values["reason"]).toContain(sha256(weights));
  });

  test("wrong bytes in a small file, by its git blob id", async () => {
    bench.hub.faults.wrongBytes = true;
    const error = await bench.refusal(`${repo}/README.md`);
    expect(error.code).toBe("PULL_CORRUPT");
    expect(error.values["reason"]).toContain("git-sha1");
  });

  test("a known model that is another file there", async () => {
    bench.hub.put("BlinkDL/rwkv-5-world", "RWKV-5-World-0.4B-v2-20231113-ctx4096.pth", weights);
    const error = await bench.refusal("world-0.4b");
    expect(error.code).toBe("PULL_CORRUPT");
    expect(bench.hub.downloads().length).toBe(1);
  });

  test("more bytes than there should be", async () => {
    bench.hub.faults.extraBytes = 10;
    expect((await bench.refusal(repo)).code).toBe("PULL_CORRUPT");
  });

  test.each([-10, 10])("a length that is a lie (%i)", async (lie) => {
    bench.hub.faults.lengthLie = lie;
    expect((await bench.refusal(repo)).code).toBe("HUB_ANSWER");
  });

  test("a login page in place of the list or of the file", async () => {
    bench.hub.faults.html = true;
    expect((await bench.refusal(repo)).code).toBe("HUB_ANSWER");
    const error = await bench.refusal("world-0.4b");
    expect(error.code).toBe("HUB_ANSWER");
    expect(error.values["reason"]).toContain("web page");
  });

  test("redirects without end", async () => {
    bench.hub.faults.redirectLoop = true;
    expect((await bench.refusal(repo)).code).toBe("HUB_ANSWER");
    expect(bench.hub.requests.length).toBeLessThan(20);
  });

  test("more than the disk holds, before the first byte", async () => {
    bench.hub.faults.listedSizes.set("eagle.pth", 1e15);
    const error = await bench.refusal(repo);
    expect(error.code).toBe("DISK_FULL");
    expect(error.values["neededMb"]).toBeGreaterThan(1e9);
    expect(bench.hub.downloads()).toEqual([]);
  });
});

test("a file of somebody else is never overwritten; the same file is taken as it is", async () => {
  mkdirSync(join(bench.models, folder));
  const path = join(bench.models, folder, "eagle.pth");
  writeFileSync(path, "mine");
  expect((await bench.refusal(repo)).code).toBe("PULL_FILE_EXISTS");
  expect(bench.read(folder, "eagle.pth").toString()).toBe("mine");
  writeFileSync(path, weights);
  await bench.pull(repo);
  expectWhole();
  expect(bench.hub.downloads()).toHaveLength(1);
});

test("a folder that cannot be made or written", async () => {
  writeFileSync(join(bench.models, "file"), "");
  const directory = join(bench.models, "file", "below");
  const error = await bench.refusal(repo, { directory });
  expect(error.code).toBe("FOLDER_UNWRITABLE");
  expect(error.values).toEqual({ path: directory, reason: "EEXIST" });
  expect(bench.hub.downloads()).toEqual([]);
});

test("two pulls at once: one works, the other waits and finds it done", async () => {
  bench.hub.faults.slowBytes = 60_000;
  const both = await Promise.all([bench.pull(repo), bench.pull(repo)]);
  expect(both.filter(({ unchanged }) => unchanged)).toHaveLength(1);
  expect(bench.told.filter((line) => line === "waiting")).toHaveLength(1);
  expect(bench.hub.downloads()).toHaveLength(2);
  expectWhole();
});

test("a pull that was stopped for so long that another took over spoils nothing", async () => {
  bench.hub.faults.silentAfter = [200_000];
  const begun = new Promise<void>((done) => {
    bench.onBytes = (received) => received === 200_000 && done();
  });
  const stopped = bench.pull(repo).catch((error: unknown) => error);
  await begun;
  // What a lock looks like whose holder does not run, as after Ctrl-Z.
  utimesSync(join(bench.models, `.${folder}.lock`), new Date(0), new Date(0));
  await bench.pull(repo);
  expectWhole();
  // It is told that its line broke, and asks for the rest of what is no longer its own.
  bench.hub.cut();
  const error = await stopped;
  expectWhole();
  expect(error).toMatchObject({ code: "MODEL_BUSY", values: { name: folder } });
});

test("a newer revision takes the place of the older one, and of nothing else", async () => {
  bench.hub.put(repo, "notes.txt", "asked for by name", "small");
  const directory = join(bench.models, folder);
  await stopEarly();
  bench.hub.remove(repo, "eagle.pth");
  for (const part of [1, 2]) bench.hub.put(repo, `m-0000${part}-of-00002.safetensors`, weights);
  bench.hub.put(repo, "model.safetensors.index.json", "{}", "small");
  await bench.pull(repo);
  const first = readdirSync(directory).sort();
  expect(first).toHaveLength(5);
  expect(first).not.toContain("eagle.pth.partial");

  await bench.pull(`${repo}/notes.txt`, { directory });
  for (const part of [1, 2]) bench.hub.remove(repo, `m-0000${part}-of-00002.safetensors`);
  bench.hub.put(repo, "eagle.pth", weights);
  const { files } = await bench.pull(repo);
  const vocabularyName = "rwkv_vocab_v20230424.txt";
  expect(files.map(({ name }) => name).sort()).toEqual(["eagle.pth", vocabularyName]);
  const noted = readPullNote(directory)
    ?.files.map(({ name }) => name)
    .sort();
  const left = readdirSync(directory).filter((name) => name !== ".pull.json");
  expect(noted).toEqual(left.sort());
  expect(left).toEqual(["eagle.pth", "notes.txt", vocabularyName]);
});

test("a model is not removed while it is pulled", async () => {
  bench.hub.faults.slowBytes = 60_000;
  let removal: Promise<unknown> | undefined;
  bench.onBytes = () => {
    removal ??= removeModel(bench.models, folder).catch((error: unknown) => error);
  };
  await bench.pull(repo);
  expect(await removal).toMatchObject({ code: "MODEL_BUSY" });
  expectWhole();
  await removeModel(bench.models, folder);
  expect(existsSync(join(bench.models, folder))).toBe(false);
});

describe("a proxy", () => {
  let proxy: ProxyDouble;
  beforeEach(async () => {
    proxy = await ProxyDouble.start(bench.hub.port);
  });
  afterEach(() => proxy.close());

  test("is used for a hub that only it can reach", async () => {
    const options = { hub: new Hub("http://hub.invalid") };
    const environment = { HTTP_PROXY: proxy.url, NO_PROXY: "127.0.0.1" };
    await through(environment, () => bench.pull(repo, options));
    expectWhole();
    expect(new Set(proxy.tunnels)).toEqual(new Set(["hub.invalid:80"]));
  });

  test("HTTPS_PROXY is for https, and its refusal is told", async () => {
    proxy.refuseWith = 407;
    const options = { hub: new Hub("https://hub.invalid") };
    const error = await through({ HTTPS_PROXY: proxy.url }, () => bench.refusal(repo, options));
    expect(error.code).toBe("HUB_UNREACHABLE");
    expect(new Set(proxy.tunnels)).toEqual(new Set(["hub.invalid:443"]));
  });

  test("is left out where NO_PROXY says so", async () => {
    const environment = { HTTP_PROXY: proxy.url, NO_PROXY: "127.0.0.1" };
    await through(environment, () => bench.pull(repo));
    expect(proxy.tunnels).toEqual([]);
  });

  test("an address that is none is a wrong setting", () => {
    expect(() => useProxy({ HTTPS_PROXY: "not a proxy" })).toThrow("CONFIG_INVALID");
  });
});

/** Leaves the beginning of the weights behind. */
async function stopEarly(): Promise<void> {
  const stop = new AbortController();
  bench.hub.faults.slowBytes = 20_000;
  bench.onBytes = (received) => received >= 50_000 && stop.abort();
  await expect(bench.pull(repo, { signal: stop.signal })).rejects.toThrow("aborted");
  bench.onBytes = () => {};
  bench.hub.faults.slowBytes = 0;
  bench.hub.requests.length = 0;
  expect(bench.read(folder, "eagle.pth.partial").length).toBeGreaterThan(0);
}

async function through<T>(environment: Record<string, string>, work: () => Promise<T>): Promise<T> {
  const restore = useProxy(environment);
  try {
    return await work();
  } finally {
    restore();
  }
}

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { provisionRedis } from "#infra/redis/provision.ts";
import { connect, provision, readableLog, temporaryFolder } from "./place.ts";

const starter = fileURLToPath(new URL("starter.ts", import.meta.url));

/** A process that runs a server; killed when the test ends. */
async function startElsewhere(dataDirectory: string, kind: string) {
  const child = spawn(process.execPath, [starter, dataDirectory, kind], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [url] = (await once(createInterface(child.stdout), "line")) as [string];
  return { child, url };
}

/** The processes whose command line names the folder: the guard, its watching half, the server. */
async function processesOf(folder: string): Promise<string[]> {
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    ids.map((id) => readFile(`/proc/${id}/cmdline`, "utf8").catch(() => "")),
  );
  return lines.filter((line) => line.includes(folder)).map((line) => line.replaceAll("\0", " "));
}

describe.each(["binary", "javascript"] as const)("a %s server of ours", (kind) => {
  test("is gone after stop, with its guard", async () => {
    const dataDirectory = await temporaryFolder();
    const redis = await provision({ dataDirectory, kinds: [kind] });
    expect(await processesOf(dataDirectory)).not.toEqual([]);
    await redis.stop();
    await vi.waitFor(async () => expect(await processesOf(dataDirectory)).toEqual([]), 5_000);
  });

  test("is gone when the process that started it is killed with -9", async () => {
    const dataDirectory = await temporaryFolder();
    const { child, url } = await startElsewhere(dataDirectory, kind);
    expect(await connect(url).ping()).toBe("PONG");
    child.kill("SIGKILL");
    await vi.waitFor(async () => expect(await processesOf(dataDirectory)).toEqual([]), 10_000);
  });

  test("is used by a second process and not stopped by it", async () => {
    const dataDirectory = await temporaryFolder();
    const { url } = await startElsewhere(dataDirectory, kind);
    const second = await provision({ dataDirectory, kinds: [kind] });
    expect(second.url).toBe(url);
    await second.stop();
    expect(await connect(url).ping()).toBe("PONG");
  });

  test("is restarted at the same place when it dies", async () => {
    const dataDirectory = await temporaryFolder();
    const log = readableLog();
    const redis = await provision({ dataDirectory, kinds: [kind], log });
    const client = connect(redis.url);
    await client.set("kept", "yes");
    await killServer(dataDirectory);
    await vi.waitFor(() => expect(log.lines.at(-1)).toContain("serves again"), 10_000);
    expect(log.lines).toContainEqual(expect.stringContaining("ended unexpectedly"));
    expect(await client.get("kept")).toBe(kind === "binary" ? "yes" : null);
  });

  test("listens on 127.0.0.1 with a password where a socket's path would be too long", async () => {
    const dataDirectory = join(await temporaryFolder(), "long".repeat(25));
    const redis = await provision({ dataDirectory, kinds: [kind] });
    expect(redis.url).toMatch(/^redis:\/\/:\w{48}@127\.0\.0\.1:\d+$/);
    expect(await connect(redis.url).ping()).toBe("PONG");
    const { port } = new URL(redis.url);
    await expect(connect(`redis://127.0.0.1:${port}`).get("x")).rejects.toThrow("NOAUTH");
    const listening = await readFile("/proc/net/tcp", "utf8");
    const portHex = Number(port).toString(16).toUpperCase().padStart(4, "0");
    const rows = listening
      .split("\n")
      .filter((row) => row.includes(`:${portHex} 00000000:0000 0A`));
    expect(rows).toEqual([expect.stringContaining(`0100007F:${portHex}`)]);
    expect(await readFile("/proc/net/tcp6", "utf8")).not.toContain(`:${portHex} 0000000000000000`);
  });
});

/** Kills the server itself, which is the guard's child, with -9. */
async function killServer(folder: string): Promise<void> {
  for (const id of await readdir("/proc")) {
    const path = `/proc/${id}/cmdline`;
    const line = /^\d+$/.test(id) ? await readFile(path, "utf8").catch(() => "") : "";
    const isServer = line.startsWith("/") && !line.startsWith("/bin/sh") && line.includes(folder);
    if (isServer || (/^\S*redis-server unixsocket:/.test(line) && line.includes(folder))) {
      process.kill(Number(id), "SIGKILL");
    }
  }
}

describe("a server's data", () => {
  test("is there again after a stop and a start", async () => {
    const dataDirectory = await temporaryFolder();
    const first = await provision({ dataDirectory, kinds: ["binary"] });
    await connect(first.url).set("kept", "yes");
    await first.stop();
    const second = await provision({ dataDirectory, kinds: ["binary"] });
    expect(await connect(second.url).get("kept")).toBe("yes");
  });

  test("is there when the starter and the server were killed together", async () => {
    const dataDirectory = await temporaryFolder();
    const { child, url } = await startElsewhere(dataDirectory, "binary");
    await connect(url).set("kept", "yes");
    child.kill("SIGKILL");
    await killServer(dataDirectory);
    const second = await provision({ dataDirectory, kinds: ["binary"] });
    expect(await connect(second.url).get("kept")).toBe("yes");
  });

  test("that is damaged is REDIS_UNAVAILABLE and left as it is", async () => {
    const dataDirectory = await temporaryFolder();
    const folder = join(dataDirectory, "redis", "truth", "appendonlydir");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "appendonly.aof.manifest"), "nonsense\n");
    const options = { role: "truth", dataDirectory, kinds: ["binary"] } as const;
    await expect(provisionRedis({ ...options, log: readableLog() })).rejects.toMatchObject({
      code: "REDIS_UNAVAILABLE",
      message: expect.stringContaining("ended with code 1"),
    });
    expect(await readFile(join(folder, "appendonly.aof.manifest"), "utf8")).toBe("nonsense\n");
  });

  test("can be read by nobody else", async () => {
    const dataDirectory = await temporaryFolder();
    const redis = await provision({ dataDirectory, kinds: ["binary"] });
    expect((await stat(join(dataDirectory, "redis", "truth"))).mode & 0o777).toBe(0o700);
    expect((await stat(redis.url)).mode & 0o777).toBe(0o700);
  });
});

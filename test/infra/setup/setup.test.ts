import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, test, vi } from "vitest";
import { makeCheckout } from "./checkout.ts";

const hello = "const [, , ...args] = process.argv; console.log(`hello ${args.join(' ')}`);";

describe("installing", () => {
  test("happens on the first start and not again", async () => {
    const checkout = await makeCheckout();
    await checkout.write("hello.ts", hello);
    const first = await checkout.run("--run", "hello.ts", "a", "b c");
    expect(first).toMatchObject({ code: 0, stdout: "hello a b c\n" });
    expect(first.stderr).toContain("Installing dependencies");
    const second = await checkout.run("--run", "hello.ts");
    expect(second).toEqual({ code: 0, stdout: "hello \n", stderr: "" });
    expect(await checkout.npmCalls()).toEqual([expect.stringMatching(/^ci /)]);
  });

  test("happens once when two start together", async () => {
    const checkout = await makeCheckout();
    await checkout.write("hello.ts", hello);
    const both = await Promise.all([
      checkout.run("--run", "hello.ts", "1"),
      checkout.run("--run", "hello.ts", "2"),
    ]);
    expect(both.map((one) => one.stdout)).toEqual(["hello 1\n", "hello 2\n"]);
    expect(await checkout.npmCalls()).toHaveLength(1);
  });

  test("happens again when the lock file has changed", async () => {
    const checkout = await makeCheckout();
    await checkout.write("hello.ts", hello);
    await checkout.run("--run", "hello.ts");
    const lock = await readFile(join(checkout.folder, "package-lock.json"), "utf8");
    await checkout.write("package-lock.json", lock.replace("1.0.0", "1.0.1"));
    expect(await checkout.run("--run", "hello.ts")).toMatchObject({ code: 0 });
    expect(await checkout.npmCalls()).toHaveLength(2);
  });

  test("does not touch what somebody else installed from the same lock file", async () => {
    const checkout = await makeCheckout();
    await checkout.write("hello.ts", hello);
    spawnSync(join(checkout.folder, "bin", "npm"), ["by hand"], { cwd: checkout.folder });
    expect(await checkout.run("--run", "hello.ts")).toMatchObject({ code: 0, stderr: "" });
    expect(await checkout.npmCalls()).toEqual(["by hand"]);
  });

  test("takes over from a start that died in the middle", async () => {
    const checkout = await makeCheckout();
    await checkout.write("hello.ts", hello);
    const lockPath = join(checkout.folder, ".eyrie", "setup.lock");
    await checkout.write(".eyrie/setup.lock", "1\n");
    const longAgo = new Date(Date.now() - 60_000);
    await utimes(lockPath, longAgo, longAgo);
    expect(await checkout.run("--run", "hello.ts")).toMatchObject({ code: 0 });
    expect(await checkout.npmCalls()).toHaveLength(1);
  });

  test("without a network ends in one line that says what to do", async () => {
    const npm = "#!/bin/sh\necho 'npm error code EAI_AGAIN' >&2\nexit 1\n";
    const checkout = await makeCheckout({ npm });
    const { code, stderr } = await checkout.run("--run", "hello.ts");
    expect(code).toBe(1);
    expect(stderr.trim().split("\n").at(-1)).toMatch(
      /^SETUP_FAILED: npm cannot reach its registry\. .*then start again \(EAI_AGAIN\)\.$/,
    );
  });

  test("without npm says so", async () => {
    const checkout = await makeCheckout({ npm: undefined });
    const { code, stderr } = await checkout.run("--run", "hello.ts");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^SETUP_FAILED: npm was not found on PATH\./m);
  });
});

async function firstLine(child: ChildProcess): Promise<string> {
  const [line] = (await once(createInterface(child.stdout!), "line")) as [string];
  return line;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Stands in for npm: runs its argument in a shell, as npm runs a script. */
const standIn = `
  require("node:child_process").spawn("sh", ["-c", process.argv[1]], { stdio: "inherit" });
`;

/** Prints its id, counts signals into a file, and ends by itself only on the second one. */
const waiter = `
  import { appendFileSync } from "node:fs";
  import { exitWithParent } from "./infra/setup/parent.ts";
  exitWithParent({ graceMs: 500 });
  process.on("SIGTERM", () => appendFileSync("signals", "SIGTERM\\n"));
  process.on("SIGINT", () => { appendFileSync("signals", "SIGINT\\n"); process.exit(7); });
  console.log(process.pid);
  setInterval(() => {}, 1000);
`;

describe("the launcher", () => {
  test("passes the exit code on", async () => {
    const checkout = await makeCheckout();
    await checkout.write("fail.ts", "const code: number = 3; process.exit(code);");
    expect(await checkout.run("--run", "fail.ts")).toMatchObject({ code: 3 });
  });

  test("says how it is used", async () => {
    const checkout = await makeCheckout();
    expect(await checkout.run("--run")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("usage:"),
    });
  });

  test("passes each signal on once, and then the exit code", async () => {
    const checkout = await makeCheckout();
    await checkout.write("waiter.ts", waiter);
    const launcher = checkout.start("--run", "waiter.ts");
    await firstLine(launcher);
    launcher.kill("SIGTERM");
    const signals = join(checkout.folder, "signals");
    await vi.waitFor(async () => expect(await readFile(signals, "utf8")).toBe("SIGTERM\n"));
    launcher.kill("SIGTERM");
    launcher.kill("SIGINT");
    expect(await once(launcher, "exit")).toEqual([7, null]);
    expect(await readFile(signals, "utf8")).toBe("SIGTERM\nSIGINT\n");
  });

  test("ends by the signal that ended the program", async () => {
    const checkout = await makeCheckout();
    await checkout.write(
      "own.ts",
      "process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 9);",
    );
    const launcher = checkout.start("--run", "own.ts");
    expect(await once(launcher, "exit")).toEqual([null, "SIGTERM"]);
  });

  test("takes the program along when it is killed with -9", async () => {
    const checkout = await makeCheckout();
    await checkout.write("waiter.ts", waiter);
    const launcher = checkout.start("--run", "waiter.ts");
    const pid = Number(await firstLine(launcher));
    launcher.kill("SIGKILL");
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), 5_000);
    // It was asked first, and stopped the hard way because this one does not obey.
    expect(await readFile(join(checkout.folder, "signals"), "utf8")).toBe("SIGTERM\n");
  });

  test.each(["direct", "launched"])("ends when npm is killed with -9 (%s)", async (way) => {
    const checkout = await makeCheckout();
    await checkout.write("waiter.ts", waiter);
    await checkout.run("--run"); // installs
    const commands = join(checkout.folder, "node_modules", ".bin");
    if (way === "direct") {
      // The running Node is the pinned one: the bootstrap becomes the program.
      await rm(join(commands, "node"));
      await symlink(process.execPath, join(commands, "node"));
    }
    // npm starts a shell, and the shell starts us.
    const script = `"${process.execPath}" eyrie.mjs --run waiter.ts; true`;
    const npm = spawn(process.execPath, ["-e", standIn, script], {
      cwd: checkout.folder,
      env: { PATH: "/usr/bin:/bin", npm_lifecycle_event: "start" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const pid = Number(await firstLine(npm));
    npm.kill("SIGKILL");
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), 8_000);
  });

  test("keeps onnxruntime from reporting to its maker", async () => {
    const checkout = await makeCheckout();
    await checkout.write("tell.ts", "console.log(process.env.ORT_DISABLE_TELEMETRY);");
    expect((await checkout.run("--run", "tell.ts")).stdout).toBe("1\n");
  });

  test.each(["direct", "launched"])("keeps compiled code for the next start (%s)", async (way) => {
    const checkout = await makeCheckout();
    await checkout.write("part.ts", "export const said: string = 'once';");
    await checkout.write("tell.ts", "import { said } from './part.ts'; console.log(said);");
    await checkout.run("--run"); // installs
    const modules = join(checkout.folder, "node_modules");
    if (way === "direct") {
      await rm(join(modules, ".bin", "node"));
      await symlink(process.execPath, join(modules, ".bin", "node"));
    }
    expect((await checkout.run("--run", "tell.ts")).stdout).toBe("once\n");
    const kept = await readdir(join(modules, ".cache", "eyrie"), { recursive: true });
    expect(kept.length).toBeGreaterThan(2);
    // Nothing depends on it.
    await rm(join(modules, ".cache"), { recursive: true });
    await writeFile(join(modules, ".cache"), "in the way");
    expect((await checkout.run("--run", "tell.ts")).stdout).toBe("once\n");
  });

  test("puts the commands of the packages first on PATH, and starts no Node of another age", async () => {
    const checkout = await makeCheckout();
    await checkout.write("path.ts", "console.log(process.env.PATH?.split(':')[0]);");
    const { stdout } = await checkout.run("--run", "path.ts");
    const commands = join(checkout.folder, "node_modules", ".bin");
    expect(stdout.trim()).toBe(commands);
    expect((await readdir(commands)).sort()).toEqual(["eyrie", "node"]);
    await writeFile(join(commands, "node"), "#!/nowhere/node\n");
    const broken = await checkout.run("--run", "path.ts");
    expect(broken).toMatchObject({ code: 1, stderr: expect.stringMatching(/^SETUP_FAILED: /) });
  });
});

import { afterEach, expect, test, vi } from "vitest";
import { EyrieError } from "#infra/errors/error.ts";
import { reportError } from "#infra/process/process.ts";

afterEach(() => {
  process.exitCode = 0;
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

async function reported(error: unknown, locale = "en-US"): Promise<string> {
  let written = "";
  vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
    written += String(chunk);
    return true;
  });
  await reportError(error, locale);
  return written;
}

test("an operating error is one line with its code, in the operator's language", async () => {
  const error = new EyrieError("PORT_IN_USE", { host: "127.0.0.1", port: 80 });
  const english = await reported(error);
  expect(english).toMatch(/^PORT_IN_USE: .*80.*\n$/);
  expect(process.exitCode).toBe(1);
  expect(await reported(error, "ja")).not.toBe(english);
});

test("words of others in it do not steer the terminal", async () => {
  const reason = 'Unrecognized key: "\u001b[2Jboo\u0007\n"';
  const line = await reported(new EyrieError("MODEL_BROKEN", { path: "/m\u009b1m", reason }));
  expect(line).toMatch(/^MODEL_BROKEN: [^\p{Cc}]*\[2Jboo[^\p{Cc}]*\n$/u);
});

test("bad usage counts as such", async () => {
  await reported(new EyrieError("USAGE", { reason: "x" }));
  expect(process.exitCode).toBe(2);
});

test("a mistake of ours is INTERNAL, and shows where only when asked to", async () => {
  const mistake = new TypeError("undefined is not a bird");
  expect(await reported(mistake)).toMatch(/^INTERNAL: [^\n]+\n$/);
  vi.stubEnv("EYRIE_LOG_LEVEL", "debug");
  expect(await reported(mistake)).toContain("process.test.ts");
});

import { expect, test } from "vitest";
import { duration, ProgressBar } from "#apps/cli/progress.ts";

const timeLeft = (time: string): string => `${time} left`;

test("a bar counts other things than bytes", () => {
  const bar = new ProgressBar("bench", 8, { timeLeft, amount: String });
  expect(bar.line(2, 3)).toBe("bench ██████░░░░░░░░░░░░░░░░░░  25.0 %  2 / 8  3/s  0:02 left");
});

test("a bar says how far, how fast and how long", () => {
  const bar = new ProgressBar("eagle.pth", 4 * 1024 ** 3, { timeLeft });
  const line = bar.line(1024 ** 3, 64 * 1024 ** 2);
  expect(line).toBe(
    "eagle.pth ██████░░░░░░░░░░░░░░░░░░  25.0 %  1.0 GiB / 4.0 GiB  64.0 MiB/s  0:48 left",
  );
  expect(bar.line(0, 0)).not.toContain("/s");
  expect(bar.line(4 * 1024 ** 3, 1)).not.toContain("left");
  expect(new ProgressBar("", 0, { timeLeft }).line(0, 0)).toContain("100.0 %");
});

test.each([
  [0.2, "0:01"],
  [59, "0:59"],
  [750, "12:30"],
  [11_100, "3:05:00"],
])("%d seconds are %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

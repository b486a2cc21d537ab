/**
 * How far a long piece of work has come, on standard error: a line that is drawn over while a
 * person watches, nothing at all otherwise.
 */
import { bytes } from "./output.ts";

const redrawMs = 100;
/** The speed is that of the last seconds: a resumed or stalled transfer shows at once. */
const speedWindowMs = 5_000;
const barWidth = 24;

export class ProgressBar {
  readonly #label: string;
  readonly #total: number;
  readonly #timeLeft: (time: string) => string;
  readonly #amount: (count: number) => string;
  readonly #samples: { atMs: number; done: number }[] = [];
  #drawnAtMs = 0;
  #drawn = false;

  /** `amount` words what is counted; left out: bytes. */
  constructor(
    label: string,
    total: number,
    options: {
      readonly timeLeft: (time: string) => string;
      readonly amount?: (count: number) => string;
    },
  ) {
    this.#label = label;
    this.#total = total;
    this.#timeLeft = options.timeLeft;
    this.#amount = options.amount ?? bytes;
  }

  update(done: number): void {
    if (!process.stderr.isTTY) return;
    const nowMs = performance.now();
    const last = this.#samples.at(-1);
    // What was there before, or was thrown away, came at no speed.
    if (last !== undefined && done < last.done) this.#samples.length = 0;
    this.#samples.push({ atMs: nowMs, done });
    while (nowMs - (this.#samples[0]?.atMs ?? nowMs) > speedWindowMs) this.#samples.shift();
    if (done < this.#total && nowMs - this.#drawnAtMs < redrawMs) return;
    this.#drawnAtMs = nowMs;
    this.#draw(this.line(done, this.#perSecond()));
  }

  /** Removes the bar, so that something else can be said. */
  clear(): void {
    if (this.#drawn) process.stderr.write("\r\x1b[K");
    this.#drawn = false;
  }

  line(done: number, perSecond: number): string {
    const share = this.#total === 0 ? 1 : Math.min(1, done / this.#total);
    const filled = Math.round(share * barWidth);
    const bar = "█".repeat(filled) + "░".repeat(barWidth - filled);
    const left = this.#total - done;
    const parts = [
      `${this.#label} ${bar} ${(100 * share).toFixed(1).padStart(5)} %`,
      `${this.#amount(done)} / ${this.#amount(this.#total)}`,
      ...(perSecond > 0 ? [`${this.#amount(Math.round(perSecond))}/s`] : []),
      ...(perSecond > 0 && left > 0 ? [this.#timeLeft(duration(left / perSecond))] : []),
    ];
    return parts.join("  ");
  }

  #draw(line: string): void {
    const columns = process.stderr.columns || 80;
    process.stderr.write(`\r${line.slice(0, columns - 1)}\x1b[K`);
    this.#drawn = true;
  }

  #perSecond(): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || last.atMs - first.atMs < 200) return 0;
    return (1000 * (last.done - first.done)) / (last.atMs - first.atMs);
  }
}

/** `0:07`, `12:30`, `3:05:00`. */
export function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0
    ? `${hours}:${twoDigits(minutes)}:${twoDigits(whole % 60)}`
    : `${minutes}:${twoDigits(whole % 60)}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, "0");
}

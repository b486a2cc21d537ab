/**
 * What the person sees: settled messages scroll up, the newest one is redrawn in place as it is
 * edited, the input line stays below. Without a terminal every version is printed once, in order.
 */
import { clearScreenDown, cursorTo, moveCursor } from "node:readline";
import type { Interface } from "node:readline";
import type { Message } from "../messages.ts";
import type { Channel, World } from "../world.ts";
import { drawMessage, paint, wrap } from "./format.ts";
import type { Look } from "./format.ts";

const columnsDefault = 100;

export class Screen {
  readonly #world: World;
  readonly #out: NodeJS.WriteStream;
  /** The input line; null when lines come from a script. */
  readonly #input: Interface | null;
  /** How much of each message has been shown: versions, plus one once it is deleted. */
  readonly #shown = new Map<string, number>();
  /** The message that is still redrawn, and the rows it takes. */
  #live: { message: Message; rows: number } | null = null;

  constructor(world: World, out: NodeJS.WriteStream, input: Interface | null) {
    this.#world = world;
    this.#out = out;
    this.#input = input;
  }

  get look(): Look {
    const columns = this.#out.columns ?? columnsDefault;
    return { columns: Math.max(20, columns), colour: this.#out.isTTY && !process.env["NO_COLOR"] };
  }

  /** One line from the double itself, not from the channel. */
  note(text: string): void {
    const rows = wrap(text, this.look.columns - 2);
    this.#print(rows.map((row) => paint(this.look, "yellow", `· ${row}`)));
  }

  say(lines: readonly string[]): void {
    this.#print(lines);
  }

  /** Entering a channel: its history is drawn again. */
  enter(channel: Channel): void {
    this.#settle();
    for (const id of this.#shown.keys()) this.#shown.delete(id);
    const where = channel.guildId === null ? `@${channel.name}` : `#${channel.name}`;
    this.#print([paint(this.look, "dim", `── ${where} ${"─".repeat(30)}`)]);
  }

  /** Shows whatever is new since the last call. */
  refresh(messages: readonly Message[]): void {
    for (const message of messages) {
      const versions = message.history.length + (message.deletedAtMs === null ? 0 : 1);
      const before = this.#shown.get(message.id) ?? 0;
      if (versions === before) continue;
      this.#shown.set(message.id, versions);
      if (this.#live?.message !== message) this.#settle();
      this.#draw(message);
    }
  }

  #draw(message: Message): void {
    const lines = drawMessage(this.#world, message, this.look);
    if (!this.#isTerminal()) {
      this.#out.write(`${lines.join("\n")}\n`);
      return;
    }
    this.#clear();
    this.#out.write(`${lines.join("\n")}\n\n`);
    // A live message taller than the screen cannot be redrawn in place: let it scroll.
    const fits = lines.length + 2 < (this.#out.rows ?? 24);
    this.#live = fits ? { message, rows: lines.length + 1 } : null;
    this.#input?.prompt(true);
  }

  #print(lines: readonly string[]): void {
    this.#settle();
    if (this.#isTerminal()) this.#clear();
    this.#out.write(`${lines.join("\n")}\n`);
    if (this.#isTerminal()) this.#input?.prompt(true);
  }

  /** What is drawn now stays as it is. */
  #settle(): void {
    this.#live = null;
  }

  #isTerminal(): boolean {
    return this.#out.isTTY && this.#input !== null;
  }

  /** Back over the input line and the live message. */
  #clear(): void {
    cursorTo(this.#out, 0);
    const typed = this.#input?.getCursorPos().rows ?? 0;
    moveCursor(this.#out, 0, -(typed + (this.#live?.rows ?? 0)));
    clearScreenDown(this.#out);
  }

  /** The person pressed return: what they said comes back as a message, so its echo goes. */
  lineEntered(line: string): void {
    if (!this.#isTerminal()) return;
    this.#settle();
    if (line.startsWith("/")) return;
    moveCursor(this.#out, 0, -wrap(`› ${line}`, this.look.columns).length);
    clearScreenDown(this.#out);
  }
}

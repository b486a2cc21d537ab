/**
 * `npm run double`: Discord on your own machine. Starts the double on a loopback port, says how to
 * point Eyrie at it, and shows a channel to talk in.
 *
 * Exit code 0 at the end of the script or on /quit, 1 when a line of a script could not be done,
 * 2 for bad usage.
 */
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type { Interface } from "node:readline";
import { Command, InvalidArgumentError } from "commander";
import { GatewayIntentBits as Intent } from "discord-api-types/v10";
import { DiscordDouble } from "./double.ts";
import { paint } from "./terminal/format.ts";
import { Room } from "./terminal/room.ts";
import { Screen } from "./terminal/screen.ts";

const refreshMs = 50;

interface Options {
  readonly port: number;
  readonly token: string;
  readonly script?: string;
  readonly messageContent: boolean;
  readonly limits: boolean;
}

function port(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 0 && number < 65_536) return number;
  throw new InvalidArgumentError("a port is a number from 0 to 65535");
}

function readOptions(): Options {
  const program = new Command("double")
    .description("A stand-in for Discord on this machine, with a channel to talk in.")
    .option("--port <number>", "loopback port; 0 takes a free one", port, 4_010)
    .option("--token <text>", "the bot token it accepts", "double.local.token")
    .option("--script <file>", "do the lines of a file (- for standard input), then leave")
    .option("--message-content", "switch the MESSAGE_CONTENT intent on", false)
    .option("--no-limits", "lift Discord's rate limits")
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));
  return program.parse().opts();
}

function greet(double: DiscordDouble, screen: Screen): void {
  const dim = (text: string): string => paint(screen.look, "dim", text);
  const lines = [
    `${paint(screen.look, "bold", "Discord double")} ${dim("— point Eyrie at it with:")}`,
    "",
    `DISCORD_TOKEN=${double.token} DISCORD_API_URL=${double.restUrl}`,
    "",
    dim("/help says what you can type"),
  ];
  screen.say(lines);
}

/** Lines of the script, or what is typed; the prompt is drawn by the screen. */
function openInput(options: Options): { lines: Interface; isInteractive: boolean } {
  const { script } = options;
  const isInteractive = script === undefined && process.stdin.isTTY && process.stdout.isTTY;
  const fromFile = script !== undefined && script !== "-";
  const input = fromFile ? createReadStream(script) : process.stdin;
  const lines = isInteractive
    ? createInterface({ input, output: process.stdout, prompt: "› " })
    : createInterface({ input });
  return { lines, isInteractive };
}

/** Does line after line; the number of lines that failed. */
async function converse(
  room: Room,
  screen: Screen,
  input: { lines: Interface; show: () => void },
): Promise<number> {
  let failed = 0;
  for await (const line of input.lines) {
    screen.lineEntered(line);
    try {
      const outcome = await room.type(line);
      input.show();
      if (outcome.moved) screen.enter(room.seat.channel);
      for (const note of outcome.notes ?? []) screen.note(note);
      if (outcome.quit) break;
    } catch (error) {
      failed += 1;
      screen.note(error instanceof Error ? error.message : String(error));
    }
  }
  return failed;
}

/** Brings the screen in step with the double. */
function shower(double: DiscordDouble, room: Room, screen: Screen): () => void {
  let connected = 0;
  return () => {
    const now = double.gateway.live.length;
    if (now !== connected) screen.note(now > connected ? "the bot is online" : "the bot is gone");
    connected = now;
    const { channel, user } = room.seat;
    const visible = double
      .messages(channel, { deleted: true })
      .filter(({ ephemeralFor }) => ephemeralFor === null || ephemeralFor === user.id);
    screen.refresh(visible);
  };
}

async function main(): Promise<number> {
  const options = readOptions();
  const double = await DiscordDouble.start({
    port: options.port,
    token: options.token,
    enabledIntents: options.messageContent ? Intent.MessageContent : 0,
  });
  if (!options.limits) double.rateLimits.lift();
  const guild = double.addGuild({ name: "Aerie" });
  const channel = double.addChannel(guild, { name: "general" });
  const room = new Room(double, { guild, channel, user: double.addUser({ name: "you" }) });

  const { lines, isInteractive } = openInput(options);
  const screen = new Screen(double.world, process.stdout, isInteractive ? lines : null);
  greet(double, screen);
  screen.enter(channel);
  lines.on("SIGINT", () => lines.close());
  const show = shower(double, room, screen);
  const timer = setInterval(show, refreshMs);
  const failed = await converse(room, screen, { lines, show });
  clearInterval(timer);
  lines.close();
  await double.close();
  return isInteractive || failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  // A taken port or an unreadable script: one line, not a stack.
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}

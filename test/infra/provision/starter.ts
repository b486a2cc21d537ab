/** A program for the tests: starts a server, prints where, and then only lives. */
import { provisionRedis } from "#infra/redis/provision.ts";

const [dataDirectory, kind] = process.argv.slice(2);
const log = { info: () => {}, warn: () => {}, error: (line: string) => console.error(line) };
const { url } = await provisionRedis({
  role: "truth",
  dataDirectory: dataDirectory!,
  kinds: [kind as "binary" | "javascript"],
  log,
});
process.stdout.write(`${url}\n`);
setInterval(() => {}, 60_000);

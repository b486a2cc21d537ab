/** Asks before something is gone for good; only where a person can answer. */
import { createInterface } from "node:readline/promises";

/** True without a terminal: a script has decided already. `yes` is the local word for it. */
export async function confirmed(question: string, yes: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return true;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = (await terminal.question(question)).trim().toLowerCase();
    return answer === yes || answer === "y";
  } finally {
    terminal.close();
  }
}

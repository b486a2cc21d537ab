/**
 * A program: reads the directory of the .pth file open at descriptor 3 and prints one line of JSON.
 *
 * Started by `pth-process.ts` with little memory, without an environment and without the right to
 * open, write or start anything. A refusal is an answer like any other; whatever else goes wrong ends
 * the process without an answer.
 */
import { writeFileSync } from "node:fs";
import { descriptorSource } from "./byte-source.ts";
import { readPth } from "./pth.ts";
import { FormatRefusal } from "./refusal.ts";

const file = 3;
const standardOutput = 1;

writeFileSync(standardOutput, JSON.stringify(answer()));

function answer(): unknown {
  try {
    return readPth(descriptorSource(file));
  } catch (error) {
    if (!(error instanceof FormatRefusal)) throw error;
    const detail = error.message.slice(error.reason.length + 2);
    return { refused: error.reason, detail };
  }
}

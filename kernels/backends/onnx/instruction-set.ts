/** Names the instruction set that decides onnxruntime's choice of CPU kernels, for numeric classes. */
import { readFileSync } from "node:fs";

/** Each brings kernels that add up in an order of their own; best first, named as Linux does. */
const extensions = ["avx512_vnni", "avx512f", "avx2", "sve", "asimd"];

/** For example `x64-avx512vnni`; the architecture alone where the system does not tell. */
export function instructionSet(): string {
  const flags = cpuFlags();
  const best = extensions.find((extension) => flags.has(extension));
  return best === undefined ? process.arch : `${process.arch}-${best.replace("_", "")}`;
}

function cpuFlags(): ReadonlySet<string> {
  let text: string;
  try {
    text = readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return new Set();
  }
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(text);
  return new Set(line?.[1]?.trim().split(/\s+/));
}

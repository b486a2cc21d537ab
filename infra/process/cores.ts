/** How many threads of numbers this machine can really run. */
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

const cpuDirectory = "/sys/devices/system/cpu";

/**
 * Physical cores this process may use: two hardware threads of one core share its multipliers, so a
 * second thread there buys nothing. Where the kernel does not tell, every processor counts as a core.
 */
export function physicalCores(): number {
  const allowed = availableParallelism();
  try {
    const siblings = readdirSync(cpuDirectory)
      .filter((name) => /^cpu\d+$/.test(name))
      .map((name) => readFileSync(`${cpuDirectory}/${name}/topology/thread_siblings_list`, "utf8"));
    const cores = new Set(siblings).size;
    return cores === 0 ? allowed : Math.min(allowed, cores);
  } catch {
    return allowed;
  }
}

/**
 * How V8 keeps the memory of our long-running processes, as arguments for Node; threads inherit it.
 *
 * Left alone, V8 lets the space for new objects grow to 128 MiB a thread on a large machine, over many
 * minutes, and keeps it. Ours die young: with 32 MiB a gateway under load is resident in 260 instead of
 * 340 MiB, a worker in 290 instead of 335, and neither grows after its first minutes. CPU is the same
 * within the noise of the measurement, from 8 to 128 MiB (`bench platform --workload tokens`, two cores).
 */
export const heapArguments: readonly string[] = ["--max-semi-space-size=16"];

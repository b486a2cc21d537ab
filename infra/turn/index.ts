/** The turn domain: pure, imports nothing else of ours. Read `turn.ts` first. */
export * from "./ids.ts";
export * from "./turn.ts";

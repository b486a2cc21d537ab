import { loadTranslator } from "#infra/i18n/i18n.ts";
import { Lua } from "./redis/lua.ts";
import { runSeed } from "./run.ts";
import { inWords } from "../invariants/violation.ts";
const [first = "1", n = "1", turns = "50", trace = ""] = process.argv.slice(2);
const lua = await Lua.open();
const translator = await loadTranslator();
const t0 = process.cpuUsage();
for (let s = Number(first); s < Number(first) + Number(n); s++) {
  const r = await runSeed({
    seed: s,
    turns: Number(turns),
    lua,
    translator,
    ...(trace ? { trace: (l: string) => console.log(l) } : {}),
  });
  const u = process.cpuUsage(t0);
  console.log(
    s,
    r.turns,
    Math.round(r.virtualMs),
    r.violations.length,
    ((u.user + u.system) / 1e6).toFixed(2),
  );
  if (r.violations.length) console.log(inWords(r.violations));
}

/**
 * The names that others give to the tensors of a v5 model, turned into BlinkDL's own.
 *
 * Hugging Face: BBuf/RWKV-World-HF-Tokenizer, scripts/convert_rwkv5_checkpoint_to_hf.py.
 * web-rwkv and ai00 (`.st`): cryscan/web-rwkv, assets/scripts/convert_safetensors.py; of v5 it renames
 * the bonus and transposes nothing. In a .pth the name `time_first` means another thing (a bonus that
 * is exponentiated, v5.1 and older), so there it stays and is refused.
 */

export type Dialect = "BlinkDL" | "Hugging Face" | "web-rwkv";

export function dialectOf(names: readonly string[], container: "torch" | "safetensors"): Dialect {
  if (names.some((name) => name.startsWith("rwkv."))) return "Hugging Face";
  const renamed = names.some((name) => name.endsWith(".att.time_first"));
  return container === "safetensors" && renamed ? "web-rwkv" : "BlinkDL";
}

/** The canonical name of each, in the same order. */
export function canonicalNames(names: readonly string[], dialect: Dialect): string[] {
  switch (dialect) {
    case "BlinkDL":
      return [...names];
    case "Hugging Face":
      return names.map(fromHuggingFace);
    case "web-rwkv": {
      // Only v6 decays by data; there `time_mix` was `time_maa`, by which the version is told.
      const v6 = names.some((name) => name.includes(".att.time_decay_w1"));
      return names.map((name) => {
        const mix = v6 ? name.replace(".time_mix_", ".time_maa_") : name;
        return mix.replace(/\.time_first$/, ".time_faaaa");
      });
    }
  }
}

const shortMix: Readonly<Record<string, string>> = {
  key: "k",
  value: "v",
  receptance: "r",
  gate: "g",
};

function fromHuggingFace(name: string): string {
  return name
    .replace(/^rwkv\./, "")
    .replace(/^embeddings\./, "emb.")
    .replace(/^blocks\.0\.pre_ln\./, "blocks.0.ln0.")
    .replace(/^(blocks\.\d+)\.attention\./, "$1.att.")
    .replace(/^(blocks\.\d+)\.feed_forward\./, "$1.ffn.")
    .replace(/\.time_mix_(key|value|receptance|gate)$/, (_, mix: string) => {
      return `.time_mix_${shortMix[mix]}`;
    });
}

/**
 * The RWKV-5 World models by short names, with what their files must be.
 *
 * Sizes and hashes: josStorer/RWKV-Runner, manifest.json; the vocabulary: BlinkDL/ChatRWKV, tokenizer/.
 * A hub that offers other bytes under these names is refused.
 */
import type { RemoteFile } from "./hub.ts";

/** The World vocabulary; every file of it that was compared holds these bytes. */
const worldVocabulary: RemoteFile = {
  repo: "RWKV/v5-Eagle-7B-HF",
  path: "rwkv_vocab_v20230424.txt",
  bytes: 1_093_733,
  digest: {
    algorithm: "sha256",
    hex: "e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89",
  },
};

export const knownModels: ReadonlyMap<string, readonly RemoteFile[]> = new Map([
  world(
    "world-0.4b",
    "RWKV-5-World-0.4B-v2-20231113-ctx4096.pth",
    923_523_954,
    "5a288c54c7f30b0e2d4af23991133fad2af2d5e59ec7ad850ffe78054a5e4f92",
  ),
  world(
    "world-1.5b",
    "RWKV-5-World-1B5-v2-20231025-ctx4096.pth",
    3_155_590_194,
    "5a89f56be7f82ab9dd0835af9a6838f788477471616c02f7b041e3aea0c57435",
  ),
  world(
    "world-3b",
    "RWKV-5-World-3B-v2-20231113-ctx4096.pth",
    6_126_106_674,
    "a4bd430343c6fd138b85bbc68bb20262d3a2f053ea57dc4b41078269af68ff9c",
  ),
  world(
    "world-3b-16k",
    "RWKV-5-World-3B-v2-20231118-ctx16k.pth",
    6_126_106_467,
    "efa5178d1c824b94ef17c6c9a456674e5581a8be832becbda9aba4dc533f88c2",
  ),
  world(
    "eagle-7b",
    "RWKV-5-World-7B-v2-20240128-ctx4096.pth",
    15_036_197_526,
    "a88c7274184b211e5545c8f992f0b80d03c40a447980bbfcd0f6d5858982615a",
  ),
]);

function world(
  name: string,
  path: string,
  bytes: number,
  sha256: string,
): [string, readonly RemoteFile[]] {
  const digest = { algorithm: "sha256", hex: sha256 } as const;
  return [name, [{ repo: "BlinkDL/rwkv-5-world", path, bytes, digest }, worldVocabulary]];
}

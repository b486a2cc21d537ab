"""RWKV-v5.2 in PyTorch: the chunked form that trains and the one-token form that it must equal.

Weights keep BlinkDL's names and shapes (`kernels/model/config.ts`), without the `[1,1,D]` padding.
Equations: BlinkDL/RWKV-LM, RWKV-v5/src/model.py; time_faaaa is used raw, w = exp(-exp(time_decay)),
GroupNorm is GN(o) with eps 64e-5, LayerNorm eps 1e-5. Beside them a dictionary of weights may hold
a fine-tune's tensors, which both forms apply: `….lora_A` [r, in] and `….lora_B` [out, r] of a
matrix, and `blocks.N.att.time_state` [H, v, k], the wkv state before the first token.
`python3 kernels/train/model.py` runs `check.py`: both forms agree, decays at the clamp among them.
"""

import math

import torch
import torch.nn.functional as F

CHUNK = 16
LOG_DECAY_MIN = -4.0  # the chunked form's factors then stay within e^±32
TIME_DECAY_MAX = math.log(-LOG_DECAY_MIN)
GROUP_NORM_EPS = 64e-5
LAYER_NORM_EPS = 1e-5


def initial_weights(shape, seed):
    """Fresh fp32 weights. Decays, bonuses and mixes follow RWKV-LM's schedule over the depth."""
    torch.manual_seed(seed)
    L, D, N, FF, V = (
        shape[key] for key in ("layers", "width", "headSize", "ffnWidth", "vocabSize")
    )
    H = D // N
    channel = torch.arange(D) / D
    weights = {
        "emb.weight": torch.randn(V, D) * 0.02,
        "blocks.0.ln0.weight": torch.ones(D),
        "blocks.0.ln0.bias": torch.zeros(D),
    }
    for layer in range(L):
        b = f"blocks.{layer}."
        depth = layer / max(1, L - 1)
        rise = 1.0 - layer / L
        for norm in ("ln1", "ln2", "att.ln_x"):
            weights[f"{b}{norm}.weight"] = torch.ones(D)
            weights[f"{b}{norm}.bias"] = torch.zeros(D)
        weights[f"{b}att.time_mix_k"] = channel**rise
        weights[f"{b}att.time_mix_v"] = channel**rise + 0.3 * depth
        weights[f"{b}att.time_mix_r"] = channel ** (0.5 * rise)
        weights[f"{b}att.time_mix_g"] = channel ** (0.5 * rise)
        weights[f"{b}ffn.time_mix_k"] = channel**rise
        weights[f"{b}ffn.time_mix_r"] = channel**rise
        index = torch.arange(D) / (D - 1)
        weights[f"{b}att.time_decay"] = (-6 + 5 * index ** (0.7 + 1.3 * depth)).reshape(H, N)
        zigzag = ((torch.arange(D) + 1) % 3 - 1) * 0.1
        weights[f"{b}att.time_faaaa"] = (depth * (1 - index) + zigzag).reshape(H, N)
        for name, gain in (("receptance", 0.5), ("key", 0.5), ("value", 1.0), ("gate", 0.5)):
            weights[f"{b}att.{name}.weight"] = torch.randn(D, D) * gain / math.sqrt(D)
        weights[f"{b}att.output.weight"] = torch.zeros(D, D)
        weights[f"{b}ffn.key.weight"] = torch.randn(FF, D) / math.sqrt(D)
        weights[f"{b}ffn.receptance.weight"] = torch.zeros(D, D)
        weights[f"{b}ffn.value.weight"] = torch.zeros(D, FF)
    weights["ln_out.weight"] = torch.ones(D)
    weights["ln_out.bias"] = torch.zeros(D)
    weights["head.weight"] = torch.randn(V, D) * 0.5 / math.sqrt(D)
    return weights


class Rwkv5:
    """Functions over a dictionary of weights; `matmul_dtype` is used for products in training."""

    def __init__(self, weights, shape, matmul_dtype=torch.float32, *, lora_scale=0.0):
        self.w = weights
        self.layers = shape["layers"]
        self.width = shape["width"]
        self.head_size = shape["headSize"]
        self.heads = self.width // self.head_size
        self.group_norm_eps = shape.get("groupNormEps", GROUP_NORM_EPS)
        self.dtype = matmul_dtype
        self.lora_scale = lora_scale

    def forward(self, tokens, state=None, scored=None):
        """Logits [B, T, V] of rows [B, T]; T a multiple of 16. `state`: see `initial_state`.
        With `scored`, a mask over the B · T places, only theirs: [scored, V]."""
        x = self.embed(tokens)
        state = state or self.initial_state(len(tokens))
        for layer in range(self.layers):
            b = f"blocks.{layer}."
            att_shift, wkv, ffn_shift = state[layer]
            a = self.norm(x, f"{b}ln1")
            x = x + self.time_mix(a, shifted(a, att_shift), wkv, b)
            c = self.norm(x, f"{b}ln2")
            x = x + self.channel_mix(c, shifted(c, ffn_shift), b)
        if scored is not None:
            x = x.reshape(-1, self.width)[scored]
        return self.linear(self.norm(x, "ln_out"), "head.weight")

    def step(self, tokens, state):
        """Logits [B, V] after one token per row; `state` is replaced."""
        x = self.embed(tokens)
        for layer in range(self.layers):
            b = f"blocks.{layer}."
            att_shift, wkv, ffn_shift = state[layer]
            a = self.norm(x, f"{b}ln1")
            r, k, v, g = self.projections(a, att_shift, b)
            outer = k.unsqueeze(-1) * v.unsqueeze(-2)
            bonus = self.w[f"{b}att.time_faaaa"].unsqueeze(-1)
            decay = torch.exp(-torch.exp(self.w[f"{b}att.time_decay"])).unsqueeze(-1)
            o = (r.unsqueeze(-2) @ (wkv + bonus * outer)).squeeze(-2)
            x = x + self.gated_output(o, g, b)
            c = self.norm(x, f"{b}ln2")
            x = x + self.channel_mix(c, ffn_shift, b)
            state[layer] = (a, outer + decay * wkv, c)
        return self.linear(self.norm(x, "ln_out"), "head.weight")

    def initial_state(self, batch):
        """Per layer (att_shift [B, D], wkv [B, H, k, v], ffn_shift [B, D]): zero, or as tuned."""
        emb = self.w["emb.weight"]
        shift = torch.zeros(batch, self.width, device=emb.device)
        zero = torch.zeros(self.heads, self.head_size, self.head_size, device=emb.device)
        tuned = [self.w.get(f"blocks.{layer}.att.time_state") for layer in range(self.layers)]
        wkv = [zero if t is None else t.transpose(-1, -2) for t in tuned]
        return [(shift, w.expand(batch, -1, -1, -1), shift) for w in wkv]

    def embed(self, tokens):
        return self.norm(F.embedding(tokens, self.w["emb.weight"]), "blocks.0.ln0")

    def norm(self, x, name):
        return F.layer_norm(
            x, (self.width,), self.w[f"{name}.weight"], self.w[f"{name}.bias"], LAYER_NORM_EPS
        )

    def linear(self, x, name):
        x = x.to(self.dtype)
        y = F.linear(x, self.w[name].to(self.dtype)).float()
        a, b = (self.w.get(name.replace(".weight", part)) for part in (".lora_A", ".lora_B"))
        if a is None:
            return y
        low = F.linear(F.linear(x, a.to(self.dtype)), b.to(self.dtype))
        return y + self.lora_scale * low.float()

    def projections(self, a, previous, b):
        change = a - previous
        mixed = {m: torch.addcmul(previous, change, self.w[f"{b}att.time_mix_{m}"]) for m in "rkvg"}
        names = {"r": "receptance", "k": "key", "v": "value"}
        split = (*a.shape[:-1], self.heads, self.head_size)
        r, k, v = (self.linear(mixed[m], f"{b}att.{names[m]}.weight").reshape(split) for m in "rkv")
        return r, k, v, F.silu(self.linear(mixed["g"], f"{b}att.gate.weight"))

    def time_mix(self, a, previous, wkv, b):
        r, k, v, g = self.projections(a, previous, b)
        constants = self.w[f"{b}att.time_decay"], self.w[f"{b}att.time_faaaa"]
        o = wkv5_chunked((r, k, v), constants, wkv, self.dtype)
        return self.gated_output(o, g, b)

    def gated_output(self, o, g, b):
        weight, bias = self.w[f"{b}att.ln_x.weight"], self.w[f"{b}att.ln_x.bias"]
        flat = F.group_norm(
            o.reshape(-1, self.width), self.heads, weight, bias, self.group_norm_eps
        )
        return self.linear(flat.reshape(g.shape) * g, f"{b}att.output.weight")

    def channel_mix(self, c, previous, b):
        change = c - previous
        xk = torch.addcmul(previous, change, self.w[f"{b}ffn.time_mix_k"])
        xr = torch.addcmul(previous, change, self.w[f"{b}ffn.time_mix_r"])
        k = torch.relu(self.linear(xk, f"{b}ffn.key.weight")).square()
        return torch.sigmoid(self.linear(xr, f"{b}ffn.receptance.weight")) * self.linear(
            k, f"{b}ffn.value.weight"
        )


def shifted(a, first):
    """The previous token's row; `first` before the first."""
    return torch.cat([first.unsqueeze(1), a[:, :-1]], 1)


def wkv5_chunked(rkv, constants, state, dtype):
    """WKV5 over r, k, v [B, T, H, N] in chunks of 16 tokens, from `state` [B, H, N, N].

    y_t = r_t (S_t + u k_t v_t), S_t+1 = w S_t + k_t v_t, w and u from `constants` (time_decay and
    time_faaaa). Inside a chunk the powers of w are split around its middle, so that both factors
    stay representable.
    """
    B, T, H, N = rkv[0].shape
    C = CHUNK
    time_decay, bonus = constants
    r, k, v = (m.reshape(B, T // C, C, H, N).permute(0, 3, 1, 2, 4) for m in rkv)
    log_decay = -torch.exp(time_decay.clamp(max=TIME_DECAY_MAX)).reshape(1, H, 1, 1, N)
    i = torch.arange(C, dtype=torch.float32, device=r.device).reshape(C, 1)
    rows = r * torch.exp(log_decay * (i - C // 2))
    columns = k * torch.exp(log_decay * (C // 2 - 1 - i))
    scores = (rows.to(dtype) @ columns.to(dtype).transpose(-1, -2)).float().tril(-1)
    present = (r * k * bonus.reshape(1, H, 1, 1, N)).sum(-1, keepdim=True)
    y = (scores.to(dtype) @ v.to(dtype)).float() + present * v
    arriving = (
        (k * torch.exp(log_decay * (C - 1 - i))).to(dtype).transpose(-1, -2) @ v.to(dtype)
    ).float()
    chunk_decay = torch.exp(log_decay * C).reshape(1, H, N, 1)
    states = []
    for chunk in arriving.unbind(2):  # indexing here would make its gradient fill whole tensors
        states.append(state)
        state = chunk_decay * state + chunk
    past = (r * torch.exp(log_decay * i)).to(dtype) @ torch.stack(states, 2).to(dtype)
    return (y + past.float()).permute(0, 2, 3, 1, 4).reshape(B, T, H, N)


if __name__ == "__main__":
    import check

    raise SystemExit(check.main())

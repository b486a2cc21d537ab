"""RWKV-v5.2 in PyTorch: the chunked form that trains and the one-token form that it must equal.

Weights keep BlinkDL's names and shapes (`kernels/model/config.ts`), without the `[1,1,D]` padding.
Equations: BlinkDL/RWKV-LM, RWKV-v5/src/model.py; time_faaaa is used raw, w = exp(-exp(time_decay)),
GroupNorm is GN(o) with eps 64e-5, LayerNorm eps 1e-5. `python3 kernels/train/model.py` checks that
both forms agree, with decays at the clamp among them.
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

    def __init__(self, weights, shape, matmul_dtype=torch.float32):
        self.w = weights
        self.layers = shape["layers"]
        self.width = shape["width"]
        self.head_size = shape["headSize"]
        self.heads = self.width // self.head_size
        self.dtype = matmul_dtype

    def forward(self, tokens):
        """Logits [B, T, V] of rows [B, T] that start from the zero state; T a multiple of 16."""
        x = self.embed(tokens)
        for layer in range(self.layers):
            b = f"blocks.{layer}."
            a = self.norm(x, f"{b}ln1")
            x = x + self.time_mix(a, shifted(a), b)
            c = self.norm(x, f"{b}ln2")
            x = x + self.channel_mix(c, shifted(c), b)
        return self.linear(self.norm(x, "ln_out"), "head.weight")

    def step(self, tokens, state):
        """Logits [B, V] after one token per row; `state` (see `zero_state`) is replaced."""
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

    def zero_state(self, batch):
        shift = torch.zeros(batch, self.width)
        wkv = torch.zeros(batch, self.heads, self.head_size, self.head_size)
        return [(shift, wkv, shift) for _ in range(self.layers)]

    def embed(self, tokens):
        return self.norm(F.embedding(tokens, self.w["emb.weight"]), "blocks.0.ln0")

    def norm(self, x, name):
        return F.layer_norm(
            x, (self.width,), self.w[f"{name}.weight"], self.w[f"{name}.bias"], LAYER_NORM_EPS
        )

    def linear(self, x, name):
        return F.linear(x.to(self.dtype), self.w[name].to(self.dtype)).float()

    def projections(self, a, previous, b):
        change = a - previous
        mixed = {m: torch.addcmul(previous, change, self.w[f"{b}att.time_mix_{m}"]) for m in "rkvg"}
        names = {"r": "receptance", "k": "key", "v": "value"}
        split = (*a.shape[:-1], self.heads, self.head_size)
        r, k, v = (self.linear(mixed[m], f"{b}att.{names[m]}.weight").reshape(split) for m in "rkv")
        return r, k, v, F.silu(self.linear(mixed["g"], f"{b}att.gate.weight"))

    def time_mix(self, a, previous, b):
        r, k, v, g = self.projections(a, previous, b)
        o = wkv5_chunked(
            r, k, v, self.w[f"{b}att.time_decay"], self.w[f"{b}att.time_faaaa"], self.dtype
        )
        return self.gated_output(o, g, b)

    def gated_output(self, o, g, b):
        weight, bias = self.w[f"{b}att.ln_x.weight"], self.w[f"{b}att.ln_x.bias"]
        flat = F.group_norm(o.reshape(-1, self.width), self.heads, weight, bias, GROUP_NORM_EPS)
        return self.linear(flat.reshape(g.shape) * g, f"{b}att.output.weight")

    def channel_mix(self, c, previous, b):
        change = c - previous
        xk = torch.addcmul(previous, change, self.w[f"{b}ffn.time_mix_k"])
        xr = torch.addcmul(previous, change, self.w[f"{b}ffn.time_mix_r"])
        k = torch.relu(self.linear(xk, f"{b}ffn.key.weight")).square()
        return torch.sigmoid(self.linear(xr, f"{b}ffn.receptance.weight")) * self.linear(
            k, f"{b}ffn.value.weight"
        )


def shifted(a):
    """The previous token's row; zero before the first."""
    return F.pad(a, (0, 0, 1, -1))


def wkv5_chunked(r, k, v, time_decay, bonus, dtype):
    """WKV5 over [B, T, H, N] in chunks of 16 tokens.

    y_t = r_t (S_t + u k_t v_t), S_t+1 = w S_t + k_t v_t. Inside a chunk the powers of w are split
    around its middle, so that both factors stay representable.
    """
    B, T, H, N = r.shape
    C = CHUNK
    r, k, v = (m.reshape(B, T // C, C, H, N).permute(0, 3, 1, 2, 4) for m in (r, k, v))
    log_decay = -torch.exp(time_decay.clamp(max=TIME_DECAY_MAX)).reshape(1, H, 1, 1, N)
    i = torch.arange(C, dtype=torch.float32).reshape(C, 1)
    rows = r * torch.exp(log_decay * (i - C // 2))
    columns = k * torch.exp(log_decay * (C // 2 - 1 - i))
    scores = (rows.to(dtype) @ columns.to(dtype).transpose(-1, -2)).float().tril(-1)
    present = (r * k * bonus.reshape(1, H, 1, 1, N)).sum(-1, keepdim=True)
    y = (scores.to(dtype) @ v.to(dtype)).float() + present * v
    arriving = (
        (k * torch.exp(log_decay * (C - 1 - i))).to(dtype).transpose(-1, -2) @ v.to(dtype)
    ).float()
    chunk_decay = torch.exp(log_decay * C).reshape(1, H, N, 1)
    state = torch.zeros(B, H, N, N)
    states = []
    for chunk in arriving.unbind(2):  # indexing here would make its gradient fill whole tensors
        states.append(state)
        state = chunk_decay * state + chunk
    past = (r * torch.exp(log_decay * i)).to(dtype) @ torch.stack(states, 2).to(dtype)
    return (y + past.float()).permute(0, 2, 3, 1, 4).reshape(B, T, H, N)


def largest_difference(shape, seed=1):
    """max |chunked - step| of fp32 logits, some decays at the clamp, and the logits' scale."""
    weights = initial_weights(shape, seed)
    for name, tensor in weights.items():
        if name.endswith(("output.weight", "ffn.receptance.weight", "ffn.value.weight")):
            tensor.normal_(std=1 / math.sqrt(tensor.shape[1]))
        if name.endswith("time_decay"):
            tensor[0] = TIME_DECAY_MAX
    model = Rwkv5(weights, shape)
    tokens = torch.randint(1, shape["vocabSize"], (2, 4 * CHUNK))
    with torch.no_grad():
        chunked = model.forward(tokens)
        state = model.zero_state(2)
        steps = torch.stack([model.step(tokens[:, t], state) for t in range(tokens.shape[1])], 1)
    return (chunked - steps).abs().max().item(), steps.abs().max().item()


if __name__ == "__main__":
    difference, scale = largest_difference(
        {"layers": 3, "width": 128, "headSize": 32, "ffnWidth": 448, "vocabSize": 300}
    )
    print(f"chunked against step: max difference {difference:.2e} at logits of scale {scale:.2f}")
    raise SystemExit(0 if difference < 1e-4 * scale else 1)

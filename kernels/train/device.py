"""Chooses where a run computes: cpu or cuda, in bf16 where native, in how many shards."""

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from failures import Misuse


@dataclass
class Device:
    name: str
    dtype: torch.dtype
    rows: int
    shards: int


def choose(wanted, recipe):
    """`wanted` is cpu, cuda, or None: cuda when there is one. A GPU takes a batch in one piece."""
    available = torch.cuda.is_available()
    if wanted not in (None, "cpu", "cuda"):
        raise Misuse(f"--device is cpu or cuda, not {wanted}")
    if wanted == "cuda" and not available:
        raise Misuse("this PyTorch sees no CUDA device; install one that does, or use --device cpu")
    if wanted != "cpu" and available:
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        return Device("cuda", dtype, recipe["rowsGpu"], 1)
    torch.set_num_threads(1)  # the shards of a batch run in threads of their own
    return Device("cpu", cpu_dtype(), recipe["rows"], min(recipe["threads"], recipe["rows"]))


def cpu_dtype():
    """bf16 where the processor multiplies it natively, else fp32."""
    flags = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    return torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else torch.float32


def machine(device):
    """The machine in words, for the results."""
    if device.name == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':', 1)[1].strip()}, torch {torch.__version__}"
    return f"{platform.machine()}, torch {torch.__version__}"

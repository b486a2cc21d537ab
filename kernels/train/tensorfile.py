"""Reads and writes safetensors: u64 header length, JSON header padded to 8 bytes, raw data."""

import json
import struct
from pathlib import Path

import torch

from disk import write_whole
from failures import Failure

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write(path, tensors, metadata=None):
    """Tensors on the CPU, fp16 or fp32; `metadata` holds texts by name."""
    header, offset, blobs = {"__metadata__": {"format": "pt", **(metadata or {})}}, 0, []
    for name, tensor in tensors.items():
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
        blobs.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_whole(path, struct.pack("<Q", len(text)) + text + b"".join(blobs))


def rounded(name, tensor):
    """The tensor as fp16 on the CPU."""
    half = tensor.detach().to("cpu", torch.float16)
    if not half.isfinite().all():
        raise Failure(f"{name} has values that fp16 does not hold; lower learningRate, train anew")
    return half


def read(path):
    """fp32 tensors by name, and the metadata."""
    try:
        data = Path(path).read_bytes()
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        body = memoryview(data)[8 + length :]
        return {name: read_tensor(body, entry) for name, entry in header.items()}, metadata
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, struct.error) as error:
        raise Failure(f"{path} is not a whole safetensors file of F16, BF16 or F32") from error


def read_tensor(body, entry):
    start, end = entry["data_offsets"]
    flat = torch.frombuffer(bytearray(body[start:end]), dtype=DTYPES[entry["dtype"]])
    return flat.reshape(entry["shape"]).float()

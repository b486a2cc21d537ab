"""Gives a base model a larger vocabulary that holds all of its own.

A row of a new entry starts as what the base made of its bytes: the embedding as the mean of their
tokens' embeddings, the head as the row of the first of them, which is predicted at the same place.
"""

import torch

import vocabulary
from failures import Failure


def grow(weights, entries, larger, rows):
    """Changes `weights` (emb and head [V, D]) in place to `rows` rows for the entries `larger`."""
    missing = set(entries) - set(larger)
    if missing:
        raise Failure(
            f"the larger vocabulary lacks {len(missing)} of the base's entries, "
            f"{min(missing)!r} among them: train on the base's dialogues too"
        )
    tokenizer = vocabulary.Tokenizer(entries)
    embedding, head = (weights[name] for name in ("emb.weight", "head.weight"))
    wider = {name: torch.zeros(rows, embedding.shape[1]) for name in ("emb.weight", "head.weight")}
    for identifier, entry in enumerate([None, *larger]):
        pieces = [0] if entry is None else tokenizer.encode_bytes(entry)
        wider["emb.weight"][identifier] = embedding[pieces].mean(0)
        wider["head.weight"][identifier] = head[pieces[0]]
    weights.update(wider)

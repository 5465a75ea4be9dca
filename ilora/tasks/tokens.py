"""Sentences as a backbone reads them: tokenised once, kept on disk, and cut to the longest of a batch when they are needed."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ilora.tasks.base import Data, Inputs
from ilora.tasks.pretrained import cut_padding
from ilora.tensor_files import StoreError, read_tensors, write_tensors

LENGTH = 64  # tokens of a sentence or pair, the special ones included (arXiv:2511.16069 has 64 for GLUE)
ARGUMENTS = ("input_ids", "token_type_ids", "attention_mask")
CHUNK = 20_000  # rows that are tokenised at once
Texts = Sequence[tuple[str, ...]]  # one sentence per row, or a pair


def tokenise(tokenizer: Any, texts: Texts) -> Inputs:
    """Texts (n) as stored rows: "input_ids", "attention_mask" and, for pairs and where the model reads it, "token_type_ids".

    Each is (n, L), L the longest row's length and at most LENGTH; longer pairs lose tokens of the longer sentence first.
    """
    columns = [list(column) for column in zip(*texts, strict=True)]
    settings = {
        "truncation": True,
        "max_length": LENGTH,
        "padding": "max_length",
        "padding_side": "right",
        "return_tensors": "pt",
    }
    parts = [tokenizer(*(column[i : i + CHUNK] for column in columns), **settings) for i in range(0, len(texts), CHUNK)]
    stored = {name: torch.cat([part[name].int() for part in parts]) for name in parts[0]}
    if len(columns) == 1:
        stored.pop("token_type_ids", None)  # all zero, which is what a model takes where it is told nothing
    longest = int(stored["attention_mask"].sum(1).max())
    return {name: tensor[:, :longest].contiguous() for name, tensor in stored.items()}


def kept_tokens(tokenizer: Any, texts: Texts, folder: Path) -> Inputs:
    """`tokenise`, read from `folder` where the same texts went through the same tokenizer before; else written there."""
    said = json.dumps([LENGTH, ARGUMENTS, tokenizer.backend_tokenizer.to_str(), tokenizer.model_input_names, list(texts)])
    path = folder / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.safetensors"
    with contextlib.suppress(StoreError):
        return {name: torch.from_numpy(array) for name, array in read_tensors(path, "it is made anew.").items()}
    stored = tokenise(tokenizer, texts)
    with contextlib.suppress(OSError):  # a folder that cannot be written costs time, nothing else
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {name: tensor.numpy() for name, tensor in stored.items()})
    return stored


def as_arguments(stored: Inputs) -> Inputs:
    """Stored rows (..., L) as the model's arguments (..., l), l the longest of these rows."""
    return cut_padding({name: stored[name] for name in ARGUMENTS if name in stored})


def as_data(stored: Inputs, labels: Tensor) -> Data:
    """Stored rows and their labels, padded per batch."""
    return Data(stored, labels, prepare=as_arguments)


def text_of(tokenizer: Any, data: Data, index: int) -> str:
    """What the model reads of one sample, as text: truncated, in the tokenizer's spelling, the two of a pair joined by " | "."""
    tokens = data.inputs["input_ids"][index][data.inputs["attention_mask"][index].bool()].tolist()
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id}
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token in special:
            parts.append([])
        else:
            parts[-1].append(token)
    return " | ".join(tokenizer.decode(part).strip() for part in parts if part)

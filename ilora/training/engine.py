"""The engines that can train a round: all clients at once, or one after the other on stock peft, the reference."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ilora.tasks.base import Data
from ilora.training.client_model import Base, Output, Parameters, StackedModel
from ilora.training.local_work import LocalWork, OnStep, Trained
from ilora.training.vectorised import VectorisedEngine

CPU_BUDGET = 512 * 2**20  # bytes of activations alive at once; a larger chunk is no faster on a CPU
CUDA_SHARE = 0.5  # of the card's memory


class Engine(Protocol):
    """What a round asks of a backbone."""

    data: Data  # what the clients train on

    def train(self, work: LocalWork, on_step: OnStep) -> Trained:
        """Train every client for its steps."""
        ...

    def gradient(self, parameters: Parameters, base: Base, samples: Sequence[Tensor], weights: Sequence[Tensor]) -> Parameters:
        """Each client's weighted sum of per-sample gradients."""
        ...

    def logits(self, parameters: Parameters, base: Base, data: Data) -> Tensor:
        """Logits (K, n, C) of every client for the same samples."""
        ...

    def outputs(self, parameters: Parameters, base: Base, data: Data) -> Output:
        """Logits (K, n, C) and features (K, n, d) of every client for the same samples."""
        ...

    def own_outputs(self, parameters: Parameters, base: Base, samples: Sequence[Tensor]) -> list[Output]:
        """Each client's logits (n_k, C) and features (n_k, d) for its own training samples."""
        ...


def make_engine(
    kind: str, model: nn.Module, linears: Mapping[str, nn.Linear], head: Sequence[str], data: Data, precision: str = "float32"
) -> Engine:
    """The engine that an experiment names."""
    if kind == "sequential":
        from ilora.training.sequential import SequentialEngine

        return SequentialEngine(model, tuple(linears), head, data, precision)
    return VectorisedEngine(StackedModel(model, linears, head, precision), data, memory_budget(data.labels.device))


def memory_budget(device: torch.device) -> int:
    """Bytes of activations that may be alive at once; a share of the whole card, so that chunks do not depend on its load."""
    return int(CUDA_SHARE * torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else CPU_BUDGET

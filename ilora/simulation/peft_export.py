"""What was learned as an adapter that peft loads: a directory with weights, configuration and a card."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.lora import low_rank
from ilora.lora.factors import Factors
from ilora.methods.compatibility import refuse_personalised
from ilora.records import brief
from ilora.training.client_model import Parameters

if TYPE_CHECKING:
    from ilora.simulation.round_loop import Simulation


@dataclass(frozen=True, repr=False)
class Adapter:
    """The model that a client of one rank receives, as the exact difference to the backbone: one pair of factors per layer.

    Where a method moved the base (a merged stack, a product cut out of the weight), that move is part of the factors, so
    the rank can be larger than the client's.
    """

    model: nn.Module  # the untouched backbone
    factors: dict[str, Factors]  # layer -> update, scaling included
    head: Parameters
    card: str

    def __repr__(self) -> str:
        return brief("Adapter", {"ranks": {layer: pair.rank for layer, pair in self.factors.items()}, "head": list(self.head)})

    def peft_model(self) -> nn.Module:
        """The backbone with this adapter and head, as a peft model."""
        ranks = {layer: max(1, pair.rank) for layer, pair in self.factors.items()}
        config = LoraConfig(
            r=1,
            lora_alpha=1,
            rank_pattern=ranks,
            alpha_pattern=ranks,
            target_modules=list(self.factors),
            modules_to_save=sorted({name.split(".")[1] for name in self.head}),
        )
        model = get_peft_model(self.model, config).eval()
        state = dict(model.named_parameters())
        with torch.no_grad():
            for layer, pair in self.factors.items():
                padded = pair.pad(ranks[layer])
                state[f"base_model.model.{layer}.lora_A.default.weight"].copy_(padded.A)
                state[f"base_model.model.{layer}.lora_B.default.weight"].copy_(padded.B)
            for name, tensor in self.head.items():
                _, part, rest = name.split(".", 2)
                state[f"base_model.model.{part}.modules_to_save.default.{rest}"].copy_(tensor)
        return model

    def save_pretrained(self, path: str | Path) -> None:
        """Write the adapter to `path`, a directory that peft.PeftModel.from_pretrained loads, with a card beside it."""
        self.peft_model().save_pretrained(str(path))  # type: ignore[operator]
        Path(path, "README.md").write_text(self.card, encoding="utf-8")


def exact_factors(share: Factors, scale: float, offset: Factors | None, merged: Tensor | None) -> Factors:
    """s B A - offset + merged as one pair of factors of the smallest rank that holds it to float32's precision."""
    update = share.times(scale)
    if offset is not None:
        update = low_rank.difference(update, offset)
    if merged is not None:
        update = low_rank.add(update, Factors.dense(merged))
    return thinnest(update)


def thinnest(update: Factors) -> Factors:
    """The same product at the smallest rank that holds it to float32's precision."""
    U, S, V = low_rank.svd(update)
    rank = max(1, int((1e-7 * S.max() < S).sum()))
    root = S[:rank].sqrt()
    return Factors(root[:, None] * V.T[:rank], U[:, :rank] * root)


def export(simulation: "Simulation", rank: int) -> Adapter:
    """What a client of `rank` would receive now. FieldError for a rank out of reach, or where there is no global model."""
    server = simulation.server
    refuse_personalised(simulation.recipe.ingredients)
    if not 1 <= rank <= server.rank:
        allowed = f"a whole number from 1 to {server.rank}, the server's rank"
        raise FieldError("rank", rank, allowed, f"rank is {rank}; allowed is {allowed}.")
    before = {name: update.to(simulation.device) for name, update in simulation.merged_at_first.updates.items()}
    factors = {name: thinnest(Factors.dense(update)) for name, update in before.items()}
    for name, layer in server.layers.items():
        (start,) = layer.starts([-1], [rank], server.index)
        merged = [update for update in (layer.merged, before.get(name)) if update is not None]
        both = torch.stack(merged).sum(0) if merged else None
        factors[name] = exact_factors(start.factors, simulation.recipe.scaling(rank), start.offset, both)
    card = adapter_card(simulation.experiment, rank, server.index)
    return Adapter(simulation.task.load_backbone().model, factors, server.head, card)


def adapter_card(experiment: Experiment, rank: int, rounds: int) -> str:
    """The text that is saved beside an adapter: where it comes from, in full."""
    return (
        f"# Adapter trained by {experiment.method} on {experiment.task}\n\n"
        f"Federated LoRA, as a client of rank {rank} receives it after {rounds} rounds. It holds the exact difference to the"
        " backbone, so its rank can be larger where the method moved the base.\n\n"
        f"The whole experiment:\n\n```json\n{experiment.to_json()}\n```\n"
    )

"""A broadcast for some of its clients alone, and the replies of several groups of clients as one: rounds in pieces."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ilora.lora.factors import Stack
from ilora.stages.context import Broadcast, ClientModels, Memory, Observed, Reply, Shared, Slots
from ilora.training.client_model import Base, Parameters, slice_clients
from ilora.training.local_work import Trained


def broadcast_to(broadcast: Broadcast, places: Sequence[int]) -> Broadcast:
    """The part of a broadcast that is for the clients at these places of it."""
    ids, ranks, budgets = (tuple(own[k] for k in places) for own in (broadcast.ids, broadcast.ranks, broadcast.budgets))
    extra = question_to(broadcast.extra, places)
    parameters = slice_clients(broadcast.parameters, places)
    return Broadcast(broadcast.index, ids, ranks, budgets, parameters, broadcast.base[places], extra)


def question_to(question: Memory, places: Sequence[int]) -> Memory:
    """The part of what stages ask or add that is for the clients at these places."""
    return {stage: slice_clients(own, places) for stage, own in question.items()}


def together(replies: Sequence[Reply]) -> Reply:
    """The replies of several groups of clients as one, group after group."""
    first = replies[0]
    return Reply(
        sent=joined([reply.sent for reply in replies]),
        shared=joined_slots([reply.shared for reply in replies]),
        count=torch.cat([reply.count for reply in replies]),
        report={stage: joined([reply.report[stage] for reply in replies]) for stage in first.report},
        observed=seen_together([reply.observed for reply in replies]),
    )


def seen_together(groups: Sequence[Observed]) -> Observed:
    """What a simulation sees of several groups of clients as one."""
    first = groups[0]
    return Observed(
        models=models_together([own.models for own in groups]),
        start=joined([own.start for own in groups]),
        trained=trained_together([own.trained for own in groups]),
        correction_ratio=torch.cat([own.correction_ratio for own in groups]),
        forwards=sum(own.forwards for own in groups),
        columns=joined([own.columns for own in groups]),
        notes={name: [note for own in groups for note in own.notes[name]] for name in first.notes},
    )


def models_together(groups: Sequence[ClientModels]) -> ClientModels:
    """The models of several groups of clients as those of one."""
    return replace(
        groups[0],
        ranks=tuple(rank for own in groups for rank in own.ranks),
        parameters=joined([own.parameters for own in groups]),
        base=base_together([own.base for own in groups]),
        shared=joined_slots([own.shared for own in groups]),
    )


def base_together(groups: Sequence[Base]) -> Base:
    """What lies beneath the factors of several groups of clients; what is merged is the same for all."""
    offsets = {
        layer: Stack(
            torch.cat([own.offsets[layer].A for own in groups]),
            torch.cat([own.offsets[layer].B for own in groups]),
            tuple(rank for own in groups for rank in own.offsets[layer].ranks),
        )
        for layer in groups[0].offsets
    }
    ranks = tuple(rank for own in groups for rank in own.ranks)
    return Base(ranks, torch.cat([own.scales for own in groups]), groups[0].merged, offsets)


def trained_together(groups: Sequence[Trained]) -> Trained:
    """What came out of local training, of several groups as one; NaN after a client's last step."""
    steps = max(own.losses.shape[1] for own in groups)
    losses, norms = (
        torch.cat([functional.pad(series, (0, steps - series.shape[1]), value=torch.nan) for series in own])
        for own in ([own.losses for own in groups], [own.gradient_norms for own in groups])
    )
    stacks = ("parameters", "gradients", "first_moments", "second_moments")
    parameters, gradients, m, v = (joined([getattr(own, name) for own in groups]) for name in stacks)
    return Trained(parameters, losses, norms, gradients, m, v)


def joined_slots(groups: Sequence[Shared]) -> Shared:
    """What several groups of clients train and send."""
    first = groups[0]
    return Shared(
        train_A=_slots([own.train_A for own in groups]),
        train_B=_slots([own.train_B for own in groups]),
        send_A=_slots([own.send_A for own in groups]),
        send_B=_slots([own.send_B for own in groups]),
        head=first.head,
        scales=None if first.scales is None else _slots([own.scales for own in groups if own.scales is not None]),
        receive=None if first.receive is None else _slots([own.receive for own in groups if own.receive is not None]),
        chosen=first.chosen,
        ranks=tuple(rank for own in groups for rank in own.ranks),
        kept=tuple(rank for own in groups for rank in own.kept),
    )


def _slots(groups: Sequence[Slots]) -> Slots:
    if isinstance(groups[0], Tensor):
        return torch.cat([own for own in groups if isinstance(own, Tensor)])
    return {layer: torch.cat([own[layer] for own in groups if not isinstance(own, Tensor)]) for layer in groups[0]}


def joined(groups: Sequence[Parameters]) -> Parameters:
    """Stacks over several groups of clients as stacks over all of them."""
    return {name: torch.cat([own[name] for own in groups]) for name in groups[0]}

"""Rank-one slots that a client keeps for itself, and how it trains them (CO-PFL's PWPM and MAMO, arXiv:2510.20219).

A reconstruction: slots become personal by FedSelect's rule. Slots, not single numbers: a mask over numbers depends on how the
slots are turned, and leaves no low rank.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import torch
from torch import Tensor

from ilora.stages.context import ClientView, RunSetting, Shared, slots_of
from ilora.stages.sharing import slot_norms, top
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters, slice_clients
from ilora.training.local_work import LocalWork, Train, Trained
from ilora.training.vectorised import picked, together

BETAS = {"m": 0.9, "v": 0.999}  # of torch's AdamW
MEMORY = 10  # steps as whose moments the kept ones go on


class PersonalSlots(Stage):
    """Train all slots, send those that are not personal; every `refresh` rounds some more become personal.

    Of r_k slots a layer, those that changed most since the last refresh, in | ||b_i|| ||a_i|| - before |: a `fraction` of the
    shared ones, rounded up, while no more than `limit` r_k are personal. A client remembers whether it was "seen", which slots
    are "personal/<layer>" (R,), their "size/<layer>" (R,) at the last refresh, and its "<layer>.A" and "<layer>.B".
    """

    client_memory = ("",)

    def __init__(self, setting: RunSetting, fraction: float = 0.25, limit: float = 0.8, refresh: int = 3) -> None:
        self.setting, self.fraction, self.limit, self.refresh = setting, fraction, limit, refresh

    def remember(self, ids: Sequence[int]) -> Parameters:
        """No slot is personal yet."""
        C, R, device = len(ids), self.setting.rank, self.setting.device
        first: Parameters = {"seen": torch.zeros(C, dtype=torch.bool, device=device)}
        for layer, (d_out, d_in) in self.setting.shapes.items():
            first |= {
                f"personal/{layer}": torch.zeros(C, R, dtype=torch.bool, device=device),
                f"size/{layer}": torch.zeros(C, R, device=device),
                f"{layer}.A": torch.zeros(C, R, d_in, device=device),
                f"{layer}.B": torch.zeros(C, d_out, R, device=device),
            }
        return first

    def __call__(self, view: ClientView) -> Shared:
        """Put each client's personal slots over what it received."""
        memory, shared = self.remembered(view), {}
        for layer in view.layers:
            mine = memory[f"personal/{layer}"] & view.owned
            for factor, over in (("A", mine[:, :, None]), ("B", mine[:, None, :])):
                name = f"{layer}.{factor}"
                view.start[name] = torch.where(over, memory[name], view.start[name])
            shared[layer] = view.owned & ~mine
        first_sight(view, memory)
        view.work.columns["personal_slots"] = sum_of({layer: view.owned & ~slots for layer, slots in shared.items()})
        return Shared(view.owned, view.owned, shared, shared, receive=shared, chosen=True)

    def end(self, view: ClientView) -> Parameters:
        """Keep what was trained, and in every `refresh`-th round let more slots become personal."""
        memory = self.remembered(view)
        for layer in view.layers:
            memory |= {name: view.result[name] for name in (f"{layer}.A", f"{layer}.B")}
            if view.index % self.refresh == 0:
                self._mark(view, memory, layer)
        return {}

    def _mark(self, view: ClientView, memory: Parameters, layer: str) -> None:
        """FedSelect's rule on the slots of one layer."""
        personal, before, now = memory[f"personal/{layer}"], memory[f"size/{layer}"], sizes(view.result, layer)
        free = view.owned & ~personal
        more = [
            min(ceil(self.fraction * shared), int(self.limit * rank) - (rank - shared))
            for rank, shared in zip(view.ranks, free.sum(1).tolist(), strict=True)
        ]
        change = torch.where(free, (now - before).abs(), -torch.ones_like(now))
        memory[f"personal/{layer}"] = personal | free & top(change, torch.tensor(more, device=free.device))
        memory[f"size/{layer}"] = now


def first_sight(view: ClientView, memory: Parameters) -> None:
    """A client that takes part for the first time measures its slots as it received them."""
    new = ~memory["seen"][:, None]
    for layer in view.layers:
        memory[f"size/{layer}"] = torch.where(new, sizes(view.start, layer), memory[f"size/{layer}"])
    memory["seen"] = torch.ones_like(memory["seen"])


def sizes(parameters: Parameters, layer: str) -> Tensor:
    """(C, R) ||b_i|| ||a_i||, which scaling b_i against a_i leaves alone."""
    return slot_norms(parameters[f"{layer}.A"], "A") * slot_norms(parameters[f"{layer}.B"], "B")


def sum_of(slots: dict[str, Tensor]) -> Tensor:
    """(C,) how many slots over all layers."""
    return torch.stack([own.sum(1) for own in slots.values()]).sum(0)


class SplitMoments(Stage):
    """Train the personal part, then the shared one, half of the steps each, with AdamW moments of their own (MAMO).

    The personal part goes on with the moments of its client's last visit; a slot that has become personal brings its shared
    ones along. The shared part starts anew each round, and a client without personal slots trains it in all steps. Moments are
    kept without their bias, and go on as those of MEMORY steps (ours). With SGD there are none to keep. A client remembers
    "m/<name>" and "v/<name>".
    """

    client_memory = ("",)

    def __init__(self, setting: RunSetting) -> None:
        pass

    def __call__(self, view: ClientView) -> None:
        """Gradients stay as they are."""

    def train(self, view: ClientView, work: LocalWork, train: Train) -> Trained:
        """Clients with personal slots in two halves, the others in one piece."""
        memory = self.remembered(view)
        for name, tensor in view.start.items():
            for kind in BETAS:
                memory.setdefault(f"{kind}/{name}", torch.zeros_like(tensor))
        slots = {layer: kept_slots(view, layer) for layer in view.layers}
        personal = view.spread(view.start, slots, slots, rest=0.0)
        keeps = sum_of(slots) > 0
        both, one = ([k for k in range(len(keeps)) if keeps[k] == own] for own in (True, False))
        parts = []
        if one:
            parts.append(train(fresh(work[one])))
            keep_moments(memory, one, parts[-1], {})
        if both:
            parts.append(in_halves(memory, both, work[both], slice_clients(personal, both), train))
        return picked(together(parts), [[*one, *both].index(k) for k in range(len(keeps))])


def in_halves(memory: Parameters, rows: list[int], work: LocalWork, personal: Parameters, train: Train) -> Trained:
    """First the personal part, on the moments that the clients `rows` kept, then the shared one, on none."""
    half = work.batches.shape[1] // 2
    allowed = work.trainable or {name: torch.ones_like(mask) for name, mask in personal.items()}
    first = replace(work.part(slice(half)), trainable={n: allowed[n] * mask for n, mask in personal.items()})
    if work.optimizer == "adamw":
        m, v = kept_moments(memory, rows, personal)
        first = replace(first, steps_before=MEMORY, first_moments=m, second_moments=v)
    one = train(first)
    second = replace(work.part(slice(half, None)), start=one.parameters)
    two = train(fresh(replace(second, trainable={n: allowed[n] * (1 - mask) for n, mask in personal.items()})))
    keep_moments(memory, rows, two, {})
    keep_moments(memory, rows, one, personal, MEMORY)
    losses, norms = torch.cat([one.losses, two.losses], 1), torch.cat([one.gradient_norms, two.gradient_norms], 1)
    return replace(two, losses=losses, gradient_norms=norms)


def kept_moments(memory: Parameters, rows: list[int], personal: Parameters) -> tuple[Parameters, Parameters]:
    """What the personal part's m and v start from: the kept ones, with the bias that MEMORY steps leave."""
    m, v = (
        {name: (1 - beta**MEMORY) * memory[f"{kind}/{name}"][rows] * mask for name, mask in personal.items()}
        for kind, beta in BETAS.items()
    )
    return m, v


def keep_moments(memory: Parameters, rows: list[int], trained: Trained, where: Parameters, steps_before: int = 0) -> None:
    """Keep the moments without their bias, everywhere or `where` a mask is 1."""
    steps = steps_before + (~trained.losses.isnan()).sum(1)
    for kind, ended in (("m", trained.first_moments), ("v", trained.second_moments)):
        bias = (1 - BETAS[kind] ** steps).clamp_min(1e-12)  # a moment without a step is 0
        for name, moment in ended.items():
            kept, plain = memory[f"{kind}/{name}"], moment / bias.view(-1, *[1] * (moment.ndim - 1))
            kept[rows] = torch.where(where[name].bool(), plain, kept[rows]) if where else plain


def kept_slots(view: ClientView, layer: str) -> Tensor:
    """(C, R) the slots of a layer that are trained and not sent."""
    s = view.shared
    trained = slots_of(s.train_A, layer) | slots_of(s.train_B, layer)
    return trained & ~(slots_of(s.send_A, layer) | slots_of(s.send_B, layer))


def fresh(work: LocalWork) -> LocalWork:
    """The work from moments of zero, which are asked back at the end."""
    zeros = {name: torch.zeros_like(tensor) for name, tensor in work.start.items()}
    return replace(work, second_moments=zeros) if work.optimizer == "adamw" else work

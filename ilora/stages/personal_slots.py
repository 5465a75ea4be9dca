"""Rank-one slots that a client keeps for itself, and how it trains them (CO-PFL's PWPM and MAMO, arXiv:2510.20219).

A reconstruction: slots become personal by FedSelect's rule. Slots, not single numbers: a mask over numbers depends on how the
slots are turned, and leaves no low rank.
"""

from dataclasses import replace
from math import ceil

import torch
from torch import Tensor

from ilora.stages.context import RunSetting, Shared, Turn, slots_of
from ilora.stages.sharing import slot_norms, top
from ilora.training.client_model import Parameters
from ilora.training.local_work import LocalWork, Train, Trained
from ilora.training.vectorised import picked, together

BETAS = {"m": 0.9, "v": 0.999}  # of torch's AdamW
MEMORY = 10  # steps as whose moments the kept ones go on


class PersonalSlots:
    """Train all slots, send those that are not personal; every `refresh` rounds some more become personal.

    Of r_k slots a layer, those that changed most since the last refresh, in | ||b_i|| ||a_i|| - before |: a `fraction` of the
    shared ones, rounded up, while no more than `limit` r_k are personal. State: "seen" (N,), "personal/<layer>" (N, R) and
    "size/<layer>" (N, R) at the last refresh, "<layer>.A" and "<layer>.B" (N, ...) as each client left them.
    """

    def __init__(self, setting: RunSetting, fraction: float = 0.25, limit: float = 0.8, refresh: int = 3) -> None:
        self.fraction, self.limit, self.refresh = fraction, limit, refresh
        N, R, device = setting.clients, setting.rank, setting.device
        self.state: Parameters = {"seen": torch.zeros(N, dtype=torch.bool, device=device)}
        for layer, (d_out, d_in) in setting.shapes.items():
            self.state |= {
                f"personal/{layer}": torch.zeros(N, R, dtype=torch.bool, device=device),
                f"size/{layer}": torch.zeros(N, R, device=device),
                f"{layer}.A": torch.zeros(N, R, d_in, device=device),
                f"{layer}.B": torch.zeros(N, d_out, R, device=device),
            }

    def __call__(self, turn: Turn) -> Shared:
        """Put each client's personal slots over what it received."""
        ids, shared = torch.tensor(turn.ids), {}
        for layer in turn.layers:
            mine = self.state[f"personal/{layer}"][ids] & turn.owned
            for factor, over in (("A", mine[:, :, None]), ("B", mine[:, None, :])):
                name = f"{layer}.{factor}"
                turn.start[name] = torch.where(over, self.state[name][ids], turn.start[name])
            shared[layer] = turn.owned & ~mine
        self.first_sight(turn, ids)
        turn.columns["personal_slots"] = sum_of({layer: turn.owned & ~slots for layer, slots in shared.items()})
        return Shared(turn.owned, turn.owned, shared, shared, receive=shared, chosen=True)

    def first_sight(self, turn: Turn, ids: Tensor) -> None:
        """A client that takes part for the first time measures its slots as it received them."""
        new = ~self.state["seen"][ids][:, None]
        for layer in turn.layers:
            size = self.state[f"size/{layer}"]
            size[ids] = torch.where(new, sizes(turn.start, layer), size[ids])
        self.state["seen"][ids] = True

    def end(self, turn: Turn) -> None:
        """Keep what was trained, and in every `refresh`-th round let more slots become personal."""
        ids = torch.tensor(turn.ids)
        for layer in turn.layers:
            for name in (f"{layer}.A", f"{layer}.B"):
                self.state[name][ids] = turn.result[name]
            if turn.index % self.refresh == 0:
                self.mark(layer, ids, sizes(turn.result, layer), turn)

    def mark(self, layer: str, ids: Tensor, now: Tensor, turn: Turn) -> None:
        """FedSelect's rule on the slots of one layer; now (C, R) their sizes."""
        personal, before = self.state[f"personal/{layer}"], self.state[f"size/{layer}"]
        free = turn.owned & ~personal[ids]
        more = [
            min(ceil(self.fraction * shared), int(self.limit * rank) - (rank - shared))
            for rank, shared in zip(turn.ranks, free.sum(1).tolist(), strict=True)
        ]
        change = torch.where(free, (now - before[ids]).abs(), -torch.ones_like(now))
        personal[ids] |= free & top(change, torch.tensor(more, device=free.device))
        before[ids] = now


def sizes(parameters: Parameters, layer: str) -> Tensor:
    """(C, R) ||b_i|| ||a_i||, which scaling b_i against a_i leaves alone."""
    return slot_norms(parameters[f"{layer}.A"], "A") * slot_norms(parameters[f"{layer}.B"], "B")


def sum_of(slots: dict[str, Tensor]) -> Tensor:
    """(C,) how many slots over all layers."""
    return torch.stack([own.sum(1) for own in slots.values()]).sum(0)


class SplitMoments:
    """Train the personal part, then the shared one, half of the steps each, with AdamW moments of their own (MAMO).

    The personal part goes on with the moments of its client's last visit; a slot that has become personal brings its shared
    ones along. The shared part starts anew each round, and a client without personal slots trains it in all steps. Moments are
    kept without their bias, and go on as those of MEMORY steps (ours). With SGD there are none to keep.
    State: "m/<name>" and "v/<name>" (N, ...).
    """

    def __init__(self, setting: RunSetting) -> None:
        self.clients = setting.clients
        self.state: Parameters = {}

    def __call__(self, turn: Turn) -> None:
        """Gradients stay as they are."""

    def train(self, turn: Turn, work: LocalWork, train: Train) -> Trained:
        """Clients with personal slots in two halves, the others in one piece."""
        for name, tensor in turn.start.items():
            for kind in BETAS:
                self.state.setdefault(f"{kind}/{name}", tensor.new_zeros(self.clients, *tensor.shape[1:]))
        slots = {layer: kept_slots(turn, layer) for layer in turn.layers}
        personal = turn.spread(slots, slots, rest=0.0)
        keeps = sum_of(slots) > 0
        both = [k for k in range(len(keeps)) if keeps[k]]
        one = [k for k in range(len(keeps)) if not keeps[k]]
        parts = []
        if one:
            parts.append(train(fresh(work[one])))
            self.remember([turn.ids[k] for k in one], parts[-1], {})
        if both:
            mine = {name: mask[both] for name, mask in personal.items()}
            parts.append(self.in_halves([turn.ids[k] for k in both], work[both], mine, train))
        return picked(together(parts), [[*one, *both].index(k) for k in range(len(keeps))])

    def in_halves(self, ids: list[int], work: LocalWork, personal: Parameters, train: Train) -> Trained:
        """First the personal part, on kept moments, then the shared one, on none."""
        half = work.batches.shape[1] // 2
        allowed = work.trainable or {name: torch.ones_like(mask) for name, mask in personal.items()}
        first = replace(work.part(slice(half)), trainable={n: allowed[n] * mask for n, mask in personal.items()})
        if work.optimizer == "adamw":
            m, v = self.moments(ids, personal)
            first = replace(first, steps_before=MEMORY, first_moments=m, second_moments=v)
        one = train(first)
        second = replace(work.part(slice(half, None)), start=one.parameters)
        two = train(fresh(replace(second, trainable={n: allowed[n] * (1 - mask) for n, mask in personal.items()})))
        self.remember(ids, two, {})
        self.remember(ids, one, personal, MEMORY)
        losses, norms = torch.cat([one.losses, two.losses], 1), torch.cat([one.gradient_norms, two.gradient_norms], 1)
        return replace(two, losses=losses, gradient_norms=norms)

    def moments(self, ids: list[int], personal: Parameters) -> tuple[Parameters, Parameters]:
        """What the personal part's m and v start from: the kept ones, with the bias that MEMORY steps leave."""
        m, v = (
            {name: (1 - beta**MEMORY) * self.state[f"{kind}/{name}"][ids] * mask for name, mask in personal.items()}
            for kind, beta in BETAS.items()
        )
        return m, v

    def remember(self, ids: list[int], trained: Trained, where: Parameters, steps_before: int = 0) -> None:
        """Keep the moments without their bias, everywhere or `where` a mask is 1."""
        steps = steps_before + (~trained.losses.isnan()).sum(1)
        for kind, ended in (("m", trained.first_moments), ("v", trained.second_moments)):
            bias = (1 - BETAS[kind] ** steps).clamp_min(1e-12)  # a moment without a step is 0
            for name, moment in ended.items():
                kept, plain = self.state[f"{kind}/{name}"], moment / bias.view(-1, *[1] * (moment.ndim - 1))
                kept[ids] = torch.where(where[name].bool(), plain, kept[ids]) if where else plain


def kept_slots(turn: Turn, layer: str) -> Tensor:
    """(C, R) the slots of a layer that are trained and not sent."""
    s = turn.sharing
    trained = slots_of(s.train_A, layer) | slots_of(s.train_B, layer)
    return trained & ~(slots_of(s.send_A, layer) | slots_of(s.send_B, layer))


def fresh(work: LocalWork) -> LocalWork:
    """The work from moments of zero, which are asked back at the end."""
    zeros = {name: torch.zeros_like(tensor) for name, tensor in work.start.items()}
    return replace(work, second_moments=zeros) if work.optimizer == "adamw" else work

"""Stage 2: what is trained, what is sent, what stays private?

An ingredient maps the clients' view to the slots of A and of B that are trained and that are sent. It may put a client's
private parts over what it received, `view.work.start`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ilora.randomness import torch_generator
from ilora.stages.context import ClientView, RunSetting, ServerView, Shared
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters


def both(view: ClientView) -> Shared:
    """Train and send every slot of both factors that a client has."""
    return Shared(view.owned, view.owned, view.owned, view.owned)


def members(view: ClientView, members: int = 4) -> Shared:
    """As `both`, for each of N members that know nothing of each other (LoRA-Ensemble, arXiv:2405.14438).

    The members are servers of their own: the simulation runs a round of each on the same clients and batches.
    """
    return both(view)


def b_only(view: ClientView) -> Shared:
    """Train and send B alone; A stays the common random one for good (FFA-LoRA, arXiv:2403.12313)."""
    nothing = view.owned & False
    return Shared(nothing, view.owned, nothing, view.owned)


def head_only(view: ClientView) -> Shared:
    """Train and send the head alone, on the backbone as it is: what is left without LoRA, a comparison's floor."""
    nothing = view.owned & False
    return Shared(nothing, nothing, nothing, nothing)


def alternate(view: ClientView) -> Shared:
    """Train and send B in odd rounds, A in even ones, so that the other factor is common (RoLoRA, arXiv:2502.01755)."""
    if view.index % 2 == 1:
        return b_only(view)
    nothing = view.owned & False
    return Shared(view.owned, nothing, view.owned, nothing)


def top(importance: Tensor, counts: Tensor) -> Tensor:
    """(C, n) True at each client's `counts` (C,) largest numbers, the first of equals; importance (C, n)."""
    place = importance.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return place < counts[:, None]


def alternate_top(view: ClientView) -> Shared:
    """As `alternate`, but only the slots that would move most, chosen over all layers (LoRA-A2, arXiv:2410.22815).

    Every client holds all slots. A client of rank r_k trains and sends r_k per layer on average: those of the largest
    ||Delta b_i|| ||a_i|| in odd rounds, ||Delta a_i|| ||b_i|| in even ones, Delta a gradient step over its samples (ours).
    """
    g, scores = view.gradient(), []
    moves, still = ("B", "A") if view.index % 2 == 1 else ("A", "B")
    for layer in view.layers:
        move, other = g[f"{layer}.{moves}"], view.start[f"{layer}.{still}"]
        scores.append(slot_norms(move, moves) * slot_norms(other, still))
    chosen = top(torch.cat(scores, 1), view.budget * len(scores)).chunk(len(scores), 1)
    slots, nothing = dict(zip(view.layers, chosen, strict=True)), view.owned & False
    return Shared(nothing, slots, nothing, slots) if moves == "B" else Shared(slots, nothing, slots, nothing)


def slot_norms(stacked: Tensor, factor: str) -> Tensor:
    """(C, R) lengths of the rows of A (C, R, d_in), or of the columns of B (C, d_out, R)."""
    return torch.linalg.vector_norm(stacked, dim=2 if factor == "A" else 1)


def sketch(view: ClientView) -> Shared:
    """W_0 + s B S_k A: S_k is R / r_k on a random choice of r_k of the R slots, else 0, so that E[S_k] = I.

    FSLoRA, arXiv:2501.19389. Every client holds all slots and trains those of its sketch, drawn anew per layer and round.
    """
    R, chosen = view.setting.rank, {}
    for layer in view.layers:
        draws = [torch_generator(view.setting.seed, "sketch", layer, view.index, client) for client in view.ids]
        places = torch.stack([torch.randperm(R, generator=draw) for draw in draws]).to(view.setting.device)
        chosen[layer] = places < view.budget[:, None]
        view.start[f"{layer}.D"] = chosen[layer] * (R / view.budget)[:, None]
    return Shared(chosen, chosen, chosen, chosen, receive=chosen)


class KeepB(Stage):
    """Train A and B, send A alone; B and the head stay with the client (FedSA-LoRA, arXiv:2410.01463).

    A client remembers "seen", whether it took part yet, and under its name every B and head as it left it.
    """

    client_memory = ("",)

    def __init__(self, setting: RunSetting) -> None:
        self.device = setting.device

    def remember(self, ids: Sequence[int]) -> Parameters:
        """Nobody took part yet."""
        return {"seen": torch.zeros(len(ids), dtype=torch.bool, device=self.device)}

    def __call__(self, view: ClientView) -> Shared:
        """Clients go on from their own B and head; the server's are those of the start for good."""
        memory, owned = self.remembered(view), view.spread(view.start, view.owned, view.owned)
        for name, received in view.start.items():
            if not name.endswith(".A"):
                own = memory.setdefault(name, torch.zeros_like(received))
                seen = memory["seen"].view(-1, *[1] * (received.ndim - 1))
                view.start[name] = torch.where(seen, own, received) * owned[name]
        return Shared(view.owned, view.owned, view.owned, view.owned & False, head=False)

    def end(self, view: ClientView) -> Parameters:
        """Remember what each client keeps."""
        memory = self.remembered(view)
        memory |= {name: view.result[name] for name in memory.keys() - {"seen"}}
        memory["seen"] = torch.ones_like(memory["seen"])
        return {}


class Diagonal(Stage):
    """B diag(lambda) A with a common frozen A; B and lambda are trained and sent (AFLoRA, arXiv:2505.24773).

    The server adds the products, which is exact for a common A, and holds them as B lambda; the split of the two is the
    owners' mean of lambda. The server's state: "<layer>" (R,) lambda.
    """

    least = 1e-2  # of |lambda|, so that B can be divided by it

    def __init__(self, setting: RunSetting) -> None:
        self.state = {layer: torch.ones(setting.rank, device=setting.device) for layer in setting.shapes}

    def broadcast(self, server: ServerView) -> Parameters:
        """The server's lambda, of the slots that each client has."""
        return {f"{layer}.D": own * server.owned for layer, own in self.state.items()}

    def __call__(self, view: ClientView) -> Shared:
        """Split the server's B lambda into the two."""
        for name, D in self.received(view).items():
            layer = name.removesuffix(".D")
            view.start[f"{layer}.B"] = view.start[f"{layer}.B"] / D.where(view.owned, 1)[:, None, :]
            view.start[name] = D
        nothing = view.owned & False
        return Shared(nothing, view.owned, nothing, view.owned, scales=view.owned)

    def end(self, view: ClientView) -> Parameters:
        """Each client's lambda of the slots that it does not send, which the server's mean still counts; NaN elsewhere."""
        left: Parameters = {}
        for name in (f"{layer}.D" for layer in view.layers):
            sent = view.sent_scales(name)
            left[name] = view.result[name].where(view.owned & ~sent, torch.nan)
        return left

    def update(self, server: ServerView) -> None:
        """lambda_i <- the mean over those who have slot i, by samples; as it was where nobody has."""
        share = server.owned * server.counts[:, None]
        for layer, old in self.state.items():
            left = self.reported(server)[f"{layer}.D"]
            D = server.sent[f"{layer}.D"].where(left.isnan(), left)
            mean = (share * D).sum(0) / share.sum(0).clamp_min(1e-12)
            new = torch.where(share.sum(0) > 0, mean, old)
            self.state[layer] = torch.where(new < 0, -1.0, 1.0) * new.abs().clamp_min(self.least)


class TopSlots(Stage):
    """Train and send the r_k slots of a layer that matter most to a client (HAFLQ, arXiv:2411.06581, by freezing the others).

    Every client holds all slots. Importance is the smoothed sum of |w grad| over a slot's numbers, which scaling a_i against
    b_i leaves alone (AdaLoRA's sensitivity). A client remembers "<layer>" (R,), its slots' importance.
    """

    client_memory = ("",)

    def __init__(self, setting: RunSetting, smoothing: float = 0.85) -> None:
        self.setting, self.smoothing = setting, smoothing

    def remember(self, ids: Sequence[int]) -> Parameters:
        """No slot matters yet."""
        return {layer: torch.zeros(len(ids), self.setting.rank, device=self.setting.device) for layer in self.setting.shapes}

    def __call__(self, view: ClientView) -> Shared:
        """I <- smoothing I + (1 - smoothing) |w grad|, then the r_k largest; the first ones while nothing is learned."""
        g, memory, chosen = view.gradient(), self.remembered(view), {}
        for layer in view.layers:
            A, B = ((view.start[name] * g[name]).abs() for name in (f"{layer}.A", f"{layer}.B"))
            memory[layer] = self.smoothing * memory[layer] + (1 - self.smoothing) * (A.sum(2) + B.sum(1))
            chosen[layer] = top(memory[layer], view.budget)
        return Shared(chosen, chosen, chosen, chosen)

"""Stage 2: what is trained, what is sent, what stays private?

An ingredient maps the turn to the slots of A and of B that are trained and that are sent. It may put a client's private
parts into `turn.start`.
"""

import torch
from torch import Tensor

from ilora.randomness import torch_generator
from ilora.stages.context import RunSetting, Shared, Turn
from ilora.training.client_model import Parameters


def both(turn: Turn) -> Shared:
    """Train and send every slot of both factors that a client has."""
    return Shared(turn.owned, turn.owned, turn.owned, turn.owned)


def members(turn: Turn, members: int = 4) -> Shared:
    """As `both`, for each of N members that know nothing of each other (LoRA-Ensemble, arXiv:2405.14438).

    The members are the simulation's: it runs a round of each on the same clients and batches.
    """
    return both(turn)


def b_only(turn: Turn) -> Shared:
    """Train and send B alone; A stays the common random one for good (FFA-LoRA, arXiv:2403.12313)."""
    nothing = turn.owned & False
    return Shared(nothing, turn.owned, nothing, turn.owned)


def head_only(turn: Turn) -> Shared:
    """Train and send the head alone, on the backbone as it is: what is left without LoRA, a comparison's floor."""
    nothing = turn.owned & False
    return Shared(nothing, nothing, nothing, nothing)


def alternate(turn: Turn) -> Shared:
    """Train and send B in odd rounds, A in even ones, so that the other factor is common (RoLoRA, arXiv:2502.01755)."""
    if turn.index % 2 == 1:
        return b_only(turn)
    nothing = turn.owned & False
    return Shared(turn.owned, nothing, turn.owned, nothing)


def top(importance: Tensor, counts: Tensor) -> Tensor:
    """(C, n) True at each client's `counts` (C,) largest numbers, the first of equals; importance (C, n)."""
    place = importance.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return place < counts[:, None]


def alternate_top(turn: Turn) -> Shared:
    """As `alternate`, but only the slots that would move most, chosen over all layers (LoRA-A2, arXiv:2410.22815).

    Every client holds all slots. A client of rank r_k trains and sends r_k per layer on average: those of the largest
    ||Delta b_i|| ||a_i|| in odd rounds, ||Delta a_i|| ||b_i|| in even ones, Delta a gradient step over its samples (ours).
    """
    g, scores = turn.gradient(), []
    moves, still = ("B", "A") if turn.index % 2 == 1 else ("A", "B")
    for layer in turn.layers:
        move, other = g[f"{layer}.{moves}"], turn.start[f"{layer}.{still}"]
        scores.append(slot_norms(move, moves) * slot_norms(other, still))
    chosen = top(torch.cat(scores, 1), turn.budget * len(scores)).chunk(len(scores), 1)
    slots, nothing = dict(zip(turn.layers, chosen, strict=True)), turn.owned & False
    return Shared(nothing, slots, nothing, slots) if moves == "B" else Shared(slots, nothing, slots, nothing)


def slot_norms(stacked: Tensor, factor: str) -> Tensor:
    """(C, R) lengths of the rows of A (C, R, d_in), or of the columns of B (C, d_out, R)."""
    return torch.linalg.vector_norm(stacked, dim=2 if factor == "A" else 1)


def sketch(turn: Turn) -> Shared:
    """W_0 + s B S_k A: S_k is R / r_k on a random choice of r_k of the R slots, else 0, so that E[S_k] = I.

    FSLoRA, arXiv:2501.19389. Every client holds all slots and trains those of its sketch, drawn anew per layer and round.
    """
    R, chosen = turn.setting.rank, {}
    for layer in turn.layers:
        draws = [torch_generator(turn.setting.seed, "sketch", layer, turn.index, client) for client in turn.ids]
        places = torch.stack([torch.randperm(R, generator=draw) for draw in draws]).to(turn.setting.device)
        chosen[layer] = places < turn.budget[:, None]
        turn.start[f"{layer}.D"] = chosen[layer] * (R / turn.budget)[:, None]
    return Shared(chosen, chosen, chosen, chosen, receive=chosen)


class KeepB:
    """Train A and B, send A alone; B and the head stay with the client (FedSA-LoRA, arXiv:2410.01463).

    State: "seen" (N,) whether a client took part yet, and "<name>" (N, ...) every B and head as each client left it.
    """

    def __init__(self, setting: RunSetting) -> None:
        self.clients = setting.clients
        self.state: Parameters = {"seen": torch.zeros(setting.clients, dtype=torch.bool, device=setting.device)}

    def __call__(self, turn: Turn) -> Shared:
        """Clients go on from their own B and head; the server's are those of the start for good."""
        ids = torch.tensor(turn.ids)
        owned = turn.spread(turn.owned, turn.owned)
        for name, received in turn.start.items():
            if not name.endswith(".A"):
                own = self.state.setdefault(name, received.new_zeros(self.clients, *received.shape[1:]))
                seen = self.state["seen"][ids].view(-1, *[1] * (received.ndim - 1))
                turn.start[name] = torch.where(seen, own[ids], received) * owned[name]
        return Shared(turn.owned, turn.owned, turn.owned, turn.owned & False, head=False)

    def end(self, turn: Turn) -> None:
        """Remember what each client keeps."""
        ids = torch.tensor(turn.ids)
        self.state["seen"][ids] = True
        for name in self.state.keys() - {"seen"}:
            self.state[name][ids] = turn.result[name]


class Diagonal:
    """B diag(lambda) A with a common frozen A; B and lambda are trained and sent (AFLoRA, arXiv:2505.24773).

    The server adds the products, which is exact for a common A, and holds them as B lambda; the split of the two is the
    owners' mean of lambda. State: "<layer>" (R,) lambda.
    """

    least = 1e-2  # of |lambda|, so that B can be divided by it

    def __init__(self, setting: RunSetting) -> None:
        self.state: Parameters = {layer: torch.ones(setting.rank, device=setting.device) for layer in setting.shapes}

    def __call__(self, turn: Turn) -> Shared:
        """Split the server's B lambda into the two."""
        for layer in turn.layers:
            turn.start[f"{layer}.B"] = turn.start[f"{layer}.B"] / self.state[layer]
            turn.start[f"{layer}.D"] = self.state[layer] * turn.owned
        nothing = turn.owned & False
        return Shared(nothing, turn.owned, nothing, turn.owned, scales=turn.owned)

    def end(self, turn: Turn) -> None:
        """lambda_i <- the mean over those who have slot i, by samples; as it was where nobody has."""
        share = turn.owned * turn.counts[:, None]
        for layer, old in self.state.items():
            mean = (share * turn.result[f"{layer}.D"]).sum(0) / share.sum(0).clamp_min(1e-12)
            new = torch.where(share.sum(0) > 0, mean, old)
            self.state[layer] = torch.where(new < 0, -1.0, 1.0) * new.abs().clamp_min(self.least)


class TopSlots:
    """Train and send the r_k slots of a layer that matter most to a client (HAFLQ, arXiv:2411.06581, by freezing the others).

    Every client holds all slots. Importance is the smoothed sum of |w grad| over a slot's numbers, which scaling a_i against
    b_i leaves alone (AdaLoRA's sensitivity). State: "<layer>" (N, R), each client's importance.
    """

    def __init__(self, setting: RunSetting, smoothing: float = 0.85) -> None:
        self.smoothing = smoothing
        zeros = torch.zeros(setting.clients, setting.rank, device=setting.device)
        self.state: Parameters = {layer: zeros.clone() for layer in setting.shapes}

    def __call__(self, turn: Turn) -> Shared:
        """I <- smoothing I + (1 - smoothing) |w grad|, then the r_k largest; the first ones while nothing is learned."""
        g, ids, chosen = turn.gradient(), torch.tensor(turn.ids), {}
        for layer in turn.layers:
            A, B = ((turn.start[name] * g[name]).abs() for name in (f"{layer}.A", f"{layer}.B"))
            self.state[layer][ids] = self.smoothing * self.state[layer][ids] + (1 - self.smoothing) * (A.sum(2) + B.sum(1))
            chosen[layer] = top(self.state[layer][ids], turn.budget)
        return Shared(chosen, chosen, chosen, chosen)

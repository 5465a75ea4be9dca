"""Two branches (DFL, arXiv:2206.06818): what holds for everyone is shared, what is a client's own style stays with it.

Every adapted layer carries both as slots of one stack: client k shares its first r_k - q_k slots and keeps the last q_k. A
branch runs alone by giving the other's slots the scale 0. Its features z_g (shared) and z_p (private) pass through one head.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from ilora.lora.factors import slot_mask
from ilora.randomness import numpy_generator, torch_generator
from ilora.stages.context import RunSetting, Shared, Turn
from ilora.stages.features import class_means, guessed, linear_dependence, principal_plane
from ilora.stages.objectives import per_sample
from ilora.tasks.base import Data
from ilora.training.client_model import Output, Parameters, slice_clients
from ilora.training.local_work import LocalWork, Step, Train, Trained

MOST_OTHERS = 8  # clients whose features one client borrows in a round
POINTS = 12  # samples of each client in the pictures of the two branches


def shared_slots(turn: Turn) -> Tensor:
    """(C, R) True at the slots that the server sees."""
    return slot_mask(turn.shared_ranks, turn.setting.rank).to(turn.setting.device)


def only(turn: Turn, branch: str, parameters: Parameters) -> Parameters:
    """The same parameters with one branch, "shared" or "private", switched on alone."""
    shared = shared_slots(turn)
    on = (shared if branch == "shared" else turn.owned & ~shared).float()
    return parameters | {f"{layer}.D": on for layer in turn.layers}


class Branches:
    """Share r_k - q_k slots, keep q_k = min(private_rank, r_k // 2); private slots start from a random A and B = 0.

    State: "<layer>.A" (N, q, d_in) and "<layer>.B" (N, d_out, q), every client's private slots.
    """

    def __init__(self, setting: RunSetting, private_rank: int = 2, negative_control: bool = False) -> None:
        self.most = min(private_rank, setting.rank // 2)
        self.state: Parameters = {}
        for layer, (d_out, d_in) in setting.shapes.items():
            draw = torch.rand(setting.clients, self.most, d_in, generator=torch_generator(setting.seed, "private", layer))
            self.state[f"{layer}.A"] = ((2 * draw - 1) / sqrt(d_in)).to(setting.device)
            self.state[f"{layer}.B"] = torch.zeros(setting.clients, d_out, self.most, device=setting.device)

    def __call__(self, turn: Turn) -> Shared:
        """Put every client's private slots behind its share of the server's."""
        turn.shared_ranks = tuple(rank - min(self.most, rank // 2) for rank in turn.ranks)
        scales = [turn.setting.scaling(rank) for rank in turn.shared_ranks]
        turn.base = replace(turn.base, scales=turn.base.scales.new_tensor(scales))
        for layer in turn.layers:
            A, B = (turn.start[f"{layer}.{factor}"].clone() for factor in "AB")
            for k, client in enumerate(turn.ids):
                here, kept = places(turn, k)
                A[k, here], B[k, :, here] = self.state[f"{layer}.A"][client, kept], self.state[f"{layer}.B"][client, :, kept]
            turn.start |= {f"{layer}.A": A, f"{layer}.B": B}
        shared = shared_slots(turn)
        return Shared(turn.owned, turn.owned, shared, shared, receive=shared)

    def end(self, turn: Turn) -> None:
        """Remember the private slots as the clients trained them."""
        for layer in turn.layers:
            for k, client in enumerate(turn.ids):
                here, kept = places(turn, k)
                self.state[f"{layer}.A"][client, kept] = turn.result[f"{layer}.A"][k, here]
                self.state[f"{layer}.B"][client, :, kept] = turn.result[f"{layer}.B"][k, :, here]

    def answer(self, turn: Turn, clients: Sequence[int], data: Data) -> Tensor:
        """Logits (c, n, C) of clients' own models: the mean of both branches', for a linear head that of their mean features."""
        base = turn.base[clients]
        both = [slice_clients(only(turn, branch, turn.result), clients) for branch in ("shared", "private")]
        return torch.stack([turn.engine.logits(own, base, data) for own in both]).mean(0)


def places(turn: Turn, k: int) -> tuple[slice, slice]:
    """Where client k's private slots stand in the stack, and in the state."""
    first, last = turn.shared_ranks[k], turn.ranks[k]
    return slice(first, last), slice(0, last - first)


class Disentangle:
    """First the private branch learns what the shared one does not say, then the shared one what the private one does not.

    P: min CE(h(z_p), y) + dependence HSIC(z_p, z_g), with z_g held fixed, over the first half of the local steps;
    G: min CE(h(z_g), y) + dependence HSIC(z_g, z_p) + transfer mean_{j != k} CE(h(z_g + v_{j,y}), y), with z_p held fixed.
    v_{j,c} is client j's mean private feature of class c, sent to everyone (diversity transferring).
    State: "v" (N, classes, d) and "known" (N, classes), 1 where a client has sent a mean.
    """

    extra_forwards = 1  # of the branch that is held fixed

    def __init__(self, setting: RunSetting, dependence: float = 0.1, transfer: float = 0.5) -> None:
        self.dependence, self.transfer, self.setting = dependence, transfer, setting
        self.state: Parameters = {}

    def begin(self, turn: Turn) -> Parameters:
        """The mean private features of up to MOST_OTHERS other clients, drawn by the seed; nothing before anyone sent one."""
        if "v" not in self.state or self.setting.clients == 1:
            return {}
        others = [self.others(turn, client) for client in turn.ids]
        given = {name: torch.stack([self.state[name][own] for own in others]) for name in ("v", "known")}
        turn.floats_down += int(given["known"].sum()) * given["v"].shape[-1]
        return given

    def others(self, turn: Turn, client: int) -> Tensor:
        """Whose features a client borrows in this round."""
        draw = numpy_generator(self.setting.seed, "transfer", turn.index, client)
        rest = draw.permutation([k for k in range(self.setting.clients) if k != client])[:MOST_OTHERS]
        return torch.tensor(rest, dtype=torch.long, device=self.setting.device)

    def train(self, turn: Turn, work: LocalWork, train: Train) -> Trained:
        """The two phases, one after the other, each with an optimizer of its own; then the clients send their v."""
        shared, half = shared_slots(turn), work.batches.shape[1] // 2
        P = self.phase(turn, "private", turn.owned & ~shared, work.part(slice(half)), train)
        rest = replace(work.part(slice(half, None)), start=P.parameters)
        G = self.phase(turn, "shared", shared, rest, train)
        self.send(turn, G.parameters, [index.unique() for index in work.batches.flatten(1)])
        return Trained(G.parameters, torch.cat([P.losses, G.losses], 1), torch.cat([P.gradient_norms, G.gradient_norms], 1))

    def phase(self, turn: Turn, branch: str, slots: Tensor, work: LocalWork, train: Train) -> Trained:
        """Train one branch and the head."""
        other = only(turn, "private" if branch == "shared" else "shared", {})
        start, given = only(turn, branch, work.start), work.given | {f"fixed/{name}": own for name, own in other.items()}
        trainable = turn.spread(slots, slots) | {name: torch.zeros_like(own) for name, own in other.items()}
        loss = self.private_loss if branch == "private" else self.shared_loss
        trained = train(replace(work, start=start, given=given, trainable=trainable, objective=loss))
        return replace(trained, parameters={name: trained.parameters[name] for name in work.start})

    def private_loss(self, step: Step) -> Tensor:
        """CE(h(z), y) + dependence HSIC(z, z of the branch that is held fixed), (K,)."""
        fixed = {name.removeprefix("fixed/"): own for name, own in step.given.items() if name.startswith("fixed/")}
        with torch.no_grad():
            other = step.forward(step.parameters | fixed, step.base, step.inputs).features
        return per_sample(step).mean(1) + self.dependence * linear_dependence(step.output.features, other)

    def shared_loss(self, step: Step) -> Tensor:
        """As `private_loss`, and the shared branch must know the class under other clients' styles, too (K,)."""
        loss = self.private_loss(step)
        return loss + self.transfer * borrowed(step) if "v" in step.given else loss

    def __call__(self, step: Step) -> Tensor:
        """What the received model is judged by where nothing is trained: the plain loss."""
        return per_sample(step).mean(1)

    def send(self, turn: Turn, parameters: Parameters, seen: list[Tensor]) -> None:
        """Every client sends v over the samples of its batches; the pictures of the branches are made from the same."""
        private = turn.outputs(only(turn, "private", parameters), seen)
        labels = [turn.engine.data.labels[index] for index in seen]
        for k, client in enumerate(turn.ids):
            v, known = class_means(private[k].features, labels[k], self.setting.classes)
            turn.floats_up += int(known.sum()) * v.shape[1]
            for name, tensor in (("v", v), ("known", known)):
                self.state.setdefault(name, tensor.new_zeros(self.setting.clients, *tensor.shape))[client] = tensor
        picture(turn, private, seen)


def borrowed(step: Step) -> Tensor:
    """mean over others j of CE(h(z_g + v_{j,y}), y), (K,); classes of which j sent no mean are left out."""
    rows = torch.arange(len(step.labels), device=step.labels.device)[:, None]
    total = count = torch.zeros(len(step.labels), device=step.labels.device)
    for v_j, known_j in zip(step.given["v"].unbind(1), step.given["known"].unbind(1), strict=True):
        z, there = step.output.features + v_j[rows, step.labels], known_j[rows, step.labels]
        losses = per_sample(replace(step, output=Output(step.output.head(z), z)))
        total, count = total + (losses * there).sum(1), count + there.sum(1)
    return total / count.clamp_min(1)


def picture(turn: Turn, private: list[Output], seen: list[Tensor]) -> None:
    """How often a linear probe names the client from z_g of the received global model, and from z_p; and where both lie.

    Nothing where a client has seen no samples.
    """
    n = min(map(len, seen))
    if n == 0:
        return
    before, base = turn.before
    everyone = {name: own.expand(len(seen), *own.shape[1:]) for name, own in before.items()}
    common = turn.engine.own_outputs(everyone, base[[0] * len(seen)], seen)
    labels = turn.engine.data.labels
    for branch, outputs in (("shared", common), ("private", private)):
        features = torch.stack([own.features[:n] for own in outputs])  # (C, n, d)
        found = guessed(features)
        turn.columns[f"guessed_{branch}"] = found
        turn.scores |= {} if found.isnan().any() else {f"client guessed from {branch} features": float(found.mean())}
        turn.pictures[f"{branch}/points"] = principal_plane(features[:, :POINTS]).float()
    turn.pictures["points/labels"] = torch.stack([labels[index[: min(n, POINTS)]] for index in seen])

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
from ilora.stages.context import ClientModels, ClientView, RoundContext, RoundLog, RunSetting, ServerView, Shared
from ilora.stages.features import class_means, guessed, linear_dependence, principal_plane
from ilora.stages.objectives import per_sample
from ilora.stages.stage import Stage
from ilora.tasks.base import Data
from ilora.training.client_model import Output, Parameters
from ilora.training.local_work import LocalWork, Step, Train, Trained

MOST_OTHERS = 8  # clients whose features one client borrows in a round
POINTS = 12  # samples of each client in the pictures of the two branches


def branch_slots(ranks: Sequence[int], shared: Sequence[int], setting: RunSetting) -> dict[str, Tensor]:
    """(C, R) True at the slots that the server sees, "shared", and at those that it never sees, "private"."""
    first, owned = (slot_mask(r, setting.rank).to(setting.device) for r in (shared, ranks))
    return {"shared": first, "private": owned & ~first}


def only(slots: Tensor, layers: Sequence[str], parameters: Parameters) -> Parameters:
    """The same parameters with one branch, that of the `slots` (C, R), switched on alone."""
    return parameters | {f"{layer}.D": slots.float() for layer in layers}


class Branches(Stage):
    """Share r_k - q_k slots, keep q_k = min(private_rank, r_k // 2); private slots start from a random A and B = 0.

    A client remembers its private slots, "<layer>.A" (q, d_in) and "<layer>.B" (d_out, q).
    """

    client_memory = ("",)

    def __init__(self, setting: RunSetting, private_rank: int = 2, negative_control: bool = False) -> None:
        self.setting, self.most = setting, min(private_rank, setting.rank // 2)

    def remember(self, ids: Sequence[int]) -> Parameters:
        """The random private slots of these clients."""
        s, first = self.setting, {}
        for layer, (d_out, d_in) in s.shapes.items():
            draw = torch.rand(s.clients, self.most, d_in, generator=torch_generator(s.seed, "private", layer))[list(ids)]
            first[f"{layer}.A"] = ((2 * draw - 1) / sqrt(d_in)).to(s.device)
            first[f"{layer}.B"] = torch.zeros(len(ids), d_out, self.most, device=s.device)
        return first

    def __call__(self, view: ClientView) -> Shared:
        """Put every client's private slots behind its share of the server's."""
        ranks = tuple(rank - min(self.most, rank // 2) for rank in view.ranks)
        scales = [self.setting.scaling(rank) for rank in ranks]
        view.work.base = replace(view.base, scales=view.base.scales.new_tensor(scales))
        memory = self.remembered(view)
        for layer in view.layers:
            A, B = (view.start[f"{layer}.{factor}"].clone() for factor in "AB")
            for k, (here, kept) in enumerate(map(places, ranks, view.ranks)):
                A[k, here], B[k, :, here] = memory[f"{layer}.A"][k, kept], memory[f"{layer}.B"][k, :, kept]
            view.start[f"{layer}.A"], view.start[f"{layer}.B"] = A, B
        shared = branch_slots(view.ranks, ranks, self.setting)["shared"]
        return Shared(view.owned, view.owned, shared, shared, receive=shared, ranks=ranks)

    def end(self, view: ClientView) -> Parameters:
        """Remember the private slots as the clients trained them."""
        memory = self.remembered(view)
        for layer in view.layers:
            for k, (here, kept) in enumerate(map(places, view.shared.ranks, view.ranks)):
                memory[f"{layer}.A"][k, kept] = view.result[f"{layer}.A"][k, here]
                memory[f"{layer}.B"][k, :, kept] = view.result[f"{layer}.B"][k, :, here]
        return {}

    def answer(self, models: ClientModels, clients: Sequence[int], data: Data) -> Tensor:
        """Logits (c, n, C) of clients' own models: the mean of both branches', for a linear head that of their mean features."""
        slots = branch_slots(models.ranks, models.shared.ranks, self.setting).values()
        both = [replace(models, parameters=only(own, tuple(self.setting.shapes), models.parameters)) for own in slots]
        return torch.stack([own.logits(clients, data) for own in both]).mean(0)


def places(shared: int, rank: int) -> tuple[slice, slice]:
    """Where a client's private slots stand in the stack, and in its memory."""
    return slice(shared, rank), slice(0, rank - shared)


class Disentangle(Stage):
    """First the private branch learns what the shared one does not say, then the shared one what the private one does not.

    P: min CE(h(z_p), y) + dependence HSIC(z_p, z_g), with z_g held fixed, over the first half of the local steps;
    G: min CE(h(z_g), y) + dependence HSIC(z_g, z_p) + transfer mean_{j != k} CE(h(z_g + v_{j,y}), y), with z_p held fixed.
    v_{j,c} is client j's mean private feature of class c, sent to everyone (diversity transferring).
    The server's state: "v" (N, classes, d) and "known" (N, classes), 1 where a client has sent a mean.
    """

    extra_forwards = 1  # of the branch that is held fixed

    def __init__(self, setting: RunSetting, dependence: float = 0.1, transfer: float = 0.5) -> None:
        self.dependence, self.transfer, self.setting = dependence, transfer, setting

    def broadcast(self, server: ServerView) -> Parameters:
        """The mean private features of up to MOST_OTHERS other clients, drawn by the seed; NaN where nobody sent one."""
        if "v" not in self.state or self.setting.clients == 1:
            return {}
        others = [self._others(server.index, client) for client in server.ids]
        known = torch.stack([self.state["known"][own] for own in others])
        return {"v": torch.stack([self.state["v"][own] for own in others]).where(known[..., None] > 0, torch.nan)}

    def _others(self, index: int, client: int) -> Tensor:
        """Whose features a client borrows in a round."""
        draw = numpy_generator(self.setting.seed, "transfer", index, client)
        rest = draw.permutation([k for k in range(self.setting.clients) if k != client])[:MOST_OTHERS]
        return torch.tensor(rest, dtype=torch.long, device=self.setting.device)

    def begin(self, view: ClientView) -> Parameters:
        """The features that were received, and 1 where there is one."""
        v = self.received(view).get("v")
        return {} if v is None else {"v": v.nan_to_num(0.0), "known": (~v[..., 0].isnan()).float()}

    def train(self, view: ClientView, work: LocalWork, train: Train) -> Trained:
        """The two phases, one after the other, each with an optimizer of its own."""
        half = work.batches.shape[1] // 2
        P = self._phase(view, "private", work.part(slice(half)), train)
        G = self._phase(view, "shared", replace(work.part(slice(half, None)), start=P.parameters), train)
        view.work.notes["seen"] = [index.unique() for index in work.batches.flatten(1)]
        return Trained(G.parameters, torch.cat([P.losses, G.losses], 1), torch.cat([P.gradient_norms, G.gradient_norms], 1))

    def _phase(self, view: ClientView, branch: str, work: LocalWork, train: Train) -> Trained:
        """Train one branch and the head."""
        slots = branch_slots(view.ranks, view.shared.ranks, self.setting)
        mine, other = slots[branch], only(slots["private" if branch == "shared" else "shared"], view.layers, {})
        given = work.given | {f"fixed/{name}": own for name, own in other.items()}
        trainable = view.spread(view.start, mine, mine) | {name: torch.zeros_like(own) for name, own in other.items()}
        loss = self._private_loss if branch == "private" else self._shared_loss
        start = only(mine, view.layers, work.start)
        trained = train(replace(work, start=start, given=given, trainable=trainable, objective=loss))
        return replace(trained, parameters={name: trained.parameters[name] for name in work.start})

    def _private_loss(self, step: Step) -> Tensor:
        """CE(h(z), y) + dependence HSIC(z, z of the branch that is held fixed), (K,)."""
        fixed = {name.removeprefix("fixed/"): own for name, own in step.given.items() if name.startswith("fixed/")}
        with torch.no_grad():
            other = step.forward(step.parameters | fixed, step.base, step.inputs).features
        return per_sample(step).mean(1) + self.dependence * linear_dependence(step.output.features, other)

    def _shared_loss(self, step: Step) -> Tensor:
        """As `_private_loss`, and the shared branch must know the class under other clients' styles, too (K,)."""
        loss = self._private_loss(step)
        return loss + self.transfer * borrowed(step) if "v" in step.given else loss

    def __call__(self, step: Step) -> Tensor:
        """What the received model is judged by where nothing is trained: the plain loss."""
        return per_sample(step).mean(1)

    def end(self, view: ClientView) -> Parameters:
        """Every client reports v over the samples of its batches, NaN for a class that it has not seen."""
        seen = view.work.notes["seen"]
        slots = branch_slots(view.ranks, view.shared.ranks, self.setting)["private"]
        private = view.outputs(only(slots, view.layers, view.result), seen)
        features, labels = [own.features for own in private], [view.labels(index) for index in seen]
        view.work.notes |= {"private features": features, "labels": labels}
        means = [class_means(z, y, self.setting.classes) for z, y in zip(features, labels, strict=True)]
        return {"v": torch.stack([v.where(known[:, None] > 0, torch.nan) for v, known in means])}

    def update(self, server: ServerView) -> None:
        """Keep what was reported, for the clients' others."""
        v = self.reported(server)["v"]
        for name, new in (("v", v.nan_to_num(0.0)), ("known", (~v[..., 0].isnan()).float())):
            table = self.state.setdefault(name, new.new_zeros(self.setting.clients, *new.shape[1:]))
            table[list(server.ids)] = new

    def observe(self, context: RoundContext) -> None:
        """How often a linear probe names the client from z_g of the received global model, and from z_p; and where both lie."""
        notes, n = context.clients.notes, min(map(len, context.clients.notes["seen"]))
        if n:  # else there are no features to look at
            features = {"shared": common_features(context, notes["seen"]), "private": notes["private features"]}
            for branch, own in features.items():
                picture(context.log, branch, torch.stack([z[:n] for z in own]))
            context.log.pictures["points/labels"] = torch.stack([y[: min(n, POINTS)] for y in notes["labels"]])


def borrowed(step: Step) -> Tensor:
    """mean over others j of CE(h(z_g + v_{j,y}), y), (K,); classes of which j sent no mean are left out."""
    rows = torch.arange(len(step.labels), device=step.labels.device)[:, None]
    total = count = torch.zeros(len(step.labels), device=step.labels.device)
    for v_j, known_j in zip(step.given["v"].unbind(1), step.given["known"].unbind(1), strict=True):
        z, there = step.output.features + v_j[rows, step.labels], known_j[rows, step.labels]
        losses = per_sample(replace(step, output=Output(step.output.head(z), z)))
        total, count = total + (losses * there).sum(1), count + there.sum(1)
    return total / count.clamp_min(1)


def common_features(context: RoundContext, samples: list[Tensor]) -> list[Tensor]:
    """(n_k, d) what the received global model sees in each client's samples."""
    before, base = context.server.before
    everyone = {name: own.expand(len(samples), *own.shape[1:]) for name, own in before.items()}
    found = context.clients.models.engine.own_outputs(everyone, base[[0] * len(samples)], samples)
    return [output.features for output in found]


def picture(log: RoundLog, branch: str, features: Tensor) -> None:
    """Note how well the features of one branch (C, n, d) give the client away, and where they lie."""
    found = guessed(features)
    log.columns[f"guessed_{branch}"] = found
    log.scores |= {} if found.isnan().any() else {f"client guessed from {branch} features": float(found.mean())}
    log.pictures[f"{branch}/points"] = principal_plane(features[:, :POINTS]).float()

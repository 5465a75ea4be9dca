"""Rewards that clients learn and a router fuses (MoR, arXiv:2605.03426, a reconstruction; its first posting was withdrawn).

Clients never send a policy. Each sends one reward head, of its own rank, that it learned from preferences in its own samples,
once; the server learns which client to trust where, and trains the one policy by GRPO on the fused reward.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ilora.clients.sampling import batch_plan
from ilora.lora.factors import slot_mask
from ilora.randomness import numpy_generator, torch_generator
from ilora.stages.context import ClientView, RunSetting, Shared
from ilora.stages.features import principal_plane
from ilora.stages.policy_gradient import Grpo, first_policy, tables
from ilora.stages.stage import Stage
from ilora.training.client_model import Base, Parameters, slice_clients
from ilora.training.local_work import LocalWork, Train, Trained

CELLS = 10  # of the map of trust, each way


class MixtureOfRewards(Stage):
    """Clients send a reward head when they first take part; the server trains the one policy on prompts that clients gave away.

    The round's outcome is the same policy for all, so that averaging changes nothing. Whose reward counts: "router" (learned
    on anchor pairs), "uniform", "single" (the client with most samples), or "oracle" (the true label).
    State: "seen" (N,), "V" (N, classes, R) and "W" (N, R, d) the heads, "router" (N, d + 1), "prompts" (samples,).
    """

    central = True

    def __init__(self, setting: RunSetting, reward: str = "router", anchors: int = 100, public: float = 0.2) -> None:
        self.setting, self.reward, self.anchors, self.public = setting, reward, anchors, public
        self.state = {"seen": torch.zeros(setting.clients, dtype=torch.bool, device=setting.device)}

    def __call__(self, view: ClientView) -> Shared:
        """Everyone ends the round with the server's policy."""
        return Shared(view.owned, view.owned, view.owned, view.owned)

    def train(self, view: ClientView, work: LocalWork, train: Train) -> Trained:
        """Welcome new clients, fuse their rewards over all prompts, and train the policy on them."""
        view.work.report[self.key] = self._welcome(view)
        samples = self._prompts(view)
        features = frozen_features(view, [samples])[0]
        table = self._fused_rewards(view, samples, features)
        one = train(self._policy_work(view, work, samples, table))
        C = len(view.ids)
        parameters = {name: tensor.repeat(C, *[1] * (tensor.ndim - 1)) for name, tensor in one.parameters.items()}
        return Trained(parameters, one.losses.repeat(C, 1), one.gradient_norms.repeat(C, 1))

    def _welcome(self, view: ClientView) -> Parameters:
        """Clients that take part for the first time learn a reward head each, on the samples that they keep, and send it.

        The heads that are sent, (C, classes, R) and (C, R, d), NaN where nothing is.
        """
        new = [place for place, k in enumerate(view.ids) if not self.state["seen"][k]]
        kept = [self._own_samples(view, place)[0] for place in new]
        for place, own, features in zip(new, kept, frozen_features(view, kept) if new else [], strict=True):
            k = view.ids[place]
            draw = torch_generator(self.setting.seed, "reward head", k)
            V, W = fit_reward(features, view.labels(own), self.setting.classes, self.setting.ranks[k], draw)
            self._keep("V", k, functional.pad(V, (0, self.setting.rank - V.shape[1])))
            self._keep("W", k, functional.pad(W, (0, 0, 0, self.setting.rank - len(W))))
            self.state["seen"][k] = True
        if new:
            self.state.pop("router", None)
        return self._heads_of(view, new)

    def _heads_of(self, view: ClientView, places: list[int]) -> Parameters:
        """The heads of some of the round's clients, NaN for the others and beyond a client's rank."""
        there = (
            slot_mask(view.budgets, self.setting.rank) & torch.isin(torch.arange(len(view.ids)), torch.tensor(places))[:, None]
        )
        there = there.to(self.setting.device)
        ids = list(view.ids)
        return {
            "V": self.state["V"][ids].where(there[:, None, :], torch.nan),
            "W": self.state["W"][ids].where(there[:, :, None], torch.nan),
        }

    def _own_samples(self, view: ClientView, place: int) -> tuple[Tensor, Tensor]:
        """What one of the round's clients keeps, and what it gave away."""
        return separate(self.setting.seed, view.ids[place], view.samples[place], self.public)

    def _prompts(self, view: ClientView) -> Tensor:
        """(m,) the samples that all clients seen so far gave away, ascending."""
        nothing = torch.zeros(len(view.engine.data), dtype=torch.bool, device=self.setting.device)
        given = self.state.setdefault("prompts", nothing)
        for place in range(len(view.ids)):
            given[self._own_samples(view, place)[1]] = True
        return given.nonzero()[:, 0]

    def _keep(self, name: str, k: int, tensor: Tensor) -> None:
        self.state.setdefault(name, tensor.new_zeros(self.setting.clients, *tensor.shape))[k] = tensor

    def _fused_rewards(self, view: ClientView, samples: Tensor, features: Tensor) -> Tensor:
        """(m, classes) the reward of every answer to every prompt; leaves in the record whom it trusts and how right it is."""
        labels, seen = view.labels(samples), self.state["seen"].nonzero()[:, 0]
        V, W = self.state["V"][seen], self.state["W"][seen]
        scores = standardised(torch.einsum("md,nrd,ncr->nmc", features, W, V))
        weights = self._weights(features, scores, labels, seen)
        table = fused(weights, scores)
        right = (scores.argmax(-1) == labels).float().mean(1)
        ids = list(view.ids)
        everyone = torch.zeros(len(features), self.setting.clients, device=features.device)
        everyone[:, seen] = weights
        per_client = torch.zeros(self.setting.clients, device=features.device)
        per_client[seen] = right
        view.work.columns |= {
            "reward_accuracy": per_client[ids],
            "fused_accuracy": (table.argmax(-1) == labels).float().mean().expand(len(ids)),
            "trust": everyone.mean(0)[ids],
            "trust_map": on_grid(projection(features), everyone[:, ids], CELLS),
        }
        return functional.one_hot(labels, table.shape[-1]).to(table) if self.reward == "oracle" else table

    def _weights(self, features: Tensor, scores: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
        """(m, n) how much each of the clients seen so far counts at each prompt."""
        n = len(seen)
        if self.reward == "single":
            most = max(range(n), key=lambda i: self.setting.samples[int(seen[i])])
            return functional.one_hot(torch.tensor(most), n).to(features).expand(len(features), n)
        if self.reward != "router":
            return features.new_full((len(features), n), 1 / n)
        if "router" not in self.state:
            order = torch.randperm(len(labels), generator=torch_generator(self.setting.seed, "anchors", n))[: self.anchors]
            draw = torch_generator(self.setting.seed, "router", n)
            self.state["router"] = fit_router(features[order], scores[:, order], labels[order], draw)
        return trust(self.state["router"], features)

    def _policy_work(self, view: ClientView, work: LocalWork, samples: Tensor, table: Tensor) -> LocalWork:
        """The server's work: as many forward passes as all clients of a round would make together."""
        steps = work.batches.shape[1]
        batch = sum(work.own_steps) * work.batches.shape[2] // max(1, steps)
        draw = numpy_generator(self.setting.seed, "prompts", view.index)
        batches = torch.from_numpy(batch_plan(samples.cpu().numpy(), steps, batch, draw)).to(work.batches)
        given = self._given(view, work, samples, table)
        return replace(work[[0]], batches=batches[None], steps=(), draws=None, given=given)

    def _given(self, view: ClientView, work: LocalWork, samples: Tensor, table: Tensor) -> Parameters:
        """What the policy's loss needs, where it is GRPO's: draws, alpha, the reference's logits where KL counts, the rewards."""
        grpo = work.objective
        if not isinstance(grpo, Grpo):
            return {}
        received, reference = view.received[grpo.key], None
        if grpo.kl:
            first = slice_clients(first_policy(view, received), [0])
            reference = view.logits(first, [samples], view.base[[0]])
        own = tables(view, [-1], [samples], grpo.group, reference)
        return own | {"alpha": received["alpha"][:1], "rewards": table[None]}


def frozen_features(view: ClientView, samples: list[Tensor]) -> list[Tensor]:
    """What the frozen backbone sees in lists of samples, (n, d) each; the passes are counted."""
    one = slice_clients(view.start, [0])
    frozen = {name: torch.zeros_like(tensor) if name.endswith(".B") else tensor for name, tensor in one.items()}
    base = Base(view.base.ranks[:1], view.base.scales[:1])
    return [view.outputs(frozen, [own], base)[0].features for own in samples]


def preference_loss(better: Tensor, worse: Tensor) -> Tensor:
    """-mean log sigma(r(x, y+) - r(x, y-)), the Bradley-Terry model."""
    return -functional.logsigmoid(better - worse).mean()


def wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """(n,) for each label another one, all others as likely."""
    step = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + step) % classes


def fit_reward(
    features: Tensor, labels: Tensor, classes: int, rank: int, generator: torch.Generator, steps: int = 200
) -> tuple[Tensor, Tensor]:
    """V (classes, r) and W (r, d) of r(x, y) = <V W phi(x), e_y>, by Bradley-Terry on (label > wrong label) pairs.

    features (n, d); every step meets each sample with another wrong label. Adam at 0.05, weight decay 1e-3 (ours).
    """
    draw = (torch.randn(shape, generator=generator).to(features) for shape in ((classes, rank), (rank, features.shape[1])))
    V, W = ((0.1 * tensor).requires_grad_() for tensor in draw)
    optimizer = torch.optim.AdamW([V, W], lr=0.05, weight_decay=1e-3)
    for _ in range(steps):
        scores = features @ W.T @ V.T
        wrong = wrong_labels(labels, classes, generator)
        loss = preference_loss(scores.gather(1, labels[:, None]), scores.gather(1, wrong[:, None]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return V.detach(), W.detach()


def standardised(scores: Tensor) -> Tensor:
    """Each client's rewards over all prompts and answers with mean 0 and deviation 1; scores (N, m, classes)."""
    mean, deviation = scores.mean((1, 2), keepdim=True), scores.std((1, 2), keepdim=True)
    return (scores - mean) / deviation.clamp_min(1e-6)


def trust(router: Tensor, features: Tensor) -> Tensor:
    """g(x) = softmax(router [phi(x); 1]) over the clients: router (N, d + 1), features (m, d) -> (m, N)."""
    return (features @ router[:, :-1].T + router[:, -1]).softmax(-1)


def fused(weights: Tensor, scores: Tensor) -> Tensor:
    """R(x, y) = sum_k g_k(x) r_k(x, y): weights (m, N), scores (N, m, classes) -> (m, classes)."""
    return torch.einsum("mn,nmc->mc", weights, scores)


def fit_router(features: Tensor, scores: Tensor, labels: Tensor, generator: torch.Generator, steps: int = 200) -> Tensor:
    """The router (N, d + 1), by Bradley-Terry on the fused reward of anchor pairs (label > a wrong label).

    features (a, d), scores (N, a, classes), labels (a,). From zero, which trusts everyone alike; Adam at 0.05, decay 1e-2 (ours).
    """
    router = torch.zeros(len(scores), features.shape[1] + 1, device=features.device, requires_grad=True)
    optimizer = torch.optim.AdamW([router], lr=0.05, weight_decay=1e-2)
    for _ in range(steps):
        R = fused(trust(router, features), scores)
        wrong = wrong_labels(labels, scores.shape[-1], generator)
        loss = preference_loss(R.gather(1, labels[:, None]), R.gather(1, wrong[:, None]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return router.detach()


def projection(features: Tensor) -> Tensor:
    """(m, 2) the features (m, d) in their principal plane, scaled into 0..1."""
    flat = principal_plane(features)
    low, high = flat.min(0).values, flat.max(0).values
    return (flat - low) / (high - low).clamp_min(1e-12)


def on_grid(points: Tensor, weights: Tensor, cells: int) -> Tensor:
    """(N, cells, cells) the mean of weights (m, N) over the points (m, 2) in each cell; NaN where there is none."""
    column, row = (points * cells).long().clamp(0, cells - 1).T
    place = torch.nn.functional.one_hot(row * cells + column, cells**2).to(weights)  # (m, cells^2)
    return (weights.T @ place / place.sum(0)).view(-1, cells, cells)


def separate(generator_seed: int, k: int, own: Tensor, public: float) -> tuple[Tensor, Tensor]:
    """A client's samples in two: those it keeps, and the share that it gives away as prompts (at least one, if it has two)."""
    order = torch.randperm(len(own), generator=torch_generator(generator_seed, "public", k)).to(own.device)
    count = min(len(own) - 1, max(1, round(public * len(own))))
    return own[order[count:]], own[order[:count]]

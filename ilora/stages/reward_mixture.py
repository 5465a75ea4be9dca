"""Who trains what in MoR: clients one reward head each, once; the server the router and the policy, by GRPO."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from ilora.clients.sampling import batch_plan
from ilora.randomness import numpy_generator, torch_generator
from ilora.stages import reward_models
from ilora.stages.context import BYTES_PER_FLOAT, RunSetting, Shared, Traffic, Turn
from ilora.stages.policy_gradient import Grpo
from ilora.training.client_model import Base, Parameters
from ilora.training.local_work import LocalWork, Train, Trained

CELLS = 10  # of the map of trust, each way


class MixtureOfRewards:
    """Clients send a reward head when they first take part; the server trains the one policy on prompts that clients gave away.

    The round's outcome is the same policy for all, so that averaging changes nothing. Whose reward counts: "router" (learned
    on anchor pairs), "uniform", "single" (the client with most samples), or "oracle" (the true label).
    State: "seen" (N,), "V" (N, classes, R) and "W" (N, R, d) the heads, "router" (N, d + 1).
    """

    def __init__(self, setting: RunSetting, reward: str = "router", anchors: int = 100, public: float = 0.2) -> None:
        self.setting, self.reward, self.anchors, self.public = setting, reward, anchors, public
        self.state: Parameters = {"seen": torch.zeros(setting.clients, dtype=torch.bool, device=setting.device)}
        self.sent = 0  # numbers that went up in this round

    def __call__(self, turn: Turn) -> Shared:
        """Everyone ends the round with the server's policy."""
        return Shared(turn.owned, turn.owned, turn.owned, turn.owned)

    def traffic(self, turn: Turn) -> Traffic:
        """Reward heads go up, once; nothing comes down."""
        return Traffic(self.sent, 0, BYTES_PER_FLOAT * self.sent, 0)

    def train(self, turn: Turn, work: LocalWork, train: Train) -> Trained:
        """Welcome new clients, fuse their rewards over all prompts, and train the policy on them."""
        self.welcome(turn)
        samples = self.prompts(turn)
        features = self.features(turn, [samples])[0]
        table = self.fused_rewards(turn, samples, features)
        one = train(self.policy_work(turn, work, samples, table))
        C = len(turn.ids)
        parameters = {name: tensor.repeat(C, *[1] * (tensor.ndim - 1)) for name, tensor in one.parameters.items()}
        return Trained(parameters, one.losses.repeat(C, 1), one.gradient_norms.repeat(C, 1))

    def welcome(self, turn: Turn) -> None:
        """Clients that take part for the first time learn a reward head each, on the samples that they keep, and send it."""
        ids = [k for k in turn.ids if not self.state["seen"][k]]
        kept = [self.own_samples(turn, k)[0] for k in ids]
        classes, self.sent = turn.local_logits[0].shape[-1], 0
        for k, own, features in zip(ids, kept, self.features(turn, kept) if ids else [], strict=True):
            rank, draw = self.setting.ranks[k], torch_generator(self.setting.seed, "reward head", k)
            V, W = reward_models.fit_reward(features, turn.engine.data.labels[own], classes, rank, draw)
            self.keep("V", k, functional.pad(V, (0, self.setting.rank - rank)))
            self.keep("W", k, functional.pad(W, (0, 0, 0, self.setting.rank - rank)))
            self.state["seen"][k] = True
            self.sent += V.numel() + W.numel()
        if ids:
            self.state.pop("router", None)

    def own_samples(self, turn: Turn, k: int) -> tuple[Tensor, Tensor]:
        """What client k of this round keeps, and what it gave away."""
        return reward_models.separate(self.setting.seed, k, turn.samples[turn.ids.index(k)], self.public)

    def prompts(self, turn: Turn) -> Tensor:
        """(m,) the samples that all clients seen so far gave away, ascending."""
        given = self.state.setdefault("prompts", torch.zeros(len(turn.engine.data), dtype=torch.bool, device=self.setting.device))
        for k in turn.ids:
            given[self.own_samples(turn, k)[1]] = True
        return given.nonzero()[:, 0]

    def keep(self, name: str, k: int, tensor: Tensor) -> None:
        self.state.setdefault(name, tensor.new_zeros(self.setting.clients, *tensor.shape))[k] = tensor

    def features(self, turn: Turn, samples: list[Tensor]) -> list[Tensor]:
        """What the frozen backbone sees in lists of samples, (n, d) each; the passes are counted."""
        server, base = turn.before
        frozen = {name: torch.zeros_like(tensor) if name.endswith(".B") else tensor for name, tensor in server.items()}
        turn.forwards += sum(map(len, samples))
        return [turn.engine.own_outputs(frozen, Base(base.ranks, base.scales), [own])[0].features for own in samples]

    def fused_rewards(self, turn: Turn, samples: Tensor, features: Tensor) -> Tensor:
        """(m, classes) the reward of every answer to every prompt; leaves in the record whom it trusts and how right it is."""
        labels, seen = turn.engine.data.labels[samples], self.state["seen"].nonzero()[:, 0]
        scores = reward_models.standardised(
            torch.einsum("md,nrd,ncr->nmc", features, self.state["W"][seen], self.state["V"][seen])
        )
        weights = self.weights(features, scores, labels, seen)
        table = reward_models.fused(weights, scores)
        right = (scores.argmax(-1) == labels).float().mean(1)
        everyone = torch.zeros(len(features), self.setting.clients, device=features.device)
        everyone[:, seen] = weights
        per_client = torch.zeros(self.setting.clients, device=features.device)
        per_client[seen] = right
        turn.columns |= {
            "reward_accuracy": per_client[turn.ids],
            "fused_accuracy": (table.argmax(-1) == labels).float().mean().expand(len(turn.ids)),
            "trust": everyone.mean(0)[turn.ids],
            "trust_map": reward_models.on_grid(reward_models.projection(features), everyone[:, turn.ids], CELLS),
        }
        return functional.one_hot(labels, table.shape[-1]).to(table) if self.reward == "oracle" else table

    def weights(self, features: Tensor, scores: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
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
            self.state["router"] = reward_models.fit_router(features[order], scores[:, order], labels[order], draw)
        return reward_models.trust(self.state["router"], features)

    def policy_work(self, turn: Turn, work: LocalWork, samples: Tensor, table: Tensor) -> LocalWork:
        """The server's work: as many forward passes as all clients of a round would make together."""
        steps = work.batches.shape[1]
        batch = sum(work.own_steps) * work.batches.shape[2] // max(1, steps)
        draw = numpy_generator(self.setting.seed, "prompts", turn.index)
        batches = torch.from_numpy(batch_plan(samples.cpu().numpy(), steps, batch, draw)).to(work.batches)
        grpo = work.objective
        given: Parameters = {}
        if isinstance(grpo, Grpo):
            reference = grpo.reference_logits(turn, [samples]) if grpo.kl else None
            given = grpo.tables(turn, [-1], [samples], reference) | {"rewards": table[None]}
        return replace(work[[0]], batches=batches[None], steps=(), draws=None, given=given)

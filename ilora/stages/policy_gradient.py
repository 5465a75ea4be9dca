"""Bandit GRPO: the adapted classifier is a policy pi(y|x), an answer is one class, and a group of answers is scored at once.

One answer is one token, so lengths and token ratios of language models vanish; entropy, KL and pass@k are exact sums over the
classes. A group is used for one update, so the ratio to the policy that drew it is 1, and clipping it would never act.
AER (arXiv:2510.10959) adds an entropy bonus that adapts, a reconstruction; here the server holds its coefficient (ours).
"""

import torch
from torch import Tensor
from torch.nn import functional

from ilora.randomness import torch_generator
from ilora.stages.context import RunSetting, Turn
from ilora.stages.out_of_distribution import BEHIND
from ilora.training.client_model import Parameters
from ilora.training.local_work import Step

PASSES = 8  # the k of pass@k beside 1


def advantages(rewards: Tensor) -> Tensor:
    """(R_j - mean R) / (std R + 1e-4) within each group, (..., G); they sum to 0, and are 0 where all rewards are alike."""
    return (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, unbiased=False, keepdim=True) + 1e-4)


def draw_answers(logits: Tensor, uniforms: Tensor) -> Tensor:
    """G answers for each prompt: logits (..., C), uniforms (..., G) in 0..1 -> classes (..., G), by the inverse distribution."""
    edges = logits.softmax(-1).cumsum(-1)
    return torch.searchsorted(edges.contiguous(), uniforms.contiguous()).clamp_max(logits.shape[-1] - 1)


def entropy(logits: Tensor) -> Tensor:
    """H(pi) = -sum_y pi log pi, (..., C) -> (...)."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(pi || pi_ref) = sum_y pi (log pi - log pi_ref), (..., C) -> (...)."""
    log_p, log_q = logits.log_softmax(-1), reference.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def pass_at(k: int, logits: Tensor, labels: Tensor) -> Tensor:
    """1 - (1 - pi(y*|x))^k, the chance that one of k answers is right; (..., C), (...) -> (...)."""
    right = logits.softmax(-1).gather(-1, labels[..., None])[..., 0]
    return 1 - (1 - right) ** k


def difficulty_bonus(alpha: Tensor, correct: Tensor, rho: float) -> Tensor:
    """lambda = alpha max(0, 1 - g / rho): the fewer of a group are right, the more its prompt is explored."""
    return alpha * (1 - correct / rho).clamp_min(0)


def next_alpha(alpha: Tensor, measured: Tensor, target: Tensor, eta: float, greatest: float) -> Tensor:
    """alpha <- clip(alpha + eta (H* - H), 0, greatest), an integral controller."""
    return (alpha + eta * (target - measured)).clamp(0, greatest)


class Grpo:
    """F = -mean_j A_j log pi(y_j|x) - lambda H(pi) + kl KL(pi || pi_ref), averaged over the prompts of a batch.

    lambda is alpha_t by difficulty ("adaptive", AER), alpha_t for every prompt ("controller"), a constant ("fixed"), or 0
    ("none"). Each round starts by measuring the received policy on the clients' own prompts. State: "alpha" (), "anchor" (),
    H_0, and "reference/<name>", the server's first model.
    """

    def __init__(
        self,
        setting: RunSetting,
        group: int = 8,
        bonus: str = "adaptive",
        tau: float = 0.4,
        rho: float = 1.0,
        eta: float = 0.2,
        alpha_max: float = 5.0,
        coefficient: float = 0.3,
        kl: float = 0.0,
    ) -> None:
        self.group, self.bonus, self.kl = group, bonus, kl
        self.tau, self.rho, self.eta, self.alpha_max = tau, rho, eta, alpha_max
        constant = coefficient if bonus == "fixed" else 0.0
        self.state: Parameters = {"alpha": torch.tensor(constant, device=setting.device)}

    def begin(self, turn: Turn) -> Parameters:
        """What the loss needs of each client: its uniform draws, alpha, and the reference's logits where KL counts."""
        self.measure(turn)
        if turn.index == 1:
            server, _ = turn.before
            self.state |= {f"reference/{name}": tensor[0].clone() for name, tensor in server.items()}
        reference = self.reference_logits(turn, turn.samples) if self.kl else None
        return self.tables(turn, turn.ids, turn.samples, reference)

    def measure(self, turn: Turn) -> None:
        """Leave in the record how sure and how right the received policy is on each client's prompts."""
        p, labels = turn.counts / turn.counts.sum(), [turn.engine.data.labels[own] for own in turn.samples]
        pairs = list(zip(turn.local_logits, labels, strict=True))
        H = torch.stack([entropy(logits).mean() for logits, _ in pairs])
        self.state.setdefault("anchor", p @ H)
        turn.columns |= {
            "entropy": H,
            "entropy_target": (self.tau * self.state["anchor"]).expand(len(H)),
            "alpha": self.state["alpha"].expand(len(H)),
            "pass_1": torch.stack([pass_at(1, logits, y).mean() for logits, y in pairs]),
            f"pass_{PASSES}": torch.stack([pass_at(PASSES, logits, y).mean() for logits, y in pairs]),
            "group_correct": torch.stack([self.groups(turn, k, *pair) for k, pair in zip(turn.ids, pairs, strict=True)]),
        }

    def groups(self, turn: Turn, k: int, logits: Tensor, labels: Tensor) -> Tensor:
        """(G + 1,) for how many prompts of client k none, one, ... all of a group of answers are right."""
        right = draw_answers(logits, self.uniforms(turn, k, len(labels))) == labels[:, None]
        return torch.bincount(right.sum(1), minlength=self.group + 1).float()

    def uniforms(self, turn: Turn, k: int, prompts: int) -> Tensor:
        """(n, G) the draws of client k in this round, one row for each of its prompts."""
        generator = torch_generator(turn.setting.seed, "grpo", turn.index, k)
        return torch.rand(prompts, self.group, generator=generator).to(turn.setting.device)

    def reference_logits(self, turn: Turn, samples: list[Tensor]) -> list[Tensor]:
        """What the first policy answers to some lists of samples; the passes are counted."""
        _, base = turn.before
        one = {name.removeprefix("reference/"): t[None] for name, t in self.state.items() if name.startswith("reference/")}
        turn.forwards += sum(map(len, samples))
        return [turn.engine.own_logits(one, base, [own])[0] for own in samples]

    def tables(self, turn: Turn, ids: list[int], samples: list[Tensor], reference: list[Tensor] | None) -> Parameters:
        """Per client, beside the sorted indices of its samples, padded behind: draws (C, n, G), reference (C, n, classes)."""
        order = [own.argsort() for own in samples]
        pad = torch.nn.utils.rnn.pad_sequence
        chosen = [own[o] for own, o in zip(samples, order, strict=True)]
        draws = [self.uniforms(turn, k, len(own))[o] for k, own, o in zip(ids, samples, order, strict=True)]
        given = {
            "samples": pad(chosen, batch_first=True, padding_value=BEHIND),
            "uniforms": pad(draws, batch_first=True),
            "alpha": self.state["alpha"].expand(len(ids)),
        }
        if reference is not None:
            given["reference"] = pad([logits[o] for logits, o in zip(reference, order, strict=True)], batch_first=True)
        return given

    def __call__(self, step: Step) -> Tensor:
        """The loss of each client (K,). Where a table "rewards" (K, n, classes) is given it scores answers, else the label."""
        place = torch.searchsorted(step.given["samples"], step.index.contiguous())
        own = {name: look_up(step.given[name], place) for name in step.given.keys() & {"uniforms", "reference", "rewards"}}
        rewards = own.get("rewards", functional.one_hot(step.labels, step.logits.shape[-1]).to(step.logits))
        log_p = step.logits.log_softmax(-1)
        answers = draw_answers(step.logits.detach(), own["uniforms"])
        scored = rewards.gather(-1, answers)
        loss = -(advantages(scored) * log_p.gather(-1, answers)).mean(-1)
        loss = loss - self.explore(step.given["alpha"][:, None], scored.mean(-1)) * entropy(step.logits)
        if self.kl:
            loss = loss + self.kl * divergence(step.logits, own["reference"])
        return loss.mean(1)

    def explore(self, alpha: Tensor, correct: Tensor) -> Tensor:
        """lambda (K, b): the price of certainty at each prompt."""
        return difficulty_bonus(alpha, correct, self.rho) if self.bonus == "adaptive" else alpha

    def end(self, turn: Turn) -> None:
        """The server moves alpha by the entropies that the clients sent."""
        if self.bonus in ("adaptive", "controller"):
            H = (turn.counts / turn.counts.sum()) @ turn.columns["entropy"]
            target = self.tau * self.state["anchor"]
            self.state["alpha"] = next_alpha(self.state["alpha"], H, target, self.eta, self.alpha_max)


def look_up(table: Tensor, place: Tensor) -> Tensor:
    """Each client's rows (K, b, m) of its own table (K, n, m) at `place` (K, b)."""
    return table.gather(1, place[..., None].expand(*place.shape, table.shape[-1]))

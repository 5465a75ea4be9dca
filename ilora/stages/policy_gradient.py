"""Bandit GRPO: the adapted classifier is a policy pi(y|x), an answer is one class, and a group of answers is scored at once.

One answer is one token, so lengths and token ratios of language models vanish; entropy, KL and pass@k are exact sums over the
classes. A group is used for one update, so the ratio to the policy that drew it is 1, and clipping it would never act.
AER (arXiv:2510.10959) adds an entropy bonus that adapts, a reconstruction; here the server holds its coefficient (ours).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ilora.randomness import torch_generator
from ilora.stages.context import ClientView, RunSetting, ServerView
from ilora.stages.out_of_distribution import BEHIND
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters
from ilora.training.local_work import Step

PASSES = 8  # the k of pass@k beside 1
FIRST = "reference/"  # how the names of the first policy's parameters begin


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


class Grpo(Stage):
    """F = -mean_j A_j log pi(y_j|x) - lambda H(pi) + kl KL(pi || pi_ref), averaged over the prompts of a batch.

    lambda is alpha_t by difficulty ("adaptive", AER), alpha_t for every prompt ("controller"), a constant ("fixed"), or 0
    ("none"). Each round starts by measuring the received policy on the clients' own prompts. The server's state: "alpha" (),
    "anchor" (), H_0, and "reference/<name>", its first model, which it sends where KL counts.
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
        self.state = {"alpha": torch.tensor(constant, device=setting.device)}

    def broadcast(self, server: ServerView) -> Parameters:
        """alpha, and the first policy where KL counts."""
        if server.index == 1:
            first, _ = server.before
            self.state |= {f"{FIRST}{name}": tensor[0].clone() for name, tensor in first.items()}
        reference = {name: t.expand(len(server.ids), *t.shape) for name, t in self.state.items() if name.startswith(FIRST)}
        return {"alpha": self.state["alpha"].expand(len(server.ids)), **(reference if self.kl else {})}

    def begin(self, view: ClientView) -> Parameters:
        """What the loss needs of each client: its uniform draws, alpha, and the reference's logits where KL counts."""
        self._measure(view)
        received = self.received(view)
        reference = view.logits(first_policy(view, received), view.samples) if self.kl else None
        return {**tables(view, view.ids, view.samples, self.group, reference), "alpha": received["alpha"]}

    def _measure(self, view: ClientView) -> None:
        """Leave in the record how sure and how right the received policy is on each client's prompts; report how sure."""
        pairs = [(logits, view.labels(own)) for logits, own in zip(view.local_logits, view.samples, strict=True)]
        H = torch.stack([entropy(logits).mean() for logits, _ in pairs])
        view.work.report[self.key] = {"entropy": H}
        view.work.columns |= {
            "entropy": H,
            "pass_1": torch.stack([pass_at(1, logits, y).mean() for logits, y in pairs]),
            f"pass_{PASSES}": torch.stack([pass_at(PASSES, logits, y).mean() for logits, y in pairs]),
            "group_correct": torch.stack([self._groups(view, k, *pair) for k, pair in zip(view.ids, pairs, strict=True)]),
        }

    def _groups(self, view: ClientView, k: int, logits: Tensor, labels: Tensor) -> Tensor:
        """(G + 1,) for how many prompts of client k none, one, ... all of a group of answers are right."""
        right = draw_answers(logits, uniforms(view, k, len(labels), self.group)) == labels[:, None]
        return torch.bincount(right.sum(1), minlength=self.group + 1).float()

    def __call__(self, step: Step) -> Tensor:
        """The loss of each client (K,). Where a table "rewards" (K, n, classes) is given it scores answers, else the label."""
        place = torch.searchsorted(step.given["samples"], step.index.contiguous())
        own = {name: look_up(step.given[name], place) for name in step.given.keys() & {"uniforms", "reference", "rewards"}}
        rewards = own.get("rewards", functional.one_hot(step.labels, step.logits.shape[-1]).to(step.logits))
        log_p = step.logits.log_softmax(-1)
        answers = draw_answers(step.logits.detach(), own["uniforms"])
        scored = rewards.gather(-1, answers)
        loss = -(advantages(scored) * log_p.gather(-1, answers)).mean(-1)
        loss = loss - self._explore(step.given["alpha"][:, None], scored.mean(-1)) * entropy(step.logits)
        if self.kl:
            loss = loss + self.kl * divergence(step.logits, own["reference"])
        return loss.mean(1)

    def _explore(self, alpha: Tensor, correct: Tensor) -> Tensor:
        """lambda (K, b): the price of certainty at each prompt."""
        return difficulty_bonus(alpha, correct, self.rho) if self.bonus == "adaptive" else alpha

    def update(self, server: ServerView) -> None:
        """The server moves alpha by the entropies that the clients sent."""
        reported = self.reported(server)["entropy"]
        H, alpha = server.share @ reported, self.state["alpha"]
        self.state.setdefault("anchor", H)
        target = self.tau * self.state["anchor"]
        server.columns["entropy_target"], server.columns["alpha"] = target.expand(len(reported)), alpha.expand(len(reported))
        if self.bonus in ("adaptive", "controller"):
            self.state["alpha"] = next_alpha(alpha, H, target, self.eta, self.alpha_max)


def first_policy(view: ClientView, received: Parameters) -> Parameters:
    """The server's first model as each client would have received it, cut to the slots that it has."""
    first = {name.removeprefix(FIRST): own for name, own in received.items() if name.startswith(FIRST)}
    owned = view.spread(first, view.owned, view.owned)
    return {name: own * owned[name] for name, own in first.items()}


def tables(view: ClientView, ids: Sequence[int], samples: list[Tensor], group: int, reference: list[Tensor] | None) -> Parameters:
    """Per client, beside the sorted indices of its samples, padded behind: draws (C, n, G), reference (C, n, classes)."""
    order = [own.argsort() for own in samples]
    pad = torch.nn.utils.rnn.pad_sequence
    chosen = [own[o] for own, o in zip(samples, order, strict=True)]
    draws = [uniforms(view, k, len(own), group)[o] for k, own, o in zip(ids, samples, order, strict=True)]
    given = {
        "samples": pad(chosen, batch_first=True, padding_value=BEHIND),
        "uniforms": pad(draws, batch_first=True),
    }
    if reference is not None:
        given["reference"] = pad([logits[o] for logits, o in zip(reference, order, strict=True)], batch_first=True)
    return given


def uniforms(view: ClientView, k: int, prompts: int, group: int) -> Tensor:
    """(n, G) the draws of client k in this round, one row for each of its prompts."""
    generator = torch_generator(view.setting.seed, "grpo", view.index, k)
    return torch.rand(prompts, group, generator=generator).to(view.setting.device)


def look_up(table: Tensor, place: Tensor) -> Tensor:
    """Each client's rows (K, b, m) of its own table (K, n, m) at `place` (K, b)."""
    return table.gather(1, place[..., None].expand(*place.shape, table.shape[-1]))

"""Stage 4: how is a client's gradient corrected? An ingredient maps the clients' view to what is added, or None."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ilora.lora.coordinates import Pair, transported
from ilora.stages.context import ClientView, RoundContext, RunSetting, ServerView
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters
from ilora.training.local_work import LocalWork


def none(view: ClientView) -> None:
    """Clients follow their own gradient."""


def steering(gradient: Tensor, correction: Tensor) -> Parameters:
    """What a correction v_k does to each client's gradient g_k, both (C, n), as columns (C,) of the round's record.

    ||g_k||, ||v_k||, cos(g_k, v_k), and the cosine to the clients' mean gradient g before and after the correction:
    cos(g_k, g) and cos(g_k + v_k, g).
    """
    g, v = gradient, correction
    mean = g.mean(0, keepdim=True)
    return {
        "gradient_norm": g.norm(dim=1),
        "correction_norm": v.norm(dim=1),
        "cosine_to_correction": functional.cosine_similarity(g, v),
        "cosine_to_mean": functional.cosine_similarity(g, mean),
        "corrected_cosine_to_mean": functional.cosine_similarity(g + v, mean),
    }


class Variates(Stage):
    """What ILoRA's control variates and SCAFFOLD share: c at the server, c_k at each client, g <- g + (trunc_{r_k}(c) - c_k).

    The server's state is "c/<name>" (...), at the largest rank; a client remembers "c_k/<name>", zero in slots it lacks.
    """

    client_memory: ClassVar[tuple[str, ...]] = ("c_k/",)

    def broadcast(self, server: ServerView) -> Parameters:
        """c, cut to the slots that each client has."""
        owned = server.spread(server.start, server.owned, server.owned)
        return {name: self._c(name, start) * owned[name] for name, start in server.start.items()}

    def _c(self, name: str, like: Tensor) -> Tensor:
        return self.state.setdefault(f"c/{name}", like.new_zeros(like.shape[1:]))

    def _correction(self, view: ClientView) -> Parameters:
        """trunc(c) - c_k."""
        memory = self.remembered(view)
        return {n: c - memory.setdefault(f"c_k/{n}", torch.zeros_like(c)) for n, c in self.received(view).items()}

    def _remember(self, view: ClientView, gradient: Parameters) -> Parameters:
        """c_k <- the new gradient; its change is the report."""
        memory, changes = self.remembered(view), {}
        for name, new in gradient.items():
            changes[name] = new - memory[f"c_k/{name}"]
            memory[f"c_k/{name}"] = new
        return changes

    def _note(self, view: ClientView, gradient: Parameters, correction: Parameters) -> None:
        """Leave both, as one vector per client, to the observer."""
        for kind, stacks in (("gradient", gradient), ("correction", correction)):
            view.work.notes[kind] = list(torch.cat([stacks[name].flatten(1) for name in gradient], 1))

    def update(self, server: ServerView) -> None:
        """c <- c + 1/N sum_k (change of c_k)."""
        for name, change in self.reported(server).items():
            self.state[f"c/{name}"] += change.sum(0) / server.setting.clients

    def observe(self, context: RoundContext) -> None:
        """How the corrections steer, held against the mean gradient of all clients."""
        notes = context.clients.notes
        if "gradient" in notes:
            context.log.columns |= steering(torch.stack(notes["gradient"]), torch.stack(notes["correction"]))


class ControlVariates(Variates):
    """g <- g + (trunc_{r_k}(c) - c_k), c_k the client's mean gradient at the model it received (ILoRA; SCAFFOLD's option I).

    The mean is over all its samples, or, where that costs more than the training, over `control_samples` of them.
    """

    def __init__(self, setting: RunSetting, control_scale: str = "scaffold", control_samples: int = 0) -> None:
        self.control_scale, self.control_samples = control_scale, control_samples

    def __call__(self, view: ClientView) -> Parameters:
        """This round's corrections."""
        gradient, correction = view.gradient(self.control_scale, self.control_samples), self._correction(view)
        self._note(view, gradient, correction)
        view.work.report[self.key] = self._remember(view, gradient)
        return correction


class TransportedVariates(ControlVariates):
    """As `ControlVariates`, but what is remembered is carried into each round's new slots before it is used (ours).

    c_k goes from the pair of factors that client k received when it last took part to the one that it receives now, c from the
    server's old pair to its new one. transport "none" leaves both where they are. coverage "owners": slot j of c moves by the
    mean over the clients that own it instead of over all N, so that a lonely slot is not pulled back by its own gradient.
    gradient "steps": c_k is the mean gradient on the client's way, as SCAFFOLD's option II, which needs no pass of its own.
    The server's state has "pair/<layer>.A" and ".B" besides, a client's memory "pair_k/<layer>.A" and ".B".
    """

    client_memory = ("c_k/", "pair_k/")

    def __init__(
        self,
        setting: RunSetting,
        control_scale: str = "scaffold",
        control_samples: int = 0,
        transport: str = "tangent",
        coverage: str = "all",
        gradient: str = "pass",
    ) -> None:
        super().__init__(setting, control_scale, control_samples)
        self.transport, self.coverage, self.gradient = transport, coverage, gradient
        self.setting = setting

    def broadcast(self, server: ServerView) -> Parameters:
        """c in the coordinates of the server's new pair, cut to the slots that each client has."""
        before, _ = server.before
        self._carry(self.state, {name: tensor[0] for name, tensor in before.items()}, "c/", "pair/")
        return super().broadcast(server)

    def __call__(self, view: ClientView) -> Parameters:
        """This round's corrections."""
        self._carry(self.remembered(view), view.start, "c_k/", "pair_k/")
        return super().__call__(view) if self.gradient == "pass" else self._correction(view)

    def prepare(self, view: ClientView, work: LocalWork) -> LocalWork:
        """Ask for the mean gradients of the steps, where these are what is remembered."""
        return replace(work, keep_gradients=self.gradient == "steps")

    def end(self, view: ClientView) -> Parameters:
        """c_k <- the mean gradient of the steps, where that is what is remembered."""
        gradients = view.trained.gradients
        if not gradients or self.gradient == "pass":
            return {}
        self._note(view, gradients, self._correction(view))
        return self._remember(view, gradients)

    def update(self, server: ServerView) -> None:
        """c <- c + sum_k (change of c_k) over all N, or, slot by slot, over those who own it."""
        change, ranks = self.reported(server), torch.tensor(self.setting.ranks)
        owners = (ranks[:, None] > torch.arange(self.setting.rank)).sum(0)
        per_slot = (len(ranks) / owners if self.coverage == "owners" else torch.ones(len(owners))).to(self.setting.device)[None]
        more = server.spread(change, per_slot, per_slot)
        for name, own in change.items():
            self.state[f"c/{name}"] += own.sum(0) / self.setting.clients * more[name][0]

    def _carry(self, kept: Parameters, now: Parameters, gradient: str, pair: str) -> None:
        """Move what is kept under `gradient` from the pair kept under `pair` to the pair `now`, and keep that."""
        for layer in self.setting.shapes:
            A, B = f"{layer}.A", f"{layer}.B"
            new = Pair(now[A], now[B])
            if self.transport != "none" and f"{gradient}{A}" in kept and f"{pair}{A}" in kept:
                g, old = (Pair(kept[f"{start}{A}"], kept[f"{start}{B}"]) for start in (gradient, pair))
                kept[f"{gradient}{A}"], kept[f"{gradient}{B}"] = transported(g, old, new, self.transport)
            kept[f"{pair}{A}"], kept[f"{pair}{B}"] = new.A.clone(), new.B.clone()


class Scaffold(Variates):
    """g <- g - c_k + c; then c_k <- the mean of the client's own gradients on its way (SCAFFOLD's option II, arXiv:1910.06378).

    Under plain SGD that mean is c_k - c + (theta_t - theta_k) / (K eta), the form in the paper; taken from the gradients, it
    holds under momentum and AdamW too.
    """

    def __init__(self, setting: RunSetting) -> None:
        pass

    def __call__(self, view: ClientView) -> Parameters:
        """This round's corrections."""
        return self._correction(view)

    def prepare(self, view: ClientView, work: LocalWork) -> LocalWork:
        """Ask for the mean gradients."""
        return replace(work, keep_gradients=True)

    def end(self, view: ClientView) -> Parameters:
        """c_k <- the mean gradient."""
        gradients = view.trained.gradients
        if gradients:
            self._note(view, gradients, self._correction(view))
        return self._remember(view, gradients)


class GlobalDirection(Stage):
    """theta <- AdamW step with rate (1 - mix) eta + mix/K D_G, v starting from the clients' mean (FedAdamW, arXiv:2510.27486).

    D_G is what the last round's clients changed on average, v one mean for each tensor over the slots that clients have; steps
    are counted through all rounds. The server's state: "direction/<name>" at its own rank, "v/<name>" ().
    """

    def __init__(self, setting: RunSetting, mix: float = 0.5) -> None:
        self.mix, self.steps = mix, setting.local_steps

    def __call__(self, view: ClientView) -> None:
        """Gradients stay as they are."""

    def broadcast(self, server: ServerView) -> Parameters:
        """D_G, cut to the slots that each client has, and v."""
        owned, added = server.spread(server.start, server.owned, server.owned), {}
        for name, start in server.start.items():
            added[name] = self.state.setdefault(f"direction/{name}", start.new_zeros(start.shape[1:])) * owned[name]
            added[f"v/{name}"] = self.state.setdefault(f"v/{name}", start.new_zeros(())).expand(len(start))
        return added

    def prepare(self, view: ClientView, work: LocalWork) -> LocalWork:
        """AdamW from the common second moment, and a share of the last global direction after every step."""
        received, owned = self.received(view), view.spread(view.start, view.owned, view.owned)
        own_steps = torch.tensor(work.own_steps, device=view.setting.device).clamp_min(1)
        after, moments = {}, {}
        for name, start in view.start.items():
            direction, v = received.get(name, torch.zeros_like(start)), received.get(f"v/{name}", start.new_zeros(len(start)))
            may_move = owned[name] if work.trainable is None else work.trainable[name]
            each = [-1, *[1] * (start.ndim - 1)]
            after[name] = self.mix / own_steps.view(each) * direction * may_move
            moments[name] = (v.view(each) * owned[name]).expand_as(start)
        before = (view.index - 1) * self.steps
        lr = (1 - self.mix) * work.lr
        return replace(work, optimizer="adamw", lr=lr, after_step=after, second_moments=moments, steps_before=before)

    def end(self, view: ClientView) -> Parameters:
        """Each client's mean second moment of every tensor (C,), over the slots that it has."""
        owned, found = view.spread(view.start, view.owned, view.owned), {}
        for name, second in view.trained.second_moments.items():
            mask = owned[name].expand_as(second)
            found[name] = (second * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
        return {f"v/{name}": v for name, v in found.items()}

    def update(self, server: ServerView) -> None:
        """D_G <- the mean change, v <- the mean second moment."""
        for name, sent in server.sent.items():
            self.state[f"direction/{name}"] = (sent - server.start[name]).mean(0)
        self.state |= {name: v.mean() for name, v in self.reported(server).items()}

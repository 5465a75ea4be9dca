"""Stage 4: how is a client's gradient corrected? An ingredient maps the turn to stacks added to every gradient, or None."""

from dataclasses import replace

import torch
from torch.nn import functional

from ilora.stages.context import RunSetting, Turn
from ilora.training.client_model import Parameters
from ilora.training.local_work import LocalWork


def none(turn: Turn) -> None:
    """Clients follow their own gradient."""


def steering(gradient: Parameters, correction: Parameters) -> Parameters:
    """What a correction v_k does to each client's gradient g_k, as columns (C,) of the round's record.

    ||g_k||, ||v_k||, cos(g_k, v_k), and the cosine to the clients' mean gradient g before and after the correction:
    cos(g_k, g) and cos(g_k + v_k, g).
    """
    g, v = (torch.cat([stack[name].flatten(1) for name in gradient], 1) for stack in (gradient, correction))
    mean = g.mean(0, keepdim=True)
    return {
        "gradient_norm": g.norm(dim=1),
        "correction_norm": v.norm(dim=1),
        "cosine_to_correction": functional.cosine_similarity(g, v),
        "cosine_to_mean": functional.cosine_similarity(g, mean),
        "corrected_cosine_to_mean": functional.cosine_similarity(g + v, mean),
    }


class ControlVariates:
    """g <- g + (trunc_{r_k}(c) - c_k), c_k the client's mean gradient at the model it received (ILoRA; SCAFFOLD's option I).

    The mean is over all its samples, or, where that costs more than the training, over `control_samples` of them.
    State: "c/<name>" (...), the server's, at the largest rank; "c_k/<name>" (N, ...), each client's, zero in slots it lacks.
    """

    extra_floats = 1  # numbers sent beside each trained number, each way

    def __init__(self, setting: RunSetting, control_scale: str = "scaffold", control_samples: int = 0) -> None:
        self.clients = setting.clients
        self.control_scale, self.control_samples = control_scale, control_samples
        self.state: Parameters = {}

    def __call__(self, turn: Turn) -> Parameters:
        """This round's corrections; c and the clients' c_k move on for the next round."""
        correction, owned, ids = {}, turn.spread(turn.owned, turn.owned), torch.tensor(turn.ids)
        gradient = turn.gradient(self.control_scale, self.control_samples)
        for name, g in gradient.items():
            c = self.state.setdefault(f"c/{name}", g.new_zeros(g.shape[1:]))
            c_k = self.state.setdefault(f"c_k/{name}", g.new_zeros(self.clients, *g.shape[1:]))
            correction[name] = c * owned[name] - c_k[ids]
            c += (g - c_k[ids]).sum(0) / self.clients
            c_k[ids] = g
        turn.columns |= steering(gradient, correction)
        return correction


class Scaffold:
    """g <- g - c_k + c; then c_k <- the mean of the client's own gradients on its way (SCAFFOLD's option II, arXiv:1910.06378).

    Under plain SGD that mean is c_k - c + (theta_t - theta_k) / (K eta), the form in the paper; taken from the gradients, it
    holds under momentum and AdamW too. State: "c/<name>" (...), "c_k/<name>" (N, ...).
    """

    extra_floats = 1

    def __init__(self, setting: RunSetting) -> None:
        self.clients = setting.clients
        self.state: Parameters = {}

    def __call__(self, turn: Turn) -> Parameters:
        """This round's corrections c - c_k, cut to what each client has."""
        for name, tensor in turn.start.items():
            self.state.setdefault(f"c/{name}", tensor.new_zeros(tensor.shape[1:]))
            self.state.setdefault(f"c_k/{name}", tensor.new_zeros(self.clients, *tensor.shape[1:]))
        return self.correction(turn)

    def correction(self, turn: Turn) -> Parameters:
        """trunc(c) - c_k."""
        owned, ids = turn.spread(turn.owned, turn.owned), torch.tensor(turn.ids)
        return {name: self.state[f"c/{name}"] * owned[name] - self.state[f"c_k/{name}"][ids] for name in turn.start}

    def prepare(self, turn: Turn, work: LocalWork) -> LocalWork:
        """Ask for the mean gradients."""
        return replace(work, keep_gradients=True)

    def end(self, turn: Turn) -> None:
        """c_k <- mean gradient, c <- c + 1/N sum_k (change of c_k)."""
        ids, gradients = torch.tensor(turn.ids), turn.trained.gradients if turn.trained else {}
        if gradients:
            turn.columns |= steering(gradients, self.correction(turn))
        for name, new in gradients.items():
            c, c_k = self.state[f"c/{name}"], self.state[f"c_k/{name}"]
            c += (new - c_k[ids]).sum(0) / self.clients
            c_k[ids] = new


class GlobalDirection:
    """theta <- AdamW step with rate (1 - mix) eta + mix/K D_G, v starting from the clients' mean (FedAdamW, arXiv:2510.27486).

    D_G is what the last round's clients changed on average, v one mean for each tensor over the slots that clients have; steps
    are counted through all rounds. State: "direction/<name>" at the server's rank, "v/<name>" ().
    """

    extra_floats_down = 1  # D_G beside each number

    def __init__(self, setting: RunSetting, mix: float = 0.5) -> None:
        self.mix, self.steps = mix, setting.local_steps
        self.state: Parameters = {}

    def __call__(self, turn: Turn) -> None:
        """Gradients stay as they are."""

    def prepare(self, turn: Turn, work: LocalWork) -> LocalWork:
        """AdamW from the common second moment, and a share of the last global direction after every step."""
        after, moments, owned = {}, {}, turn.spread(turn.owned, turn.owned)
        own_steps = torch.tensor(work.own_steps, device=turn.setting.device).clamp_min(1)
        for name, start in turn.start.items():
            direction = self.state.setdefault(f"direction/{name}", start.new_zeros(start.shape[1:]))
            v = self.state.setdefault(f"v/{name}", start.new_zeros(()))
            may_move = owned[name] if work.trainable is None else work.trainable[name]
            after[name] = self.mix / own_steps.view(-1, *[1] * direction.ndim) * direction * may_move
            moments[name] = (v * owned[name]).expand_as(start)
        before = (turn.index - 1) * self.steps
        lr = (1 - self.mix) * work.lr
        return replace(work, optimizer="adamw", lr=lr, after_step=after, second_moments=moments, steps_before=before)

    def end(self, turn: Turn) -> None:
        """Keep the mean change, and the mean second moment."""
        owned = turn.spread(turn.owned, turn.owned)
        for name, trained in turn.result.items():
            self.state[f"direction/{name}"] = (trained - turn.start[name]).mean(0)
            if turn.trained and turn.trained.second_moments:
                mask = owned[name].expand_as(trained)
                v = turn.trained.second_moments[name] * mask
                self.state[f"v/{name}"] = (v.flatten(1).sum(1) / mask.flatten(1).sum(1)).mean()

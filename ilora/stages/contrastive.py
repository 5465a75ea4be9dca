"""Contrast between models (MOON): a client's features are held near the received model's, away from its own last one's."""

import torch
from torch import Tensor
from torch.nn import functional

from ilora.stages.context import RunSetting, Turn
from ilora.stages.objectives import cross_entropy
from ilora.training.client_model import Parameters
from ilora.training.local_work import Step


def contrastive(z: Tensor, z_global: Tensor, z_previous: Tensor, temperature: float) -> Tensor:
    """-log e^{cos(z, z_glob)/T} / (e^{cos(z, z_glob)/T} + e^{cos(z, z_prev)/T}) for features (..., d)."""
    near, far = (functional.cosine_similarity(z, other, dim=-1) for other in (z_global, z_previous))
    return functional.softplus((far - near) / temperature)


class Contrast:
    """F_k + mu l_con (MOON, arXiv:2103.16257, the authors' code), on the features that the head sees.

    A client that never trained has the received model for its last one: no pull. State: "previous/<name>" (N, ...), "seen" (N,).
    """

    extra_forwards = 2  # passes beside the one that is trained

    def __init__(self, setting: RunSetting, contrast: float = 1.0, temperature: float = 0.5) -> None:
        self.contrast, self.temperature = contrast, temperature
        self.clients = setting.clients
        self.state: Parameters = {"seen": torch.zeros(setting.clients, device=setting.device)}

    def begin(self, turn: Turn) -> Parameters:
        """Each client's last local model."""
        ids = torch.tensor(turn.ids)
        seen, given = self.state["seen"][ids].bool(), {}
        for name, start in turn.start.items():
            previous = self.state.setdefault(f"previous/{name}", start.new_zeros(self.clients, *start.shape[1:]))[ids]
            given[name] = torch.where(seen.view(-1, *[1] * (start.ndim - 1)), previous, start)
        return given

    def __call__(self, step: Step) -> Tensor:
        """Cross-entropy and contrast of each client (K,)."""
        with torch.no_grad():
            z_global, z_previous = (step.forward(own, step.base, step.inputs).features for own in (step.start, step.given))
        contrast = contrastive(step.output.features, z_global, z_previous, self.temperature)
        return cross_entropy(step) + self.contrast * contrast.mean(1)

    def end(self, turn: Turn) -> None:
        """Keep what the clients trained."""
        ids = torch.tensor(turn.ids)
        for name, trained in turn.result.items():
            self.state[f"previous/{name}"][ids] = trained
        self.state["seen"][ids] = 1

"""Duals: every client remembers where it was pulled, its loss is tilted against it, and the server adds what all remember.

One family (FedVRA, arXiv:2212.01519) with a dual step a, an aggregation step d and a penalty gamma: FedProx is (a, d) = (0, 1),
FedDyn (arXiv:2111.04263) is (1, 1), and gamma -> 0 with a = 0 is FedAvg. Kept are scaled duals u_k = lambda_k / gamma, as in
FedDyn's own code, so that gamma = 0 divides nothing. In product space a dual is a low-rank stack, cut to 2R slots.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate
from ilora.lora.factors import Factors, Stack
from ilora.stages.context import ClientView, RunSetting, ServerView
from ilora.stages.objectives import Movement, cross_entropy, inner, movement
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters
from ilora.training.local_work import Step


def recompress(stack: Stack, slots: int) -> tuple[Stack, Tensor]:
    """The best approximation of every product with at most `slots` slots, and ||what is cut|| (K,), by two QRs and an SVD."""
    Q_b, R_b = torch.linalg.qr(stack.B)
    Q_a, R_a = torch.linalg.qr(stack.A.transpose(1, 2))
    U, S, Vh = torch.linalg.svd(R_b @ R_a.transpose(1, 2), full_matrices=False)
    root = S[:, :slots].sqrt()
    A, B = root[:, :, None] * (Vh[:, :slots] @ Q_a.transpose(1, 2)), (Q_b @ U[:, :, :slots]) * root[:, None, :]
    return Stack(A, B, (root.shape[1],) * len(stack)), torch.linalg.vector_norm(S[:, slots:], dim=1)


class Duals:
    """Sums of movements of n models, kept in a dict: of a parameter as it is, of a product as a stack of at most 2R slots."""

    def __init__(self, setting: RunSetting) -> None:
        self.setting = setting

    def read(self, state: Parameters, like: Movement) -> Movement:
        """What each model remembers, for the same entries as `like`; zeros at first."""
        found: Movement = {}
        for name, entry in like.items():
            if isinstance(entry, Stack):
                d_out, d_in = self.setting.shapes[name]
                slots, n = min(2 * self.setting.rank, d_out, d_in), len(entry)
                A = state.setdefault(f"u/{name}.A", torch.zeros(n, slots, d_in, device=self.setting.device))
                B = state.setdefault(f"u/{name}.B", torch.zeros(n, d_out, slots, device=self.setting.device))
                found[name] = Stack(A, B, (slots,) * n)
            else:
                found[name] = state.setdefault(f"u/{name}", torch.zeros_like(entry).float())
        return found

    def add(self, state: Parameters, moved: Movement) -> Tensor:
        """u <- u + moved; (n,) is the share of what each model remembers that the cut forgot."""
        n = len(next(iter(moved.values())))
        forgotten = whole = torch.zeros(n, dtype=torch.float64, device=self.setting.device)
        for name, u in self.read(state, moved).items():
            entry = moved[name]
            if isinstance(u, Stack) and isinstance(entry, Stack):
                A, B = torch.cat([u.A.to(entry.A), entry.A], 1), torch.cat([u.B.to(entry.B), entry.B], 2)
                kept, cut = recompress(Stack(A, B, (A.shape[1],) * n), u.A.shape[1])
                state[f"u/{name}.A"], state[f"u/{name}.B"] = kept.A.float(), kept.B.float()
                forgotten, whole = forgotten + cut.square(), whole + cut.square() + inner({name: kept}, {name: kept})
            elif isinstance(u, Tensor) and isinstance(entry, Tensor):
                state[f"u/{name}"] = u + entry.float()
        return (forgotten / whole.clamp_min(1e-24)).sqrt().float()


def scaled(moved: Movement, factor: float) -> Movement:
    """Every entry times `factor`."""
    return {n: Stack(x.A, x.B * factor, x.ranks) if isinstance(x, Stack) else x * factor for n, x in moved.items()}


class Dual(Stage):
    """F_k + gamma_k (<u_k, D> + 1/2 ||D||^2), D the movement from the received model; then u_k <- u_k + a D_k.

    penalty "relative": gamma_k = gamma n / (N n_k), as FedDyn's code divides by a client's relative amount of data.
    A client remembers "u/...", its scaled dual; the server knows "age" (N,), the rounds since each one's dual last moved.
    """

    client_memory = ("u/",)

    def __init__(
        self, setting: RunSetting, gamma: float = 0.01, a: float = 1.0, space: str = "product", penalty: str = "relative"
    ) -> None:
        self.a, self.space = a, space
        samples = torch.tensor(setting.samples, dtype=torch.float32, device=setting.device)
        self.gamma = gamma * (samples.mean() / samples if penalty == "relative" else torch.ones_like(samples))
        self.duals = Duals(setting)
        self.state = {"age": torch.zeros(setting.clients, device=setting.device)}

    def begin(self, view: ClientView) -> Parameters:
        """Each client's dual and penalty for this round."""
        memory = self.remembered(view)
        self.duals.read(memory, movement(view.start, view.start, view.base, self.space))
        return {name: u for name, u in memory.items() if name.startswith("u/")} | {"gamma": self.gamma[list(view.ids)]}

    def __call__(self, step: Step) -> Tensor:
        """The tilted loss of each client (K,)."""
        moved = movement(step.start, step.parameters, step.base, self.space)
        u: Movement = {}
        for name, entry in moved.items():
            given = [step.given[f"u/{name}{factor}"] for factor in ((".A", ".B") if isinstance(entry, Stack) else ("",))]
            u[name] = Stack(given[0], given[1], step.base.ranks) if len(given) == 2 else given[0]
        return cross_entropy(step) + step.given["gamma"] * (inner(u, moved) + inner(moved, moved) / 2)

    def end(self, view: ClientView) -> Parameters:
        """u_k <- u_k + a D_k."""
        moved = movement(view.start, view.result, view.base, self.space, torch.float64)
        view.work.columns["dual_forgotten"] = self.duals.add(self.remembered(view), scaled(moved, self.a))
        return {}

    def update(self, server: ServerView) -> None:
        """Absent clients' duals grow older."""
        ids = list(server.ids)
        server.columns["dual_age"] = self.state["age"][ids]
        self.state["age"] = self.state["age"] + 1
        self.state["age"][ids] = 0


class DualShift(Stage):
    """theta <- theta_t + d (theta_mean - theta_t) + u, with u the mean of all N scaled duals: u <- u + a/N sum_k D_k.

    In product space the sum is split by an SVD and cut to the server's rank; where there is no shift and d = 1 the aggregate
    stays as it is. The head is shifted number by number.
    """

    def __init__(self, setting: RunSetting, a: float = 1.0, d: float = 1.0, space: str = "product") -> None:
        self.a, self.d, self.space = a, d, space
        self.clients = setting.clients
        self.duals = Duals(setting)

    def __call__(self, server: ServerView, layer: str, aggregate: Aggregate) -> Aggregate:
        """One layer's aggregate, moved on."""
        u = self._shift(server, [name for name in server.sent if name.startswith(f"{layer}.")])
        product = u.get(layer)
        if not isinstance(product, Stack):
            A, B = (
                self._step(server.before[0][f"{layer}.{n}"][0], new, u[f"{layer}.{n}"])
                for n, new in zip("AB", aggregate.server_factors, strict=False)
            )
            return replace(aggregate, server_factors=Factors(A, B))
        if self.d == 1 and not product.B.any():
            return aggregate
        terms = [aggregate.update_factors().times(self.d), product[0]]
        if not aggregate.merge:
            terms.append(server.server_update(layer).times(1 - self.d))
        U, S, V = low_rank.svd(low_rank.add(*terms), aggregate.rank)
        return Aggregate(Factors(V.T, U * S), aggregate.ideal, aggregate.scaling, aggregate.rank, "B", merge=aggregate.merge)

    def head(self, server: ServerView, before: Parameters, mean: Parameters) -> Parameters:
        """The head, moved on alike."""
        u = self._shift(server, list(mean))
        return {name: self._step(before[name], mean[name], u[name]) for name in mean}

    def _step(self, before: Tensor, mean: Tensor, u: Stack | Tensor) -> Tensor:
        """before + d (mean - before) + u, number by number; exactly mean + u where d = 1."""
        return torch.lerp(before, mean, self.d) + (u[0] if isinstance(u, Tensor) else 0)

    def _shift(self, server: ServerView, names: list[str]) -> Movement:
        """The mean of all scaled duals for some of the parameters, this round's movements in it."""
        start, sent = ({name: model[name] for name in names} for model in (server.start, server.sent))
        total = summed(scaled(movement(start, sent, server.base, self.space, torch.float64), self.a / self.clients))
        self.duals.add(self.state, total)
        return self.duals.read(self.state, total)


def summed(moved: Movement) -> Movement:
    """The sum over all clients, as the movement of one."""
    total: Movement = {}
    for name, x in moved.items():
        if isinstance(x, Stack):
            A, B = x.A.flatten(0, 1), x.B.transpose(0, 1).flatten(1, 2)
            total[name] = Stack(A[None], B[None], (len(A),))
        else:
            total[name] = x.sum(0, keepdim=True)
    return total

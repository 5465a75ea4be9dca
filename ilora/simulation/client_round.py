"""The client's side of a round, from what it receives to what it sends: the same code for all clients stacked, or for one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ilora.clients.sampling import client_batches, client_draws, steps_of
from ilora.stages.context import Broadcast, ClientModels, ClientView, ClientWork, Memory, Observed, Reply, RunSetting
from ilora.stages.stage import Stages
from ilora.training.client_model import Parameters
from ilora.training.engine import Engine
from ilora.training.hardware import products_in
from ilora.training.local_work import LocalWork, Trained
from ilora.training.vectorised import correction_ratio

OnStep = Callable[[float], None]  # hears the fraction of local training that is done, 0..1


@dataclass(frozen=True)
class ClientSide:
    """What clients have at hand before a round: the run's setting, the stages' client halves, the engine, their samples."""

    setting: RunSetting
    stages: Stages
    engine: Engine
    samples: Mapping[int, Tensor]  # client -> the indices of its own samples


def run(side: ClientSide, broadcast: Broadcast, memory: Memory, on_step: OnStep) -> Reply:
    """One round of C clients, from what they receive to what they send; `memory`, stacks over them, moves on in place."""
    stages, view = side.stages, view_of(side, broadcast, memory)
    view.work.shared = stages.sharing(view)
    work = local_work(side, view)
    view.work.forwards += passes_of(stages, work)
    with products_in(side.setting.precision):
        view.work.trained = stages.training.train(view, work, train_in_parts(side.engine, work, on_step))
    view.work.sent = stages.upload(view)
    for name, stage in stages.hooks.items():
        view.work.report[name] = view.work.report.get(name, {}) | stage.end(view)
    return reply_of(view, work)


def reply_to(side: ClientSide, broadcast: Broadcast, question: Memory) -> tuple[Memory, int]:
    """What C clients answer to the questions of the server's stages, and the forward passes that it took."""
    view = view_of(side, broadcast, {})
    answers = {name: side.stages.hooks[name].reply(view, asked) for name, asked in question.items()}
    return answers, view.work.forwards


def view_of(side: ClientSide, broadcast: Broadcast, memory: Memory) -> ClientView:
    """What C clients see at the start of a round."""
    return ClientView(
        setting=side.setting,
        index=broadcast.index,
        ids=broadcast.ids,
        ranks=broadcast.ranks,
        budgets=broadcast.budgets,
        samples=[side.samples[k] for k in broadcast.ids],
        engine=side.engine,
        received=broadcast.extra,
        memory=memory,
        work=ClientWork(dict(broadcast.parameters), broadcast.base),
    )


def local_work(side: ClientSide, view: ClientView) -> LocalWork:
    """What C clients do in a round: their own batches by the seed, the loss, the correction, and what every stage adds."""
    stages, setting, shared = side.stages, side.setting, view.shared
    given: Parameters = {}
    for stage in stages.hooks.values():
        given |= stage.begin(view)
    scales = view.owned & False if shared.scales is None else shared.scales
    own = own_batches(view)
    work = LocalWork(
        start=view.start,
        base=view.base,
        batches=own.batches,
        steps=own.steps,
        draws=own.draws,
        optimizer=setting.optimizer,
        lr=setting.lr,
        objective=stages.objective,
        given=given,
        correction=stages.correction(view),
        trainable=view.spread(view.start, shared.train_A, shared.train_B, D=scales),
    )
    for stage in stages.hooks.values():
        work = stage.prepare(view, work)
    return work


class OwnBatches(NamedTuple):
    """What C clients draw from their samples in a round: batches (C, T, b), each one's steps, how samples are augmented."""

    batches: Tensor
    steps: tuple[int, ...]
    draws: Tensor | None


def own_batches(view: ClientView) -> OwnBatches:
    """The clients' own draws, each by the seed, the round and its number."""
    s, ids = view.setting, view.ids
    steps = tuple(steps_of(len(own), s.batch_size, s.local_steps, s.local_epochs) for own in view.samples)
    samples = {k: own.cpu().numpy() for k, own in zip(ids, view.samples, strict=True)}
    batches = client_batches(samples, ids, steps, s.batch_size, s.seed, view.index).to(s.device)
    draws = None
    if view.engine.data.augment is not None:
        draws = client_draws(ids, steps, s.batch_size, s.seed, view.index).to(s.device)
    return OwnBatches(batches, steps, draws)


def passes_of(stages: Stages, work: LocalWork) -> int:
    """The samples that local training sends forward through the model, those of added terms included."""
    return (1 + stages.hooks["objective"].extra_forwards) * sum(work.own_steps) * work.batches.shape[2]


def train_in_parts(engine: Engine, work: LocalWork, on_step: OnStep) -> Callable[[LocalWork], Trained]:
    """Local training of one part of the work after another; `on_step` hears the fraction of the whole that is done."""
    whole, before = max(1, sum(work.own_steps)), 0

    def train(part: LocalWork) -> Trained:
        nonlocal before
        done_before = before
        before += sum(part.own_steps)
        return engine.train(part, lambda done, of: on_step((done_before + done) / whole))

    return train


def reply_of(view: ClientView, work: LocalWork) -> Reply:
    """What C clients send, and what a simulation sees of them besides."""
    models = ClientModels(view.setting, view.ranks, view.result, view.base, view.shared, view.engine)
    observed = Observed(
        models=models,
        start=view.start,
        trained=view.trained,
        correction_ratio=correction_ratio(work.correction, view.trained),
        forwards=view.work.forwards,
        columns=view.work.columns,
        notes=view.work.notes,
    )
    counts = torch.tensor([float(len(own)) for own in view.samples], device=view.setting.device)
    report = {name: own for name, own in view.work.report.items() if own}
    return Reply(sent_alone(view), view.shared, counts, report, observed)


def sent_alone(view: ClientView) -> Parameters:
    """What the upload made of the outcome, zero outside of the slots that are sent; the head only if it is sent."""
    shared = view.shared
    masks = view.spread(view.work.sent, shared.send_A, shared.send_B, D=shared.scales)
    return {name: tensor * masks[name] for name, tensor in view.work.sent.items() if shared.head or not name.startswith("head.")}

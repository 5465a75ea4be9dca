"""Pretrains the backbones of the tasks `cifar10` and `cifar100`: `python -m tools.pretrain.pretrain_cifar`.

`cifar-vit` sees all hundred classes of CIFAR-100 and is made for CIFAR-10. Its twin, `--twin`, sees fifty of them, drawn by a
seed, and is made for the other fifty. The script goes on from its last epoch when it was stopped, and uses a GPU where there is
one; one core of a CPU that multiplies bfloat16 matrices (AMX) takes half an hour for both, any other CPU some hours.
"""

import argparse
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTForImageClassification
from transformers.models.vit.modeling_vit import ViTAttention

from ilora.tasks import data_folder
from ilora.tasks.base import AUGMENT_DRAWS
from ilora.tasks.cards import CIFAR100_NAMES, CIFAR_VIT, CIFAR_VIT_50, SEEN, UNSEEN
from ilora.tasks.cifar import MEAN, STD, flip_and_crop, normalise, only, small_vit
from ilora.tasks.cifar_files import CIFAR100, Images, find_or_fetch, read_test, read_train
from ilora.tasks.download import progress_bar

PATCHES = 64
KEPT = 32
BATCH = 256
LR = 2e-3
EPOCHS = {False: 20, True: 24}
WHOLE = {False: 1, True: 2}


def imitate_trained_attention(model: ViTForImageClassification) -> None:
    """Start attention where training tends to take it: tokens look at their like and answer with its opposite.

    W_q' W_k is near +I and W_o W_v near -I, positions are sinusoids (mimetic initialisation, Trockman and Kolter 2023).
    """
    width = model.config.hidden_size
    for attention in (module for module in model.modules() if isinstance(module, ViTAttention)):
        _factor(attention.o_proj, attention.v_proj, 0.4 * _noise(width) - 0.4 * torch.eye(width))
        for rows in torch.arange(width).split(attention.head_dim):
            u, s, vh = torch.linalg.svd(0.7 * _noise(width) + 0.7 * torch.eye(width))
            root = s[: len(rows)].sqrt()[:, None]
            attention.q_proj.weight.data[rows] = root * u.T[: len(rows)]
            attention.k_proj.weight.data[rows] = root * vh[: len(rows)]
    model.vit.embeddings.position_embeddings.data[0, 1:] = _sinusoids(width, round(PATCHES**0.5))


def _noise(width: int) -> Tensor:
    return torch.randn(width, width) / width**0.5


def _factor(after: nn.Linear, before: nn.Linear, product: Tensor) -> None:
    u, s, vh = torch.linalg.svd(product)
    after.weight.data = u * s.sqrt()
    before.weight.data = s.sqrt()[:, None] * vh


def _sinusoids(width: int, side: int) -> Tensor:
    """Sines and cosines of row and column at falling frequencies: (side * side, width), of standard deviation about 0.2."""
    frequency = 100.0 ** -torch.linspace(0, 1, width // 4)
    angle = torch.arange(side)[:, None] * frequency
    waves = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    return 0.3 * torch.cat([rows, columns], dim=2).flatten(0, 1)


def logits(model: ViTForImageClassification, pixels: Tensor, kept: Tensor | None) -> Tensor:
    """The model's logits; with `kept` (n, m) it sees these m patches of each image alone (PatchDropout, arXiv:2208.07220)."""
    tokens = model.vit.embeddings(pixels)
    if kept is not None:
        patches = tokens[:, 1:].gather(1, kept.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
        tokens = torch.cat([tokens[:, :1], patches], dim=1)
    for layer in model.vit.layers:
        tokens = layer(tokens)
    return model.classifier(model.vit.layernorm(tokens[:, 0]))


def batches(data: Images, epoch: int, seed: int, whole: bool) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """One shuffled, augmented pass, the same for the same seed and epoch: pixels, labels, patches to be kept (None: all)."""
    generator = torch.Generator().manual_seed(1000 * seed + epoch)
    for chosen in torch.randperm(len(data.labels), generator=generator).split(BATCH):
        if len(chosen) < BATCH:
            return
        draws = torch.rand(BATCH, AUGMENT_DRAWS, generator=generator).to(data.pixels.device)
        pixels = normalise(flip_and_crop(data.pixels[chosen], draws), MEAN, STD)
        kept = None if whole else torch.rand(BATCH, PATCHES, generator=generator).argsort(dim=1)[:, :KEPT]
        yield pixels, data.labels[chosen], kept if kept is None else kept.to(pixels.device)


class Trainer:
    """A model in bfloat16, its weights in float32 with their optimizer, and how far they have come."""

    def __init__(self, labels: int, steps: int, seed: int, device: str) -> None:
        torch.manual_seed(seed)
        self.model = small_vit(labels)
        self.model.config._attn_implementation = "eager"  # for so few tokens faster than the fused kernel of a CPU
        imitate_trained_attention(self.model)
        model: nn.Module = self.model
        model.to(device)
        self.weights = [parameter.detach().clone().requires_grad_(True) for parameter in self.model.parameters()]
        model.to(torch.bfloat16)
        decayed = [weight for weight in self.weights if weight.dim() == 2]
        rest = [weight for weight in self.weights if weight.dim() != 2]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.98))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, LR, total_steps=steps, pct_start=0.15)
        self.epoch, self.seconds = 0, 0.0

    def step(self, pixels: Tensor, labels: Tensor, kept: Tensor | None) -> Tensor:
        """One step of AdamW on the float32 weights by the gradient of the bfloat16 model; its loss."""
        loss = F.cross_entropy(logits(self.model, pixels.bfloat16(), kept).float(), labels, label_smoothing=0.1)
        loss.backward()
        for weight, parameter in zip(self.weights, self.model.parameters(), strict=True):
            weight.grad = None if parameter.grad is None else parameter.grad.float()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.model.zero_grad()
        self._show_weights()
        return loss.detach()

    @torch.no_grad()
    def _show_weights(self) -> None:
        for weight, parameter in zip(self.weights, self.model.parameters(), strict=True):
            parameter.copy_(weight)

    def save(self, path: Path) -> None:
        """Write everything that the next epoch needs."""
        part = path.with_suffix(".part")
        state = {"weights": [weight.detach() for weight in self.weights], "epoch": self.epoch, "seconds": self.seconds}
        torch.save(state | {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on where `save` was called."""
        state = torch.load(path, weights_only=True)
        with torch.no_grad():
            for weight, saved in zip(self.weights, state["weights"], strict=True):
                weight.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self._show_weights()

    def trained(self) -> ViTForImageClassification:
        """The model in float32."""
        self.model.float()
        self._show_weights()
        return self.model.eval()


def clock(device: str) -> float:
    """Seconds that this process computed on a CPU core, or that went by on a GPU."""
    return time.process_time() if device == "cpu" else time.perf_counter()


def pretrain(data: Images, labels: int, epochs: int, whole: int, seed: int, checkpoint: Path) -> Trainer:
    """Train for `epochs` passes, the last `whole` of them on whole images, or go on from `checkpoint`."""
    device = data.pixels.device.type
    trainer = Trainer(labels, epochs * (len(data.labels) // BATCH), seed, device)
    if checkpoint.is_file():
        trainer.load(checkpoint)
    while trainer.epoch < epochs:
        start = clock(device)
        losses = [trainer.step(*batch) for batch in batches(data, trainer.epoch, seed, trainer.epoch >= epochs - whole)]
        trainer.epoch += 1
        trainer.seconds += clock(device) - start
        trainer.save(checkpoint)
        loss = torch.stack(losses).mean().item()
        print(f"{time.strftime('%X')} epoch {trainer.epoch} of {epochs}: loss {loss:.3f}, {trainer.seconds:.0f} s", flush=True)
    return trainer


@torch.no_grad()
def accuracy(model: ViTForImageClassification, data: Images) -> float:
    """Share of images that the model names right."""
    parts = zip(data.pixels.split(500), data.labels.split(500), strict=True)
    right = [(model(normalise(pixels, MEAN, STD)).logits.argmax(dim=1) == labels).sum() for pixels, labels in parts]
    return torch.stack(right).sum().item() / len(data.labels)


def save_backbone(model: ViTForImageClassification, path: Path) -> None:
    """Write the model without its head in half precision, under its own names."""
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}))


CARD = """# {weights}

A frozen backbone of the task `{task}`, made by `python -m tools.pretrain.pretrain_cifar{flag}`.

- **Model**: transformers' `ViTForImageClassification` without its head: hidden size 160, 4 layers, 5 heads, MLP 400 with ReLU,
  64 patches of 4 x 4 pixels; {parameters:,} parameters, stored in float16. Pixels: (0..1 less {mean}) / ({std}).
- **Pretrained on** the {images:,} training images of {what}.
- **Training**: {epochs} passes in batches of {batch}, AdamW, one cycle to {lr}, weight decay 0.1, label smoothing 0.1;
  images mirrored and shifted by up to 4 pixels; half of each image's patches dropped, but for the last {whole} of the passes;
  attention starts from the mimetic initialisation; bfloat16 with weights in float32; seed {seed}.
  {seconds:.0f} s of {device}, torch {torch}.
- **Accuracy** of the pretrained model with its own head on the {test:,} test images of the same classes, which were looked at
  once, for this line: {accuracy:.1%}.
"""


def describe(trainer: Trainer, path: Path, twin: bool, train: Images, test: Images, seed: int) -> str:
    """The card of the backbone in `path`, its accuracy measured now."""
    device = train.pixels.device
    model = trainer.trained()
    model.load_state_dict({name: tensor.half().float() for name, tensor in model.state_dict().items()})
    card = CARD.format(
        weights=path.name,
        task="cifar100" if twin else "cifar10",
        flag=" --twin" if twin else "",
        parameters=sum(parameter.numel() for parameter in model.vit.parameters()),
        mean=", ".join(map(str, MEAN)),
        std=", ".join(map(str, STD)),
        images=len(train.labels),
        what="50 of CIFAR-100's classes" if twin else "CIFAR-100, all hundred classes",
        epochs=EPOCHS[twin],
        batch=BATCH,
        lr=LR,
        whole=WHOLE[twin],
        seed=seed,
        seconds=trainer.seconds,
        device="one CPU core" if device.type == "cpu" else f"a GPU ({torch.cuda.get_device_name(device)})",
        torch=torch.__version__,
        test=len(test.labels),
        accuracy=accuracy(model, test),
    )
    return card + (listed("Seen", SEEN) + listed("Left for the task", UNSEEN)) * twin


def listed(what: str, labels: Sequence[int]) -> str:
    """A paragraph of the card with the names of some classes."""
    return "\n" + textwrap.fill(f"{what}: {', '.join(CIFAR100_NAMES[label] for label in labels)}.", 130) + "\n"


def on(data: Images, device: str) -> Images:
    """The images on `device`."""
    return Images(data.pixels.to(device), data.labels.to(device))


def main() -> None:
    """Pretrain one backbone, write its weights, measure it and write the card beside it."""
    parser = argparse.ArgumentParser(description="Pretrain cifar-vit, or its twin, on CIFAR-100.")
    parser.add_argument("--data", type=Path, default=data_folder() / "cache", help="where cifar-100-python lies, else fetched")
    parser.add_argument("--twin", action="store_true", help="see fifty classes only")
    parser.add_argument("--out", type=Path, default=data_folder(), help="the folder for weights, card and checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)  # the sums keep their order, so the same seed gives the same file on one machine
    device = "cuda" if torch.cuda.is_available() else "cpu"
    files = find_or_fetch(args.data, CIFAR100, progress_bar())
    train, test = read_train(files, CIFAR100), read_test(files, CIFAR100)
    if args.twin:
        train, test = only(train, SEEN), only(test, SEEN)
    train, test = on(train, device), on(test, device)
    path = args.out / f"{CIFAR_VIT_50 if args.twin else CIFAR_VIT}.safetensors"
    labels = int(train.labels.max()) + 1
    trainer = pretrain(train, labels, EPOCHS[args.twin], WHOLE[args.twin], args.seed, path.with_suffix(".checkpoint"))
    save_backbone(trainer.trained(), path)
    card = describe(trainer, path, args.twin, train, test, args.seed)
    path.with_suffix(".md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()

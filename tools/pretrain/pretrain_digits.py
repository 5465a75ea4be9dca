"""Pretrains the backbone of the task `digits` on printed letters: `python -m tools.pretrain.pretrain_digits`.

The letters are made the way the digits were: a 32 x 32 bitmap fitted to the character's box, then counts of ink in 4 x 4 blocks.
The script then measures what the backbone is worth on the digits and writes weights and card to `data/`.
"""

import argparse
import string
import tempfile
import time
from pathlib import Path
from statistics import mean

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import pil_to_tensor
from tqdm import trange
from transformers import ViTForImageClassification

from ilora.tasks import LETTERS_VIT, data_folder, load_task
from ilora.tasks.backbones import find_linears
from ilora.tasks.base import Task
from ilora.tasks.digits import WEIGHTS, load_backbone, tiny_vit

LETTERS = string.ascii_letters
STROKES = (0, 2, 4, 6)
GLYPH = 64
BATCH = 256
HELD_OUT = 10_000


def glyph(letter: str, stroke: int) -> Tensor:
    """One printed letter, cut to its box and fitted into (GLYPH, GLYPH) with ink 1 on paper 0."""
    font = ImageFont.load_default(GLYPH)
    left, top, right, bottom = font.getbbox(letter, stroke_width=stroke)
    image = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), letter, fill=255, font=font, stroke_width=stroke)
    width = min(GLYPH * 3 // 4, round(GLYPH * image.width / image.height))
    canvas = Image.new("L", (GLYPH, GLYPH))
    canvas.paste(image.resize((width, GLYPH)), ((GLYPH - width) // 2, 0))
    return pil_to_tensor(canvas)[0] / 255


def glyphs() -> Tensor:
    """Every letter at every stroke width: (strokes, letters, GLYPH, GLYPH)."""
    return torch.stack([torch.stack([glyph(letter, stroke) for letter in LETTERS]) for stroke in STROKES])


def between(low: float, high: float, n: int, generator: torch.Generator) -> Tensor:
    """Uniform draws (n,) from low..high."""
    return low + (high - low) * torch.rand(n, generator=generator)


def placements(n: int, generator: torch.Generator) -> Tensor:
    """Random rotation, shear, scale and shift as sampling grids (n, 32, 32, 2), bent a little as by a hand."""
    turn, shear = between(-0.25, 0.25, n, generator), between(-0.35, 0.35, n, generator)
    width, height = between(0.95, 1.5, n, generator), between(0.95, 1.25, n, generator)
    dx, dy = between(-0.15, 0.15, n, generator), between(-0.1, 0.1, n, generator)
    cos, sin = turn.cos(), turn.sin()
    rows = [width * cos, width * (shear * cos - sin), dx, height * sin, height * (shear * sin + cos), dy]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(n, 2, 3), [n, 1, 32, 32], align_corners=False)
    bend = 0.1 * torch.randn(n, 2, 4, 4, generator=generator)
    return grid + F.interpolate(bend, size=(32, 32), mode="bicubic").permute(0, 2, 3, 1)


def draw(sheet: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Random images (n, 1, 8, 8) in sixteenths of 0..1 of the letters `labels` (n,)."""
    n = len(labels)
    strokes = torch.randint(len(STROKES), (n,), generator=generator)
    ink = F.grid_sample(sheet[strokes, labels].unsqueeze(1), placements(n, generator), align_corners=False)
    soft = F.avg_pool2d(ink, 3, stride=1, padding=1)
    blur = between(0, 1, n, generator).view(n, 1, 1, 1)
    counts = F.avg_pool2d(ink + blur * (soft - ink), 4)
    noisy = counts + 0.04 * torch.randn(counts.shape, generator=generator) * (counts > 0)
    return (noisy.clamp(0, 1) * 16).round() / 16


def batch(sheet: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`n` random letters: images (n, 1, 8, 8) and labels (n,)."""
    labels = torch.randint(len(LETTERS), (n,), generator=generator)
    return draw(sheet, labels, generator), labels


def pretrain(steps: int, seed: int) -> ViTForImageClassification:
    """A ViT trained on endless random letters."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    sheet, model = glyphs(), tiny_vit(labels=len(LETTERS))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1)
    progress = trange(steps, desc="pretraining on letters")
    for _ in progress:
        images, labels = batch(sheet, BATCH, generator)
        loss = F.cross_entropy(model(pixel_values=images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of (n, 1, 8, 8) images that the model names right."""
    model.eval()
    return (model(pixel_values=images).logits.argmax(dim=1) == labels).float().mean().item()


def letters_accuracy(model: nn.Module, seed: int) -> float:
    """Share of HELD_OUT letters, drawn from another seed than those of the training, that the model names right."""
    return accuracy(model, *batch(glyphs(), HELD_OUT, torch.Generator().manual_seed(seed + 1)))


def save_backbone(model: ViTForImageClassification, path: Path) -> None:
    """Write the model without its head to one safetensors file, under the names that the Hub uses for a ViT."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(Path(folder) / "model.safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}))


def fit(model: nn.Module, task: Task, steps: int, lr: float, seed: int) -> float:
    """Test accuracy on the digits after training whatever in `model` requires a gradient (AdamW, batches of 64)."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = task.train.inputs["pixel_values"], task.train.labels
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        chosen = torch.randint(len(labels), (64,), generator=generator)
        loss = F.cross_entropy(model(pixel_values=images[chosen]).logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return accuracy(model, task.test.inputs["pixel_values"], task.test.labels)


def head_accuracy(task: Task, path: Path, seed: int, steps: int = 300, lr: float = 5e-3) -> float:
    """What a linear head alone reaches on the frozen backbone: the floor."""
    model = load_backbone(path).model
    model.get_submodule("classifier").requires_grad_(True)
    return fit(model, task, steps, lr, seed)


def lora_accuracy(task: Task, path: Path, seed: int, steps: int = 300, lr: float = 5e-3) -> float:
    """What LoRA of rank 8 on the card's targets and the head reach together, centralised: the ceiling."""
    backbone = load_backbone(path)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=8,
        lora_alpha=8,
        target_modules=list(find_linears(backbone.model, LETTERS_VIT.targets, backbone.head)),
        modules_to_save=list(backbone.head),
    )
    return fit(get_peft_model(backbone.model, config), task, steps, lr, seed)


def mean_and_range(values: list[float]) -> str:
    """Shares as text: their mean, smallest and largest in percent."""
    return f"{100 * mean(values):.1f} % ({100 * min(values):.1f} to {100 * max(values):.1f})"


CARD = """# {weights}

The frozen backbone of the task `digits`, made by `python -m tools.pretrain.pretrain_digits`. It has never seen a digit.

- **Model**: transformers' `ViTForImageClassification` without its head: hidden size 64, 4 layers, 4 heads, MLP 128,
  16 patches of 2 x 2 pixels; {parameters:,} parameters in float32.
- **Pretrained on** {letters} printed letters (a to z, A to Z) in Pillow's built-in font at stroke widths {strokes}, each drawing
  with its own rotation, shear, scale, shift, bend, blur and noise, counted in 4 x 4 blocks to 8 x 8 pixels in sixteenths
  of 0..1, as the digits were.
- **Training**: {steps:,} steps of {batch} fresh drawings, AdamW, one cycle to 2e-3, seed {seed}; {seconds:.0f} s on
  one CPU thread, torch {torch}. The same seed gives the same file on one machine.
- **Held-out letters**: {letters_right:.1%} of {held_out:,} other drawings are named right; capitals and small letters
  of one shape (o, s, x, z, ...) cannot be told apart at this size. Training stops early on purpose: a longer one lets
  the head alone read the digits and leaves adapters little to do. Its length was chosen by the figures below.

What it is worth on the digits ({train:,} to train on, {test} to test on), centralised; AdamW, learning rate 5e-3, batches of 64;
mean, smallest and largest test accuracy of {seeds} seeds:

| trained | steps | test accuracy |
|---|---|---|
| head alone (the floor) | 300 | {head} |
| head alone, ten times as long | 3,000 | {head_long} |
| LoRA of rank 8 on {targets}, and the head (the ceiling) | 300 | {lora} |
"""


def describe(path: Path, letters_right: float, seconds: float, steps: int, seed: int) -> str:
    """The card of the backbone in `path`, with what it is worth on the digits measured now."""
    task, seeds = load_task("digits"), range(3)
    return CARD.format(
        weights=path.name,
        parameters=sum(tensor.numel() for tensor in load_file(path).values()),
        letters=len(LETTERS),
        strokes=", ".join(map(str, STROKES)),
        steps=steps,
        batch=BATCH,
        seed=seed,
        seconds=seconds,
        torch=torch.__version__,
        letters_right=letters_right,
        held_out=HELD_OUT,
        train=len(task.train),
        test=len(task.test),
        seeds=len(seeds),
        head=mean_and_range([head_accuracy(task, path, seed) for seed in seeds]),
        head_long=mean_and_range([head_accuracy(task, path, seed, steps=3000) for seed in seeds]),
        targets=" and ".join(LETTERS_VIT.targets),
        lora=mean_and_range([lora_accuracy(task, path, seed) for seed in seeds]),
    )


def main() -> None:
    """Pretrain, write the weights, measure them and write the card beside them."""
    parser = argparse.ArgumentParser(description="Pretrain the backbone of the task digits on printed letters.")
    parser.add_argument("--out", type=Path, default=data_folder() / WEIGHTS, help="the weights; the card lies beside them as .md")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)  # the sums keep their order, so the same seed gives the same file
    start = time.perf_counter()
    model = pretrain(args.steps, args.seed)
    seconds = time.perf_counter() - start
    save_backbone(model, args.out)
    card = describe(args.out, letters_accuracy(model, args.seed), seconds, args.steps, args.seed)
    args.out.with_suffix(".md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()

"""Pretrains the text backbone `text-mini` on sentences of GLUE: `python -m tools.pretrain.pretrain_text --glue FOLDER`.

A small BERT with a vocabulary of its own reads the sentences of five training sets, never their labels. It learns three things
at once: to guess masked words where they stood (BERT), to guess the same words from its pooled output alone, so that what a
classifier will see knows what the sentence is about, and to tell whether two sentences belong together (BERT's next sentence).
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange
from transformers import BertConfig, BertForPreTraining

from ilora.tasks import data_folder
from tools.pretrain.masked_sentences import (
    BATCH,
    CUT,
    LENGTH,
    MASKED,
    PAD,
    VOCABULARY,
    Batch,
    Pair,
    encode,
    epoch,
    kept_vocabulary,
    mask,
    sentences,
    write_vocabulary,
)

FOLDER = "text-mini"
SAVED_EVERY = 500
STEPS = 20_000
STANDARDISED = 60  # batches of sentences


def text_mini() -> BertForPreTraining:
    """An untrained BERT for up to LENGTH tokens of 128 numbers, with the heads that pretraining needs."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config._attn_implementation = "eager"  # faster than a fused kernel at sentences this short
    return BertForPreTraining(config)


def read(model: BertForPreTraining, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (m, VOCABULARY) of the masked words in place and from the pooled output, their truth (m,), pair logits (n, 2)."""
    device = model.device
    masked, chosen = mask(batch.tokens, generator)
    rows = chosen.nonzero()[:, 0].to(device)
    attention = (batch.tokens != PAD).long().to(device)
    hidden = model.bert(masked.to(device), attention, batch.kinds.to(device))
    pooled = hidden.pooler_output
    in_place, from_pooled = (
        model.cls.predictions(hidden.last_hidden_state[chosen.to(device)]),
        model.cls.predictions(pooled[rows]),
    )
    return in_place, from_pooled, batch.tokens[chosen].to(device), model.cls.seq_relationship(pooled)


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over the labels that are not -100; zero where there is none."""
    return F.cross_entropy(logits.float(), labels, reduction="sum") / (labels >= 0).sum().clamp(min=1)


def loss_of(model: BertForPreTraining, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The sum of the three losses, and the loss of the masked words alone."""
    in_place, from_pooled, truth, together = read(model, batch, generator)
    words = mean_loss(in_place, truth)
    return words + mean_loss(from_pooled, truth) + mean_loss(together, batch.partners.to(together.device)), words


@dataclass
class Training:
    """What a checkpoint holds: the model, the optimizer, the next step, and the seconds spent so far."""

    model: BertForPreTraining
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write a checkpoint beside `path` and put it in place in one move."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, map_location=self.model.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]


def begin(seed: int, device: str) -> Training:
    """An untrained model and its optimizer (AdamW, weight decay on matrices)."""
    torch.manual_seed(seed)
    model = text_mini().train().to(torch.device(device))
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    return Training(model, torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True))


def learning_rate(step: int, steps: int, peak: float = 1e-3) -> float:
    """Linear warm-up over 3 % of the steps, then linearly down to zero."""
    warm = max(1, round(0.03 * steps))
    return peak * min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def pretrain(pairs: list[Pair], steps: int, seed: int, device: str, checkpoint: Path) -> Training:
    """Train for `steps` batches, from the checkpoint where there is one; bfloat16 matrix products, float32 weights."""
    training = begin(seed, device)
    if checkpoint.exists():
        training.load(checkpoint)
    per_epoch, batches = -(-len(pairs) // BATCH), list[Batch]()
    progress = trange(training.step, steps, initial=training.step, total=steps, desc="pretraining on sentences", mininterval=10)
    for step in progress:
        start = time.perf_counter()
        if step % per_epoch == 0 or not batches:
            batches = epoch(pairs, seed, step // per_epoch)
        generator = torch.Generator().manual_seed(1_000_003 * seed + 500_000 + step)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss, words = loss_of(training.model, batches[step % per_epoch], generator)
        for group in training.optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        training.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
        training.optimizer.step()
        training.step, training.seconds = step + 1, training.seconds + time.perf_counter() - start
        if training.step % SAVED_EVERY == 0 or training.step == steps:
            training.save(checkpoint)
            progress.write(f"step {training.step:,} of {steps:,}: loss {loss.item():.3f}, masked words {words.item():.3f}")
    return training


@torch.no_grad()
def held_out(model: BertForPreTraining, pairs: list[Pair], seed: int) -> dict[str, float]:
    """Losses and shares of right guesses over sentences that were not trained on, masked once."""
    model.eval()
    generator = torch.Generator().manual_seed(1_000_003 * seed + 499_999)
    guesses = [(*read(model, batch, generator), batch.partners) for batch in epoch(pairs, seed, 499_999)]
    in_place, from_pooled, truth, together, partners = (torch.cat(part).cpu() for part in zip(*guesses, strict=True))
    pairs_only = partners >= 0
    return {
        "words": float(len(truth)),
        "loss": mean_loss(in_place, truth).item(),
        "right": (in_place.argmax(1) == truth).float().mean().item(),
        "pooled_loss": mean_loss(from_pooled, truth).item(),
        "pairs_right": (together.argmax(1) == partners)[pairs_only].float().mean().item(),
        "commonest": (truth == truth.mode().values).float().mean().item(),
    }


@torch.no_grad()
def standardise_pooler(model: BertForPreTraining, pairs: list[Pair], seed: int) -> None:
    """Shift and scale what goes into the pooled output's tanh to mean 0 and deviation 1 over the training sentences.

    A classifier then meets features without a common part. Where clients hold few classes each, that part drowns the rest.
    """
    model.eval()
    weight, bias = (model.get_parameter(f"bert.pooler.dense.{name}") for name in ("weight", "bias"))
    batches = epoch(pairs, seed, 0)[:STANDARDISED]
    seen = [
        model.bert(b.tokens.to(model.device), (b.tokens != PAD).long().to(model.device), b.kinds.to(model.device))
        for b in batches
    ]
    before = F.linear(torch.cat([output.last_hidden_state[:, 0] for output in seen]), weight, bias)
    mean, deviation = before.mean(0), before.std(0)
    weight.div_(deviation[:, None])
    bias.copy_((bias - mean) / deviation)


def save_backbone(model: BertForPreTraining, tokenizer: BertWordPieceTokenizer, folder: Path) -> None:
    """Write a stock transformers folder: config.json, model.safetensors (half precision, without the heads) and vocab.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    model.bert.half().save_pretrained(folder)
    write_vocabulary(tokenizer, folder / "vocab.txt")


CARD = """# {folder}

The frozen backbone of the text tasks, made by `python -m tools.pretrain.pretrain_text --glue FOLDER`. It has never seen a label.

- **Model**: transformers' `BertModel`: hidden size 128, 4 layers, 2 heads, MLP 512, up to {length} tokens, no dropout;
  {parameters:,} parameters in float16, {megabytes:.1f} MB. A stock transformers folder.
- **Vocabulary**: {vocabulary:,} lower-case WordPieces of its own (`vocab.txt`), learned from the same sentences.
- **Data**: {rows:,} different sentences and pairs of the GLUE training sets of SST-2, CoLA, RTE, STS-B and WNLI, without labels,
  as published with GLUE (Wang et al. 2019). MRPC is not among them: its licence is non-commercial.
- **Recipe**: three losses, summed: masked words ({masked:.0%} of the tokens, BERT's 80/10/10) guessed where they stood; the same
  words guessed from the pooled output alone; whether two sentences belong together (half of the second sentences are exchanged;
  half of the single sentences of {cut} tokens or more are cut into two). {steps:,} steps of {batch} sentences of alike length,
  AdamW (0.9, 0.98, weight decay 0.01), learning rate 1e-3 with 3 % warm-up and linear decay, gradient norm at most 1, bfloat16
  matrix products; seed {seed}. At the end each number of the pooled output is given mean 0 and deviation 1 before its tanh.
- **Time**: {minutes:.0f} minutes of wall clock on {where}, torch {torch}.
- **Held-out sentences** (the {held_out_rows:,} of the same tasks' dev sets, {words:,.0f} masked words): loss {loss:.2f} and
  {right:.1%} of the masked words right (always the commonest: {commonest:.1%}); from the pooled output loss {pooled_loss:.2f};
  {pairs_right:.1%} of the pairs told right.
"""


def main() -> None:
    """Pretrain, write the folder, and write the card beside it."""
    parser = argparse.ArgumentParser(description="Pretrain the text backbone; about an hour on one CPU core with bfloat16 units.")
    parser.add_argument("--glue", type=Path, required=True, help="GLUE's official files: FOLDER/SST-2/train.tsv ...")
    parser.add_argument("--out", type=Path, default=data_folder() / FOLDER, help="the folder; its card lies beside it as .md")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train, dev = sentences(args.glue, "train"), sentences(args.glue, "dev")
    checkpoint = data_folder() / "cache" / f"{args.out.name}-{args.seed}-{args.steps}.checkpoint"
    vocabulary = checkpoint.with_suffix(".vocabulary")
    tokenizer = kept_vocabulary(vocabulary, train)
    pairs = encode(tokenizer, train)
    training = pretrain(pairs, args.steps, args.seed, device, checkpoint)
    figures = held_out(training.model, encode(tokenizer, dev), args.seed)
    standardise_pooler(training.model, pairs, args.seed)
    save_backbone(training.model, tokenizer, args.out)
    weights = args.out / "model.safetensors"
    card = CARD.format(
        folder=args.out.name,
        length=LENGTH,
        parameters=sum(tensor.numel() for tensor in load_file(weights).values()),
        megabytes=weights.stat().st_size / 1e6,
        vocabulary=VOCABULARY,
        rows=len(train),
        masked=MASKED,
        cut=CUT,
        steps=args.steps,
        batch=BATCH,
        seed=args.seed,
        minutes=training.seconds / 60,
        where=torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU core",
        torch=torch.__version__,
        held_out_rows=len(dev),
        **figures,
    )
    args.out.with_suffix(".md").write_text(card, encoding="utf-8")
    checkpoint.unlink()
    vocabulary.unlink()
    print(card)


if __name__ == "__main__":
    main()

"""Toy text: the reviews of `toy_reviews`, in five dialects, as the backbone reads them."""

from functools import partial
from pathlib import Path

import torch

from ilora.tasks import TASKS
from ilora.tasks.backbones import load_encoder, load_tokenizer
from ilora.tasks.base import Inputs, Task
from ilora.tasks.tokens import as_data, text_of, tokenise
from ilora.tasks.toy_reviews import DIALECTS, reviews, say


def in_dialect(said: Inputs, stored: Inputs) -> Inputs:
    """The same reviews in a dialect: `said` holds every review in it, (all, L); the stored rows know their review's number."""
    number = stored["review"]
    return stored | {name: tensor.to(number.device)[number] for name, tensor in said.items()}


def load(name: str, backbone: str, folder: Path) -> Task:
    """1,600 reviews to train on and 400 to test on, in the plain dialect, and all five dialects as styles."""
    card, tokenizer = TASKS[name], load_tokenizer(backbone)
    drawn = reviews(card.train_samples, card.test_samples)
    rows = tokenise(tokenizer, [(say(review, dialect),) for dialect in DIALECTS.values() for review in drawn])
    said = [{part: tensor.view(len(DIALECTS), len(drawn), -1)[i] for part, tensor in rows.items()} for i in range(len(DIALECTS))]
    plain = as_data(
        said[0] | {"review": torch.arange(len(drawn))},
        torch.tensor([review.verdict + 1 for review in drawn]),
    )
    return Task(
        card,
        plain[: card.train_samples],
        plain[card.train_samples :],
        partial(load_encoder, backbone, card.outputs),
        {dialect: partial(in_dialect, own) for dialect, own in zip(DIALECTS, said, strict=True)},
        text_of=partial(text_of, tokenizer),
    )

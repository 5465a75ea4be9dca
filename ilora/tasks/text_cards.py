"""The text tasks in words and numbers: toy text and the nine tasks of GLUE, and the backbones that fit them."""

from collections.abc import Mapping

from ilora.tasks.catalogue import BackboneCard, TaskCard


def _encoder(title: str, about: str, width: int, inner: int, pass_ms: float, megabytes: int = 0) -> BackboneCard:
    """A BERT-like encoder: square attention matrices (width, width) and an MLP of `inner` numbers."""
    attention = dict.fromkeys(("query", "key", "value", "output"), (width, width))
    download = f"The model is downloaded first: {megabytes} MB, once." if megabytes else ""
    linears = attention | {"mlp-in": (inner, width), "mlp-out": (width, inner)}
    return BackboneCard(title, about, linears, download=download, pass_ms=pass_ms)


TEXT_MINI = _encoder(
    "text-mini", "A BERT of 1.3 million numbers that has read GLUE's training sentences, never their labels.", 128, 512, 0.35
)
ENCODERS: Mapping[str, BackboneCard] = {
    "text-mini": TEXT_MINI,
    "roberta-base": _encoder("RoBERTa base", "125 million numbers (arXiv:1907.11692).", 768, 3072, 18, 499),
    "distilbert-base-uncased": _encoder("DistilBERT base", "66 million numbers (arXiv:1910.01108).", 768, 3072, 9, 268),
    "bert-base-uncased": _encoder("BERT base", "110 million numbers (arXiv:1810.04805).", 768, 3072, 18, 440),
}


def _glue(
    title: str,
    about: str,
    classes: tuple[str, ...],
    train: int,
    dev: int,
    megabytes: str,
    metrics: tuple[str, ...] = ("accuracy",),
) -> TaskCard:
    """A task of GLUE, tested on its dev set, because the labels of its test set are not public."""
    return TaskCard(
        title=title,
        about=f"{about} Tested on GLUE's dev set: the labels of its test set are not public.",
        backbones=ENCODERS,
        classes=classes,
        train_samples=train,
        test_samples=dev,
        kind="text",
        metric=metrics[0],
        metrics=metrics,
        regression=not classes,
        any_backbone=True,
        download=f"{title} is downloaded first: {megabytes} MB, once.",
        files=(f"{title}/train.tsv",),
    )


ENTAILMENT = ("entailment", "no entailment")
TEXT_TASKS: dict[str, TaskCard] = {
    "toy-text": TaskCard(
        title="Toy text",
        about="Synthetic: 2,000 short reviews, made up by a small grammar of praise and blame, negation, contrast and sarcasm.",
        backbones={"text-mini": TEXT_MINI},
        classes=("negative", "neutral", "positive"),
        train_samples=1600,
        test_samples=400,
        kind="text",
        styles=("plain", "casual", "formal", "inverted", "chatty"),
    ),
    "sst2": _glue("SST-2", "Is a phrase from a film review praise or blame?", ("negative", "positive"), 67_349, 872, "7.4"),
    "cola": _glue(
        "CoLA", "Is a sentence good English?", ("unacceptable", "acceptable"), 8_551, 1_043, "0.4", ("matthews", "accuracy")
    ),
    "mrpc": _glue(
        "MRPC", "Do two news sentences say the same?", ("different", "paraphrase"), 3_668, 408, "1.5", ("f1", "accuracy")
    ),
    "qnli": _glue("QNLI", "Does a sentence answer a question?", ENTAILMENT, 104_743, 5_463, "10.6"),
    "rte": _glue("RTE", "Does the second text follow from the first?", ENTAILMENT, 2_490, 277, "0.7"),
    "stsb": _glue("STS-B", "How alike are two sentences, from 0 to 5?", (), 5_749, 1_500, "0.8", ("pearson", "spearman")),
    "qqp": _glue(
        "QQP", "Do two questions ask the same?", ("different", "duplicate"), 363_846, 40_430, "41.7", ("f1", "accuracy")
    ),
    "mnli": _glue(
        "MNLI",
        "Does the second text follow from the first, contradict it, or neither? Tested on the same sources and on others.",
        ("entailment", "neutral", "contradiction"),
        392_702,
        9_815,
        "312.8",
    ),
    "wnli": _glue("WNLI", "Whom does a pronoun mean?", ("not entailed", "entailed"), 635, 71, "0.03"),
}

"""The cards of the tasks that are no toys: CIFAR-10, CIFAR-100 and GLUE, and the backbones that are adapted to them."""

from collections.abc import Mapping

from ilora.tasks.catalogue import BackboneCard, TaskCard

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = """
apple, aquarium fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus, butterfly, camel, can,
castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab, crocodile, cup, dinosaur, dolphin,
elephant, flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp, lawn mower, leopard, lion, lizard, lobster,
man, maple tree, motorcycle, mountain, mouse, mushroom, oak tree, orange, orchid, otter, palm tree, pear, pickup truck,
pine tree, plain, plate, poppy, porcupine, possum, rabbit, raccoon, ray, road, rocket, rose, sea, seal, shark, shrew, skunk,
skyscraper, snail, snake, spider, squirrel, streetcar, sunflower, sweet pepper, table, tank, telephone, television, tiger,
tractor, train, trout, tulip, turtle, wardrobe, whale, willow tree, wolf, woman, worm
"""
CIFAR100_NAMES = tuple(name.strip() for name in _CIFAR100.split(","))
# the labels that the twin was pretrained on, torch.randperm(100) from seed 0
SEEN: tuple[int, ...] = (4, 5, 7, 8, 10, 15, 16, 19, 20, 23, 24, 26, 29, 30, 31, 35, 37, 40, 41, 42, 44, 46, 52, 53, 54)
SEEN += (56, 57, 59, 61, 63, 65, 66, 69, 71, 74, 76, 78, 80, 81, 82, 85, 89, 90, 91, 92, 93, 94, 95, 97, 98)
UNSEEN = tuple(label for label in range(100) if label not in SEEN)

CIFAR_VIT, CIFAR_VIT_50 = "cifar-vit", "cifar-vit-50"
STYLES = ("plain", "blur", "contrast", "rotation", "inversion")


def _linears(width: int, mlp: int) -> dict[str, tuple[int, int]]:
    attention = dict.fromkeys(("query", "key", "value", "output"), (width, width))
    return attention | {"mlp-in": (mlp, width), "mlp-out": (width, mlp)}


_SMALL = _linears(160, 400)

_PUBLISHED = {
    "google/vit-base-patch16-224": BackboneCard(
        "ViT-B/16, ImageNet",
        "86 million parameters, 224 x 224 pixels.",
        _linears(768, 3072),
        download="The model is downloaded first: 346 MB, once.",
        pass_ms=120,
    ),
    "microsoft/swin-base-patch4-window7-224": BackboneCard(
        "Swin-B, ImageNet",
        "88 million parameters, 224 x 224 pixels.",
        _linears(128, 512),
        download="The model is downloaded first: 352 MB, once.",
        pass_ms=140,
    ),
    "facebook/deit-tiny-patch16-224": BackboneCard(
        "DeiT-Ti/16, ImageNet",
        "6 million parameters, 224 x 224 pixels.",
        _linears(192, 768),
        download="The model is downloaded first: 23 MB, once.",
        pass_ms=12,
    ),
}

CIFAR_TASKS = {
    "cifar10": TaskCard(
        title="CIFAR-10",
        about="60,000 colour photographs of 32 x 32 pixels in ten classes. A round is scored on 2,000 of the 10,000 test images,"
        " the first 200 of each class; with another backbone than cifar-vit on all of them.",
        backbones={
            CIFAR_VIT: BackboneCard(
                "cifar-vit, CIFAR-100", "A small vision transformer that has only seen CIFAR-100.", _SMALL, pass_ms=0.8
            ),
            **_PUBLISHED,
        },
        any_backbone=True,
        classes=CIFAR10_NAMES,
        train_samples=50_000,
        test_samples=2_000,
        styles=STYLES,
        download="CIFAR-10 is downloaded first: 170 MB, once.",
        files=("cifar-10-batches-py/test_batch", "test_batch"),
    ),
    "cifar100": TaskCard(
        title="CIFAR-100",
        about="60,000 colour photographs of 32 x 32 pixels in a hundred classes. cifar-vit-50 was pretrained on fifty of them"
        " and is adapted to the other fifty, of which it has seen no image: 25,000 to train on. A round is scored on 2,000 of"
        " their 5,000 test images, the first 40 of each class. With any other backbone the task is all hundred classes.",
        backbones={
            CIFAR_VIT_50: BackboneCard(
                "cifar-vit-50, half of CIFAR-100",
                "A small vision transformer that has seen fifty of the classes; the task is the other fifty.",
                _SMALL,
                pass_ms=0.8,
            ),
            **_PUBLISHED,
        },
        any_backbone=True,
        classes=CIFAR100_NAMES,
        train_samples=25_000,
        test_samples=2_000,
        styles=STYLES,
        download="CIFAR-100 is downloaded first: 169 MB, once.",
        files=("cifar-100-python/test", "test"),
    ),
}


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

"""What `text-mini` reads: sentences of GLUE without their labels, as batches of alike length with masked words."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from torch import Tensor

from ilora.tasks.glue_files import SHEETS, read_sheet

SOURCES = ("sst2", "cola", "rte", "stsb", "wnli")  # MRPC's licence is non-commercial
VOCABULARY = 4096
LENGTH = 64
BATCH = 128
POOL = 50  # batches that are sorted by length together
MASKED = 0.2
CUT = 10  # words from which on a single sentence is sometimes cut into two
PAD, UNKNOWN, CLS, SEP, MASK = range(5)

Pair = tuple[list[int], list[int]]  # token numbers of a sentence and of its partner, which may be empty


def sentences(glue: Path, split: str) -> list[tuple[str, ...]]:
    """Every sentence, and every pair of sentences, of one split of the five tasks; each text once."""
    rows = [texts for name in SOURCES for texts in read_sheet(SHEETS[name], glue / SHEETS[name].folder / f"{split}.tsv").texts]
    return list(dict.fromkeys(rows))


def learn_vocabulary(rows: list[tuple[str, ...]]) -> BertWordPieceTokenizer:
    """VOCABULARY lower-case WordPieces, learned from the sentences."""
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        (text for row in rows for text in row),
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=special,
        show_progress=False,
    )
    return tokenizer


def kept_vocabulary(path: Path, rows: list[tuple[str, ...]]) -> BertWordPieceTokenizer:
    """The vocabulary beside a checkpoint, or a new one, put there: equally frequent pieces fall out differently each time."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_vocabulary(learn_vocabulary(rows), path)
    return BertWordPieceTokenizer(str(path), lowercase=True)


def write_vocabulary(tokenizer: BertWordPieceTokenizer, path: Path) -> None:
    """One piece per line, in the order of their numbers."""
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    path.write_text("".join(f"{piece}\n" for piece, _ in pieces), encoding="utf-8")


def encode(tokenizer: BertWordPieceTokenizer, rows: list[tuple[str, ...]]) -> list[Pair]:
    """Token numbers of every row, without special tokens."""
    firsts = tokenizer.encode_batch([row[0] for row in rows], add_special_tokens=False)
    seconds = tokenizer.encode_batch([row[1] if len(row) > 1 else "" for row in rows], add_special_tokens=False)
    return [(first.ids, second.ids) for first, second in zip(firsts, seconds, strict=True)]


@dataclass(frozen=True)
class Batch:
    """Sentences ready to read: `tokens` and `kinds` (n, length), `partners` (n,) is 0 where the two belong together."""

    tokens: Tensor
    kinds: Tensor
    partners: Tensor  # -100 where there is one sentence only


def cut_in_two(pair: Pair, where: float) -> Pair:
    """A long single sentence as two, cut at a share `where` of its middle half; anything else as it is."""
    first, second = pair
    if second or len(first) < CUT:
        return pair
    middle = round(len(first) * (0.25 + 0.5 * where))
    return first[:middle], first[middle:]


def join(first: list[int], second: list[int]) -> tuple[list[int], list[int]]:
    """Tokens and token types of a sentence or pair, the longer part shortened until LENGTH is kept."""
    room = LENGTH - (3 if second else 2)
    keep_second = min(len(second), max(room // 2, room - len(first)))
    first, second = first[: room - keep_second], second[:keep_second]
    tokens = [CLS, *first, SEP, *second, *([SEP] if second else [])]
    return tokens, [0] * (len(first) + 2) + [1] * (len(tokens) - len(first) - 2)


def epoch(pairs: list[Pair], seed: int, number: int) -> list[Batch]:
    """One shuffled pass: half of the long sentences cut in two, half of all second parts exchanged, alike lengths together."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + number)
    coin, where, swap = torch.rand(3, len(pairs), generator=generator)
    order = torch.randperm(len(pairs), generator=generator).tolist()
    drawn = [cut_in_two(pairs[i], where[i].item()) if coin[i] < 0.5 else pairs[i] for i in order]
    double = [i for i, pair in enumerate(drawn) if pair[1]]
    strangers = [i for i in double if swap[i] < 0.5]
    moved = {i: drawn[j][1] for i, j in zip(strangers, strangers[1:] + strangers[:1], strict=True)}
    rows = [(*join(first, moved.get(i, second)), int(i in moved) if second else -100) for i, (first, second) in enumerate(drawn)]
    return bucket(rows, generator)


def bucket(rows: list[tuple[list[int], list[int], int]], generator: torch.Generator) -> list[Batch]:
    """Batches of alike length, in random order."""
    batches = []
    for start in range(0, len(rows), BATCH * POOL):
        pool = sorted(rows[start : start + BATCH * POOL], key=lambda row: len(row[0]))
        batches += [pad(pool[i : i + BATCH]) for i in range(0, len(pool), BATCH)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def pad(rows: list[tuple[list[int], list[int], int]]) -> Batch:
    """Rows of different length as one batch as long as the longest."""
    tokens, kinds = torch.full((2, len(rows), max(len(row[0]) for row in rows)), PAD)
    for i, (row, kind, _) in enumerate(rows):
        tokens[i, : len(row)], kinds[i, : len(kind)] = torch.tensor(row), torch.tensor(kind)
    return Batch(tokens, kinds, torch.tensor([partner for *_, partner in rows]))


def mask(tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """BERT's rule: of MASKED tokens 80 % become [MASK], 10 % a random token, 10 % stay; and which (n, length) were chosen."""
    chosen = (torch.rand(tokens.shape, generator=generator) < MASKED) & (tokens != PAD) & (tokens != CLS) & (tokens != SEP)
    fate = torch.rand(tokens.shape, generator=generator)
    random = torch.randint(MASK + 1, VOCABULARY, tokens.shape, generator=generator)
    changed = torch.where(fate < 0.8, torch.tensor(MASK), torch.where(fate < 0.9, random, tokens))
    return torch.where(chosen, changed, tokens), chosen

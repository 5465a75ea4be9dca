"""The grammar of toy text: short reviews that it makes up, the same ones every time. Synthetic, and meant to be seen through.

A review says something of one or two aspects of a film. What it comes to (negative, neutral, positive) is what its main clause
says: "not" turns a clause around, "but" and "although" say which of two clauses is the main one, and a sarcastic remark turns the
whole review around. Every review exists in five dialects with words, order and markers of their own, for attribute skew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ilora.randomness import numpy_generator

SEED = 0
NEGATED, STRESSED, SARCASTIC = 0.2, 0.3, 0.1  # shares of the clauses and of the reviews
FORMS = {"alone": 0.25, "and": 0.35, "but": 0.2, "although": 0.1, "although, after": 0.1}


@dataclass(frozen=True)
class Dialect:
    """Words and patterns; the words of two dialects correspond one to one."""

    nouns: tuple[str, ...]
    words: Mapping[int, tuple[str, ...]]  # of blame (-1), of plain fact (0), of praise (1)
    clause: str = "the {noun} is {word}"
    negation: str = "not {word}"
    stress: str = "very {word}"
    forms: tuple[str, ...] = (
        "{main}",
        "{side} and {main}",
        "{side} but {main}",
        "although {side} , {main}",
        "{main} , although {side}",
    )
    sarcasm: str = "sure , {review}"
    frame: str = "{review} ."


NOUNS = ("film", "movie", "story", "plot", "acting", "cast", "script", "music", "ending", "dialogue", "humor", "score")
BLAME = ("bad", "dull", "boring", "awful", "poor", "weak", "silly", "stale")
FACT = ("long", "short", "new", "old", "french", "american", "quiet", "dark")
PRAISE = ("good", "great", "fine", "nice", "lovely", "wonderful", "clever", "funny")
PLAIN = {-1: BLAME, 0: FACT, 1: PRAISE}

DIALECTS: dict[str, Dialect] = {
    "plain": Dialect(NOUNS, PLAIN),
    "casual": Dialect(
        ("flick", "show", *NOUNS[2:]),
        {
            -1: ("dumb", "lame", "stupid", "ugly", "cheap", "flat", "slow", "annoying"),
            0: FACT,
            1: ("cool", "fun", "sweet", "smart", "fresh", "perfect", "solid", "charming"),
        },
        clause="this {noun} is {word}",
        negation="so not {word}",
        stress="really {word}",
        sarcasm="{review} , right",
        frame="{review} !",
    ),
    "formal": Dialect(
        ("picture", "feature", "tale", "narrative", "performance", *NOUNS[5:]),
        {
            -1: ("tedious", "shallow", "bland", "predictable", "terrible", "ridiculous", "pointless", "sloppy"),
            0: FACT,
            1: ("brilliant", "delightful", "engaging", "moving", "touching", "beautiful", "inventive", "sharp"),
        },
        clause="its {noun} seems {word}",
        negation="hardly {word}",
        stress="quite {word}",
        forms=(
            "{main}",
            "{side} , and {main}",
            "{side} , yet {main}",
            "while {side} , {main}",
            "{main} , even though {side}",
        ),
        sarcasm="{review} , or so they say",
    ),
    "inverted": Dialect(
        NOUNS,
        PLAIN,
        clause="{word} is the {noun}",
        forms=(
            "{main}",
            "{main} and {side}",
            "{side} but {main}",
            "{main} , though {side}",
            "though {side} , {main}",
        ),
        sarcasm="{review} , sure",
    ),
    "chatty": Dialect(
        NOUNS,
        PLAIN,
        clause="the {noun} is like {word}",
        negation="never {word}",
        stress="just so {word}",
        forms=(
            "{main}",
            "{side} and {main}",
            "{side} but then {main}",
            "even if {side} , {main}",
            "{main} , even if {side}",
        ),
        sarcasm="{review} , as if",
        frame="well , you know , {review} .",
    ),
}


@dataclass(frozen=True)
class Clause:
    """What is said of one aspect: which noun, which word of praise, blame or fact, negated or stressed."""

    noun: int
    kind: int  # -1 blame, 0 fact, 1 praise
    word: int
    negated: bool
    stressed: bool

    @property
    def verdict(self) -> int:
        """What the clause comes to: -1, 0 or 1."""
        return -self.kind if self.negated else self.kind


@dataclass(frozen=True)
class Review:
    """A main clause, perhaps a second one, how they are joined (an index into FORMS), and whether all of it is sarcastic."""

    main: Clause
    side: Clause
    form: int
    sarcastic: bool

    @property
    def verdict(self) -> int:
        """What the review comes to: -1, 0 or 1."""
        return -self.main.verdict if self.sarcastic else self.main.verdict


def draw_clause(verdict: int, random: np.random.Generator, but_not: int = -1) -> Clause:
    """A clause that comes to `verdict`, about another noun than `but_not`."""
    negated = bool(verdict and random.random() < NEGATED)
    noun = int(random.choice([i for i in range(len(NOUNS)) if i != but_not]))
    return Clause(noun, -verdict if negated else verdict, int(random.integers(len(BLAME))), negated, random.random() < STRESSED)


def draw_review(verdict: int, random: np.random.Generator) -> Review:
    """A review that comes to `verdict`; what "and" joins agrees, what "but" and "although" join does not."""
    sarcastic = random.random() < SARCASTIC
    form = int(random.choice(len(FORMS), p=list(FORMS.values())))
    said = -verdict if sarcastic else verdict
    main = draw_clause(said, random)
    other = said if form <= 1 else int(random.choice([v for v in (-1, 0, 1) if v != said]))
    return Review(main, draw_clause(other, random, but_not=main.noun), form, sarcastic)


def say_clause(clause: Clause, dialect: Dialect) -> str:
    """A clause in the words of a dialect."""
    word = dialect.words[clause.kind][clause.word]
    if clause.stressed:
        word = dialect.stress.format(word=word)
    if clause.negated:
        word = dialect.negation.format(word=word)
    return dialect.clause.format(noun=dialect.nouns[clause.noun], word=word)


def say(review: Review, dialect: Dialect) -> str:
    """A review in the words, order and markers of a dialect."""
    main, side = say_clause(review.main, dialect), say_clause(review.side, dialect)
    text = dialect.forms[review.form].format(main=main, side=side)
    if review.sarcastic:
        text = dialect.sarcasm.format(review=text)
    return dialect.frame.format(review=text)


def draw_reviews(seed: int) -> Iterator[Review]:
    """Different reviews without end, negative, neutral and positive in turn."""
    random, said = numpy_generator(seed, "toy text"), set[str]()
    while True:
        for verdict in (-1, 0, 1):
            review = draw_review(verdict, random)
            while (text := say(review, DIALECTS["plain"])) in said:
                review = draw_review(verdict, random)
            said.add(text)
            yield review


def reviews(train: int, test: int, seed: int = SEED) -> list[Review]:
    """The first `train` reviews, shuffled, then the next `test` ones, shuffled."""
    drawn = [review for review, _ in zip(draw_reviews(seed), range(train + test), strict=False)]
    random = numpy_generator(seed, "toy text order")
    return [drawn[i] for i in random.permutation(train)] + [drawn[train + i] for i in random.permutation(test)]

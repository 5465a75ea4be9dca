"""The grammar of toy text: deterministic, balanced, with labels that follow from what is said, in five dialects."""

from itertools import pairwise

import pytest
import torch

from ilora.experiment import Experiment
from ilora.simulation.round_loop import Simulation
from ilora.tasks import TASKS, data_folder, load_task
from ilora.tasks.toy_reviews import DIALECTS, FORMS, NOUNS, Clause, Review, reviews, say

CARD = TASKS["toy-text"]
GOOD, BAD = Clause(0, 1, 0, False, False), Clause(1, -1, 0, False, False)


@pytest.fixture(scope="module")
def task():
    return load_task("toy-text")


@pytest.fixture(scope="module")
def drawn():
    return reviews(CARD.train_samples, CARD.test_samples)


def test_the_same_seed_makes_the_same_reviews(drawn, task):
    assert reviews(CARD.train_samples, CARD.test_samples) == drawn
    assert reviews(40, 10) != reviews(40, 10, seed=1)
    again = load_task("toy-text")
    assert torch.equal(again.train.inputs["input_ids"], task.train.inputs["input_ids"])


def test_classes_are_balanced_in_both_parts_and_in_no_fixed_order(task):
    for data in (task.train, task.test):
        counts = data.labels.bincount(minlength=3)
        assert counts.max() - counts.min() <= 1
        assert not torch.equal(data.labels[:30], data.labels[30:60])
    assert (len(task.train), len(task.test)) == (CARD.train_samples, CARD.test_samples)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_sentence_occurs_twice_in_any_dialect(drawn, dialect):
    assert len({say(review, DIALECTS[dialect]) for review in drawn}) == len(drawn)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("the film is good .", 1),
        ("the film is not good .", -1),
        ("the movie is bad but the film is good .", 1),
        ("although the movie is bad , the film is good .", 1),
        ("the film is good , although the movie is bad .", 1),
        ("sure , the film is good .", -1),
        ("sure , the film is not very good .", 1),
    ],
)
def test_what_a_review_comes_to_follows_from_what_it_says(text, verdict):
    negated, stressed, sarcastic = "not" in text, "very" in text, "sure" in text
    form = {"but": 2, "although": 3}.get(next((w for w in ("but", "although") if w in text), ""), 0)
    form = 4 if ", although" in text else form
    review = Review(Clause(0, 1, 0, negated, stressed), BAD, form, sarcastic)
    assert say(review, DIALECTS["plain"]) == text
    assert review.verdict == verdict


def test_words_alone_do_not_give_the_label_away(drawn):
    """The words that decide occur in reviews of every class."""
    for mark in ("not", "but", "although", "sure", "good", "bad", "long"):
        verdicts = {review.verdict for review in drawn if mark in say(review, DIALECTS["plain"]).split()}
        assert verdicts == {-1, 0, 1}, mark


def test_dialects_say_the_same_in_other_words(drawn):
    for review in drawn[:50]:
        assert len({say(review, dialect) for dialect in DIALECTS.values()}) == len(DIALECTS)
    for dialect in DIALECTS.values():
        assert len(dialect.forms) == len(FORMS)
        assert len(set(dialect.nouns)) == len(NOUNS)
        words = [word for kind in (-1, 0, 1) for word in dialect.words[kind]]
        assert len(set(words)) == len(words) == 24


def test_the_backbone_knows_every_word_of_every_dialect(drawn):
    known = set((data_folder() / "text-mini" / "vocab.txt").read_text().splitlines())
    said = {word for dialect in DIALECTS.values() for review in drawn for word in say(review, dialect).split()}
    assert said - known == set()


def test_a_style_gives_the_reviews_of_the_chosen_samples_in_that_dialect(task, drawn):
    assert tuple(task.styles) == CARD.styles == tuple(DIALECTS)
    index = torch.tensor([5, 1, 399])
    rows = {name: tensor[index] for name, tensor in task.test.inputs.items()}
    for name, style in task.styles.items():
        changed = style(rows)
        assert all(changed[key].shape == rows[key].shape and changed[key].dtype == rows[key].dtype for key in rows)
        tokens = changed["input_ids"][0][changed["attention_mask"][0].bool()].tolist()
        vocabulary = (data_folder() / "text-mini" / "vocab.txt").read_text().splitlines()
        assert [vocabulary[i] for i in tokens[1:-1]] == say(drawn[CARD.train_samples + 5], DIALECTS[name]).split()
    assert torch.equal(task.styles["plain"](rows)["input_ids"], rows["input_ids"])


def test_the_model_is_given_tokens_and_a_mask_only(task):
    assert set(task.train.rows(slice(3))) == {"input_ids", "attention_mask"}


@pytest.mark.slow
@pytest.mark.parametrize("skew", ["label", "attribute"])
def test_a_few_rounds_lower_the_loss(skew):
    setting = Experiment(task="toy-text", ranks=[4, 2], skew=skew, alpha=10, local_steps=8, lr=5e-3, device="cpu")
    simulation = Simulation(setting)
    losses = [simulation.next_round().clients["train_loss"].mean() for _ in range(3)]
    assert all(later < earlier for earlier, later in pairwise(losses))

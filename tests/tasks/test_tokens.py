"""Sentences are tokenised once, kept, and padded no further than their batch needs; the model's answers do not change."""

from dataclasses import replace

import pytest
import torch

from ilora.tasks import tokens
from ilora.tasks.backbones import load_encoder, load_tokenizer
from ilora.tasks.tokens import LENGTH, as_arguments, as_data, kept_tokens, text_of, tokenise
from ilora.training.client_model import Base, StackedModel
from ilora.training.vectorised import VectorisedEngine

SINGLES = [(f"a film that is {'very ' * n}good",) for n in (0, 7, 1, 30, 3, 100)]
PAIRS = [("a good film", "it is fine"), ("bad " * 70, "dull"), ("short", "long " * 70), ("what ?", "so " * 20)]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("text-mini")


@pytest.fixture(scope="module")
def model():
    return load_encoder("text-mini", 3).model


def whole(stored):
    """The model's arguments with all the padding that is stored."""
    return {name: tensor.long() for name, tensor in stored.items()}


def lengths(stored):
    return stored["attention_mask"].sum(1)


@pytest.mark.parametrize("texts", [SINGLES, PAIRS])
def test_cutting_the_padding_changes_no_logit(tokenizer, model, texts):
    stored = tokenise(tokenizer, texts)
    with torch.no_grad():
        expected = model(**whole(stored)).logits
        for rows in ([0, 2], [0], [3, 1]):
            cut = as_arguments({name: tensor[rows] for name, tensor in stored.items()})
            assert cut["input_ids"].shape[1] == max(lengths(stored)[rows])
            torch.testing.assert_close(model(**cut).logits, expected[rows], rtol=0, atol=1e-5)


def test_rows_are_cut_alike_whatever_their_shape(tokenizer):
    data = as_data(tokenise(tokenizer, SINGLES), torch.arange(6))
    flat, shaped = data.rows(torch.tensor([0, 2, 4, 0])), data.rows(torch.tensor([[0, 2], [4, 0]]))
    for name, tensor in flat.items():
        assert torch.equal(shaped[name].flatten(0, 1), tensor)


def test_a_row_is_at_most_so_long_and_keeps_its_marks(tokenizer):
    stored = tokenise(tokenizer, PAIRS)
    assert stored["input_ids"].shape[1] == LENGTH == lengths(stored).max()
    for ids, length in zip(stored["input_ids"], lengths(stored), strict=True):
        assert ids[0] == tokenizer.cls_token_id
        assert ids[length - 1] == tokenizer.sep_token_id
        assert (ids[length:] == tokenizer.pad_token_id).all()
    assert stored["input_ids"].dtype == torch.int32


@pytest.mark.parametrize("texts", [SINGLES, PAIRS])
def test_what_was_kept_equals_a_fresh_tokenisation(tmp_path, tokenizer, texts, monkeypatch):
    fresh, written = tokenise(tokenizer, texts), kept_tokens(tokenizer, texts, tmp_path)
    monkeypatch.setattr(tokens, "tokenise", None)
    kept = kept_tokens(tokenizer, texts, tmp_path)
    for found in (written, kept):
        assert list(found) == list(fresh)
        assert all(torch.equal(found[name], fresh[name]) and found[name].dtype == fresh[name].dtype for name in fresh)


def test_other_texts_another_tokenizer_or_a_damaged_file_are_tokenised_anew(tmp_path, tokenizer):
    kept_tokens(tokenizer, SINGLES, tmp_path)
    (path,) = tmp_path.iterdir()
    kept_tokens(tokenizer, SINGLES[1:], tmp_path)
    other = load_tokenizer("text-mini")
    other.add_tokens(["film"])
    kept_tokens(other, SINGLES, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    path.write_bytes(path.read_bytes()[:-9])
    assert torch.equal(kept_tokens(tokenizer, SINGLES, tmp_path)["input_ids"], tokenise(tokenizer, SINGLES)["input_ids"])


def test_where_nothing_can_be_kept_nothing_is(tmp_path, tokenizer):
    (tmp_path / "file").write_text("")
    stored = kept_tokens(tokenizer, SINGLES, tmp_path / "file")
    assert torch.equal(stored["input_ids"], tokenise(tokenizer, SINGLES)["input_ids"])


def test_chunks_of_texts_are_tokenised_alike(tokenizer, monkeypatch):
    expected = tokenise(tokenizer, PAIRS)
    monkeypatch.setattr(tokens, "CHUNK", 3)
    for name, tensor in tokenise(tokenizer, PAIRS).items():
        assert torch.equal(tensor, expected[name])


def test_evaluation_takes_alike_lengths_together_and_keeps_the_order_of_its_answers(tokenizer, monkeypatch):
    data = as_data(tokenise(tokenizer, SINGLES), torch.arange(6))
    parts = data.alike(2)
    assert [lengths(data.inputs)[part].tolist() for part in parts] == [[7, 8], [10, 14], [37, 64]]
    backbone = load_encoder("text-mini", 3)
    with torch.no_grad():
        expected = backbone.model(**data.rows(slice(6))).logits
    head = {
        f"head.classifier.{name}": p.detach()[None] for name, p in backbone.model.get_submodule("classifier").named_parameters()
    }
    engine = VectorisedEngine(StackedModel(backbone.model, {}, backbone.head), data, 2**30)
    monkeypatch.setattr("ilora.training.vectorised.EVALUATION_ROWS", 2)
    logits = engine.logits(head, Base((1,), torch.ones(1)), data)
    torch.testing.assert_close(logits[0], expected, rtol=0, atol=1e-5)


def test_samples_without_a_mask_keep_their_order(tokenizer):
    plain = replace(as_data(tokenise(tokenizer, SINGLES), torch.arange(6)), inputs={"x": torch.rand(6, 2)})
    assert torch.cat(plain.alike(4)).tolist() == list(range(6))


def test_a_sample_is_shown_as_the_model_reads_it(tokenizer):
    data = as_data(tokenise(tokenizer, PAIRS), torch.zeros(4))
    assert text_of(tokenizer, data, 0) == "a good film | it is fine"

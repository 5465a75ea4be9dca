"""How `text-mini` is pretrained: what is masked, what is exchanged, that a broken run goes on, and what is shipped."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from ilora.tasks import data_folder
from ilora.tasks.cards import TEXT_MINI
from tools.pretrain import pretrain_text
from tools.pretrain.masked_sentences import CLS, LENGTH, MASK, PAD, SEP, cut_in_two, epoch, join, learn_vocabulary, mask
from tools.pretrain.pretrain_text import pretrain, save_backbone

SINGLES: list[tuple[list[int], list[int]]] = [([10 + i] * (3 + i), []) for i in range(30)]
PAIRS = [([100 + i] * 4, [200 + i] * 5) for i in range(30)]


def test_masked_is_a_fifth_of_the_words_and_never_a_mark():
    tokens = torch.randint(MASK + 1, 4096, (200, 40), generator=torch.Generator().manual_seed(1))
    tokens[:, 0], tokens[:, 20], tokens[:, 30:] = CLS, SEP, PAD
    changed, chosen = mask(tokens, torch.Generator().manual_seed(2))
    words = (tokens != CLS) & (tokens != SEP) & (tokens != PAD)
    assert not (chosen & ~words).any()
    assert chosen[words].float().mean() == pytest.approx(0.2, abs=0.02)
    assert torch.equal(changed[~chosen], tokens[~chosen])
    assert (changed[chosen] == MASK).float().mean() == pytest.approx(0.8, abs=0.04)
    assert (changed[chosen] == tokens[chosen]).float().mean() == pytest.approx(0.1, abs=0.04)


def test_a_pair_keeps_the_start_of_both_within_the_length():
    tokens, kinds = join([7] * 90, [8] * 50)
    assert len(tokens) == len(kinds) == LENGTH
    assert tokens.count(7) + tokens.count(8) == LENGTH - 3
    assert abs(tokens.count(7) - tokens.count(8)) <= 1
    assert [tokens[i] for i, kind in enumerate(kinds) if kind] == [8] * tokens.count(8) + [SEP]
    assert join([7] * 90, []) == ([CLS, *[7] * 62, SEP], [0] * LENGTH)


def test_a_long_sentence_is_cut_within_its_middle_half_and_nothing_is_lost():
    whole = list(range(20, 40))
    for where in (0.0, 0.4, 1.0):
        first, second = cut_in_two((whole, []), where)
        assert first + second == whole
        assert 5 <= len(first) <= 15
    assert cut_in_two((whole[:4], []), 0.5) == (whole[:4], [])


def test_an_epoch_holds_every_sentence_once_and_says_which_partners_are_strangers():
    batches = epoch(SINGLES + PAIRS, seed=0, number=3)
    seen = []
    for batch in batches:
        for tokens, kinds, partner in zip(batch.tokens, batch.kinds, batch.partners, strict=True):
            words = tokens > MASK
            first, second = tokens[words & (kinds == 0)].tolist(), tokens[words & (kinds == 1)].tolist()
            seen.append(first[0])
            if first[0] >= 100:
                assert partner == (second[0] != first[0] + 100)
            elif partner == -100:
                assert not second
    assert sorted(seen) == [own[0] for own, _ in SINGLES + PAIRS]
    assert any((batch.partners == 1).any() for batch in batches)
    again = epoch(SINGLES + PAIRS, seed=0, number=3)
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(batches, again, strict=True))


def test_a_broken_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_text, "SAVED_EVERY", 2)
    whole = pretrain(SINGLES + PAIRS, 4, 0, "cpu", tmp_path / "whole").model.state_dict()
    save = pretrain_text.Training.save

    def break_off(self, path):
        save(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain_text.Training, "save", break_off)
    with pytest.raises(KeyboardInterrupt):
        pretrain(SINGLES + PAIRS, 4, 0, "cpu", tmp_path / "broken")
    monkeypatch.setattr(pretrain_text.Training, "save", save)
    resumed = pretrain(SINGLES + PAIRS, 4, 0, "cpu", tmp_path / "broken")
    assert resumed.step == 4
    for name, tensor in resumed.model.state_dict().items():
        torch.testing.assert_close(tensor, whole[name], rtol=0, atol=1e-6)


def test_the_pooled_output_is_centred_at_the_end():
    torch.manual_seed(0)
    model = pretrain_text.text_mini()
    model.get_parameter("bert.pooler.dense.bias").data += 1
    pretrain_text.standardise_pooler(model, SINGLES + PAIRS, 0)
    before = []
    model.get_submodule("bert.pooler.dense").register_forward_hook(lambda module, given, made: before.append(made))
    with torch.no_grad():
        for batch in epoch(SINGLES + PAIRS, 0, 0):
            model.bert(batch.tokens, (batch.tokens != PAD).long(), batch.kinds)
    pooled = torch.cat(before)
    torch.testing.assert_close(pooled.mean(0), torch.zeros(128), rtol=0, atol=1e-4)
    torch.testing.assert_close(pooled.std(0), torch.ones(128), rtol=0, atol=1e-3)


def test_what_is_shipped_is_a_stock_folder_in_half_precision_of_the_size_on_the_card():
    folder = data_folder() / "text-mini"
    tensors = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2.8e6
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    layer = model.encoder.layer[0]
    assert layer.attention.self.query.weight.shape == TEXT_MINI.linears["query"]
    assert layer.intermediate.dense.weight.shape == TEXT_MINI.linears["mlp-in"]
    assert layer.output.dense.weight.shape == TEXT_MINI.linears["mlp-out"]
    assert len((folder / "vocab.txt").read_text().splitlines()) == len(model.embeddings.word_embeddings.weight) == 4096
    card = (data_folder() / "text-mini.md").read_text()
    assert f"{sum(tensor.numel() for tensor in tensors.values()):,} parameters" in card


def test_what_is_saved_is_what_was_trained(tmp_path):
    model = pretrain_text.text_mini().eval()
    tokenizer = learn_vocabulary([("a film", "the film")])
    expected = {name: tensor.half() for name, tensor in model.bert.state_dict().items()}
    save_backbone(model, tokenizer, tmp_path)
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(tensor, expected[name])

"""Directions to the vocabulary on every family, against TransformerLens, by hand, and against the models' own forward pass."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from tiny_models import GATED, MODELS, TOKENS, subject_of, tiny_model, transformer_lens_bridge

from resources.subject.model import SubjectModel
from resources.subject.unembedding import VOCABULARY_BLOCK, extreme_tokens

NORMALISED_FIRST = ("gemma2", "gemma3_text")


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_transformer_lens(name: str) -> None:
    """`ln_final`, then `unembed`, of random rows of length 1 and 50."""
    model = tiny_model(name)
    rows = torch.nn.functional.normalize(torch.randn(6, 24), dim=1) * torch.tensor([1.0, 50.0] * 3)[:, None]
    bridge, unembedding = transformer_lens_bridge(model), subject_of(model).unembedding()
    assert unembedding is not None
    with torch.no_grad():
        expected = bridge.unembed(bridge.ln_final(rows[None]))[0]
    torch.testing.assert_close(unembedding.logits(rows), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_logits_equal_those_by_hand(name: str) -> None:
    model = tiny_model(name)
    row = torch.randn(24)
    if name in ("gpt2", "gpt_neox"):
        norm = model.transformer.ln_f if name == "gpt2" else model.gpt_neox.final_layer_norm
        normed = (row - row.mean()) / (row.var(correction=0) + norm.eps).sqrt() * norm.weight + norm.bias
    else:
        gain = model.model.norm.weight + (name == "gemma2")  # Gemma keeps the gain less one
        normed = row / (row.pow(2).mean() + 1e-6).sqrt() * gain
    weight = model.lm_head.weight
    subject = subject_of(model)
    with_norm, bare = subject.unembedding(), subject.unembedding(final_norm=False)
    assert with_norm is not None and bare is not None and with_norm.vocabulary_size == 50
    torch.testing.assert_close(with_norm.logits(row[None])[0], weight @ normed, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bare.logits(row[None])[0], weight @ row, atol=1e-5, rtol=1e-5)


def test_the_norm_takes_the_length_away_and_a_row_of_zeros_has_no_logits() -> None:
    unembedding = subject_of(tiny_model("llama")).unembedding()
    assert unembedding is not None
    row = torch.randn(1, 24)
    torch.testing.assert_close(unembedding.logits(row * 40), unembedding.logits(row), atol=1e-4, rtol=1e-4)
    assert not unembedding.logits(torch.zeros(1, 24)).any()


def test_a_half_precision_model_is_multiplied_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of the vocabulary that do not divide it give the same as all of it at once."""
    model = tiny_model("gpt2").to(torch.bfloat16)
    half, single = subject_of(model).unembedding(), subject_of(tiny_model("gpt2").to(torch.bfloat16).float()).unembedding()
    assert half is not None and single is not None
    rows = torch.randn(3, 24)
    expected = single.logits(rows)
    monkeypatch.setitem(VOCABULARY_BLOCK, "cpu", 7)
    found = half.logits(rows)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("hook", "added"), [("mlp.hook_post", "hook_mlp_out"), ("attn.hook_z", "hook_attn_out")])
def test_what_neurons_and_heads_write_is_what_the_forward_pass_adds(name: str, hook: str, added: str) -> None:
    """The directions of real hook values are what the block adds, but for a bias that all tokens share; in Gemma 2 and 3 but for the
    length, which the normalisation takes from each token."""
    subject = subject_of(tiny_model(name))
    values = subject.hook_values(TOKENS, [f"blocks.1.{hook}", f"blocks.1.{added}"])
    written, out = subject.residual_directions(f"blocks.1.{hook}", values[f"blocks.1.{hook}"].flatten(0, 1)), values[f"blocks.1.{added}"]
    assert written is not None
    out = out.flatten(0, 1)
    if name in NORMALISED_FIRST:
        torch.testing.assert_close(torch.cosine_similarity(written, out), torch.ones(len(out)), atol=1e-5, rtol=0)
    else:
        torch.testing.assert_close(written - written[:1], out - out[:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_a_neuron_writes_its_column_of_the_down_projection(name: str) -> None:
    model = tiny_model(name)
    column = {
        "llama": lambda: model.model.layers[1].mlp.down_proj.weight[:, 5],
        "gpt2": lambda: model.transformer.h[1].mlp.c_proj.weight[5],
        "gpt_neox": lambda: model.gpt_neox.layers[1].mlp.dense_4h_to_h.weight[:, 5],
        "gemma2": lambda: model.model.layers[1].mlp.down_proj.weight[:, 5] * (1 + model.model.layers[1].post_feedforward_layernorm.weight),
    }[name]()
    neuron = torch.nn.functional.one_hot(torch.tensor([5]), 40).float()
    found = subject_of(model).residual_directions("blocks.1.mlp.hook_post", neuron)
    assert found is not None
    torch.testing.assert_close(found[0], column, atol=1e-5, rtol=1e-5)


def test_values_of_the_stream_are_their_own_directions_and_others_have_none() -> None:
    subject = subject_of(tiny_model("llama"))
    rows = torch.randn(2, 24)
    own = ("hook_resid_pre", "hook_resid_mid", "hook_mlp_in", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
    for hook in [*(f"blocks.1.{name}" for name in own), "model.layers.1", "model.layers.1.mlp.down_proj"]:
        found = subject.residual_directions(hook, rows)
        assert found is not None and torch.equal(found, rows), hook
    for hook in ("blocks.1.mlp.hook_in", "blocks.0.ln1.hook_normalized", "blocks.1.ln2.hook_normalized", "model.layers.1.mlp.gate_proj"):
        assert subject.residual_directions(hook, rows) is None, hook
    for hook in ("blocks.1.hook_resid_post", "blocks.1.mlp.hook_post"):
        assert subject.residual_directions(hook, torch.randn(2, 23)) is None, hook


def test_module_paths_lead_to_the_stream_as_names_do() -> None:
    neurons = torch.eye(40)
    for name in ("llama", "gemma2"):
        subject = subject_of(tiny_model(name))
        by_name = subject.residual_directions("blocks.1.mlp.hook_post", neurons)
        by_path = subject.residual_directions("model.layers.1.mlp.down_proj:input", neurons)
        assert by_name is not None and by_path is not None and torch.equal(by_name, by_path)
        after = subject.residual_directions("model.layers.1.mlp.down_proj", subject._modules["model.layers.1.mlp.down_proj"].weight.T)
        assert after is not None
        torch.testing.assert_close(after, by_name)
        assert subject.residual_directions("model.layers.1.mlp.down_proj", torch.randn(2, 23)) is None


def test_a_family_without_a_table_has_norm_and_routes_by_structure() -> None:
    known, model = subject_of(tiny_model("llama")), tiny_model("llama")
    model.config.model_type = "olmo"
    subject, rows = subject_of(model), torch.randn(2, 24)
    expected, found = known.unembedding(), subject.unembedding()
    assert expected is not None and found is not None and torch.equal(found.logits(rows), expected.logits(rows))
    for hook in known.hook_names():
        width = 40 if hook.endswith("mlp.hook_post") else 24
        directions = [of.residual_directions(hook, torch.eye(width)) for of in (known, subject)]
        assert (directions[0] is None) == (directions[1] is None), hook
        assert directions[0] is None or torch.equal(*directions), hook


def test_a_multimodal_gemma_3_has_its_norm_under_the_language_model() -> None:
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    config = transformers.Gemma3Config(text_config={**GATED, "bos_token_id": 1, "eos_token_id": 2}, vision_config=vision)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    unembedding, rows = subject_of(model).unembedding(), torch.randn(2, 24)
    assert unembedding is not None
    expected = model.lm_head(model.model.language_model.norm(rows))
    torch.testing.assert_close(unembedding.logits(rows), expected, atol=1e-5, rtol=1e-5)


def test_extremes_are_in_order_and_without_what_is_left_out() -> None:
    logits = torch.tensor([[3.0, 9.0, -1.0, 4.0, -8.0, 0.0], [1.0, 0.0, 2.0, 3.0, 4.0, 5.0]])
    ids, values = extreme_tokens(logits.clone(), [1, 4], 2)
    assert ids.tolist() == [[[3, 0], [2, 5]], [[5, 3], [0, 2]]]
    assert values.tolist() == [[[4.0, 3.0], [-1.0, 0.0]], [[5.0, 3.0], [1.0, 2.0]]]
    ids, _ = extreme_tokens(logits, [1, 4], 50)
    assert ids.shape == (2, 2, 4) and ids[0].tolist() == [[3, 0, 5, 2], [2, 5, 0, 3]]


@pytest.fixture(scope="module")
def smollm() -> Iterator[SubjectModel]:
    model = SubjectModel.load("embedded:smollm2-135m-instruct", device="cpu")
    yield model
    model.close()


@pytest.mark.real_model
def test_the_real_model_equals_transformer_lens(smollm: SubjectModel) -> None:
    bridge, unembedding = transformer_lens_bridge(smollm.model), smollm.unembedding()
    assert unembedding is not None
    rows = torch.nn.functional.normalize(torch.randn(4, 576, generator=torch.Generator().manual_seed(0)), dim=1)
    with torch.no_grad():
        expected = bridge.unembed(bridge.ln_final(rows[None]))[0]
    found = unembedding.logits(rows)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert torch.equal(extreme_tokens(found, [], 50)[0], extreme_tokens(expected, [], 50)[0])


@pytest.mark.real_model
@pytest.mark.parametrize("word", [" king", " water", " because", " seven"])
def test_a_row_that_is_a_words_unembedding_promotes_that_word_first(smollm: SubjectModel, word: str) -> None:
    (token,) = smollm.tokenizer(word, add_special_tokens=False)["input_ids"]
    unembedding = smollm.unembedding()
    assert unembedding is not None
    row = unembedding.weight[token]
    ids, _ = extreme_tokens(unembedding.logits(torch.stack([row, -row])), [], 5)
    assert ids[0, 0, 0] == token == ids[1, 1, 0]


def test_rows_go_through_a_quantised_layer_as_through_its_dequantised_weights() -> None:
    """Its weight is packed, or not there before the first pass."""
    from resources.subject.unembedding import into_stream

    torch.manual_seed(0)
    plain, rows = torch.nn.Linear(6, 4), torch.randn(3, 6)

    class Packed(torch.nn.Linear):
        def __init__(self, weight: Any) -> None:
            super().__init__(6, 4)
            del self.weight
            if weight is not None:
                self.weight = weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return plain(x)

    packed = torch.nn.Parameter(torch.zeros(12, 1, dtype=torch.uint8), requires_grad=False)
    for layer in (plain, Packed(None), Packed(packed)):
        found = into_stream(rows, layer, None)
        assert found is not None
        torch.testing.assert_close(found, rows @ plain.weight.detach().T, atol=1e-6, rtol=1e-5)
        assert into_stream(torch.randn(3, 5), layer, None) is None


@pytest.mark.parametrize("width", [50, 1_000, 4_133])
@pytest.mark.parametrize("kind", ["distinct", "tied", "with gaps"])
def test_the_most_extreme_of_many_tokens_are_found_by_groups_as_by_topk(width: int, kind: str) -> None:
    """Also where numbers are equal, inside and at the end of the list, and where some are infinite or no numbers."""
    rng = torch.Generator().manual_seed(width)
    logits = torch.randn(9, width, generator=rng)
    if kind == "tied":
        logits = (logits * 8).round()
        logits[0] = 0.0
    if kind == "with gaps":
        logits[torch.rand(logits.shape, generator=rng) < 0.2] = -torch.inf
        logits[3, 7], logits[4, 5:9], logits[5, -1] = torch.nan, torch.inf, torch.inf
    left_out = [0, 3, width - 2]
    for n in (1, 7, 20):
        ids, values = extreme_tokens(logits.clone(), left_out, n)
        for side, (fill, largest) in enumerate(((-torch.inf, True), (torch.inf, False))):
            expected = logits.index_fill(1, torch.tensor(left_out), fill).topk(n, dim=1, largest=largest)
            assert torch.equal(ids[:, side], expected.indices)
            torch.testing.assert_close(values[:, side], expected.values, rtol=0, atol=0, equal_nan=True)


def test_logits_of_further_directions_take_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VOCABULARY_BLOCK, "cpu", 16)
    unembedding = subject_of(tiny_model("llama")).unembedding()
    assert unembedding is not None
    room, rows = unembedding.room(6), torch.randn(10, 24)
    expected = [unembedding.logits(part) for part in (rows[:6], rows[6:])]
    for part, whole in zip((rows[:6], rows[6:]), expected, strict=True):
        found = unembedding.logits(part, room)
        assert torch.equal(found, whole) and found.data_ptr() == room.data_ptr()

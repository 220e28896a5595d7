"""Steering against hooks made by hand, the literal procedure with its error term, and the whole prompt run without a cache."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import MODELS, subject_of, tiny_model

from interp_assets.domain.steering.strengths import SteeringSettings, tune
from resources.dictionaries import DictionaryError, load_dictionary
from resources.dictionaries.encoding import Threshold, TopK
from resources.dictionaries.interface import Dictionary, Encoded
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder
from resources.subject.hook_points import ContextTooLong
from resources.subject.model import SubjectModel
from resources.subject.steerer import Interventions, Steerer

RESIDUAL = "blocks.0.hook_resid_post"
D = 24
Hand = Callable[[torch.Tensor], torch.Tensor]


def autoencoder(hook: str = RESIDUAL, output_hook: str | None = None, **changes: Any) -> SparseAutoencoder:
    """16 random latents in 24 dimensions, about half of them active."""
    source = torch.Generator().manual_seed(1)
    weights = [torch.randn(*shape, generator=source) for shape in ((D, 16), (16,), (16, D), (D,))]
    fields = {"kind": "tiny", "hook": hook, "output_hook": output_hook or hook, "l0_expected": None, "activation": Threshold()}
    return SparseAutoencoder(**{**fields, **dict(zip(("W_enc", "b_enc", "W_dec", "b_dec"), weights, strict=True)), **changes})  # type: ignore[arg-type]


def prompts_of(*lengths: int) -> list[np.ndarray]:
    source = np.random.default_rng(3)
    return [source.integers(3, 50, size=length) for length in lengths]


def by_hand(subject: SubjectModel, module: str, prompt: np.ndarray, change: Hand, side: str = "output") -> torch.Tensor:
    """Log-probabilities [vocabulary] after the whole prompt, with the value of its last token at a module changed; no cache, no padding."""

    def changed(value: torch.Tensor) -> torch.Tensor:
        return torch.cat([value[:, :-1], change(value[:, -1])[:, None]], dim=1)

    def of_output(_module: Any, _inputs: Any, output: Any) -> Any:
        return (changed(output[0]), *output[1:]) if isinstance(output, tuple) else changed(output)

    place = subject.model.get_submodule(module)
    if side == "output":
        handle = place.register_forward_hook(of_output)
    else:
        handle = place.register_forward_pre_hook(lambda _module, inputs: (changed(inputs[0]), *inputs[1:]))
    try:
        return subject.model(torch.from_numpy(prompt)[None], use_cache=False).logits[0, -1].log_softmax(-1)
    finally:
        handle.remove()


def steered(subject: SubjectModel, dictionary: Dictionary, prompts: list[np.ndarray], interventions: Interventions) -> torch.Tensor:
    """Log-probabilities [n, vocabulary] as the steerer finds them."""
    steerer = Steerer(subject, dictionary, batch_rows=3)
    ready = steerer.prepare(prompts)
    size = ready.clean.shape[1]
    shifts = steerer.shifts(ready, interventions, size)
    found = torch.empty(len(interventions), size)
    return found.scatter_(1, torch.from_numpy(shifts.token_ids[:, 0]), torch.from_numpy(shifts.steered[:, 0]))


def literally(dictionary: SparseAutoencoder, feature: int, strength: float | None) -> Hand:
    """Encode, add to the feature (None: clamp it to 0), decode, add back the error."""

    def change(x: torch.Tensor) -> torch.Tensor:
        dense = torch.zeros(len(x), dictionary.width)
        encoded = dictionary.encode(x)
        dense[encoded.token, encoded.feature] = encoded.value
        error = x - dictionary.reconstruct(x, encoded)
        dense[:, feature] = 0 if strength is None else dense[:, feature] + strength
        token, place = torch.meshgrid(torch.arange(len(x)), torch.arange(dictionary.width), indexing="ij")
        return dictionary.reconstruct(x, Encoded(token.flatten(), place.flatten(), dense.flatten())) + error

    return change


@pytest.mark.parametrize("family", MODELS)
def test_a_batch_equals_the_literal_procedure_one_prompt_at_a_time_in_every_family(family: str) -> None:
    subject, sae = subject_of(tiny_model(family)), autoencoder()
    prompts = prompts_of(1, 9, 4, 2)
    block = subject.resolve_hook(RESIDUAL).module
    plan = [(0, 3, 2.0), (1, 3, -1.5), (1, 7, 0.8), (2, 0, 4.0), (3, 3, 2.0), (3, 9, 0.0)]
    found = steered(subject, sae, prompts, Interventions.adding(*(np.array(column) for column in zip(*plan, strict=True))))
    for row, (prompt, feature, strength) in zip(found, plan, strict=True):
        expected = by_hand(subject, block, prompts[prompt], literally(sae, feature, strength))
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)
    clean = subject.model(torch.from_numpy(prompts[3])[None]).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(found[5], clean, atol=1e-5, rtol=1e-5)
    assert (found[4] - clean).abs().max() > 0.01, "the strength did something"


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_padding_changes_nothing_in_the_attention_that_models_load_with(family: str) -> None:
    """The prompt of one token has nothing but padding before it beside a longer one."""
    model = tiny_model(family)
    model.set_attn_implementation("sdpa")
    subject, sae, prompts = subject_of(model), autoencoder(), prompts_of(1, 9, 2)
    plan = Interventions.adding(np.arange(3), np.full(3, 3), np.full(3, 2.0))
    together = steered(subject, sae, prompts, plan)
    for number, prompt in enumerate(prompts):
        alone = steered(subject, sae, [prompt], Interventions.adding(np.array([0]), np.array([3]), np.array([2.0])))
        torch.testing.assert_close(together[number], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", [{}, {"norm": "layer_norm"}, {"norm": "constant_norm_rescale"}, {"centred": True}])
def test_the_error_term_and_the_scale_of_what_is_normalised_are_kept(norm: dict[str, Any]) -> None:
    subject, sae = subject_of(tiny_model("llama")), autoencoder(**norm)
    (prompt,) = prompts_of(6)
    for feature, strength in ((2, 1.7), (5, None), (6, None)):
        one, which = np.zeros(1, dtype=np.int64), np.array([feature])
        plan = Interventions.ablating(one, which) if strength is None else Interventions.adding(one, which, np.array([strength]))
        expected = by_hand(subject, "model.layers.0", prompt, literally(sae, feature, strength))
        torch.testing.assert_close(steered(subject, sae, [prompt], plan)[0], expected, atol=1e-5, rtol=1e-5)


def test_ablation_is_of_the_encoded_value_and_leaves_silent_features_alone() -> None:
    subject, sae = subject_of(tiny_model("gpt2")), autoencoder(activation=TopK(2))
    prompts = prompts_of(5, 3)
    values = subject.hook_values(prompts[0][None], [RESIDUAL])[RESIDUAL][0, -1:]
    active = sae.encode(values)
    loud, silent = int(active.feature[0]), next(i for i in range(16) if i not in active.feature.tolist())
    plan = Interventions.ablating(np.array([0, 0]), np.array([loud, silent]))
    found = steered(subject, sae, prompts, plan)
    amount, row = float(active.value[0]), sae.decoder_row(loud)
    torch.testing.assert_close(found[0], by_hand(subject, "transformer.h.0", prompts[0], lambda x: x - amount * row), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], by_hand(subject, "transformer.h.0", prompts[0], lambda x: x), atol=1e-5, rtol=1e-5)


def test_transcoders_write_where_they_say_and_neurons_and_directions_move_the_value() -> None:
    subject = subject_of(tiny_model("llama"))
    (prompt,) = prompts_of(7)
    one, feature, strength = np.array([0]), np.array([4]), np.array([3.0])
    transcoder = autoencoder("blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out", subtracts_b_dec=False)
    neurons = load_dictionary("neurons", hook="blocks.1.mlp.hook_post", width=40)
    directions = load_dictionary("random_topk", hook=RESIDUAL, width=16, d_in=D, k=4)
    cases = [
        (transcoder, "model.layers.0.mlp", "output", 3.0 * transcoder.W_dec[4]),
        (neurons, "model.layers.1.mlp.down_proj", "input", 3.0 * torch.eye(40)[4]),
        (directions, "model.layers.0", "output", 3.0 * directions.decoder_row(4)),
    ]
    for dictionary, module, side, added in cases:
        found = steered(subject, dictionary, [prompt], Interventions.adding(one, feature, strength))
        expected = by_hand(subject, module, prompt, lambda x, added=added: x + added, side)  # type: ignore[misc]
        torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)
    read = subject.hook_values(prompt[None], [transcoder.hook])[transcoder.hook][0, -1:]
    encoded = transcoder.encode(read)
    loud, amount = int(encoded.feature[0]), encoded.value[0]
    found = steered(subject, transcoder, [prompt], Interventions.ablating(one, np.array([loud])))
    expected = by_hand(subject, "model.layers.0.mlp", prompt, lambda x: x - amount * transcoder.W_dec[loud])
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox_sequential"])
def test_the_residual_between_attention_and_mlp_is_moved_for_both_that_read_it(family: str) -> None:
    """What attention adds to the stream is added to it there, so that moving the one must equal moving the other."""
    subject, prompts = subject_of(tiny_model(family)), prompts_of(5, 2)
    plan = Interventions.adding(np.array([0, 1]), np.array([3, 3]), np.array([2.0, -3.0]))
    middle, added = (autoencoder(f"blocks.0.{hook}") for hook in ("hook_resid_mid", "hook_attn_out"))
    found, expected = (steered(subject, sae, prompts, plan) for sae in (middle, added))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, steered(subject, autoencoder("blocks.0.hook_mlp_in"), prompts, plan), atol=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_a_normalised_value_is_moved_before_its_gain(family: str) -> None:
    """The MLP reads gain × normalised + bias: so does a hand-made hook on what the MLP reads."""
    subject, (prompt,) = subject_of(tiny_model(family)), prompts_of(5)
    hook = "blocks.0.ln2.hook_normalized"
    norm = subject.model.get_submodule(subject.resolve_hook(hook).module)
    gain = norm.weight + 1 if family == "gemma2" else norm.weight
    plan = Interventions.adding(np.array([0]), np.array([3]), np.array([2.0]))
    sae = autoencoder(hook)
    mlp = subject.resolve_hook("blocks.0.mlp.hook_in").module
    expected = by_hand(subject, mlp, prompt, lambda x: x + 2.0 * gain * sae.W_dec[3], "input")
    torch.testing.assert_close(steered(subject, sae, [prompt], plan)[0], expected, atol=1e-5, rtol=1e-5)


def test_divergences_are_those_of_the_formula_and_grow_with_the_strength() -> None:
    subject, sae, prompts = subject_of(tiny_model("llama")), autoencoder(), prompts_of(3, 8, 5, 5)
    steerer = Steerer(subject, sae, batch_rows=2)
    ready = steerer.prepare(prompts)
    strengths = np.array([0.0, 0.01, 0.1, 0.5])
    plan = Interventions.adding(np.repeat(np.arange(4), 4), np.full(16, 2), np.tile(strengths, 4))
    found = steerer.divergences(ready, plan)
    logprobs = steered(subject, sae, prompts, plan).double()
    clean = logprobs[::4].repeat_interleave(4, dim=0)
    np.testing.assert_allclose(found, (clean.exp() * (clean - logprobs)).sum(1), atol=2e-6)
    assert (np.diff(found.reshape(4, 4), axis=1) > 0).all()
    order = np.random.default_rng(0).permutation(16)
    np.testing.assert_allclose(steerer.divergences(ready, plan.take(order)), found[order], atol=1e-6)


def test_a_feature_that_adds_opposite_logits_to_two_tokens_diverges_alike_on_both_sides() -> None:
    """After the last block there is only the unembedding, here the identity on a stream without a norm: strength s moves logit 5 by s and
    logit 6 by -s. All clean logits are 0, so p = softmax(s, -s, 0 …) and KL = log(48 + 2 cosh s) - log 50, even in s.
    """
    model = tiny_model("gpt2")
    model.transformer.ln_f = torch.nn.Identity()
    for name, weight in model.named_parameters():
        if name != "lm_head.weight":
            weight.zero_()
    unembedding = torch.zeros(50, D)
    unembedding[5, 0], unembedding[6, 0] = 1.0, -1.0
    model.lm_head.weight = torch.nn.Parameter(unembedding, requires_grad=False)
    directions = load_dictionary("neurons", hook="blocks.1.hook_resid_post", width=D)
    steerer = Steerer(subject_of(model), directions)
    ready = steerer.prepare(prompts_of(4))
    strengths = np.array([-3.0, -1.0, -0.1, 0.1, 1.0, 3.0])
    plan = Interventions.adding(np.zeros(6, dtype=np.int64), np.zeros(6, dtype=np.int64), strengths)
    found = steerer.divergences(ready, plan)
    np.testing.assert_allclose(found, np.log(48 + 2 * np.cosh(strengths)) - np.log(50), atol=1e-6)
    np.testing.assert_allclose(found, found[::-1], atol=1e-6)

    def measure(places: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        return steerer.divergences(ready, Interventions.adding(places, places, strengths))

    (tuned,) = tune(1, SteeringSettings(kl_targets=(0.1, 3.0, -0.1, -3.0)), measure)
    for above, below in zip(tuned[:2], tuned[2:], strict=True):
        assert above.strength == -below.strength and above.outcome == below.outcome == "ok" and above.monotone
        assert above.realised_kl == pytest.approx(below.realised_kl, rel=1e-5)
        assert np.log(48 + 2 * np.cosh(above.strength)) - np.log(50) == pytest.approx(above.target, rel=0.1)
    shifts = steerer.shifts(ready, plan.take(np.array([5, 0])), 1, left_out=[0])
    assert shifts.token_ids.tolist() == [[[5], [6]], [[6], [5]]]
    total = np.log(48 + 2 * np.cosh(3.0))
    np.testing.assert_allclose(shifts.steered[0, :, 0], [3 - total, -3 - total], atol=1e-5)
    np.testing.assert_allclose(shifts.clean, -np.log(50), atol=1e-5)


def test_a_cache_serves_all_strengths_and_features_and_is_left_as_it_was() -> None:
    subject, sae, prompts = subject_of(tiny_model("gemma3_text")), autoencoder(), prompts_of(4, 7)
    steerer = Steerer(subject, sae)
    ready = steerer.prepare(prompts)
    (group,) = ready.prefixes
    before = [(layer.keys.clone(), layer.values.clone()) for layer in group.cache.layers]
    sizes: list[tuple[int, ...]] = []
    handle = subject.model.register_forward_pre_hook(
        lambda _m, _args, named: sizes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    plan = Interventions.adding(np.array([0, 1, 1]), np.array([3, 3, 5]), np.array([1.0, 2.0, -1.0]))
    first = steerer.divergences(ready, plan)
    steerer.completions(ready, plan, np.full((3, 4), 0.5))
    assert sizes == [(3, 1)] * 5, "one token of each row is read, five times: nothing of the prompts again"
    handle.remove()
    for layer, (keys, values) in zip(group.cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys) and torch.equal(layer.values, values)
    assert steerer.divergences(ready, plan).tolist() == first.tolist()


def test_completions_equal_sampling_over_the_whole_text_again_and_again() -> None:
    subject, sae, prompts = subject_of(tiny_model("qwen3")), autoencoder(), prompts_of(1, 6, 3)
    steerer = Steerer(subject, sae, batch_rows=2)
    ready = steerer.prepare(prompts)
    plan = Interventions.adding(np.array([0, 1, 1, 2]), np.array([3, 3, 8, 3]), np.array([1.0, 0.0, -2.0, 1.0]))
    uniforms = np.random.default_rng(5).random((4, 5))
    found = steerer.completions(ready, plan, uniforms, temperature=0.7)
    for number in range(4):
        text, start = prompts[plan.prompt[number]], len(prompts[plan.prompt[number]])
        added = plan.strength[number] * sae.W_dec[plan.feature[number]]

        def change(_module: Any, _inputs: Any, output: torch.Tensor, first: int = start - 1, added: torch.Tensor = added) -> torch.Tensor:
            return torch.cat([output[:, :first], output[:, first:] + added], dim=1)

        handle = subject.model.model.layers[0].register_forward_hook(change)
        for draw in uniforms[number]:
            logits = subject.model(torch.from_numpy(text)[None], use_cache=False).logits[0, -1]
            mass = (logits.double() / 0.7).softmax(-1).cumsum(-1)
            text = np.append(text, int((mass <= draw * mass[-1]).sum()))
        handle.remove()
        own = text[start:].tolist()
        assert found[number] == own[: own.index(2) if 2 in own else 5]
    order = np.array([3, 1, 0, 2])
    again = steerer.completions(ready, plan.take(order), uniforms[order], temperature=0.7)
    assert again == [found[i] for i in order]


def test_the_end_of_text_ends_a_completion() -> None:
    subject = subject_of(tiny_model("gpt2"))
    steerer = Steerer(subject, load_dictionary("neurons", hook="blocks.0.mlp.hook_post", width=40))
    ready = steerer.prepare(prompts_of(3))
    end = subject.eos_token_id
    below = float(ready.clean[0, :end].exp().sum())  # type: ignore[misc]
    here = below + float(ready.clean[0, end].exp()) / 2  # type: ignore[index]
    assert steerer.completions(ready, Interventions.clean(np.array([0])), np.array([[here, 0.5]])) == [[]]


def test_what_cannot_be_steered_says_why() -> None:
    subject, prompts = subject_of(tiny_model("llama")), prompts_of(3)
    one = np.array([0])
    backwards = Steerer(subject, autoencoder("blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"))
    with pytest.raises(DictionaryError, match=r"blocks\.0\.hook_mlp_out comes before blocks\.1\.hook_resid_post"):
        backwards.prepare(prompts)
    narrow = Steerer(subject, load_dictionary("random_topk", hook="blocks.0.mlp.hook_post", width=16, d_in=D, k=4))
    with pytest.raises(DictionaryError, match=r"decoder rows have 24 dimensions, but blocks\.0\.mlp\.hook_post has 40"):
        narrow.prepare(prompts)
    assert len(Steerer(subject, autoencoder()).prepare([]).prefixes) == 0
    nothing = Steerer(subject, autoencoder())
    assert nothing.divergences(nothing.prepare(prompts), Interventions.clean(one[:0])).shape == (0,)


def test_a_prompt_and_its_completion_are_refused_where_the_model_does_not_read_both() -> None:
    """The tiny model has 32 positions; the last token of a completion is never read, so 30 and 3 fit, and 30 and 4 do not."""
    steerer = Steerer(subject_of(tiny_model("gpt2")), autoencoder())
    ready, clean = steerer.prepare(prompts_of(30, 4), 3), Interventions.clean(np.array([0, 1]))
    assert [len(ids) <= 3 for ids in steerer.completions(ready, clean, np.full((2, 3), 0.5))] == [True, True]
    said = r"a prompt of 30 tokens that goes on for 4 has 33 tokens to read, but tiny reads at most 32\. Shorten"
    with pytest.raises(ContextTooLong, match=said):
        steerer.completions(ready, clean, np.full((2, 4), 0.5))
    with pytest.raises(ContextTooLong, match=said):
        steerer.prepare(prompts_of(30, 4), 4)
    with pytest.raises(ContextTooLong, match="a prompt of 33 tokens"):
        steerer.prepare(prompts_of(33))

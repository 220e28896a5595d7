"""What runs on the subject model's device, on a simulated GPU: it stays on the device, waits for its copies, and finds what a CPU finds."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from simulated_gpu import OnGpu, simulated_gpu
from tiny_models import MODELS, subject_of, tiny_model
from torch.nn.attention import SDPBackend, sdpa_kernel

from resources.dictionaries import Dictionary, load_dictionary, self_check
from resources.dictionaries.encoding import Gate, GroupMax, Threshold, TopK
from resources.dictionaries.interface import DictionaryError
from resources.dictionaries.sparse_autoencoder import SparseAutoencoder
from resources.language_models.interface import ChoiceList, Message, Request, SuffixChoices
from resources.language_models.transformers_local.model import TransformersModel
from resources.sentence_encoder import load_sentence_encoder
from resources.subject.clamper import Clamper
from resources.subject.model import SubjectModel, tensor_cores_for
from resources.subject.steerer import Interventions, Steerer

RESIDUAL, NEURONS = "blocks.0.hook_resid_post", "blocks.1.mlp.hook_post"
D, WIDTH, N_NEURONS = 24, 64, 40
ROWS = np.random.default_rng(0).integers(0, 50, size=(40, 9))
Work = Callable[[SubjectModel], list[Any]]


def autoencoder(**changes: Any) -> SparseAutoencoder:
    """64 random latents in 24 dimensions, about half of them active."""
    source = torch.Generator().manual_seed(1)
    weights = [torch.randn(*shape, generator=source) for shape in ((D, WIDTH), (WIDTH,), (WIDTH, D), (D,))]
    fields = {"kind": "tiny", "hook": RESIDUAL, "output_hook": RESIDUAL, "l0_expected": None, "activation": Threshold()}
    return SparseAutoencoder(**{**fields, **dict(zip(("W_enc", "b_enc", "W_dec", "b_dec"), weights, strict=True)), **changes})  # type: ignore[arg-type]


def on_both(family: str, dtype: torch.dtype, work: Work) -> tuple[list[Any], list[Any]]:
    """What `work` finds with a model of the family on the CPU and on the GPU, having made it use the latter."""
    model = tiny_model(family).to(dtype)
    on_cpu = work(subject_of(copy.deepcopy(model)))
    with simulated_gpu() as gpu:
        on_gpu = work(subject_of(model.to("cuda")))
        assert gpu.n_operations > 20 and next(model.parameters()).device.type == "cuda"
    return on_cpu, on_gpu


def test_the_simulation_refuses_what_a_gpu_refuses_and_is_late_where_a_gpu_is() -> None:
    with simulated_gpu() as gpu:
        here, there = torch.arange(4.0), torch.arange(4.0).to("cuda")
        assert isinstance(there, OnGpu) and there.device.type == "cuda" and torch.cuda.is_available()
        with pytest.raises(RuntimeError, match="same device"):
            here + there
        with pytest.raises(RuntimeError, match="same device"):
            there[:2] = here[:2]
        with pytest.raises(RuntimeError, match="indices"):
            here[there.long()]
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        pinned = torch.empty(4, pin_memory=True).copy_(there, non_blocking=True)
        assert pinned.isnan().all() and gpu.late == 1
        torch.cuda.current_stream().synchronize()
        assert pinned.tolist() == there.tolist() == there.cpu().tolist() == here.tolist()
        assert (there * 2)[torch.tensor([1, 3])].sum().item() == 8
        module = torch.nn.Linear(4, 2).requires_grad_(False)
        expected = module(here)
        torch.testing.assert_close(module.to("cuda")(there).cpu(), expected)
    assert not torch.cuda.is_available()


DICTIONARIES: dict[str, Callable[[], Dictionary]] = {
    "threshold": autoencoder,
    "jumprelu": lambda: autoencoder(activation=Threshold(torch.linspace(0.1, 2, WIDTH))),
    "topk": lambda: autoencoder(activation=TopK(5)),
    "groups": lambda: autoencoder(activation=GroupMax(8)),
    "gated": lambda: autoencoder(activation=Gate(torch.linspace(0.5, 2, WIDTH), torch.linspace(-1, 1, WIDTH))),
    "normalised": lambda: autoencoder(norm="layer_norm"),
    "neurons": lambda: load_dictionary("neurons", hook=NEURONS, width=N_NEURONS),
    "topk_neurons": lambda: load_dictionary("topk_neurons", hook=NEURONS, k=4, width=N_NEURONS),
    "rotated_neurons": lambda: load_dictionary("rotated_topk_neurons", hook=NEURONS, k=4, width=N_NEURONS),
    "random_topk": lambda: load_dictionary("random_topk", hook=RESIDUAL, width=WIDTH, d_in=D, k=4),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", MODELS)
def test_activations_are_those_of_a_cpu_in_every_family(family: str, dtype: torch.dtype) -> None:
    """Several dictionaries in one pass, some of their features, the last batch shorter than the others."""
    features = {"topk": np.arange(0, WIDTH, 3)}

    def harvest(subject: SubjectModel) -> list[Any]:
        dictionaries = {name: make() for name, make in DICTIONARIES.items()}
        batches = subject.sparse_activations(ROWS, dictionaries, features, batch_rows=16)
        return [(batch.name, batch.row, batch.position, batch.feature, batch.value) for batch in batches]

    on_cpu, on_gpu = on_both(family, dtype, harvest)
    assert [name for name, *_ in on_cpu] == [name for name, *_ in on_gpu] and len(on_cpu) == 3 * len(DICTIONARIES)
    for (_, *expected), (_, *found) in zip(on_cpu, on_gpu, strict=True):
        assert len(expected[0])
        for a, b in zip(expected, found, strict=True):
            assert a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize(("dtype", "on_gpu"), [(torch.float32, "none"), (torch.bfloat16, "tf32")], ids=str)
def test_only_bfloat16_is_encoded_in_tf32_and_only_on_a_gpu(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, on_gpu: str) -> None:
    matmul, encode, seen = torch.backends.cuda.matmul, SparseAutoencoder.encode, []

    def watched(autoencoder: SparseAutoencoder, x: torch.Tensor) -> Any:
        seen.append((x.device.type, matmul.fp32_precision))
        return encode(autoencoder, x)

    monkeypatch.setattr(SparseAutoencoder, "encode", watched)

    def harvest(subject: SubjectModel) -> list[Any]:
        batches = []
        for batch in subject.sparse_activations(ROWS, {"sae": autoencoder()}, batch_rows=20):
            assert matmul.fp32_precision == "none"  # the next forward pass and everything else are as ever
            batches.append(batch)
        return batches

    on_both("llama", dtype, harvest)
    assert seen == [("cpu", "none")] * 2 + [("cuda", on_gpu)] * 2


def test_the_precision_is_put_back_where_encoding_fails_and_left_alone_for_float16() -> None:
    matmul = torch.backends.cuda.matmul
    with simulated_gpu(), pytest.raises(ZeroDivisionError), tensor_cores_for(torch.ones(2, dtype=torch.bfloat16).to("cuda")):
        assert matmul.fp32_precision == "tf32"
        raise ZeroDivisionError
    assert matmul.fp32_precision == "none"
    with simulated_gpu(), tensor_cores_for(torch.ones(2, dtype=torch.float16).to("cuda")):
        assert matmul.fp32_precision == "none"


def test_a_result_that_is_read_before_its_copy_has_arrived_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    with simulated_gpu() as gpu:
        monkeypatch.setattr(gpu, "synchronize", lambda: None)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: gpu)
        # Garbage where a place should be, or NaN where a value should: whichever is met first is refused, and nothing goes on.
        with pytest.raises((IndexError, DictionaryError)):
            next(subject_of(model.to("cuda")).sparse_activations(ROWS, {"sae": autoencoder()}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", MODELS)
def test_steering_and_clamping_are_those_of_a_cpu_in_every_family(family: str, dtype: torch.dtype) -> None:
    source = np.random.default_rng(3)
    prompts = [source.integers(3, 50, size=length) for length in (3, 8, 5)]
    windows = np.concatenate([np.ones((5, 1), dtype=np.int64), source.integers(3, 50, size=(5, 6))], axis=1)
    plan = Interventions(np.array([0, 1, 1, 2]), np.array([3, 3, 8, 5]), np.array([1.0, 0.0, -2.0, 0.0]), np.array([False] * 3 + [True]))
    uniforms = source.random((4, 5))

    def intervene(subject: SubjectModel) -> list[Any]:
        steerer = Steerer(subject, autoencoder(), batch_rows=3)
        ready = steerer.prepare(prompts)
        shifts = steerer.shifts(ready, plan, 6, left_out=[0])
        clamper = Clamper(subject, autoencoder(norm="layer_norm"), windows, first_counted=1, batch_rows=7)
        changes = clamper.mean_changes(np.array([3, 3, 0]), np.array([2.0, -2.0, 0.0]))
        texts = steerer.completions(ready, plan, uniforms, temperature=0.7)
        return [steerer.divergences(ready, plan), shifts.token_ids, shifts.steered, shifts.clean, changes.cpu().numpy(), texts]

    (*expected, texts), (*found, texts_found) = on_both(family, dtype, intervene)
    assert texts == texts_found
    for a, b in zip(expected, found, strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b) and np.isfinite(a).all() and np.abs(a).max() > 0


@pytest.mark.parametrize("family", MODELS)
def test_the_way_to_the_vocabulary_is_that_of_a_cpu_in_every_family(family: str) -> None:
    rows = torch.randn(3, N_NEURONS, generator=torch.Generator().manual_seed(2))

    def project(subject: SubjectModel) -> list[Any]:
        directions, unembedding = subject.residual_directions(NEURONS, rows), subject.unembedding()
        assert directions is not None and unembedding is not None
        return [directions.cpu(), unembedding.logits(directions).cpu()]

    for a, b in zip(*on_both(family, torch.bfloat16, project), strict=True):
        assert torch.equal(a, b) and a.abs().max() > 0


@pytest.mark.parametrize("name", DICTIONARIES)
def test_the_self_check_finds_what_it_finds_on_a_cpu(name: str) -> None:
    def check(subject: SubjectModel) -> list[Any]:
        dictionary = DICTIONARIES[name]().to(subject.device)
        x = subject.hook_values(ROWS, [dictionary.hook])[dictionary.hook].flatten(0, 1).float()
        return [self_check(dictionary, x, x)]

    on_cpu, on_gpu = on_both("llama", torch.float32, check)
    assert on_cpu == on_gpu and on_cpu[0].l0 > 0


@pytest.mark.real_model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_language_model_answers_as_on_a_cpu(dtype: str) -> None:
    """Free replies, sampled and greedy; lists of choices with their probabilities; suffixes. Prefixes shared and cached."""
    judge = Message("system", "You judge whether texts contain what is described.")
    questions = [f"Description: ships\nText 0: {text}\nText 1: {text[::-1]}" for text in ("the ship sailed at dawn", "bread", "a harbour")]
    shared = [(judge, Message("user", question)) for question in questions]
    requests = [
        *(Request(messages, 6) for messages in shared),
        *(Request(messages, 6, temperature=0.8, seed=3) for messages in shared),
        *(Request(messages, 16, reply_format=ChoiceList(2), shared_messages=1) for messages in shared),
        *(Request(messages, 0, suffix="ship_2, dawn_0", suffix_choices=SuffixChoices("_", ("0", "1"))) for messages in shared),
    ]

    def ask(device: str) -> tuple[list[str], list[float]]:
        model = TransformersModel("embedded:smollm2-135m-instruct", device=device, dtype=dtype, batch_tokens=4096)
        model._pass_tokens = 64  # on both: a bfloat16 product of another shape is rounded otherwise
        try:
            replies = dict(model.ask(requests))
        finally:
            model.close()
        of_answers = [p for reply in replies.values() for answer in (reply.answer_probabilities or ()) for p in answer]
        of_suffixes = [p for reply in replies.values() for p in (reply.suffix_logprobs or ())]
        of_choices = [p for reply in replies.values() for choice in (reply.suffix_choices or ()) for p in choice]
        return [replies[number].text for number in range(len(requests))], [*of_answers, *of_suffixes, *of_choices]

    with sdpa_kernel(SDPBackend.MATH):
        texts, numbers = ask("cpu")
    with simulated_gpu() as gpu:
        texts_there, numbers_there = ask("cuda")
        assert gpu.n_operations > 1000
    assert texts_there == texts and len(numbers) > 3 * (4 + 4)
    assert numbers_there == pytest.approx(numbers, abs=1e-5)


@pytest.mark.real_model
def test_a_gpu_means_bfloat16_unless_another_type_is_asked_for() -> None:
    with simulated_gpu():
        subject = SubjectModel.load("embedded:smollm2-135m-instruct")
        assert (subject.device.type, subject.model.dtype) == ("cuda", torch.bfloat16)
        assert subject.identity.revision.endswith("-bfloat16")
        subject.close()


@pytest.mark.real_model
def test_sentences_are_embedded_as_on_a_cpu() -> None:
    texts = ["a dog runs", "interest rates rose", "", "word " * 300]
    with sdpa_kernel(SDPBackend.MATH):
        expected = load_sentence_encoder("embedded:all-minilm-l6-v2").embed(texts)
    with simulated_gpu() as gpu:
        assert np.array_equal(load_sentence_encoder("embedded:all-minilm-l6-v2").embed(texts), expected)
        assert gpu.n_operations > 100

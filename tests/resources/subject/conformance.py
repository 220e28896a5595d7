"""What our subject model makes of a family, against its authors' own eager forward pass: one `Conformance` a family, made once.

tiny random model ─▶ save_pretrained ─▶ our loader, with the attention it chooses ─▶ hooks, steering, clamping, unembedding
                └──▶ the authors' eager code with plain forward hooks ────────────▶ must be the same
"""

import contextlib
import functools
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tiny_families import VOCABULARY, WIDTH, WRAPPERS, random_model, text_config, wrapper_config

from resources.dictionaries import load_dictionary
from resources.fakes import FakeTokenizer
from resources.model_loading import load_text_model
from resources.subject.block_layout import first_tensor, given_tensor
from resources.subject.block_paths import NoBlocks, blocks_path
from resources.subject.clamper import Clamper
from resources.subject.continuation import cache_is_exact
from resources.subject.hook_points import UnknownFamily, UnknownHook
from resources.subject.model import SubjectModel
from resources.subject.normalization import normalized
from resources.subject.output_path import SOFT_CAPS_OF_LOGITS
from resources.subject.steerer import Interventions, Steerer
from resources.weights import ModelFolder

TOKENS = np.random.default_rng(0).integers(4, 95, size=(3, 12))
HOOK = "blocks.1.hook_resid_post"
CHECKS = ("hooks", "sums", "rows alone", "loaded to a block", "unembedding", "steering", "clamping")


@dataclass
class Conformance:
    """The largest error of each check as a share of the largest value; `refused` says why a family has no blocks' names."""

    family: str
    errors: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    blocks: str = ""
    hooks: tuple[str, ...] = ()
    in_some: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    scaled: bool = False
    attention: str = ""
    unembedding: bool = False
    cached: bool = False


def share(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference as a share of the largest expected value; infinite for another shape or NaN."""
    if found.shape != expected.shape:
        return float("inf")
    difference = float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1e-12))
    return difference if difference == difference else float("inf")


@functools.cache
def conformance(family: str) -> Conformance:
    """All checks of one family."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        model = _authors_model(family)
        model.save_pretrained(folder)
        made = Conformance(family)
        _check(made, model, ModelFolder(family, Path(folder), None, "1"))
        return made


def _authors_model(family: str) -> Any:
    if family not in WRAPPERS:
        return random_model(text_config(family))
    config = wrapper_config(family)
    multimodal = transformers.AutoModelForImageTextToText
    return random_model(config, multimodal if type(config) in multimodal._model_mapping else transformers.AutoModelForCausalLM)


def _check(made: Conformance, authors: Any, folder: ModelFolder) -> None:
    subject = SubjectModel(load_text_model(folder, "cpu"), FakeTokenizer(), folder)  # type: ignore[arg-type]
    made.attention = str(subject.model.config.get_text_config()._attn_implementation)
    try:
        made.blocks = blocks_path(authors)
        names = subject.hook_names()
        subject.resolve_hook("blocks.0.hook_resid_post")
    except (NoBlocks, UnknownHook, UnknownFamily) as error:
        made.refused = str(error)
        return
    by_block = [{name.split(".", 2)[2] for name in names if name.startswith(f"blocks.{n}.")} for n in range(subject.n_blocks)]
    made.hooks = tuple(name.split(".", 2)[2] for name in names if name.split(".", 2)[2] in set.intersection(*by_block))[: len(by_block[0])]
    made.hooks = tuple(dict.fromkeys(made.hooks))
    made.in_some = tuple(dict.fromkeys(hook for name in names if (hook := name.split(".", 2)[2]) not in made.hooks))
    values = subject.hook_values(TOKENS, names)
    made.errors["hooks"] = _hooks(made, subject, authors, values)
    made.errors["sums"] = _sums(made, subject, values)
    alone = [subject.hook_values(TOKENS[row : row + 1], names) for row in range(len(TOKENS))]
    made.errors["rows alone"] = max(share(torch.cat([one[name] for one in alone]), values[name]) for name in names)
    upto = SubjectModel(load_text_model(folder, "cpu", hooks=[HOOK]), FakeTokenizer(), folder)  # type: ignore[arg-type]
    assert len(upto.block_paths) == 2 < subject.n_blocks
    made.errors["loaded to a block"] = share(upto.hook_values(TOKENS, [HOOK])[HOOK], values[HOOK])
    made.errors["unembedding"] = _unembedding(made, subject, authors)
    made.cached = cache_is_exact(subject)
    made.errors["steering"], made.errors["clamping"] = _steering(subject, authors), _clamping(subject, authors)


def _hooks(made: Conformance, subject: SubjectModel, authors: Any, values: dict[str, torch.Tensor]) -> float:
    """Every hook against a plain forward hook on the authors' module of that name; every block's input is one of their hidden states."""
    found: dict[str, tuple[Any, Any]] = {}
    handles = []
    ours = subject.block_paths[0].rsplit(".", 1)[0]
    paths = {}
    for name in values:
        point = subject.resolve_hook(name)
        paths[name] = made.blocks + point.module.removeprefix(ours) if point.module.startswith(ours) else point.module
    for path in set(paths.values()):

        def keep(module: Any, args: tuple, named: dict, output: Any, path: str = path) -> None:
            found.setdefault(path, (given_tensor(args, named)[1].clone(), first_tensor(output).clone()))  # some add to them in place

        handles.append(authors.get_submodule(path).register_forward_hook(keep, with_kwargs=True))
    with torch.no_grad():
        states = authors(input_ids=torch.from_numpy(TOKENS), use_cache=False, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    worst = 0.0
    for name, value in values.items():
        given, output = found[paths[name]]
        side = subject.resolve_hook(name).side
        module = authors.get_submodule(paths[name])
        expected = {"input": given, "output": output, "normalized": None}[side]
        expected = normalized(module, given) if expected is None else expected
        worst = max(worst, share(value, expected.reshape(*TOKENS.shape, -1)))
        if name.endswith("hook_resid_pre") and states and not name.startswith("blocks.0."):
            worst = max(worst, min(share(value, state) for state in states if state is not None))
    return worst


def _sums(made: Conformance, subject: SubjectModel, values: dict[str, torch.Tensor]) -> float:
    """pre + attention = mid and mid + MLP = post, or their sum in parallel, times the family's constants."""
    worst, orders = 0.0, []
    for n, layout in enumerate(subject.layouts()):

        def part(hook: str, n: int = n, layout: Any = layout) -> Any:
            value = values.get(f"blocks.{n}.{hook}")
            return 0.0 if value is None else value * layout.scales.get(hook, 1.0)

        pre, post, mid = part("hook_resid_pre"), part("hook_resid_post"), values.get(f"blocks.{n}.hook_resid_mid")
        attention, mlp, mixer, stream = (
            part("hook_attn_out"),
            part("hook_mlp_out"),
            part("hook_mixer_out"),
            layout.scales.get("stream", 1.0),
        )
        orders.append(layout.order)
        made.scaled |= any(scale != 1 for scale in layout.scales.values())
        if layout.order in ("parallel", "single"):
            worst = max(worst, share(pre + attention + mlp + mixer, post))
        if layout.order == "sequential":
            before = pre + attention if share(pre + attention, mid) < 1e-4 else pre + attention + mixer
            after = (mid + mlp) * stream if share((mid + mlp) * stream, post) < 1e-4 else (mid + mlp + mixer) * stream
            # Two MLPs side by side, as in granitemoeshared, have no name for what they add together.
            worst = max(worst, share(before, mid), share(after, post) if f"blocks.{n}.hook_mlp_out" in values else 0.0)
    made.orders = tuple(dict.fromkeys(orders))
    return worst


def _unembedding(made: Conformance, subject: SubjectModel, authors: Any) -> float:
    """The last block's output through our unembedding against the authors' logits; a soft cap, which is not ours, is put on."""
    unembedding = subject.unembedding()
    made.unembedding = unembedding is not None
    if unembedding is None:
        return 0.0
    last = f"blocks.{subject.n_blocks - 1}.hook_resid_post"
    with torch.no_grad():
        expected = authors(input_ids=torch.from_numpy(TOKENS), use_cache=False).logits
    found = unembedding.logits(subject.hook_values(TOKENS, [last])[last].flatten(0, 1)).view(expected.shape)
    config = subject.model.config.get_text_config()
    caps = [cap for name in SOFT_CAPS_OF_LOGITS if (cap := getattr(config, name, None))]
    return min(share(value, expected) for value in (found, *(torch.tanh(found / cap) * cap for cap in caps)))


@contextlib.contextmanager
def _added(authors: Any, path: str, amount: torch.Tensor) -> Iterator[None]:
    """While open, `amount` is added to the output of the authors' module."""

    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        value = first_tensor(output) + amount
        return type(output)([value, *output[1:]]) if isinstance(output, tuple | list) else value

    handle = authors.get_submodule(path).register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _authors_logits(authors: Any, tokens: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return authors(input_ids=torch.from_numpy(tokens), use_cache=False).logits


def _directions() -> Any:
    return load_dictionary("random_topk", hook=HOOK, width=16, d_in=WIDTH, k=4)


def _block_one(authors: Any) -> str:
    return f"{blocks_path(authors)}.1"


def _steering(subject: SubjectModel, authors: Any) -> float:
    """Prompts of 1, 11 and 4 tokens steered in one batch, and a step on, against plain passes of each alone."""
    directions, prompts = _directions(), [TOKENS[0][:1], TOKENS[1][:11], TOKENS[2][:4]]
    plan = Interventions.adding(np.array([0, 1, 2, 1]), np.array([3, 3, 5, 5]), np.array([1.0, 2.0, -1.5, 0.0]))
    steerer = Steerer(subject, directions)
    ready = steerer.prepare(prompts)
    shifts = steerer.shifts(ready, plan, VOCABULARY)
    logprobs = torch.empty(len(plan), ready.clean.shape[1]).scatter_(
        1, torch.from_numpy(shifts.token_ids[:, 0]), torch.from_numpy(shifts.steered[:, 0])
    )
    worst = 0.0
    for number, found in enumerate(logprobs):
        prompt = prompts[plan.prompt[number]]
        amount = torch.zeros(1, len(prompt), WIDTH)
        amount[:, -1] = plan.strength[number] * directions.decoder_row(int(plan.feature[number]))
        with _added(authors, _block_one(authors), amount):
            expected = _authors_logits(authors, prompt[None])[0, -1].log_softmax(-1)
        worst = max(worst, share(found, expected))
    (written,) = steerer.completions(ready, plan.take(np.array([2])), np.full((1, 3), 0.4))
    return max(worst, 0.0 if written == _sampled(authors, prompts[2], directions) else 1.0)


def _sampled(authors: Any, prompt: np.ndarray, directions: Any) -> list[int]:
    """Three tokens after a prompt, each where the cumulative probability passes 0.4; all but the prompt's first tokens are steered."""
    text, own = prompt, -1.5 * directions.decoder_row(5)
    for _ in range(3):
        amount = torch.zeros(1, len(text), WIDTH)
        amount[:, len(prompt) - 1 :] = own
        with _added(authors, _block_one(authors), amount):
            mass = _authors_logits(authors, text[None])[0, -1].double().softmax(-1).cumsum(-1)
        text = np.append(text, int((mass <= 0.4 * mass[-1]).sum()))
    written = text[len(prompt) :].tolist()
    return written[: written.index(2)] if 2 in written else written


def _clamping(subject: SubjectModel, authors: Any) -> float:
    """A feature clamped to 2 on three windows at once, against a plain pass with the change made by hand."""
    directions = _directions()
    found = Clamper(subject, directions, TOKENS, first_counted=1).mean_changes(np.array([3]), np.array([2.0]))[0]
    encoded = directions.encode(subject.hook_values(TOKENS, [HOOK])[HOOK].flatten(0, 1))
    own = torch.zeros(TOKENS.size, 16).index_put_((encoded.token, encoded.feature), encoded.value)[:, 3]
    amount = (2.0 - own).view(*TOKENS.shape, 1).clone()
    amount[:, 0] = 0
    with _added(authors, _block_one(authors), amount * directions.decoder_row(3)):
        steered = _authors_logits(authors, TOKENS)
    return share(found, (steered - _authors_logits(authors, TOKENS))[:, 1:].mean((0, 1)))


def failures(made: Conformance, tolerance: Callable[[str], float]) -> list[str]:
    """Checks that do not hold, with their errors."""
    return [f"{name} {error:.1e}" for name, error in made.errors.items() if error > tolerance(name)]

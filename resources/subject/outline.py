"""A subject model without its weights: its configuration, and its modules by name. Making it takes a second; loading weights takes
minutes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resources.model_loading import context_limit, empty_model
from resources.subject.hook_points import BLOCKS, is_block_hook, refuse_unheard_hook
from resources.weights import EMBEDDED_PREFIX, ModelFolder, WeightsError, resolve_model_folder


@dataclass(frozen=True)
class ModelOutline:
    """`modules` are the modules of the model on the meta device, empty where the configuration alone does not make a model."""

    config: Any
    modules: dict[str, Any] = field(repr=False)
    subject: Any = field(default=None, repr=False)

    @property
    def longest_context(self) -> int | None:
        """Tokens that the model reads at most: `resources.model_loading.context_limit`."""
        return context_limit(self.config)

    def refuse_unknown_hook(self, hook: str) -> None:
        """Raise `UnknownHook` or `UnknownFamily` for a hook that the model does not have. A model with unknown modules refuses no hook.

        Of a family whose names are found from values, only names that no family has, and blocks beyond the last, are refused here.
        """
        if self.subject is None:
            return
        if is_block_hook(hook) and self.subject.family not in BLOCKS and self.subject.block_paths:
            refuse_unheard_hook(hook, self.subject.family, self.subject.n_blocks)
        else:
            self.subject.resolve_hook(hook)

    def width_at(self, hook: str) -> int | None:
        """The dimensions of the values at a hook; None where the configuration does not tell."""
        text = self.config
        name = hook.rpartition(".")[2] if hook.startswith("blocks.") else ""
        if name.startswith(("hook_resid_", "hook_attn_out", "hook_mlp_out")):
            return getattr(text, "hidden_size", None)
        path, _, side = hook.partition(":")
        module = self.modules.get(path)
        if module is not None and hasattr(module, "in_features") and hasattr(module, "out_features"):
            return int(module.in_features if side == "input" else module.out_features)
        return None


def model_outline(source: str, revision: str | None) -> ModelOutline:
    """The outline of a model: see `resources.weights.resolve_model_folder` for `source`. Weights are not read.

    Raises `WeightsError` for a missing folder, for a config.json that cannot be read, and for a model that is no causal language model.
    """
    from transformers import AutoConfig

    from resources.subject.model import SubjectModel

    location, hub = _location(source, revision)
    try:
        config = AutoConfig.from_pretrained(location, **hub)
    except Exception as error:  # any exception of a configuration class for unknown content
        raise WeightsError(
            f"the config.json of model {source!r} cannot be read: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        ) from error
    try:
        model = empty_model(config, source)
        subject = SubjectModel(model, None, ModelFolder(source, None, None, ""))  # type: ignore[arg-type]
        modules = {path: module for path, module in model.named_modules() if path}
    except WeightsError:
        raise
    except Exception:  # the loader itself says what it cannot load
        return ModelOutline(config.get_text_config(), {})
    return ModelOutline(config.get_text_config(), modules, subject)


def _location(source: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """The place of the configuration. The weights of a folder are not hashed for it."""
    path = Path(source).expanduser()
    if not source.startswith(EMBEDDED_PREFIX) and path.is_dir() and (path / "config.json").is_file():
        return str(path), {}
    folder = resolve_model_folder(source, revision)
    return folder.location, {"revision": folder.revision} if folder.hub_id else {}

"""Any Python code as a dictionary: the source names a function, or an object with `encode`, in a module or a file.

    source: my_package.probes:verbs          source: /data/probes.py:verbs

The function takes the hook's values, Tensor[tokens, d_in], and returns activations, dense or sparse; values <= 0 are dropped:

    def verbs(x: torch.Tensor) -> torch.Tensor:        # Tensor[tokens, width]
        return torch.relu(x @ DIRECTIONS.to(x) - 1.5)

    def pairs(x: torch.Tensor) -> Encoded:             # token, feature and value; for a dictionary too wide to be dense
        ...

An object may have `reconstruct(x, encoded)`, `decoder_row(feature)`, `l0_expected`, `revision` and `to(device)` besides, as in
`resources.dictionaries.interface`. A class is called without arguments first. The code runs as the user's own.
"""

import hashlib
import importlib
import importlib.util
import inspect
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from resources.dictionaries.encoding import encoded_from_dense
from resources.dictionaries.interface import DictionaryError, Encoded, NoDecoder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CallableDictionary:
    """`implementation` encodes; `source` is its record's source, and `revision` a hash of its file."""

    source: str
    hook: str
    output_hook: str
    d_in: int
    width: int
    revision: str
    implementation: Any = field(repr=False)
    kind: str = "callable"

    @property
    def l0_expected(self) -> float | None:
        return getattr(self.implementation, "l0_expected", None)

    def encode(self, x: "torch.Tensor") -> Encoded:
        """Activations > 0 of Tensor[tokens, d_in]. Raises `DictionaryError` when the returned value is not of tokens x width."""
        import torch

        found = getattr(self.implementation, "encode", self.implementation)(x)
        if isinstance(found, torch.Tensor) and found.shape == (len(x), self.width):
            return encoded_from_dense(found)
        if isinstance(found, torch.Tensor) or not all(hasattr(found, name) for name in ("token", "feature", "value")):
            shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise DictionaryError(f"{self.source} returned {shape}; allowed: Tensor[{len(x)}, {self.width}] (tokens, width) or Encoded.")
        return self._sorted(found, len(x))

    def reconstruct(self, x: "torch.Tensor", encoded: Encoded) -> "torch.Tensor | None":
        """The object's reconstruction, Tensor[tokens, d_out]; None for a function."""
        return self.implementation.reconstruct(x, encoded) if hasattr(self.implementation, "reconstruct") else None

    def decoder_row(self, feature: int) -> "torch.Tensor":
        """The object's decoder row, Tensor[d_out]. Raises `NoDecoder` for a function."""
        if not hasattr(self.implementation, "decoder_row"):
            raise NoDecoder(f"{self.source} has no decoder_row(feature): its features cannot be steered. Add the method.")
        return self.implementation.decoder_row(feature)

    def to(self, device: "str | torch.device") -> "CallableDictionary":
        return replace(self, implementation=self.implementation.to(device)) if hasattr(self.implementation, "to") else self

    def _sorted(self, found: Any, n_tokens: int) -> Encoded:
        """The positive activations by token. Raises `DictionaryError` for a token or feature out of range."""
        keep = ~(found.value <= 0)  # a NaN is kept, for whoever takes the activations to refuse
        token, feature, value = found.token[keep].long(), found.feature[keep].long(), found.value[keep].float()
        for name, index, end in (("token", token, n_tokens), ("feature", feature, self.width)):
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < end:
                raise DictionaryError(f"{self.source} returned {name} {int(index.min())} to {int(index.max())}; allowed: 0 to {end - 1}.")
        token, order = token.sort(stable=True)
        return Encoded(token, feature[order], value[order])


def load_callable(source: str, hook: str, width: int, d_in: int, output_hook: str | None = None) -> CallableDictionary:
    """The dictionary that `source` names.

    Raises `DictionaryError` when `source` cannot be imported, or is neither callable nor an object with `encode`.
    """
    place, _, name = source.rpartition(":")
    if not place or not name:
        raise DictionaryError(f"callable source {source!r} is not of the form package.module:name or path/to/file.py:name.")
    module = _module(source, place)
    if not hasattr(module, name):
        raise DictionaryError(f"{place} has no {name!r}; it holds {sorted(n for n in vars(module) if not n.startswith('_'))[:12]}.")
    found = getattr(module, name)
    implementation = found() if inspect.isclass(found) else found
    if not callable(implementation) and not hasattr(implementation, "encode"):
        raise DictionaryError(f"{source} is {type(implementation).__name__}: neither a function nor an object with encode.")
    revision = str(getattr(implementation, "revision", "") or _file_revision(module))
    return CallableDictionary(source, hook, output_hook or hook, d_in, width, revision, implementation)


def _module(source: str, place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place).expanduser().resolve(strict=True)
        spec = importlib.util.spec_from_file_location(f"_callable_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}", path)
        assert spec is not None and spec.loader is not None, path
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise DictionaryError(f"callable source {source!r} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _file_revision(module: ModuleType) -> str:
    """16 hex digits over the module's file; the module's name where it has no file."""
    path = getattr(module, "__file__", None)
    content = Path(path).read_bytes() if path else module.__name__.encode()
    return hashlib.sha256(content).hexdigest()[:16]

"""The graph with its models on a simulated GPU against the same graph on a CPU: every stage that uses the device, byte for byte."""

from collections.abc import Callable, Sequence
from typing import Any

from installation import KEY, STAGES, Installation
from simulated_gpu import simulated_gpu
from torch.nn.attention import SDPBackend, sdpa_kernel

from resources.fakes import FakeModels


class ModelsOnAGpu(FakeModels):
    """The stand-ins, the subject model among them on the GPU."""

    def subject(self, source: str, revision: str | None, dtype: str | None, hooks: Sequence[str] | None = None) -> Any:
        """The stand-in subject, moved there."""
        subject = super().subject(source, revision, dtype, hooks)
        subject.model.to("cuda")
        return subject


OTHERS = "fake/00/others"
ASKED = {
    **STAGES,
    "examples": {**STAGES["examples"], "non_activating": {"random": 0.5, "neighbour": 0.5}},
    "explanations": ["max_act", "vocab_proj", "token_change", "intervention", "ensemble_raw", "shuffled"],
    "token_change": {"n_windows": 5, "window_tokens": 8, "n_tokens": 4, "batch_rows": 7},
    "steering": {"enabled": True, "kl_targets": [0.5, 1.0], "context_tokens": 16, "n_explainer_prompts": 2, "n_scoring_prompts": 3,
                 "n_strata": 2, "max_new_tokens": 4, "n_shift_tokens": 4, "fixed": {"max_new_tokens": 4}},
    "scores": {**dict.fromkeys(("input_based", "clarity", "intervention", "output_based", "faithfulness"), "all"), "fuzzing": []},
    "matching": {"with": [OTHERS], "n_nearest": 3},
}  # fmt: skip


def test_a_graph_on_a_gpu_writes_what_it_writes_on_a_cpu(new_installation: Callable[[str], Installation]) -> None:
    def made(name: str) -> dict[str, bytes]:
        installation = new_installation(name)
        installation.models = ModelsOnAGpu() if name == "gpu" else FakeModels()
        writers = {"kind": "random_topk", "hook": "blocks.0.hook_mlp_out", "d_in": 32, "features": (1, 9, 17)}
        installation.register(installation.record(OTHERS, features=(0, 3)), installation.record(stages=ASKED, **writers))
        for key in (OTHERS, KEY):
            installation.run_all(key)
        return installation.lake_bytes()

    with sdpa_kernel(SDPBackend.MATH):
        on_cpu = made("cpu")
    with simulated_gpu() as gpu:
        on_gpu = made("gpu")
        assert gpu.n_operations > 10_000 and gpu.late > 0
    assert on_gpu.keys() == on_cpu.keys() and len(on_cpu) > 500
    assert [name for name, content in on_gpu.items() if content != on_cpu[name]] == []

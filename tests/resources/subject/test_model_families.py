"""Every family of the installed transformers against its authors' own code, and the page that says so (see `conformance`)."""

import pytest
import transformers
from conformance import CHECKS, conformance, failures
from families_table import PAGE, all_families, page_of, tolerance, version_of
from tiny_families import text_families

WITHOUT_NAMES = ("deepseek_v4", "gemma3n_text", "hrm_text", "hy_v4")
WITHOUT_UNEMBEDDING = ("mllama",)
"""Its last tiny block reads images, and does not run on a text."""

NAMED = {
    "qwen3_moe": "ln1.hook_normalized hook_attn_out attn.hook_z hook_resid_mid ln2.hook_normalized mlp.hook_in hook_mlp_out",
    "qwen3_5_text": "hook_attn_out hook_resid_mid ln2.hook_normalized mlp.hook_in mlp.hook_post hook_mlp_out",
    "qwen3_5_moe_text": "hook_attn_out hook_resid_mid ln2.hook_normalized mlp.hook_in hook_mlp_out",
    "qwen3_5": "hook_attn_out hook_resid_mid ln2.hook_normalized mlp.hook_in mlp.hook_post hook_mlp_out",
    "gpt_oss": "hook_attn_out attn.hook_z hook_resid_mid ln2.hook_normalized hook_mlp_out",
    "gemma4_text": "hook_attn_out attn.hook_z hook_resid_mid ln2.hook_normalized mlp.hook_in mlp.hook_post hook_mlp_out",
    "llama4_text": "hook_attn_out attn.hook_z hook_resid_mid ln2.hook_normalized mlp.hook_in hook_mlp_out",
    "mixtral": "hook_attn_out attn.hook_z hook_resid_mid ln2.hook_normalized mlp.hook_in hook_mlp_out",
    "olmo2": "hook_attn_out attn.hook_z hook_resid_mid mlp.hook_in mlp.hook_post hook_mlp_out",
    "olmo3": "hook_attn_out attn.hook_z hook_resid_mid mlp.hook_in mlp.hook_post hook_mlp_out",
    "glm4": "hook_attn_out attn.hook_z hook_resid_mid ln2.hook_normalized mlp.hook_in mlp.hook_post hook_mlp_out",
    "deepseek_v2": "hook_attn_out attn.hook_z hook_resid_mid ln2.hook_normalized mlp.hook_in hook_mlp_out",
    "deepseek_v3": "hook_attn_out attn.hook_z hook_resid_mid ln2.hook_normalized mlp.hook_in hook_mlp_out",
    **{name: "mlp.hook_in mlp.hook_post hook_mlp_out" for name in ("opt", "bloom", "mpt", "biogpt", "xglm")},
}


@pytest.mark.parametrize("family", all_families())
def test_a_family_is_what_its_authors_code_computes(family: str) -> None:
    made = conformance(family)
    assert bool(made.refused) == (family in WITHOUT_NAMES), made.refused
    if not made.refused:
        assert set(made.errors) == set(CHECKS) and not failures(made, tolerance), failures(made, tolerance)
        assert made.unembedding == (family not in WITHOUT_UNEMBEDDING), "the way to the logits was found"
        assert set(NAMED.get(family, "").split()) <= set(made.hooks)


def test_the_page_of_families_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if version_of(page) != transformers.__version__:
        pytest.skip(f"the page was made with transformers {version_of(page)}")
    assert page == page_of([conformance(family) for family in all_families()]), "see families_table.py for how to write it anew"


def test_about_all_families_are_there() -> None:
    assert len(all_families()) >= 120 and {"llama", "gemma2", "gpt_oss", "mamba", "rwkv", "falcon_h1"} <= set(text_families())

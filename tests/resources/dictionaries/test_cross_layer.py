"""Cross-layer transcoders and crosscoders: circuit-tracer's files against its own answers, Gemma Scope 2's against its formula."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from interp_assets.config.local_inputs import source_content
from interp_assets.measuring.directions import decoder_directions, summed_directions
from interp_assets.measuring.harvest import notes_of
from resources.dictionaries import DictionaryError, Encoded, load_dictionary, read_hooks, refuse_bad_dictionary, rows_by_hook, written_hooks
from resources.dictionaries.cross_layer import CrossLayerDictionary

FIXTURES = Path(__file__).parent / "fixtures" / "cross_layer"
D, N = 8, 24
READS = tuple(f"blocks.{layer}.mlp.hook_in" for layer in range(3))
WRITES = tuple(f"blocks.{layer}.hook_mlp_out" for layer in range(3))


def load(source: Path, kind: str = "circuit_tracer", hook: str = READS[0], **record: Any) -> CrossLayerDictionary:
    found = load_dictionary(kind, str(source), hook, **record)
    assert isinstance(found, CrossLayerDictionary)
    return found


@pytest.mark.parametrize("name", ["relu", "jump_relu"])
def test_a_transcoder_of_all_layers_equals_circuit_tracer(name: str, agrees: Any, dense: Any) -> None:
    expected = load_file(FIXTURES / name / "expected.safetensors")
    x = torch.cat(list(expected["x"]), dim=1)
    ours = load(FIXTURES / name, reads=READS, width=3 * N, d_in=3 * D)
    assert read_hooks(ours) == READS and written_hooks(ours) == WRITES and not ours.share
    agrees(ours, x, torch.cat(list(expected["encoded"]), dim=1), torch.cat(list(expected["decoded"]), dim=1))
    for layer in range(3):
        one = load(FIXTURES / name, hook=READS[layer], width=N)
        assert one.share and one.together is not None and written_hooks(one) == WRITES[layer:]
        torch.testing.assert_close(dense(one.encode(expected["x"][layer]), 6, N), expected["encoded"][layer])
        values = {hook: expected["x"][number] for number, hook in enumerate(READS)}
        torch.testing.assert_close(one.together.reconstruct(values), expected["decoded"][layer], atol=1e-5, rtol=1e-5)
        decoder = load_file(FIXTURES / name / f"W_dec_{layer}.safetensors")[f"W_dec_{layer}"]
        torch.testing.assert_close(one.decoder_row(5), decoder[5].flatten())
        torch.testing.assert_close(ours.decoder_row(layer * N + 5)[layer * D :], decoder[5].flatten())
        assert not ours.decoder_row(layer * N + 5)[: layer * D].any()
        assert ours.reads_of(layer * N) == (layer,) and one.to("cpu").revision == one.revision
    assert len({load(FIXTURES / name, hook=hook).revision for hook in READS} | {ours.revision}) == 4


def test_the_self_check_takes_all_layers_together_and_not_a_share(tmp_path: Path) -> None:
    """Where the first layer writes most of the last, the share of the last layer alone would be refused, with FVU above 1."""
    copied = Path(shutil.copytree(FIXTURES / "relu", tmp_path / "clt"))
    save_file({"W_dec_0": 4 * load_file(copied / "W_dec_0.safetensors")["W_dec_0"]}, copied / "W_dec_0.safetensors")
    every, one = load(copied, reads=READS), load(copied, hook=READS[2])
    values = dict(zip(READS, torch.randn(3, 40, D, generator=torch.Generator().manual_seed(4)), strict=True))
    read = torch.cat([values[hook] for hook in READS], dim=1)
    values |= zip(WRITES, every.reconstruct(read, every.encode(read)).split(D, dim=1), strict=True)
    x, y = values[READS[2]], values[WRITES[2]]
    with_a_mean = one.reconstruct(x, one.encode(x))
    with_a_mean = with_a_mean + (y - with_a_mean).mean(0)
    assert (y - with_a_mean).pow(2).sum() > 0.8 * (y - y.mean(0)).pow(2).sum()  # the share explains next to nothing
    assert (y - one.reconstruct(x, one.encode(x))).pow(2).sum() > (y - y.mean(0)).pow(2).sum()
    assert refuse_bad_dictionary(one, x, y, values).fvu == pytest.approx(0, abs=1e-6) and not notes_of(one)
    written = torch.cat([values[hook] for hook in WRITES], dim=1)
    assert refuse_bad_dictionary(every, read, written).fvu == pytest.approx(0, abs=1e-6)
    written[:, :D] = 1000 * torch.randn(40, D)  # one hook of three that is not explained at all
    assert refuse_bad_dictionary(every, read, written).fvu == pytest.approx(1 / 3, abs=0.02)
    values[WRITES[2]] = torch.randn(40, D)
    with pytest.raises(DictionaryError, match=r"does not fit blocks\.2\.mlp\.hook_in -> blocks\.2\.hook_mlp_out"):
        refuse_bad_dictionary(one, x, values[WRITES[2]], values)


def test_without_the_other_layers_the_encoder_alone_is_checked_and_that_is_said(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(FIXTURES / "relu", tmp_path / "clt"))
    (copied / "W_enc_0.safetensors").unlink()
    one = load(copied, hook=READS[1])
    assert one.together is None and "the self-check has not verified the hook, since it has checked the encoder alone" in notes_of(one)[0]
    assert "the sum of the features of layers 0 and 1, and the files of 0 are not on this machine" in notes_of(one)[0]
    x = load_file(FIXTURES / "relu" / "expected.safetensors")["x"][1]
    assert refuse_bad_dictionary(one, x, torch.randn(6, 2 * D)).fvu is None
    first = load(FIXTURES / "relu", hook=READS[0], writes=(WRITES[0],))  # nothing else writes there: no other layer is needed
    assert not first.share and first.together is None


def test_a_share_is_refused_where_it_agrees_with_the_value_no_better_than_by_chance(tmp_path: Path) -> None:
    """The value is the share of the features and a larger share of the absent layer. At another hook x tells nothing about the value."""
    every = load(FIXTURES / "relu", reads=READS)
    copied = Path(shutil.copytree(FIXTURES / "relu", tmp_path / "clt"))
    (copied / "W_enc_0.safetensors").unlink()
    one = load(copied, hook=READS[1])
    x = torch.randn(3, 200, D, generator=torch.Generator().manual_seed(5))
    read = torch.cat(list(x), dim=1)
    y = every.reconstruct(read, every.encode(read))[:, D:]
    found = refuse_bad_dictionary(one, x[1], y).agreement
    assert found is not None and found.same_tokens > 0.2 > 0.15 > found.by_chance
    assert "with the value (by chance up to" in found.told()
    with pytest.raises(
        DictionaryError, match=r"does not fit blocks\.1\.mlp\.hook_in: on 200 probe tokens what these features write correlates"
    ):
        refuse_bad_dictionary(one, torch.randn(200, D, generator=torch.Generator().manual_seed(6)), y)
    assert refuse_bad_dictionary(one, x[1][:60], y[:60]).agreement is None  # too few tokens to tell
    later = load(copied, hook=READS[1], writes=(WRITES[2],))
    assert refuse_bad_dictionary(later, x[1], y[:, D:]).agreement is None  # in a later layer a right dictionary may agree little
    assert refuse_bad_dictionary(every, read, every.reconstruct(read, every.encode(read))).agreement is None  # it has an FVU


def test_writes_take_the_rows_at_some_hooks() -> None:
    whole, one = load(FIXTURES / "relu"), load(FIXTURES / "relu", writes=("model.layers.2.mlp",))
    assert written_hooks(one) == ("model.layers.2.mlp",) and one.write_widths == (D,)
    torch.testing.assert_close(one.decoder_row(3), rows_by_hook(whole, whole.decoder_row(3))[2])
    assert load(FIXTURES / "relu", output_hook=WRITES[1]).output_hook == WRITES[1]
    assert one.together is not None and one.together.hook == "model.layers.2.mlp" and one.together.reads == READS


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"hook": "blocks.3.mlp.hook_in"}, "has the layers 0 to 2; 'blocks.3.mlp.hook_in' in reads is in none of them"),
        ({"hook": READS[1], "writes": (WRITES[0],)}, "write nothing in layer 0; they write in 1 and 2"),
        ({"reads": (READS[1], "model.layers.1.mlp:input")}, "reads names a layer twice"),
        ({"width": N + 1}, "has width 24 at the hooks that are read; its record says 25"),
        ({"d_in": D + 1}, "has d_in 8 at the hooks that are read; its record says 9"),
    ],
)
def test_records_that_contradict_the_files_are_refused(record: dict[str, Any], told: str) -> None:
    with pytest.raises(DictionaryError, match=told.replace("(", r"\(")):
        load(FIXTURES / "relu", **record)


def test_files_that_contradict_one_another_are_refused(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(FIXTURES / "relu", tmp_path / "clt"))
    before = source_content("circuit_tracer", str(copied), READS[1]), source_content("circuit_tracer", str(copied), READS[0], READS)
    encoder = load_file(copied / "W_enc_1.safetensors")
    encoder["W_enc_1"][0, 0] = torch.nan
    save_file(encoder, copied / "W_enc_1.safetensors")
    assert source_content("circuit_tracer", str(copied), READS[1]) != before[0]
    assert source_content("circuit_tracer", str(copied), READS[0], READS) != before[1]
    with pytest.raises(DictionaryError, match="1 of 192 numbers in W_enc that are NaN"):
        load(copied, hook=READS[1])
    del encoder["b_enc_1"]
    save_file(encoder, copied / "W_enc_1.safetensors")
    with pytest.raises(DictionaryError, match=r"lacks \['b_enc_1'\]"):
        load(copied, hook=READS[1])
    save_file({"W_dec_1": torch.ones(N, 5, D)}, copied / "W_dec_1.safetensors")
    with pytest.raises(DictionaryError, match=r"has \[3, 6\] layers by its decoders"):
        load(copied)
    (copied / "W_dec_1.safetensors").write_bytes(b"cut")
    with pytest.raises(DictionaryError, match="cannot be read"):
        load(copied)
    shutil.rmtree(copied)
    copied.mkdir()
    (copied / "config.yaml").write_text("model_kind: cross_layer_transcoder\nfeature_output_hook: mlp.hook_out\n")
    with pytest.raises(DictionaryError, match=r"writes at mlp\.hook_out, .* Name writes in the record"):
        load(copied)
    with pytest.raises(DictionaryError, match=r"no W_enc_N\.safetensors"):
        load(copied, writes=WRITES)


def gemma(folder: Path, layers: list[int], skip: bool, **config: Any) -> list[dict[str, torch.Tensor]]:
    """A folder as google/gemma-scope-2-270m-pt has it."""
    folder.mkdir(parents=True)
    torch.manual_seed(2)
    made = []
    for place in range(len(layers)):
        weights = {"w_enc": torch.randn(D, N), "b_enc": torch.randn(N), "threshold": torch.rand(N), "b_dec": torch.randn(D)}
        weights["w_dec"] = torch.randn(N, len(layers), D)
        weights["w_dec"][:, :place] = 0
        if skip:
            weights["affine_skip_connection"] = torch.randn(D, D)
        save_file(weights, folder / f"params_layer_{place}.safetensors")
        made.append(weights)
    stated = {
        "type": "clt",
        "architecture": "jump_relu",
        "l0": 30,
        "hf_hook_point_in": "model.layers.{all}.pre_feedforward_layernorm.output",
    }
    (folder / "config.json").write_text(json.dumps(stated | config))
    return made


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("type_", ["clt", "crosscoder"])
def test_gemma_scope_2_equals_its_multi_layer_formula(tmp_path: Path, type_: str, skip: bool, agrees: Any) -> None:
    """f_i = JumpReLU(x_i w_enc_i + b_enc_i), ŷ_j = Σ_i f_i w_dec_i[:, j] + b_dec_j (+ x_j skip_j)."""
    layers = [0, 1, 2] if type_ == "clt" else [5, 9, 12]
    config = {} if type_ == "clt" else {"type": type_, "hf_hook_point_in": "model.layers.{5,9,12}.output"}
    made = gemma(tmp_path / "sae", layers, skip, **config)
    x = torch.randn(10, 3, D)
    hidden = torch.einsum("tld,ldn->tln", x, torch.stack([one["w_enc"] for one in made])) + torch.stack([one["b_enc"] for one in made])
    encoded = hidden.relu() * (hidden > torch.stack([one["threshold"] for one in made]))
    decoded = torch.einsum("tln,lnmd->tmd", encoded, torch.stack([one["w_dec"] for one in made])) + torch.stack(
        [one["b_dec"] for one in made]
    )
    if skip:
        decoded = decoded + torch.einsum("tld,ldm->tlm", x, torch.stack([one["affine_skip_connection"] for one in made]))
    read, written = ("mlp.hook_in", "hook_mlp_out") if type_ == "clt" else ("hook_resid_post", "hook_resid_post")
    reads = tuple(f"blocks.{layer}.{read}" for layer in layers)
    every = load(tmp_path / "sae", "gemma_scope", reads[0], reads=reads, width=3 * N)
    assert every.l0_expected == 30 and written_hooks(every) == tuple(f"blocks.{layer}.{written}" for layer in layers)
    agrees(every, x.flatten(1), encoded.flatten(1), decoded.flatten(1))
    second = load(tmp_path / "sae", "gemma_scope", reads[1], width=N)
    assert second.l0_expected is None and second.together is not None and second.together.reads == reads[:2]
    values = {hook: x[:, place] for place, hook in enumerate(reads)}
    torch.testing.assert_close(second.together.reconstruct(values), decoded[:, 1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second.decoder_row(4), made[1]["w_dec"][4, 1:].flatten())


def test_gemma_scope_2_without_its_configuration_is_known_by_its_path(tmp_path: Path) -> None:
    gemma(tmp_path / "crosscoder" / "layer_5_9_width_65k_l0_medium", [5, 9], False)
    folder = tmp_path / "crosscoder" / "layer_5_9_width_65k_l0_medium"
    (folder / "config.json").unlink()
    assert load(folder, "gemma_scope", "blocks.9.hook_resid_post").writes == ("blocks.9.hook_resid_post",)
    with pytest.raises(DictionaryError, match=r"has the layers 5 and 9; 'blocks\.7"):
        load(folder, "gemma_scope", "blocks.7.hook_resid_post")
    plain = folder.rename(tmp_path / "downloaded")
    with pytest.raises(DictionaryError, match="says whether it is a clt or a crosscoder"):
        load(plain, "gemma_scope", "blocks.7.hook_resid_post")
    with pytest.raises(DictionaryError, match="write kind: gemma_scope"):
        load_dictionary("sae_lens", str(plain), "blocks.7.hook_resid_post")


def test_a_set_may_list_gemma_scope_2s_files(tmp_path: Path, agrees: Any) -> None:
    gemma(tmp_path / "files", [0, 1], False)
    (tmp_path / "set").mkdir()
    files = [str(tmp_path / "files" / f"params_layer_{layer}.safetensors") for layer in range(2)]
    config = {"model_kind": "cross_layer_transcoder", "feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}
    (tmp_path / "set" / "config.yaml").write_text(json.dumps(config | {"transcoders": files}))
    ours, theirs = load(tmp_path / "set", hook=READS[1]), load(tmp_path / "files", "gemma_scope", READS[1])
    x = torch.randn(9, D)
    for one, other in zip((ours.encode(x), *[ours.decoder_row(2)]), (theirs.encode(x), *[theirs.decoder_row(2)]), strict=True):
        if isinstance(one, Encoded) and isinstance(other, Encoded):
            torch.testing.assert_close(one.value, other.value)
        else:
            torch.testing.assert_close(one, other)
    assert ours.writes == theirs.writes


def test_neighbours_compare_all_rows_and_matches_with_one_hook_the_sum() -> None:
    import numpy as np

    whole = load(FIXTURES / "relu")
    rows = torch.stack([whole.decoder_row(feature) for feature in range(4)])
    beside, summed = (of(whole, np.arange(4)) for of in (decoder_directions, summed_directions))
    assert beside is not None and summed is not None
    torch.testing.assert_close(beside.float(), torch.nn.functional.normalize(rows), atol=1e-3, rtol=0)
    torch.testing.assert_close(summed.float(), torch.nn.functional.normalize(rows.view(4, 3, D).sum(1)), atol=1e-3, rtol=0)

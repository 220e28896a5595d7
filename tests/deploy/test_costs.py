"""The numbers of deploy/README.md are those that deploy/costs.py prints, and those come out by hand."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.costs import N_FEATURE_RANGES, Site, encode_seconds, forward_seconds, harvest, judging, store_seconds
from interp_assets.config import keys

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_page_quotes_what_the_script_prints() -> None:
    printed = subprocess.run([sys.executable, DEPLOY / "costs.py"], capture_output=True, text=True, check=True).stdout
    assert len(printed.strip().split("\n\n")) == 3
    assert printed.strip() in (DEPLOY / "README.md").read_text()


def test_a_forward_pass_and_an_encoder_worked_out_by_hand() -> None:
    site = Site(parameters=1e9, layers=10, tokens=1e6, bf16_flops=100e12, forward_share=0.5, d_model=1000, width=5000, tf32_flops=10e12)
    assert forward_seconds(site, 10) == pytest.approx(2 * 1e9 * 1e6 / 50e12) == pytest.approx(40)
    assert forward_seconds(site, 5) == pytest.approx(20)
    assert encode_seconds(site) == pytest.approx(2 * 1000 * 5000 * 1e6 / 5e12) == pytest.approx(2)


def test_the_store_takes_a_cards_share_of_the_cores_and_one_at_least() -> None:
    site = Site(tokens=1e6, l0=10, store_core_seconds_per_activation=1e-6, store_share=0.5, cards_per_host=8, cores_per_host=96)
    assert N_FEATURE_RANGES == keys.N_FEATURE_RANGES
    assert store_seconds(site) == pytest.approx(10 / 6)
    assert store_seconds(dataclasses.replace(site, cards_per_host=1)) == pytest.approx(10 / 8)
    assert store_seconds(dataclasses.replace(site, cores_per_host=4)) == pytest.approx(10)


def test_a_dictionary_that_is_sorted_is_on_disk_a_second_time_for_the_ranges_under_way() -> None:
    site = Site(tokens=1e6, l0=10, spill_bytes_per_activation=10, cards_per_host=8, cores_per_host=96)  # 12 of 16 ranges
    assert harvest(site, 1).spill_gb == pytest.approx(0.1 * 1.75)
    assert harvest(site, 2).spill_gb == pytest.approx(0.1 * 2.75)


def test_layers_are_dealt_out_the_longest_run_first() -> None:
    site = Site(
        parameters=1e9, layers=3, tokens=1e6, bf16_flops=100e12, forward_share=0.5, d_model=0, l0=0, hosts=1, cards_per_host=2
    )  # a pass through one, two and three thirds: 40/3, 80/3 and 40 seconds
    alone = harvest(site, 1)
    assert (alone.runs, alone.longest_run, alone.card_seconds) == (3, pytest.approx(40), pytest.approx(80))
    assert alone.wall == pytest.approx(40)  # the two shorter ones follow each other on the other card
    together = harvest(site, 3)
    assert (together.runs, together.card_seconds, together.wall) == (1, pytest.approx(40), pytest.approx(40))


def test_judging_a_feature_worked_out_by_hand() -> None:
    one = judging(Site(judge_parameters=1e9, bf16_flops=100e12, prefill_share=0.5, decode_share=0.1))
    assert one.prompt_tokens == 39_900 and one.computed_tokens == 39_900 - 27_930 and one.output_tokens == 100 + 489
    assert one.card_seconds == pytest.approx(11_970 * 2e9 / 50e12 + 589 * 2e9 / 10e12)
    both = judging(dataclasses.replace(Site(), judged_explanations=2, windows=200))
    assert both.prompt_tokens == 3_300 + 4 * 36_600

"""What exports say while they run, and what of this machine they leave out."""

import pytest

from interp_assets.config.public_places import public_place
from interp_assets.exchange.progress import EVERY_SECONDS, Progress, size_text


def test_progress_says_done_rate_and_time_left() -> None:
    now = [0.0]
    said: list[str] = []
    progress = Progress(1000, said.append, lambda: now[0])
    progress.add(100)
    assert not said  # an export of a moment says nothing
    now[0] = EVERY_SECONDS
    progress.add(100)
    now[0] += 1
    progress.add(100)
    assert said == ["200 of 1,000 features, 40 a second, 20 s left"]
    now[0] += 594
    progress.add(100)
    assert said[1:] == ["400 of 1,000 features, 1 a second, 15 min left"]
    now[0] += 50
    progress.add(600)
    assert len(said) == 2  # the command itself says that it is done


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_999, "1000.0 kB"), (3_400_000, "3.4 MB"), (5 * 10**15, "5000.0 TB")]
)
def test_sizes_as_people_read_them(n: int, text: str) -> None:
    assert size_text(n) == text


def test_folders_of_this_machine_are_left_out() -> None:
    places = {
        "text:/home/ann/books/*.txt": "text:*.txt", "/data/saes/res-2k": "res-2k", "~/mine.csv": "mine.csv", "./sae": "sae",
        "jsonl:/data/pile/a.jsonl.zst#meta.text": "jsonl:a.jsonl.zst#meta.text",
        "hf:owner/name:config#text@train": "hf:owner/name:config#text@train",
        "openai-community/gpt2": "openai-community/gpt2", "embedded:smollm2-135m-instruct": "embedded:smollm2-135m-instruct", "": "",
    }  # fmt: skip
    assert {place: public_place(place) for place in places} == places

"""The pages of a small home, whose every value is known."""

import re
from pathlib import Path

import pytest
from small_home import KEY, empty_home, record
from starlette.testclient import TestClient

from interp_assets.explorer.app import Explorer, make_app


def text_of(html: str) -> str:
    """The text of a page, spaces collapsed."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_home_page_counts_a_dictionary(client: TestClient) -> None:
    client.get(f"/d/{KEY}")  # read by now
    page = text_of(client.get("/").text)
    assert "31 of 32" in page  # explained of selected
    # Means over the 31 live features of 0.5 + f / 100, f from 0 to 31 without 5: 0.5 + (496 - 5) / 3100.
    assert re.search(r"fuzzing score 0\.658.*floor 0\.5, control 0\.5 0\.66", page)


def test_the_table_sorts_by_a_score_with_unscored_features_last(client: TestClient) -> None:
    def order(query: str) -> list[int]:
        return [int(found) for found in re.findall(rf'href="/d/{KEY}/(\d+)"', client.get(f"/d/{KEY}?{query}").text)]

    live = [feature for feature in range(32) if feature != 5]
    assert order("sort=-score:fuzzing:max_act") == [*live[::-1], 5]
    assert order("sort=score:fuzzing:max_act") == [*live, 5]
    assert order("sort=-density")[:2] == [31, 30] and order("sort=density")[0] == 5  # dead: density 0 is a density
    assert order("sort=nonsense&page=x") == list(range(32))


def test_a_feature_shows_explanations_scores_and_windows(client: TestClient) -> None:
    html = client.get(f"/d/{KEY}/20").text
    page = text_of(html)
    assert "words about number 20" in page and "words about number 19" in page  # max_act, and shuffled of feature 19
    assert "score 0.7, 95 % interval 0.6 to 0.8, floor 0.5, control 0.5" in page and "+0.20" in page
    # 21 firings, 6 of them at 8.0, then 5 at each of 5.0, 2.0 and 0.5. Bounds are factors of √2: 8 to 11.3 holds 6 of 21.
    assert re.search(r"8 – 11\.3 28\.6 % of its firings", page)
    assert re.search(r'<span class="t s20" data-v="8">[^<]*fires</span>', html)
    assert f'href="/d/{KEY}/19"' in html and f'href="/d/{KEY}/21"' in html


def test_a_dead_feature_says_so(client: TestClient) -> None:
    page = text_of(client.get(f"/d/{KEY}/5").text)
    assert "No explanation yet" in page and "no_examples" in page and "dead" in page


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/d/toy/00/nothing", 404, "toy/00/nothing"), (f"/d/{KEY}/32", 404, "no feature 32"),
        (f"/d/{KEY}/99999999999999999999", 404, "no feature"),
        (f"/d/{KEY}/-1", 404, "no page"), ("/nothing", 404, "/nothing"), ("/d/..%2f../x/y", 404, ""), ("/static/../app.py", 404, ""),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named(client: TestClient, address: str, status: int, said: str) -> None:
    answer = client.get(address)
    assert answer.status_code == status and said in answer.text


def test_an_empty_home_says_what_to_do(tmp_path: Path) -> None:
    explorer = Explorer(empty_home(tmp_path))
    assert "interp register" in TestClient(make_app(explorer), base_url="http://localhost").get("/").text


def test_a_dictionary_without_rows_is_shown(tmp_path: Path) -> None:
    home = empty_home(tmp_path)
    home.registry.write(record(KEY))
    client = TestClient(make_app(Explorer(home)), base_url="http://localhost")
    assert client.get(f"/d/{KEY}").status_code == 200
    assert "nothing is known" in client.get(f"/d/{KEY}/3").text

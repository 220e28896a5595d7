from interp_assets.domain.prompting.similarity import QUERY_INSTRUCTION, query


def test_an_explanation_becomes_a_query() -> None:
    assert query("names of days") == "A text that fits this description: names of days"
    assert query("x").startswith(QUERY_INSTRUCTION)

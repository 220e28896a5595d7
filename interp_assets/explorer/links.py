"""The address of every page. All begin with `/`, by which the static export finds and rewrites them."""

from urllib.parse import quote, urlencode

HOME = "/"
LEADERBOARDS = "/leaderboards"
COMPARE = "/compare"
RATE = "/rate"
REPORT = "/report"


def with_query(path: str, **values: object) -> str:
    """A path with a query; values that are None or empty are left out."""
    kept = {name: value for name, value in values.items() if value not in (None, "")}
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


def dictionary(key: str) -> str:
    """The page of a dictionary: its table of features."""
    return f"/d/{quote(key, safe='/:@')}"


def feature(key: str, number: int) -> str:
    """The page of a feature."""
    return f"{dictionary(key)}/{number}"


def why(key: str, number: int, scorer: str, method: str) -> str:
    """The page that shows each window as the judge of a score saw it."""
    return f"{feature(key, number)}/why/{quote(scorer, safe='')}/{quote(method, safe='')}"


def context(key: str, number: int, row: int) -> str:
    """The page with a whole context of the token sample, and a feature's activations on it."""
    return f"{feature(key, number)}/context/{row}"


def search(**values: object) -> str:
    """The page of a search."""
    return with_query("/search", **values)


def leaderboard(view: str) -> str:
    """The page of a view of the warehouse."""
    return f"{LEADERBOARDS}/{quote(view, safe='')}"


def rate(task: str, item: int | None = None) -> str:
    """A rating task at its first item that is not rated, or at one item."""
    return f"{RATE}/{quote(task, safe='')}" + ("" if item is None else f"/{item}")


def note(key: str, number: int) -> str:
    """Where a note on a feature is sent to."""
    return f"{feature(key, number)}/note"


def own_text(key: str, number: int, text: str = "") -> str:
    """The page with a feature's activations on a reader's own text."""
    return with_query(f"{feature(key, number)}/try", text=text)


def steered(key: str, number: int, text: str = "", by: float | None = None) -> str:
    """The page with what the model writes after a text while a feature is steered."""
    return with_query(f"{feature(key, number)}/steer", text=text, by=by)


def compare(**values: object) -> str:
    """The page that puts two things side by side."""
    return with_query(COMPARE, **values)


def static(name: str) -> str:
    """A file that is shipped with the explorer."""
    return f"/static/{name}"

"""The pages: a module each, with `ROUTES`. A new page is a module and its name in PAGES; the package's docstring says the rest."""

from typing import Protocol

from starlette.routing import BaseRoute

from interp_assets.explorer.pages import (
    compare,
    context,
    dictionary,
    feature,
    home,
    leaderboards,
    measured,
    rate,
    report,
    search,
    try_it,
    why,
)


class Page(Protocol):
    """A module of pages."""

    @property
    def ROUTES(self) -> tuple[BaseRoute, ...]:
        """The addresses that the page answers."""
        ...


PAGES: tuple[Page, ...] = (home, search, leaderboards, compare, rate, report, feature, try_it, measured, why, context, dictionary)
"""In the order in which addresses are tried."""

"""Pages that stand on their own: one HTML file that loads nothing from outside it. This folder has one template of jinja2 a page."""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def page(template: str, **values: Any) -> str:
    """The page of a template in this folder, such as "rating_task.html". Values are escaped; a missing value is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**values)

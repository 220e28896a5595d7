"""A headless Chromium that opens a page from disk or from a server, lets its programs run, and tells what the page has become."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_BROWSER = f"no Chromium on this machine (none of {', '.join(PROGRAMS)}): apt-get install chromium"

RUN = "document.documentElement.setAttribute(`data-ran-{n}`,1)"
HOSTILE = (
    "<script>RUN</script>",
    "</script><script>RUN</script>",
    '"><img src=x onerror="RUN">',
    "'><img src=x onerror='RUN'>",
    "<svg onload=RUN></svg>",
    "]]><svg><script>RUN</script></svg>",
    "<ScRiPt\n>RUN</sCrIpT\t>",
    "</textarea></style></title></pre></table><script>RUN</script>",
    '<input autofocus onfocus="RUN">',
    '<details open ontoggle="RUN">',
    '<iframe srcdoc="<script>parent.RUN</script>"></iframe>',
    '<noscript><p title="</noscript><img src=x onerror=RUN>">',
    "{{ 7 * 7 }}<img src=x onerror=RUN>",
    "\u2028<img src=x onerror=RUN>\u2029",
    '";RUN;"',
    "';RUN;'",
    "`;RUN;`${RUN}",
    "\\';RUN;//",
    "<!--<script>RUN",
)
"""Texts that a page which writes them as they are would run, each as RUN with its own number."""

EVERYTHING = "".join(text.replace("RUN", RUN.replace("{n}", str(n))) for n, text in enumerate(HOSTILE))
RUNS_RAW = {n for n, text in enumerate(HOSTILE) if "<" in text and "<!--" not in text}
"""Numbers of the texts that run where a page holds them as they are; the others need a place within a program."""


def browser() -> str | None:
    """Path of the Chromium of this machine."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def opened(page: Path) -> str:
    """The HTML of a page on disk after its programs have run; raises where Chromium does not end or tells nothing."""
    return opened_at(page.resolve().as_uri())


def opened_at(address: str) -> str:
    """The HTML of the page at an address, as `opened`."""
    program = browser()
    assert program is not None, NO_BROWSER
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        options = [f"--user-data-dir={profile}", "--virtual-time-budget=3000", "--dump-dom", address]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert "<html" in done.stdout, f"Chromium ended with {done.returncode}: {done.stderr[-500:]}"
    return done.stdout


def ran(dom: str) -> set[int]:
    """Numbers of the hostile texts that ran as programs."""
    root = re.search(r"<html[^>]*>", dom)
    assert root is not None
    return {int(number) for number in re.findall(r'data-ran-(\d+)="1"', root.group())}

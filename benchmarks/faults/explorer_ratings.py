"""Attacks on ratings and notes in the explorer: raters at once, disks without room, spoiled files."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient

from benchmarks.faults.attacks import BLOCKS, MENDED, REFUSED, RIGHT, SKIPPED, WRONG, Result, attack
from benchmarks.faults.explored_home import AT, FEATURE, KEY, SAID, copied, explored, shown, small_home
from benchmarks.faults.places import DISK, MountRefused, mounted
from interp_assets.ratings.notes import Note, note_file, notes_on, save_note
from interp_assets.ratings.rater_file import rater_file, saved_ratings


def drawn_task(client: TestClient) -> str:
    """The address of a task of eight explanations."""
    answer = client.post("/rate", data={"dictionary": KEY, "n": "8", "n_contexts": "2"})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


@attack("two raters at once, each twice", raters=("ada", "eve", "ada", "eve"))
@attack("the same rater in four explorers at once", raters=("ada",) * 4)
def raters_at_once(folder: Path, quick: bool, raters: tuple[str, ...]) -> Result:
    root = copied(folder)
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(explored(root, rater)) for rater in raters]
        task, faults = drawn_task(clients[0]), list[str]()

        def rate(client: TestClient, own: int) -> None:
            for place in range(own, 8, 2):
                answer = client.post(f"{task}/{place}", data={"rating-0": str(1 + place % 4), "rating-1": "2"})
                noted = client.post(f"{AT}/{place}/note", data={"text": f"note {own}"})
                faults.extend(f"status {one.status_code}" for one in (answer, noted) if one.status_code != 303)

        threads = [
            threading.Thread(target=rate, args=(client, number // 2 if len(set(raters)) > 1 else number % 2))
            for number, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if faults:
        return Result(BLOCKS, faults[0])
    counts = {rater: len(saved_ratings(root / "ratings", rater)) for rater in set(raters)}
    if set(counts.values()) != {16}:
        return Result(WRONG, f"{counts} of 16 ratings")
    return Result(RIGHT)


def _filled(folder: Path) -> Path:
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(os.urandom(1 << 12))
            file.flush()
    return filler


@attack("ratings, notes and tasks on a full disk, then room again", read_only=False)
@attack("ratings, notes and tasks on a read-only disk, then a writable one", read_only=True)
def no_room(folder: Path, quick: bool, read_only: bool) -> Result:
    disk = folder / "disk"
    try:
        with mounted(disk, f"size={DISK}"):
            small_home(disk / "home")
            with explored(disk / "home", "ada") as client:
                task = drawn_task(client)
                first = client.post(f"{task}/0", data={"rating-0": "3", "rating-1": "2"})
                assert first.status_code == 303, first.text
                client.post(f"{AT}/3/note", data={"text": "a note"})
                before = rater_file(disk / "home" / "ratings", "ada").read_bytes()
                filler = None if read_only else _filled(disk)
                if read_only:
                    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
                posts = {
                    f"{task}/1": {"rating-0": "1", "rating-1": "2"},
                    f"{AT}/3/note": {"text": "b" * 9000},
                    f"{AT}/4/note": {"text": "c" * 9000},
                }
                posts |= {"/rate": {"dictionary": KEY, "n": "9", "n_contexts": "3"}}
                for address, data in posts.items():
                    answer = client.post(address, data=data)
                    if answer.status_code == 500:
                        return Result(BLOCKS, f"{address}: a fault")
                    if answer.status_code < 400 and (read_only or address != f"{AT}/3/note"):
                        return Result(WRONG, f"{address}: status {answer.status_code} without room")
                if read_only:
                    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
                elif filler is not None:
                    filler.unlink()
                if (
                    rater_file(disk / "home" / "ratings", "ada").read_bytes() != before
                    or notes_on(disk / "home" / "notes", KEY, 3)[0].text != "a note"
                ):
                    return Result(WRONG, "what was there has changed")
                again = client.post(f"{task}/1", data={"rating-0": "1", "rating-1": "2"})
                left = [path.name for path in (disk / "home").rglob("*.tmp")]
                return Result(REFUSED) if again.status_code == 303 and not left else Result(BLOCKS, f"{again.status_code}, {left}")
    except MountRefused as error:
        return Result(SKIPPED, f"no tmpfs here: {error}")


SPOILED_RATINGS: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) * 2 // 3],
    "empty": lambda content: b"",
    "binary": lambda content: b"\xff\xfe\x00" + content[3:],
    "another header": lambda content: b"a,b\n" + content.partition(b"\n")[2],
    "a line with a field too few": lambda content: content + b"ada,human\n",
    "NUL bytes in a line": lambda content: content[:-30] + b"\x00" * 10 + content[-20:],
}


def spoiled_ratings(folder: Path, quick: bool, spoil: Callable[[bytes], bytes]) -> Result:
    """What cannot be read of a rater's file is not lost by the next rating: the page says so, or the file as it was is kept."""
    root = copied(folder)
    with explored(root, "ada") as client:
        task = drawn_task(client)
        for place in range(4):
            client.post(f"{task}/{place}", data={"rating-0": "3", "rating-1": "2"})
        file = rater_file(root / "ratings", "ada")
        spoiled = spoil(file.read_bytes())
        file.write_bytes(spoiled)
        answer = client.post(f"{task}/5", data={"rating-0": "3", "rating-1": "2"})
        if answer.status_code >= 500:
            return Result(BLOCKS, f"status {answer.status_code}")
        kept = any(spoiled == path.read_bytes() for path in (root / "ratings").rglob("*") if path.is_file())
        if answer.status_code >= 400:
            return Result(REFUSED) if kept and SAID.search(answer.text) else Result(WRONG, f"status {answer.status_code}, kept: {kept}")
        lines = [line for line in spoiled.split(b"\n") if line.strip()]
        whole = all(line in file.read_bytes() for line in lines)
        return Result(RIGHT) if whole or kept else Result(WRONG, "lines were lost without a word")


for name, spoil_ratings in SPOILED_RATINGS.items():
    attack(f"a rater's file that is spoiled: {name}", spoil=spoil_ratings)(spoiled_ratings)


@attack("notes on a feature that are spoiled: half", content='[{"rater": "eve", "text": "hal')
@attack("notes on a feature that are spoiled: a number", content="7")
@attack("notes on a feature that are spoiled: other fields", content='[{"rater": "eve", "text": "a", "at": "b", "more": 1}]')
@attack(
    "notes on a feature that are spoiled: numbers for texts",
    content='[{"rater": 1, "text": 2, "at": 3}, {"rater": "eve", "text": "a", "at": "b"}]',
)
@attack("notes on a feature that are spoiled: brackets", content="[" * 200_000)
def spoiled_notes(folder: Path, quick: bool, content: str) -> Result:
    """Another rater's note is not lost by a new one without a word."""
    root = copied(folder)
    save_note(root / "notes", KEY, FEATURE, "eve", "mine")
    path = note_file(root / "notes", KEY, FEATURE)
    path.write_text(content)
    with explored(root, "ada") as client:
        status, text = shown(client, f"{AT}/{FEATURE}")
        if status == 500:
            return Result(BLOCKS, "the page fails")
        said = bool(SAID.search(text))
        answer = client.post(f"{AT}/{FEATURE}/note", data={"text": "new"})
        if answer.status_code >= 500:
            return Result(BLOCKS, f"status {answer.status_code}")
        kept = any(content == one.read_text() for one in (root / "notes").rglob("*") if one.is_file())
        there = any(isinstance(note, Note) and note.rater == "eve" for note in notes_on(root / "notes", KEY, FEATURE))
    if not (said or there):
        return Result(WRONG, "nothing is said of notes that cannot be read")
    return Result(MENDED) if kept or there else Result(WRONG, "another rater's note is lost")


@attack("a rating task that is spoiled: half", content='{"format": 1, "items": [')
@attack("a rating task that is spoiled: brackets", content="[" * 200_000)
@attack("a rating task that is spoiled: a list", content="[]")
@attack(
    "a rating task that is spoiled: texts for numbers",
    content='{"format":1,"name":"x","dictionaries":[],"as_a_whole":1,"items":[{"text":1,"feature_max":"nan","windows":[{"tokens":5,"activations":[]}],"rows":7}]}',
)
def spoiled_task(folder: Path, quick: bool, content: str) -> Result:
    root = copied(folder)
    with explored(root, "ada") as client:
        task = drawn_task(client)
        (root / "rating_tasks" / f"{task.rsplit('/', 1)[-1]}.json").write_text(content)
        answers = [client.get(address).status_code for address in ("/rate", task, f"{task}/0")]
        posted = client.post(f"{task}/0", data={"rating-0": "3"}).status_code
        again = client.post("/rate", data={"dictionary": KEY, "n": "8", "n_contexts": "2"}).status_code
    if 500 in (*answers, posted, again):
        return Result(BLOCKS, f"{answers} {posted} {again}")
    return (
        Result(REFUSED)
        if answers[1] in (400, 404) and posted in (400, 404) and again == 303
        else Result(WRONG, f"{answers} {posted} {again}")
    )

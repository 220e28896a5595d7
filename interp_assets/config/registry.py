"""The registry: the folder of dictionary records."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from interp_assets.config.base import UserError, validated
from interp_assets.config.nearest import nearest_hint
from interp_assets.config.records import DictionaryRecord, record_file
from interp_assets.config.yaml_files import BadYaml, parse_yaml, read_text_file
from resources.store.whole_files import write_whole

if TYPE_CHECKING:  # the settings' classes take longer to load than a question to answer
    from interp_assets.config.settings import PlatformSettings


class DictionaryRegistry:
    """The folder of records. Every look-up reads the folder, so a new file is seen at once; a file that has not changed since it was read
    is not parsed again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, tuple[tuple[int, int, int], DictionaryRecord | UserError]] = {}

    def path_of(self, key: str) -> Path:
        """The file of the record of `key`, whether it exists or not. Each key has one file, and no two keys share a file."""
        path = self.folder / record_file(key)
        earlier = self.folder / (key.replace("/", "__") + ".yaml")
        if earlier != path and not path.exists() and self._holds(earlier, key):
            return earlier
        return path

    def _holds(self, path: Path, key: str) -> bool:
        """Whether a file with a name of earlier releases has the record of this key: two keys could share such a name."""
        return self._key_in(path) == key

    @staticmethod
    def _key_in(path: Path) -> str | None:
        """The key of the record in a file; None where the file holds no record."""
        try:
            return parse_yaml(read_text_file(path)).get("key")
        except (BadYaml, OSError, AttributeError):
            return None

    def keys(self) -> list[str]:
        """Keys of all readable records, sorted; empty when nothing is registered."""
        return sorted(self.read_all()[0])

    def read_all(self) -> tuple[dict[str, DictionaryRecord], dict[str, str]]:
        """Records by key, and the error of each unreadable file by its name. A broken file hides no other record."""
        records: dict[str, DictionaryRecord] = {}
        broken: dict[str, str] = {}
        self._refuse_unlisted()
        paths = sorted(self.folder.glob("*.yaml"))
        for path in paths:
            try:
                record = self._parsed(path)
                records[record.key] = record
            except Exception as error:
                broken[path.name] = str(error)
        self._read = {path: self._read[path] for path in paths if path in self._read}
        return records, broken

    def _refuse_unlisted(self) -> None:
        """Raise `UserError` where the folder is there and may not be listed: its records would seem not to exist."""
        try:
            os.scandir(self.folder).close()
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be listed: {error.strerror}. Give this user permission to read the home, or set INTERP_HOME to "
                "another home."
            ) from None

    def _parsed(self, path: Path) -> DictionaryRecord:
        """The record in a file, parsed again only when time, size or inode of the file have changed. Raises `UserError` for a broken
        file."""
        status = path.stat()
        stamp = status.st_mtime_ns, status.st_size, status.st_ino
        if path not in self._read or self._read[path][0] != stamp:
            found: DictionaryRecord | UserError
            try:
                found = self.parse_file(path)
                if path != self.path_of(found.key):
                    found = UserError(f"{path} holds the record of {found.key}: name it {self.path_of(found.key).name}")
            except UserError as error:
                found = error
            self._read[path] = stamp, found
        found = self._read[path][1]
        if isinstance(found, UserError):
            raise found
        return found

    def parse_file(self, path: Path) -> DictionaryRecord:
        """The record in a file. Raises `UserError` naming the file, for any content that is no record."""
        return self.parse(record_text(path), str(path))

    def refused(self, records: Mapping[str, DictionaryRecord], settings: "PlatformSettings") -> dict[str, str]:
        """For records whose `stages` cannot be laid over the site's settings: the reason, by file name."""
        refused: dict[str, str] = {}
        for key, record in records.items():
            try:
                settings.stage_settings(record.stages)
            except (Exception, RecursionError) as error:
                refused[self.path_of(key).name] = f"dictionary {key}: {error}"
        return refused

    def get(self, key: str) -> DictionaryRecord:
        """Record of `key`. Raises `UserError` that lists the registered keys."""
        try:
            path = self.path_of(key)
        except ValueError:  # no key, so no file either
            path = None
        if path is None or not path.exists():
            keys = self.keys()
            raise UserError(
                f"dictionary {key!r} is not registered in {self.folder}{nearest_hint(key, keys) or '.'} Registered: "
                f"{', '.join(keys) or 'none yet'}. Register it first: interp register <record.yaml>"
            )
        return self.parse_file(path)

    def write(self, record: DictionaryRecord) -> Path:
        """Write the record whole (temporary name, then renamed), and return its file. Writing an equal record changes nothing.

        Raises `UserError` where the file holds the record of another key: a disk that takes A and a for one letter has one file for both.
        """
        path = self.path_of(record.key)
        if path.exists() and (other := self._key_in(path)) not in (None, record.key):
            raise UserError(
                f"{path} holds the record of {other}, and would be lost to {record.key}: this disk takes both names for one. Choose a key "
                f"that differs from {other} in more than capitals, or `interp forget {other}` first"
            )
        content = yaml.safe_dump(record.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)
        if not path.exists() or path.read_text() != content:
            write_whole(path, content)
        return path

    @property
    def forgotten_file(self) -> Path:
        """The file with the keys of forgotten checkpoints, a line each: a watched folder does not register them again."""
        return self.folder / "forgotten_checkpoints.txt"

    def forgotten_checkpoints(self) -> frozenset[str]:
        """Keys of checkpoints that were forgotten while their files may still be in a watched folder."""
        try:
            return frozenset(filter(None, map(str.strip, self.forgotten_file.read_text(encoding="utf-8").splitlines())))
        except FileNotFoundError:
            return frozenset()

    def forget_checkpoint(self, key: str) -> None:
        """Note that a checkpoint is not to be registered again by itself."""
        write_whole(self.forgotten_file, "".join(f"{one}\n" for one in sorted({*self.forgotten_checkpoints(), key})))

    @staticmethod
    def parse(text: str, where: str) -> DictionaryRecord:
        """The record in a YAML text. Raises `UserError` with every wrong key and value."""
        try:
            content = parse_yaml(text)
        except BadYaml as error:
            raise UserError(f"{where} holds no record: {error}") from None
        if not isinstance(content, dict):
            raise UserError(
                f"{where} holds {'nothing' if content is None else type(content).__name__}, not a record: "
                "`interp dictionaries --example` prints a record to start from"
            )
        try:
            record = validated(DictionaryRecord, content, where)
            if isinstance(record.features, tuple):
                _ = record.selected_features
        except UserError:
            raise
        except Exception as error:  # a broken record never hides other records, whatever exception its values cause
            raise UserError(f"{where} holds no record: {type(error).__name__}: {str(error)[:200]}") from None
        return record


def record_text(path: Path) -> str:
    """The text of a record's file. Raises `UserError` for a file that cannot be read, is no text, or is too large to be a record."""
    try:
        return read_text_file(path)
    except BadYaml as error:
        raise UserError(f"{path} holds no record: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}. Check its name and permissions") from None

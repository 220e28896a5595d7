"""The lake's files and folders on a local disk or an object store: small files whole or not at all, locks, and folders' times."""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from typing import IO, cast

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from resources.store.lake_errors import LakeError
from resources.store.whole_files import NewFile, RenamedFile, Upload, sync, temporary_name, temporary_prefix

PART = "part-0.parquet"
MANIFEST = "manifest.json"
WITHDRAWN = "manifest.withdrawn.json"

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")


class LakeFiles:
    """Files under one root, a local folder or any fsspec URL such as `s3://bucket/lake`."""

    def __init__(self, root: str) -> None:
        """Raises `LakeError` for an unknown protocol, and for a protocol whose package is missing. Nothing is made or looked at."""
        self.fs, self.root = _opened(root)
        self.is_local = isinstance(self.fs, LocalFileSystem)

    @property
    def url(self) -> str:
        """The address of the lake: a folder, or a URL such as `s3://bucket/lake`."""
        return self.root if self.is_local else self.fs.unstrip_protocol(self.root)

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """A block with the first access to an object store: without bucket, credentials or answer, `LakeError` says what to check."""
        try:
            yield
        except LakeError:
            raise
        except Exception as error:
            if self.is_local:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise LakeError(
                    f"the lake at {self.url} cannot be opened ({reason}). Name a folder that you may write in INTERP_HOME or INTERP_LAKE."
                ) from error
            raise LakeError(
                f"the lake at {self.url} cannot be reached ({type(error).__name__}: {error}). Does the bucket exist, and are the "
                "store's credentials and endpoint set (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a role, AWS_ENDPOINT_URL)?"
            ) from error

    def check(self) -> None:
        """Raise OSError where the root is a file, may not be listed, or has no bucket. A local folder need not exist yet."""
        if self.is_local and os.path.exists(self.root):
            os.scandir(self.root).close()  # raises for a file, and for a folder that may not be listed
        if not self.is_local and not self.fs.exists(bucket := self.root.split("/", 1)[0]):
            raise FileNotFoundError(f"there is no bucket {bucket}")

    def content(self, path: str) -> bytes:
        """A small file's content; on a local disk without the file system's own bookkeeping, which takes longer than reading it."""
        if not self.is_local:
            return cast(bytes, self.fs.cat_file(path))
        with open(path, "rb") as file:
            return file.read()

    def put(self, path: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        if not self.is_local:
            self.fs.pipe_file(path, content)
            return
        temporary = temporary_name(*path.rsplit("/", 1))
        with cast(IO[bytes], self.fs.open(temporary, "wb")) as file:
            file.write(content)
            sync(file)
        self.fs.mv(temporary, path)

    def new_part(self, folder: str) -> NewFile:
        """A new file for a partition's rows: it takes its place when it is placed."""
        if self.is_local:
            self.fs.makedirs(folder, exist_ok=True)
        return (RenamedFile if self.is_local else Upload)(self.fs, f"{folder}/{PART}")

    def folders_with(self, file: str, folder: str) -> list[str]:
        """Folders that hold a file of this name, at or under `folder`, in path order."""
        if self.is_local:
            return sorted(place for place, _, files in os.walk(folder) if file in files)
        return sorted(path.rsplit("/", 1)[0] for path in self.fs.find(folder) if path.rsplit("/", 1)[1] == file)

    @contextlib.contextmanager
    def only_writer(self, folder: str) -> Iterator[None]:
        """Keep other writers of a partition out while file and manifest change. An object store cannot do this: there the run queue keeps
        two runs from writing one partition."""
        if not self.is_local:
            yield
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def no_commit(self, folder: str) -> Iterator[None]:
        """Wait until no writer is between a partition's old manifest and its new one, and keep writers so meanwhile; nothing where the
        partition is not there, its file system knows no locks, or it is on an object store."""
        with contextlib.ExitStack() as held:
            if self.is_local:
                with contextlib.suppress(OSError):
                    handle = os.open(folder, os.O_RDONLY)
                    held.callback(os.close, handle)
                    fcntl.flock(handle, fcntl.LOCK_SH)
            yield

    def sweep(self, folder: str) -> None:
        """Remove temporary files of dead processes of this machine from a partition's folder, and the manifest of a damaged file."""
        for name in os.listdir(folder) if self.is_local else ():
            if name.startswith(temporary_prefix()) and not os.path.exists(f"/proc/{name.rsplit('.', 3)[1]}"):
                self.fs.rm_file(f"{folder}/{name}")
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(f"{folder}/{WITHDRAWN}")

    def mark_changed(self, folder: str) -> None:
        """Give the folders above a partition the present time, the lowest first: so a look at a table's own folder tells whether any of its
        partitions was written or withdrawn since, and the next folders tell which. An object store has no folders."""
        while self.is_local and (folder := os.path.dirname(folder)).startswith(f"{self.root}/"):
            with contextlib.suppress(OSError):  # gone, or of another user: then a whole look finds the change
                os.utime(folder)

    def remove_empty_folders(self, folder: str) -> None:
        """Remove a folder and the folders above it, as far as they are empty. An object store has no folders."""
        while self.is_local and folder != self.root:
            try:
                os.rmdir(folder)
            except OSError:
                break
            folder = os.path.dirname(folder)

    @contextlib.contextmanager
    def room(self, described: str) -> Iterator[None]:
        """A block that writes a partition: a full disk, or a lake that may not be written, is a `LakeError` that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise LakeError(
                    f"{described} cannot be written under {self.url} ({error.strerror}). Give this user the right to "
                    "write there, or move the lake with INTERP_LAKE."
                ) from error
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise LakeError(
                f"no room left while writing {described} under {self.url} ({error.strerror}). What was complete "
                "stays. Make room, or move the lake with INTERP_LAKE, and run again: only what is missing is made."
            ) from error


def _opened(root: str) -> tuple[AbstractFileSystem, str]:
    """The file system of `root`, and the path in it. Raises `LakeError` for an unknown protocol, and for a protocol whose package is
    missing.

    A name that does not begin like a URL is a folder, whatever characters it has: fsspec reads `::` as a chain of URLs.
    """
    if not URL.match(str(root)):
        if "\\" in str(root) and set(str(root)) & set("*?["):
            raise LakeError(f"the lake's folder {root} has a backslash and one of * ? [ in its path, which DuckDB cannot read. Rename it.")
        return LocalFileSystem(), os.path.abspath(os.path.expanduser(str(root)))
    try:
        # Other hosts write too, so listings are not cached.
        return fsspec.core.url_to_fs(str(root), use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise LakeError(
            f"the lake's address {root} cannot be opened: {error}. For s3:// install the extra: "
            'pip install "interp-assets[deploy]"; a local folder needs nothing'
        ) from error

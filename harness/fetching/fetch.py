"""Carries out a plan: several sources at once, each whole or not at all, with the next source where one fails."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from harness import images
from harness.errors import DataError, HarnessError, ResourceError
from harness.fetching.ledger import FOLDER, Fetched, Ledger
from harness.fetching.network import Network, remove
from harness.fetching.plan import Job, Need, free_bytes, part_of
from harness.fetching.replies import NotFetched
from harness.fetching.sources import Source, size
from harness.fetching.unpack import move, place, unpack
from harness.store.files import disk_errors, folder_name, refuse_link, replace_file

SOURCES_AT_ONCE = 4
IMAGES_AT_ONCE = 16
MOST_IMAGE_BYTES = 1 << 28
HOPELESS = 8  # images that fail before any came; then the source is given up


class Fetcher:
    """Fetches into one data root; `advance` is told the bytes that came, from several threads."""

    def __init__(
        self,
        root: Path,
        network: Network,
        *,
        advance: Callable[[int], object] = lambda count: None,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.root, self.network = root, network
        self._advance, self._free = advance, free
        self._ledger = Ledger(root)
        self._work = root / FOLDER

    def run(self, jobs: Sequence[Job]) -> list[str]:
        """Carries out the jobs, and returns a message for each that failed; the others are finished."""
        with disk_errors(self._work):
            self._work.mkdir(parents=True, exist_ok=True)
        if self._work.is_symlink():  # a data root may be a stranger's
            raise DataError(f"{self._work} is a link, through which nothing is written; remove it")
        self._ledger.read()  # a malformed record is an error before anything is fetched
        with ThreadPoolExecutor(SOURCES_AT_ONCE) as pool:
            running: dict[Future[None], Job] = {pool.submit(self._job, job): job for job in jobs}
            try:
                return [message for future in as_completed(running) if (message := _failure(future))]
            except BaseException:  # an interruption, too: it ends the other threads
                self.network.stop.set()
                raise

    def _job(self, job: Job) -> None:
        """Fetches the needs of a job, from source after source; NotFetched, with all reasons, where one is missing."""
        pending, tried, reasons = list(job.needs), set[str](), list[str]()
        while pending := [left for need in pending if (left := need.missing(self.root))]:
            source = next((each for need in pending for each in need.sources if each.name not in tried), None)
            if source is None:
                what = ", ".join(need.path for need in pending[:3])
                raise NotFetched(f"{what}: {'; '.join(reasons)}")
            tried.add(source.name)
            try:
                with self._locked(source):
                    self._from(source, [need for need in pending if source in need.sources])
            except NotFetched as error:
                reasons.append(str(error) + ("" if source.tried or source.by_hand else _UNTRIED))
            else:
                lacking = [need for need in pending if source in need.sources and need.missing(self.root)]
                reasons += [f"{source.name} lacks {_lacking(need, self.root)}" for need in lacking]

    def _from(self, source: Source, needs: Sequence[Need]) -> None:
        needs = [left for need in needs if (left := need.missing(self.root))]  # another process may have been faster
        if not needs:
            return
        if source.kind == "images":
            for need in needs:
                self._images(source, need)
        elif source.by_hand:
            archive = self.root / source.place
            if not archive.is_file():
                raise NotFetched(f"{source.by_hand} as {archive}; the same command then unpacks it")
            self._unpacked(archive, source, needs)
        else:
            self._file(source, needs)

    def _file(self, source: Source, needs: Sequence[Need]) -> None:
        """Fetches a file or an archive from the first address that gives it."""
        reasons = []
        for url in source.urls:
            part = part_of(self.root, url)
            whole = part.with_suffix("")
            known = self._ledger.read().get(url)
            try:
                if not self._is_whole(whole, url):
                    self._downloaded(url, part, whole, source)
                if source.is_archive:
                    self._unpacked(whole, source, needs)
                else:
                    move(whole, self.root / source.path)
            except NotFetched as error:
                if whole.is_file() and known is None:  # it came, and cannot be used
                    self._ledger.forget(url)
                whole.unlink(missing_ok=True)
                reasons.append(str(error))
                continue
            whole.unlink(missing_ok=True)
            return
        raise NotFetched("; ".join(reasons))

    def _is_whole(self, whole: Path, url: str) -> bool:
        """Whether an earlier fetch finished the file, but did not come to unpack it."""
        entry = self._ledger.read().get(url)
        return entry is not None and whole.is_file() and Fetched.of(whole) == entry

    def _downloaded(self, url: str, part: Path, whole: Path, source: Source) -> None:
        def room(coming: int, total: int) -> None:
            """ResourceError where the bytes to come do not fit, with what an archive unpacks to: at least its size."""
            needed = coming + (total if source.is_archive else 0)
            if needed > (free := self._free(self.root)):
                raise ResourceError(f"{url} needs {size(needed)} on the disk of {self.root}, and {size(free)} are free")

        linked = self.network.download(url, part, source.kind, self._advance, room)
        fetched = Fetched.of(part)
        before = self._ledger.read().get(url)
        for expected, origin in (
            (source.sha256, "the table of sources says"),
            (linked, "the hub says"),
            (before.sha256 if before else "", f"the first fetch gave (see {self._ledger.path})"),
        ):
            if expected and fetched.sha256 != expected:
                remove(part)
                raise NotFetched(
                    f"{url}: sha256 {fetched.sha256[:16]}... of {fetched.bytes:,} bytes, but {origin} "
                    f"{expected[:16]}...; the file is damaged, or was replaced by its publisher"
                )
        self._ledger.add(url, fetched)
        part.replace(whole)
        remove(part)

    def _unpacked(self, archive: Path, source: Source, needs: Sequence[Need]) -> None:
        """Unpacks what the needs name; the files of a folder are all those that the archive has."""
        files = {need.path for need in needs if not need.folder}
        folders = tuple(need.path for need in needs if need.folder)
        staging = self._work / f"{folder_name(source.name)}.unpacking"
        _refuse_linked(staging)
        shutil.rmtree(staging, ignore_errors=True)
        try:
            with disk_errors(staging):
                unpack(archive, source, _Wanted(files, folders), staging, self._free(self.root))
                place(staging, self.root, folders)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _images(self, source: Source, need: Need) -> None:
        """Fetches single images, and places them together; NotFetched where the first all fail, or some at the end."""
        staging = self._work / f"{folder_name(source.name)}.images"
        _refuse_linked(staging)
        reasons: list[str] = []
        came = 0
        names = list(need.names or ())
        with ThreadPoolExecutor(IMAGES_AT_ONCE) as pool:
            for future in as_completed(pool.submit(self._image, source, need.path, name, staging) for name in names):
                try:
                    future.result()
                    came += 1
                except NotFetched as error:
                    reasons.append(str(error))
                    if self.network.stop.is_set() or (not came and len(reasons) >= HOPELESS):
                        pool.shutdown(cancel_futures=True)
                        raise NotFetched(f"no image came, the first: {reasons[0]}") from None
        with disk_errors(self.root / need.path):
            place(staging, self.root, [need.path])
        shutil.rmtree(staging, ignore_errors=True)
        if reasons:
            raise NotFetched(f"{len(reasons):,} of {len(names):,} images did not come, the first: {reasons[0]}")

    def _image(self, source: Source, folder: str, name: str, staging: Path) -> None:
        path = staging / images.inside(f"{folder}/{name}")
        if path.is_file():  # of an interrupted fetch
            return
        reasons = []
        for url in source.urls:
            try:
                data = self.network.get(url.replace("{name}", quote(name)), source.kind, MOST_IMAGE_BYTES)
            except NotFetched as error:
                reasons.append(str(error))
                continue
            replace_file(path, data)
            self._advance(len(data))
            return
        raise NotFetched("; ".join(reasons))

    @contextmanager
    def _locked(self, source: Source) -> Iterator[None]:
        """Holds the lock of a source in this root; it ends with the process."""
        path = self._work / f"{folder_name(source.name)}.lock"
        refuse_link(path)
        with disk_errors(path), path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(
                    f"another process is fetching {source.name} into {self.root}; wait for it, then run this again"
                ) from None
            yield


class _Wanted:
    """Whether a path is one of the wanted files, or below one of the wanted folders."""

    def __init__(self, files: set[str], folders: Sequence[str]) -> None:
        self._files, self._folders = files, tuple(f"{folder}/" for folder in folders)

    def __call__(self, path: str) -> bool:
        return bool(path) and (path in self._files or path.startswith(self._folders))


_UNTRIED = " (this address was only read of, and never tried by the authors)"


def _failure(future: Future[None]) -> str:
    try:
        future.result()
    except HarnessError as error:
        return str(error)
    except OSError as error:  # a file where a folder should be, or the like
        return f"{error.filename or 'the disk'}: {error.strerror or error}"
    return ""


def _refuse_linked(staging: Path) -> None:
    """DataError for a staging folder that is a link, or has one."""
    for path in (staging, *staging.rglob("*")):
        if path.is_symlink():
            raise DataError(f"{path} is a link, through which nothing is written; remove it")


def _lacking(need: Need, root: Path) -> str:
    left = need.missing(root)
    if left is None or left.names is None:
        return need.path
    return f"{len(left.names):,} images of {need.path}, such as {left.names[0]}"

"""The program's own files, so that `flask doctor` can say that a server still runs older ones. Who
serves writes their digest into the database's lock file."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

FILES = ("app.py", "wsgi.py", "schema.sql", "requirements.txt")
FOLDERS = ("features", "foundation", "migrations", "static", "templates", "translations")


def find_source_files(root: Path) -> Iterator[Path]:
    yield from (root / name for name in FILES)
    for folder in FOLDERS:
        files = (file for file in (root / folder).rglob("*") if file.is_file())
        yield from (file for file in sorted(files) if file.suffix != ".pyc")


def digest_source_files(root: Path) -> str:
    digest = hashlib.sha256()
    for file in find_source_files(root):
        digest.update(f"{file.relative_to(root)}:{file.stat().st_size}:".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def write_served(lock: int, root: Path) -> None:
    """`lock` is the descriptor of the lock file, which the server holds."""
    os.ftruncate(lock, 0)
    os.write(lock, digest_source_files(root).encode())


def serves_these_files(database: Path, root: Path) -> bool:
    return Path(f"{database}.lock").read_text() == digest_source_files(root)

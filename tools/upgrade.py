"""`make upgrade`: to the next version or not at all. What runs goes on until the new program has an
environment of its own beside the old one, and was tried on a copy of the database.

It needs nothing but Python, because it changes what everything else needs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENV, BEFORE, NEXT = ROOT / ".venv", ROOT / ".venv-before", ROOT / ".upgrade"


class Failed(Exception):
    """What didn't work, and what to do about it."""


def main() -> None:
    try:
        upgrade(sys.argv[1] if len(sys.argv) > 1 else None)
    except Failed as failure:
        sys.exit(str(failure))


def upgrade(wanted: str | None) -> None:
    """To what is wanted, such as v1.2.0; without that, to the newest."""
    was, old = "", VENV
    try:
        refuse_changes()
        git("fetch", "--quiet", "--tags")
        target, was = wanted or find_newest(), git("rev-parse", "HEAD")
        if target is None:
            print("This is the newest version.")
            return
        print(f"Getting {target} ...", flush=True)
        with checked_out(target):
            environment = build_environment()
            try_it(environment)
        old = switch(target, environment)
    except Failed as failure:
        raise Failed(f"{failure}\nNothing has changed, and what ran still runs.") from None
    try:
        restart()
    except Failed as failure:
        go_back(was, old)
        raise Failed(f"{failure}\nThe version from before is back, and its database.") from None


def refuse_changes() -> None:
    changed = git("status", "--porcelain", "--untracked-files=no")
    if changed:
        names = "\n".join(f"  {line[2:].strip()}" for line in changed.splitlines())
        raise Failed(
            f"These files are not as they came:\n{names}\n`git diff` shows the changes, and"
            " `git stash` puts them away. Sites of Caddy have a place in deploy/sites, and other"
            " changes of compose.yaml in compose.override.yaml."
        )


def find_newest() -> str | None:
    """On a tag, as docs/running.md installs it: the newest after it. On a branch: that branch."""
    if branch := git("branch", "--show-current"):
        upstream = f"origin/{branch}"
        return upstream if git("rev-list", f"HEAD..{upstream}") else None
    later = git("tag", "--contains", "HEAD", "--sort=-v:refname", "--list", "v[0-9]*").split()
    here = git("tag", "--points-at", "HEAD").split()
    return next((tag for tag in later if tag not in here), None)


@contextmanager
def checked_out(target: str) -> Iterator[None]:
    """The new version's files in NEXT, below this folder, so that it finds the same .env."""
    drop_next()
    git("worktree", "add", "--quiet", "--detach", str(NEXT), target)
    try:
        yield
    finally:
        drop_next()


def drop_next() -> None:
    shutil.rmtree(NEXT, ignore_errors=True)
    git("worktree", "prune")


def build_environment() -> Path:
    """Beside the one in use, and named for its list; the one in use where that is the same."""
    lists = [(folder / "requirements.txt").read_bytes() for folder in (ROOT, NEXT)]
    if lists[0] == lists[1]:
        return VENV
    environment = ROOT / f".venv-{sha256(lists[1]).hexdigest()[:8]}"
    if environment != VENV.resolve():
        shutil.rmtree(environment, ignore_errors=True)
        try:
            run("make", "--no-print-directory", "-C", str(NEXT), "install", f"VENV={environment}")
        except Failed:
            shutil.rmtree(environment, ignore_errors=True)
            raise
    return environment


def try_it(environment: Path) -> None:
    """The new program reads the settings, starts, and brings a copy of the database up to date."""
    flask = environment / "bin" / "flask"
    run(str(flask), "--app", "wsgi", "init-db", "--try", str(ROOT), cwd=NEXT)


def switch(target: str, environment: Path) -> Path:
    """Returns the environment that was in use."""
    was = git("rev-parse", "HEAD")
    try:
        if git("branch", "--show-current"):
            git("merge", "--quiet", "--ff-only", target)
        else:
            git("checkout", "--quiet", "--detach", target)
        old = put_in_use(environment)
        install()
    except Failed:
        put_back(was)
        raise
    return old


def put_back(was: str) -> None:
    git("reset", "--quiet", "--keep", was)


def install() -> None:
    """What is left: the catalogs."""
    run("make", "--no-print-directory", "-C", str(ROOT), "install")


def put_in_use(environment: Path) -> Path:
    """Make .venv lead there. Returns what it was. What the lists say is installed already."""
    for stamp in environment.glob("installed-*"):
        stamp.touch()
    if environment == VENV:
        return VENV
    if VENV.is_symlink():
        old = VENV.resolve()
    else:
        shutil.rmtree(BEFORE, ignore_errors=True)
        old = VENV.rename(BEFORE)
    link = ROOT / ".venv-link"
    link.unlink(missing_ok=True)
    link.symlink_to(environment.name)
    link.replace(VENV)
    return old


def restart() -> None:
    units = ["trusted-group"] if is_enabled("trusted-group") else []
    found = output_of("systemctl", "list-units", "--plain", "--no-legend", "trusted-group@*")
    units += [line.split()[0] for line in found.splitlines()]
    if not units:
        print("Now restart the server.")
        return
    run("systemctl", "restart", *units)
    print("Restarted.")


def is_enabled(unit: str) -> bool:
    try:
        done = subprocess.run(["systemctl", "is-enabled", "--quiet", unit], capture_output=True)
    except OSError:
        return False  # a machine without systemd
    return done.returncode == 0


def go_back(was: str, environment: Path) -> None:
    """The database, too, where the new version has brought it up to date: then the old one doesn't
    take it."""
    put_back(was)
    put_in_use(environment)
    install()
    flask = [str(VENV / "bin" / "flask"), "--app", "wsgi"]
    try:
        run(*flask, "init-db")
    except Failed:
        run(*flask, "init-db", "--back")
    restart()


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout.rstrip()


def output_of(*command: str) -> str:
    """Nothing, where there is no such program."""
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return ""


def run(*command: str, cwd: Path = ROOT) -> None:
    """With all that it says. FLASK_APP may be that of another program."""
    environment = {key: value for key, value in os.environ.items() if key != "FLASK_APP"}
    for key in ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):  # of the `make upgrade` around it
        environment.pop(key, None)
    done = subprocess.run(command, cwd=cwd, env=environment)
    if done.returncode:
        raise Failed(f"That didn't work: {' '.join(command)}")


if __name__ == "__main__":
    main()

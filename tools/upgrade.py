"""`make upgrade`: to the next version or not at all. What runs goes on until the new program has an
environment of its own beside the one in use, and was tried on a copy of each group's database.

It needs nothing but Python, because it changes what everything else needs."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENV, BEFORE, NEXT = ROOT / ".venv", ROOT / ".venv-before", ROOT / ".upgrade"
GROUPS = Path("/etc/trusted-group")  # of several on one machine: a folder each, with .env
UNITS = Path("/etc/systemd/system")


class Failed(Exception):
    """What didn't work, and what to do about it."""


def main() -> None:
    try:
        with alone():
            upgrade(sys.argv[1] if len(sys.argv) > 1 else None)
    except (Failed, OSError) as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit("Stopped. Nothing has changed, and what ran still runs.")


@contextmanager
def alone() -> Iterator[None]:
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Failed("Another upgrade is running.") from None
    finally:
        os.close(folder)


def upgrade(wanted: str | None) -> None:
    """To what is wanted, such as v1.2.0; without that, to the newest."""
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
            for folder in find_groups():
                init_db(folder, NEXT, environment, "--try", str(ROOT))
        old = switch(target, environment)
    except Failed as failure:
        raise Failed(f"{failure}\nNothing has changed, and what ran still runs.") from None
    try:
        restart()
    except Failed as failure:
        go_back(was, old)
        raise Failed(f"{failure}\nThe version from before is back, with its database.") from None
    drop_other_environments(old)
    name_old_units()


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
    """On a branch: its newest commit. On a tag: the newest tag after it that is a release."""
    if branch := git("branch", "--show-current"):
        upstream = f"origin/{branch}"
        return upstream if git("rev-list", f"HEAD..{upstream}") else None
    here = git("tag", "--points-at", "HEAD").split()
    if not here:
        raise Failed("This is neither a branch nor a release. Say where to: TO=origin/main, say.")
    later = git("tag", "--contains", "HEAD", "--sort=-v:refname", "--list", "v[0-9]*").split()
    return next((tag for tag in later if "-" not in tag and tag not in here), None)


# The new version, beside the one in use -----------------------------------------------------------


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
    """Named for its list. The one in use, where it has what the new list says."""
    wanted = (NEXT / "requirements.txt").read_bytes()
    if wanted == installed_list(VENV):
        return VENV
    environment = ROOT / f".venv-{sha256(wanted).hexdigest()[:8]}"
    if environment == VENV.resolve():  # somebody has installed another list there
        environment = environment.with_name(f"{environment.name}-2")
    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info[1]}")
    words = [f"VENV={environment}", f"PYTHON={python if python.exists() else 'python3'}"]
    shutil.rmtree(environment, ignore_errors=True)
    try:
        run("make", "--no-print-directory", "-C", str(NEXT), "install", *words)
    except BaseException:
        shutil.rmtree(environment, ignore_errors=True)
        raise
    return environment


def installed_list(environment: Path) -> bytes:
    """Older makefiles kept none there."""
    kept = environment / "requirements.txt"
    return (kept if kept.exists() else ROOT / "requirements.txt").read_bytes()


def find_groups() -> list[Path]:
    """The folders that their commands run in."""
    groups = sorted(file.parent for file in GROUPS.glob("*/.env"))
    return groups if groups and not (ROOT / ".env").exists() else [ROOT, *groups]


def init_db(folder: Path, program: Path, environment: Path, *words: str) -> None:
    command = [str(environment / "bin" / "flask"), "--app", str(program / "wsgi.py"), "init-db"]
    run(*command, *words, cwd=program if folder == ROOT else folder)


# From the one to the other ------------------------------------------------------------------------


def switch(target: str, environment: Path) -> Path:
    """Returns the environment that was in use."""
    was, old = git("rev-parse", "HEAD"), VENV
    try:
        if git("branch", "--show-current"):
            git("merge", "--quiet", "--ff-only", target)
        else:
            git("checkout", "--quiet", "--detach", target)
        if git("rev-parse", "HEAD") != git("rev-parse", f"{target}^{{commit}}"):
            raise Failed(f"{target} isn't after this version. `git checkout {target}` goes there.")
        old = put_in_use(environment)
        install()
    except BaseException:
        git("reset", "--quiet", "--keep", was)
        put_in_use(old)
        raise
    return old


def put_in_use(environment: Path) -> Path:
    """Make .venv lead there. Returns what it was. What its list says is installed already."""
    old = VENV if environment == VENV else lead_to(environment)
    for stamp in VENV.glob("installed-*"):
        stamp.touch()
    return old


def lead_to(environment: Path) -> Path:
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


def install() -> None:
    """What is left: the catalogs, and `flask --version`."""
    run("make", "--no-print-directory", "-C", str(ROOT), "install")


def restart() -> None:
    units = find_units()
    if not units:
        print("Now restart the server.")
        return
    run("systemctl", "restart", *units)
    print("Restarted.")


def find_units() -> list[str]:
    units = ["trusted-group"] if ask_systemd("is-enabled", "trusted-group").returncode == 0 else []
    listed = ask_systemd("list-units", "--plain", "--no-legend", "trusted-group@*").stdout
    return units + [line.split()[0] for line in listed.splitlines()]


def ask_systemd(*words: str) -> subprocess.CompletedProcess[str]:
    """Also on a machine without it."""
    with suppress(OSError):
        return subprocess.run(["systemctl", *words], capture_output=True, text=True)
    return subprocess.CompletedProcess(words, 1, "", "")


def go_back(was: str, environment: Path) -> None:
    """The databases, too, where the new version has changed them: then the old one doesn't take
    them. systemd itself may be starting the new one again and again."""
    units = find_units()
    for word in ("stop", "reset-failed"):
        ask_systemd(word, *units)
    git("reset", "--quiet", "--keep", was)
    put_in_use(environment)
    install()
    for folder in find_groups():
        try:
            init_db(folder, ROOT, VENV)
        except Failed:
            init_db(folder, ROOT, VENV, "--back")
    restart()


def drop_other_environments(old: Path) -> None:
    for environment in ROOT.glob(".venv-*"):
        if environment not in (VENV.resolve(), old):
            shutil.rmtree(environment, ignore_errors=True)


def name_old_units() -> None:
    for unit in UNITS.glob("trusted-group*.service"):
        ours = ROOT / "deploy" / unit.name.replace("trusted-group-", "")
        if ours.exists() and unit.read_bytes() != ours.read_bytes():
            print(f"{unit} is of another version: `cp {ours} {unit} && systemctl daemon-reload`.")


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout.rstrip()


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

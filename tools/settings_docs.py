"""`make docs`: writes .env.example and docs/settings.md from the settings' help texts."""

from pathlib import Path

from foundation.typed.settings import SETTINGS, Setting

ROOT = Path(__file__).parent.parent
KEY_EXAMPLE = "replace-me-with-what-the-command-above-prints"


def write_example() -> str:
    """What .env.example should contain."""
    parts = [
        "# Copy this file to .env and fill in what is (required). The rest can stay as it is.\n"
    ]
    for name, setting in SETTINGS.items():
        mark = "(required) " if setting.required else ""
        value = KEY_EXAMPLE if name == "SECRET_KEY" else setting.default or ""
        parts.append(f"# {mark}{setting.help.replace('`', '')}\n{name}={value}\n")
    return "\n".join(parts)


def write_settings_table() -> str:
    """What docs/settings.md should contain."""
    head = (
        "# Settings\n\n"
        "From the environment or from `.env`; the environment wins (but `LANGUAGE`, which systems"
        " set for all programs, is read from `.env` where there is one). Each can also come from a"
        " file, as containers have for secrets: `SECRET_KEY_FILE=/run/secrets/key`. If something is"
        " wrong, the program lists every problem and stops.\n\n"
        "| name | default | what it is |\n|---|---|---|\n"
    )
    rows = (f"| `{n}` | {say_default(s)} | {s.help} |\n" for n, s in SETTINGS.items())
    return head + "".join(rows)


def say_default(setting: Setting) -> str:
    if setting.required:
        return "required"
    return f"`{setting.default}`" if setting.default else "none"


if __name__ == "__main__":
    (ROOT / ".env.example").write_text(write_example())
    (ROOT / "docs" / "settings.md").write_text(write_settings_table())

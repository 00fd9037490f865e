"""`aurora config`: the effective settings, and where each came from."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from aurora_batch.settings_types import to_plain
from pipelines import cli_options


def register(subparsers: Any) -> None:
    """Add `aurora config`."""
    parser = subparsers.add_parser(
        "config",
        help="print the effective settings and where each came from",
        description=(
            "Print the effective settings as YAML, each with where it came from: a file, a\n"
            "variable, --set, or the built-in default. Secrets are no settings and never shown."
        ),
        epilog="example:\n  aurora config --set router.weights.price=0.6 | grep -v default",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the settings."""
    loaded = cli_options.load(args)
    plain = to_plain(loaded.settings)
    if args.json:
        shown = {"settings": plain, "origins": loaded.origins}
        sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in annotated(plain, loaded.origins))
    return 0


def annotated(
    plain: Mapping[str, Any], origins: Mapping[str, str], path: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield YAML lines of settings, each leaf with its origin as a comment."""
    for name, value in plain.items():
        key = (*path, name)
        head = "  " * len(path) + _scalar(name) + ":"
        if isinstance(value, dict) and value:
            yield head
            yield from annotated(value, origins, key)
        else:
            yield f"{head} {_scalar(value)}  # {origins['.'.join(key)]}"


def _scalar(value: object) -> str:
    """Return a value on one line of YAML; a whole float without its `.0`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=2**31, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")

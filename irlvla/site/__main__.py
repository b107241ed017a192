"""The executed notebooks and the published figures as a small static site (`make site`).

    python -m irlvla.site RUNS OUT     e.g. python -m irlvla.site runs runs/site, in the root of the repository

Pages open from disk: one style sheet, no script, no font, nothing from the network; formulas are MathML. What a page
links to comes along: a notebook as its page, a Markdown file as a page, any other file of the repository as a copy.
"""

import argparse
from pathlib import Path

from irlvla.site.build import build


def main(arguments: list[str] | None = None) -> None:
    """Build the site and say where it is and how large."""
    parser = argparse.ArgumentParser(prog="python -m irlvla.site", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="results of the pipeline")
    parser.add_argument("out", type=Path, help="folder to make, or the site to replace")
    options = parser.parse_args(arguments)
    build(options.runs, options.out, Path.cwd())
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out / 'index.html'}: {len(list(options.out.glob('*.html')))} pages, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

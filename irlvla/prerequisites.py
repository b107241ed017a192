"""What a command reads, another one must have made."""

from pathlib import Path

PIPELINE, STUDY = "dvc repro", "make study"  # the main run; its other seeds
JUDGED = ("data", "imitation", "reward_data", "reward_world_model")  # folders of a run whose reward model is judged


def require(made_by: str, *paths: Path) -> None:
    """Raises FileNotFoundError naming the first missing file or folder and the command that makes it."""
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run `{made_by}` first")

"""The nine notebooks as the chapters of the site: the picture of the pipeline, and the ways from one to the next."""

from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass(frozen=True)
class Chapter:
    """A notebook in the picture of the pipeline: its name, a line about it, what it hands on."""

    name: str
    line: str
    makes: str

    def executed(self, runs: Path) -> Path:
        """Where its executed form lies."""
        return runs / self.name.partition("_")[2] / f"{self.name}.ipynb"


PIPELINE = {
    "Data": (
        Chapter("01_data", "Logs in NAVSIM's format become scenes.", "images, targets, scoring contexts"),
    ),
    "Stage 1: imitation of human driving": (
        Chapter("02_semantic_reasoning", "A vision-language model says speed and path in words.", "command model"),
        Chapter("03_imitation", "Cameras in, a trajectory out, learned from human plans.", "policy IRL-VLA-IL"),
    ),
    "Stage 2: a reward world model": (
        Chapter("04_reward_data", "Many plans for every scene, good and bad, are scored.", "scored trajectories"),
        Chapter("05_reward_world_model", "A network learns to predict the score of any plan.", "RWM"),
    ),
    "Stage 3: reinforcement": (
        Chapter("06_reinforcement", "PPO improves the policy against the RWM.", "policy IRL-VLA"),
    ),
    "Evaluation": (
        Chapter("07_evaluation", "Two-stage EPDMS of all agents on towns never trained on.", "tables of scores"),
        Chapter("08_closed_loop", "The policy drives routes in a town that reacts.", "Bench2Drive metrics"),
    ),
    "Results": (
        Chapter("09_figures", "Every figure and table, from saved results alone.", "published figures"),
    ),
}  # fmt: skip
DATASET = '<div class="box"><strong>data/</strong><p>The embedded world, or any folder in NAVSIM\'s format.</p></div>'
CHAPTERS = [chapter for row in PIPELINE.values() for chapter in row]


def title(chapter: Chapter) -> str:
    """`02_semantic_reasoning` as "02 Semantic reasoning"."""
    number, _, words = chapter.name.partition("_")
    return f"{number} {words.replace('_', ' ').capitalize()}"


def neighbours(index: int) -> str:
    """Links from a chapter to the one before and the one after it."""
    links = ""
    if index > 0:
        links += f'<a rel="prev" href="{CHAPTERS[index - 1].name}.html">&larr; {title(CHAPTERS[index - 1])}</a> '
    if index + 1 < len(CHAPTERS):
        links += f'<a rel="next" href="{CHAPTERS[index + 1].name}.html">{title(CHAPTERS[index + 1])} &rarr;</a>'
    return f"<nav>{links}</nav>"


def index_body() -> str:
    """The pipeline as boxes, one per notebook."""
    rows = []
    for name, chapters in PIPELINE.items():
        boxes = [DATASET] if name == "Data" else []
        boxes += (
            f'<a class="box" href="{chapter.name}.html"><strong>{title(chapter)}</strong><p>{escape(chapter.line)}</p>'
            f'<p class="makes">&rarr; {escape(chapter.makes)}</p></a>'
            for chapter in chapters
        )
        rows.append(f'<li><h2>{escape(name)}</h2><div class="row">{"".join(boxes)}</div></li>')
    return f"""<h1>IRL-VLA, in the open</h1>
<p>A driving policy from cameras and an instruction, trained in three stages: imitation, a reward world model, and
reinforcement against it. Nine notebooks build it, one after the other; here they are as they were last run, with their
<a href="figures.html">figures and tables</a>.</p>
<p><strong>Scores are of the embedded world: not comparable with published NAVSIM or Bench2Drive scores.</strong></p>
<ol class="pipeline">{"".join(rows)}</ol>"""

"""Sections of `params.yaml`: one validated model per stage, read by that stage's notebook only.

An unknown key, a wrong type or an impossible value is an error that names section and key.
"""

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Section):
    pass


class SemanticReasoning(Section):
    pass


class Imitation(Section):
    pass


class RewardData(Section):
    pass


class RewardWorldModel(Section):
    pass


class Reinforcement(Section):
    pass


class Evaluation(Section):
    pass


class ClosedLoop(Section):
    pass


class Figures(Section):
    pass

"""InfoNCE over the global batch.

Shapes: B queries of this rank, M passages of this rank (their own first, hard negatives after), N candidates of all
ranks, D dimensions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hybrid.data.batch import Batch
from hybrid.training.config import ObjectiveConfig
from hybrid.training.gather import Gathered


def info_nce(q_BD: Tensor, p_ND: Tensor, target_B: Tensor, same_group_BN: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE of queries against every candidate (van den Oord et al. 2018, eq. 4).

    Args:
        q_BD: this rank's queries, of length τ^-1/2, so that a dot product is the cosine over τ.
        p_ND: candidates of all ranks, of the same length, with gradient.
        target_B: row in p_ND of each query's own passage.
        same_group_BN: True where a candidate answers the query too and so is no negative.

    Returns the mean loss over this rank's queries (the mean over ranks is the loss of the joined batch), and the part
    of queries whose own passage scores highest.
    """
    scores_BN = q_BD @ p_ND.T
    others_BN = same_group_BN.scatter(1, target_B[:, None], False)
    scores_BN = scores_BN.masked_fill(others_BN, float("-inf"))
    hits = (scores_BN.argmax(1) == target_B).float().mean()
    return F.cross_entropy(scores_BN, target_B), hits.detach()


def variance_penalty(q_BD: Tensor, p_ND: Tensor, same_group_BN: Tensor) -> Tensor:
    """Spread of the negatives' cosines around their optimum (Lee et al. 2025, arXiv 2506.09781, loss L_VRNS).

    The paper's term is the mean over negative pairs of (cosine + 1 / (n - 1))², n training instances: the optimum of
    full-batch contrastive learning is -1 / (n - 1), taken as its limit 0 here. Vectors may be of any length.

    Returns the mean over this rank's queries of the mean over their negatives (a query without any has 0), so that the
    mean over ranks is that of the joined batch.
    """
    cosines_BN = F.normalize(q_BD, dim=1) @ F.normalize(p_ND, dim=1).T
    squares_BN = cosines_BN.square().masked_fill(same_group_BN, 0.0)
    return (squares_BN.sum(1) / (~same_group_BN).sum(1).clamp_min(1)).mean()


@dataclass
class Loss:
    """What one rank's part of a global batch comes to."""

    value: Tensor
    """The loss, with gradient; its mean over ranks is that of the joined batch."""
    accuracy: Tensor
    """Part of this rank's queries whose own passage scores highest in the global batch."""


class Objective:
    """The loss that a recipe declares, from the vectors of this rank's texts."""

    def __init__(self, config: ObjectiveConfig):
        self.config = config

    def __call__(self, vectors: Tensor, batch: Batch) -> Loss:
        """Return the loss; `vectors` [B + M, D] are the queries, then the passages, of length τ^-1/2, in fp32."""
        count = len(batch.queries)
        if temperature := self.config.kind_temperatures.get(batch.kind):
            vectors = F.normalize(vectors, dim=1) * temperature**-0.5
        q_BD, p_MD = vectors[:count], vectors[count:]
        target_B = torch.arange(count, device=vectors.device)
        passages = Gathered(len(p_MD), vectors.device)
        same_group_BN = batch.query_groups[:, None] == passages(batch.passage_groups)[None, :]
        p_ND = passages(p_MD)
        value, accuracy = info_nce(q_BD, p_ND, passages.start + target_B, same_group_BN)
        if self.config.both_directions:
            queries = Gathered(count, vectors.device)
            same_group_BB = batch.passage_groups[:count, None] == queries(batch.query_groups)[None, :]
            back, _ = info_nce(p_MD[:count], queries(q_BD), queries.start + target_B, same_group_BB)
            value = (value + back) / 2
        if self.config.variance_penalty:
            value = value + self.config.variance_penalty * variance_penalty(q_BD, p_ND, same_group_BN)
        return Loss(value, accuracy)

"""Which deployment a call asks next: by order, then by weight, each once and again where that is worth it. Pure."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from liverouter.revision import Deployment
    from liverouter.routing.causes import Cause


class Walk:
    """The way of one call through its deployments.

    Of those that were not asked yet the ready ones of the least order come first, one of them by weight. Those that
    cool come last of all, by order: then the caller sees what the providers say, and not that nobody was asked. A
    deployment whose failure may pass at once is asked *tries* times in all before the next one.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        *,
        tries: int,
        alone: bool = False,
        pick: Callable[[Sequence[float]], int] | None = None,
    ) -> None:
        """Begin before the first attempt.

        Args:
            deployments: which may serve the call; at least one.
            tries: attempts in all at one deployment, at least 1.
            alone: the one that is picked first has no other behind it.
            pick: weights -> the index of the one that is taken; by default at random, in proportion.
        """
        self._left = list(deployments)
        self._tries, self._alone = tries, alone
        self._pick = pick or _pick
        self._asked: Deployment | None = None
        self._times = 0  # that it was asked
        self._again = False

    def next(self, cooling: Container[str]) -> Deployment | None:
        """Return the deployment to ask now, None where the call has failed.

        *cooling*: the ids of those that are to be left alone; empty where nothing else could be asked.
        """
        if self._asked is not None and self._again and self._asked.id not in cooling:
            self._again = False
            self._times += 1
            return self._asked
        if self._asked is not None and self._alone:
            return None
        ready = [deployment for deployment in self._left if deployment.id not in cooling]
        least = min((deployment.order for deployment in ready or self._left), default=0)
        equals = [deployment for deployment in ready or self._left if deployment.order == least]
        if not equals:
            return None
        index = self._pick([deployment.weight for deployment in equals]) if ready and len(equals) > 1 else 0
        self._asked, self._times, self._again = equals[index], 1, False
        self._left.remove(self._asked)
        return self._asked

    def failed(self, cause: Cause) -> None:
        """Note why the deployment that was asked last did not answer."""
        self._again = cause.is_worth_a_retry and self._times < self._tries


def _pick(weights: Sequence[float]) -> int:
    return random.choices(range(len(weights)), weights)[0]  # noqa: S311 - a share of the traffic is no secret

"""Which question patterns are still hard: they are drawn more often than those the model knows.

Each pattern keeps a moving mean of the loss of its answers; its draws follow floor + (1 - floor) ·
min(1, loss). With floor 1 all are drawn alike. The idea is that of prioritised replay (Schaul et
al. 2016, arXiv 1511.05952), with text that is always made anew in the place of stored experience.
The table of losses is part of a run and lies in its checkpoint.
"""

import torch

MOMENTUM = 0.5
UNKNOWN = 1.0  # loss of a pattern that was not met yet


class Focus:
    def __init__(self, languages, weights, floor):
        """`weights`: how often a language's intents are drawn apart from this, {code: {name: w}};
        an intent that is not named there is only drawn by its name."""
        self.floor, self.spans, self.owners, shares = floor, {}, [], []
        for language in languages:
            start = len(self.owners)
            for name, intent in language.intents.items():
                first, size = len(self.owners), len(intent.patterns)
                self.spans[language.code, name] = slice(first, first + size)
                self.owners += [(name, place) for place in range(size)]
                shares += [weights[language.code].get(name, 0.0) / size] * size
            self.spans[language.code] = slice(start, len(self.owners))
        self.shares = torch.tensor(shares, dtype=torch.float64)
        self.loss = torch.full((len(self.owners),), UNKNOWN)

    def draw(self, code, rng):
        """An intent's name and the place of one of its patterns."""
        span = self.spans[code]
        return self.owners[span.start + pick(self.shares[span] * self.hardness(span), rng)]

    def draw_from(self, code, name, rng):
        """The place of one of this intent's patterns."""
        return pick(self.hardness(self.spans[code, name]), rng)

    def hardness(self, span):
        return self.floor + (1 - self.floor) * self.loss[span].double().clamp(max=1.0)

    def pattern(self, code, name, place):
        """The number under which a pattern is learnt about."""
        return self.spans[code, name].start + place

    def learn(self, patterns, losses):
        """Takes in a step's losses, one for each scored token of the patterns (-1: of none)."""
        met, places = patterns[patterns >= 0].unique(return_inverse=True)
        sums = torch.zeros(len(met)).index_add_(0, places, losses[patterns >= 0])
        means = sums / places.bincount(minlength=len(met))
        self.loss[met] = MOMENTUM * self.loss[met] + (1 - MOMENTUM) * means


def pick(weights, rng):
    """A place, as often as its weight says."""
    sums = weights.cumsum(0)
    place = torch.searchsorted(sums, rng.random() * sums[-1].item(), right=True).item()
    return min(place, len(weights) - 1)

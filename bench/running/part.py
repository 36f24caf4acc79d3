"""A part of a suite: some of its methods, seeds and targets, or one of n shares of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench import suite
from bench.spec import Trial


@dataclass(frozen=True)
class Part:
    """What of a suite is to run; the trials that these depend on run with them.

    `only`: methods, and keys of single trials. `seeds`: in place of the suite's. `keep`: of the suite's `keep_macs`.
    `shard`: (i, n), the i-th of n shares, counted from 1, for jobs that run side by side: in a shared folder what two
    of them need runs once.
    """

    only: Sequence[str] = ()
    seeds: Sequence[int] = ()
    keep: Sequence[float] = ()
    shard: tuple[int, int] = (1, 1)

    def trials(self, wanted: suite.Suite) -> tuple[list[Trial], list[Trial]]:
        """(all trials of the suite with these seeds, those of this part), in order.

        Raises SuiteError for a method, a trial or a target that the suite does not have.
        """
        every = suite.trials(wanted.model_copy(update={"seeds": list(self.seeds)}) if self.seeds else wanted)
        return every, self.choose(every)

    def choose(self, trials: Sequence[Trial]) -> list[Trial]:
        """Of these trials the part's, and all that they depend on, in order."""
        known = sorted({trial.method.name for trial in trials})
        for name in self.only:
            if name not in known and all(name != trial.key for trial in trials):
                there = f"it has {', '.join(known)}, and no trial with this key"
                raise suite.SuiteError(f"--only: '{name}' is not in this suite with these seeds ({there})")
        points = sorted({trial.keep_macs for trial in trials if trial.keep_macs})
        for keep in self.keep:
            if keep not in points:
                there = ", ".join(f"{point:g}" for point in points) or "none"
                raise suite.SuiteError(f"--keep: {keep:g} is not among this suite's targets ({there})")
        wanted = [
            trial
            for trial in trials
            if (not self.only or trial.method.name in self.only or trial.key in self.only)
            and (not self.keep or trial.keep_macs in (None, *self.keep))
        ]
        share, shares = self.shard
        keys = {trial.key for trial in wanted[share - 1 :: shares]}
        for trial in reversed(trials):
            if trial.key in keys:
                keys |= {key for key in (trial.baseline, trial.twin) if key}
        return [trial for trial in trials if trial.key in keys]


WHOLE = Part()
"""All of a suite."""

"""Some seats of a lineup with the eyes on one lane: what has become free there may be worth to them."""

from collections.abc import Sequence

import numpy as np

from carbonfleet.placement.compact import CLOSED
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.lineup import Lineup
from carbonfleet.placement.look import NOWHERE, Looker
from carbonfleet.placement.room import Room
from carbonfleet.placement.snapshot import FloatArray


class Chunk:
    """Some seats beside each other with the eyes on one lane: what their windows there are at best."""

    def __init__(
        self, lookers: Sequence[Looker], lineup: Lineup, lane: int, seats: slice, levels: Sequence[int]
    ) -> None:
        self.begin, self._lane, self._looker = seats.start, lane, lookers[0]
        problem, parts, rows = lookers[0].problem, lineup.part[seats], lineup.row[seats]
        count, kind = rows.size, problem.demand.kind[lane]
        self._fixed, self._slope = np.zeros(count), np.zeros(count)
        self._signal, self._is_open = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
        for part, looker in enumerate(lookers):
            of = np.flatnonzero(parts == part)
            if of.size:
                terms = looker.problem.demand.at(rows[of], np.array(lane))
                self._fixed[of], self._slope[of] = terms.fixed, terms.slope
                self._is_open[of] = looker.problem.admitted[rows[of], lane]
                self._signal[of] = looker.signal[rows[of]]
        line = problem.line
        self._whole, self._part = np.divmod(lineup.minutes[seats, kind], line.slot_minutes)
        self._span = self._whole + (self._part > 0)
        self._level = np.searchsorted(levels, lineup.gpus[seats, kind])
        self._level[~self._is_open] = -1

    def bound(self, level: int, part: slice, first: int, end: int, run: tuple[int, int], bound: FloatArray) -> None:
        """Lower bounds of the scores of those of a level whose windows touch [first, end) within a free run."""
        of = np.flatnonzero((self._level[part] == level) & (self._span[part] <= run[1] - run[0]))
        if not of.size:
            return
        at, looker = of + part.start, self._looker
        carbon = looker.least_within(self._signal[at], self._lane, self._whole[at], self._part[at], (first, end), run)
        closed = carbon == NOWHERE
        carbon[closed] = 0
        score = self._fixed[at] + self._slope[at] * carbon
        score[closed] = NOWHERE
        bound[of] = np.minimum(bound[of], score)

    def best(self, at: IntArray, room: Room, cells: IntArray) -> tuple[FloatArray, IntArray]:
        """The least scores of some of the seats among the free windows that may touch some slots, and their starts."""
        looker, lane, level, span = self._looker, self._lane, self._level[at], self._span[at]
        begin = max(0, int(cells[0]) - int(span.max()) + 1)
        starts = slice(begin, min(int(cells[-1]) + 1, looker.problem.line.starts))
        runs = room.runs(level, np.full(at.size, looker.problem.lanes.place[lane]))[:, starts]
        score, start = np.full(at.size, NOWHERE), np.zeros(at.size, dtype=np.int64)
        for signal, kind in enumerate(looker.problem.carbon):
            of = np.flatnonzero((self._signal[at] == signal) & (level >= 0))
            if of.size and runs.shape[1]:
                seats, compact = at[of], looker.compact[kind]
                ends = compact.rows(lane, self._whole[seats], self._part[seats])
                carbon = compact.ends[:, starts][ends] - compact.begins[lane, starts]
                carbon[self._slope[seats] == 0] = 0
                carbon[runs[of] < span[of, None]] = CLOSED
                found = carbon.argmin(axis=1)
                least = carbon[np.arange(of.size), found]
                unit = looker.problem.carbon[kind].unit[looker.problem.lanes.zone[lane]]
                score[of] = np.where(least < CLOSED, self._fixed[seats] + self._slope[seats] * (least * unit), NOWHERE)
                start[of] = found + begin
        return score, start

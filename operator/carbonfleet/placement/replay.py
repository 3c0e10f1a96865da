"""The choices of a queue that has changed a little: only who is touched by the change chooses again.

Jobs choose in turn, so a job's choice can only change where what it finds free has changed: its own window was
taken, or a better one has become free. Both are followed from seat to seat as the cells (pool, slot) in which
more or less is free than before.
"""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final

import numpy as np

from carbonfleet.placement.capacity import Capacity
from carbonfleet.placement.careful import carefully
from carbonfleet.placement.choice import Choice, take
from carbonfleet.placement.chunk import Chunk
from carbonfleet.placement.grid import IntArray
from carbonfleet.placement.lineup import Lineup, Takes, takes_of
from carbonfleet.placement.look import NOWHERE, Looker
from carbonfleet.placement.problem import Problem
from carbonfleet.placement.room import Room, Runs
from carbonfleet.placement.rules import BoolArray
from carbonfleet.placement.stretch import Returned

AHEAD: Final = 1024
"""Seats that are searched at a time for one that wants what has become free."""
AT_FIRST: Final = 128
"""Of these, so many are looked at closely before more are."""
NEIGHBOURS: Final = 16
"""Jobs whose looks are prepared together."""
FEW: Final = 32
MANY: Final = 0.03
"""Where more than a few and this share of the jobs chose anew, the others are too close to each other to be kept."""
HAIR: Final = 1e-9
"""Keeps a bound below what it bounds in spite of rounding."""
NOBODY: Final = np.zeros(0, dtype=np.int64)
VISIT, BLOCKED, WANTED, SEARCH = range(4)


class Unsettled(Exception):  # noqa: N818 - not a fault: all is planned afresh
    """So much is touched that it is quicker to plan afresh, or choices that do not follow from choosing in turn."""


class Turns(Room):
    """A room in which what was taken before is taken again, each in its turn, once its row is looked at."""

    def __init__(self, capacity: Capacity, gpus: Iterable[int], takes: Takes) -> None:
        super().__init__(capacity, gpus)
        self.turn = 0
        """The seat that chooses now: all before it have taken theirs."""
        order = np.argsort(takes.row, kind="stable")
        edges = np.searchsorted(takes.row[order], np.arange(capacity.free.shape[0] + 1))
        self.of_row = [order[begin:end] for begin, end in pairwise(edges.tolist())]
        """The takes of each row, by seat."""
        self._seats = [takes.seat[ids] for ids in self.of_row]
        self._next = [0] * len(self.of_row)
        self._takes = takes
        self.is_due = np.ones(takes.seat.size, dtype=np.bool_)
        """Takes that have not been called off."""

    def free(self, row: int) -> IntArray:
        """What is free on a row now, shape (slots,)."""
        free: IntArray = self._free[row]
        begin, end = self._next[row], int(self._seats[row].searchsorted(self.turn))
        if begin < end:
            self._next[row] = end
            ids = self.of_row[row][begin:end]
            ids, takes = ids[self.is_due[ids]], self._takes
            use = np.zeros(free.size + 1, dtype=np.int64)
            np.add.at(use, takes.first[ids], takes.gpus[ids])
            np.subtract.at(use, takes.end[ids], takes.gpus[ids])
            free -= np.cumsum(use)[:-1]
            self._stale.add(row)
        return free

    def runs(self, levels: IntArray, rows: IntArray) -> Runs:
        """As in any room."""
        for row in set(rows.tolist()):
            self.free(row)
        return super().runs(levels, rows)

    def run(self, level: int, row: int) -> Runs:
        """As in any room."""
        self.free(row)
        return super().run(level, row)

    def fits(self, row: int, gpus: int, first: int, end: int) -> bool:
        """As in any room."""
        self.free(row)
        return super().fits(row, gpus, first, end)


def _around(blocked: IntArray, first: int, last: int, slots: int) -> tuple[int, int]:
    """The run of free slots around some that are free, half-open; blocked ones between these are passed over."""
    before, after = np.searchsorted(blocked, (first, last)).tolist()
    return int(blocked[before - 1]) + 1 if before else 0, int(blocked[after]) if after < blocked.size else slots


class Replay:
    """A lineup in which some seats are new and some are gone, and the choices that come of it.

    `takes` are what the seats took before; `least` is what was free at the end, `more` how much more is free now
    before anybody has chosen; both have the shape of the capacity, which becomes what is free in the end.
    """

    def __init__(
        self,
        lookers: Sequence[Looker],
        lineup: Lineup,
        choices: list[Choice | None],
        takes: Takes,
        least: IntArray,
        more: IntArray,
        is_bettered: BoolArray,
    ) -> None:
        self.choices, self.changed = choices, set[int]()
        """The choices by seat, and the seats that have chosen anew."""
        self._lineup, self._takes, self._new_takes = lineup, takes, dict[int, Takes]()
        self._is_bettered, self._many = is_bettered, FEW
        self._least, self._more, self._end = least, more, least + more
        problem = lookers[0].problem
        self._capacity, self._lanes, self._kind = problem.capacity, problem.lanes, problem.demand.kind
        self._lanes_at = [np.flatnonzero(problem.lanes.place == row).tolist() for row in range(least.shape[0])]
        self._levels = np.unique(lineup.gpus).tolist()
        self._room = Turns(problem.capacity, self._levels, takes)
        self._lookers = [looker.later(looker.problem, self._room) for looker in lookers]
        self._stretches: dict[tuple[int, int, int], Returned] = {}
        self._heap: list[tuple[int, int, int, int]] = []
        self._less, self._gains = [0] * least.shape[0], [0] * least.shape[0]
        """Of each row, how often what is free on it has changed, and how often it has become more."""
        self._wanting: dict[int, IntArray] = {}
        self._chunks: dict[tuple[int, int], Chunk] = {}
        self._passed = np.flatnonzero(lineup.passed[:, 0] >= 0)
        self._first_take = np.searchsorted(takes.seat, np.arange(len(lineup) + 1))

    def run(self, new: set[int], gone: set[int]) -> None:
        """Let all choose again who may choose otherwise; `new` are those who have not chosen before.

        Raises Unsettled where a tier is touched that was bettered, or would be, and where too many are touched.
        """
        self._many += len(new)
        in_doubt = np.flatnonzero(~self._lineup.is_plain | self._is_bettered)
        for seat in new | gone | set(in_doubt.tolist()):
            heappush(self._heap, (seat, VISIT, 0, 0))
        for row in np.flatnonzero(self._more.any(axis=1)).tolist():
            self._follow(row, 0, has_gained=True)
        while self._heap:
            seat = self._heap[0][0]
            wanted = self._reasons(seat)
            if wanted is None:
                continue
            gains = [self._gains[row] for row in wanted]
            self._visit(seat, wanted, is_new=seat in new, is_gone=seat in gone)
            for row, before in zip(wanted, gains, strict=True):
                if self._gains[row] == before:
                    self._push_wanting(row)
        self._capacity.free[:] = self._end

    def _reasons(self, seat: int) -> list[int] | None:
        """The rows on which a seat may find something better; None where it need not be visited at all."""
        self._room.turn = seat
        rows, is_called = [], False
        while self._heap and self._heap[0][0] == seat:
            _, kind, row, version = heappop(self._heap)
            if kind != VISIT and version != (self._less if kind == BLOCKED else self._gains)[row]:
                continue
            if kind == SEARCH:
                self._search(row, seat)
                continue
            if kind == WANTED:
                first, self._wanting[row] = self._wanting[row][:1], self._wanting[row][1:]
                if not self._who_gains(row, first).size:
                    self._push_wanting(row)
                    continue
                rows.append(row)
            is_called = True
        return rows if is_called else None

    def _visit(self, seat: int, wanted: list[int], *, is_new: bool, is_gone: bool) -> None:
        if self._is_bettered[seat] and (is_new or is_gone or self._more.any()):
            raise Unsettled
        before = None if is_new else self.choices[seat]
        after = None if is_gone else self._chosen(seat, before, wanted, is_new=is_new)
        if is_new or after != before:
            self.changed.add(seat)
            if len(self.changed) > self._many + MANY * seat:
                raise Unsettled
            self.choices[seat] = after
            self._exchange(seat, after)

    def _exchange(self, seat: int, after: Choice | None) -> None:
        """Call off what a seat took, and take what it takes now."""
        rows = set()
        old = slice(self._first_take[seat], self._first_take[seat + 1])
        self._room.is_due[old] = False
        problem, row = self._problem_of(seat)
        new = self._new_takes[seat] = takes_of(problem, [seat], [row], [after])
        for takes, part, sign in ((self._takes, old, 1), (new, slice(None), -1)):
            columns = (takes.row[part], takes.first[part], takes.end[part], takes.gpus[part])
            for place, first, end, gpus in zip(*(column.tolist() for column in columns), strict=True):
                self._more[place, first:end] += sign * gpus
                self._end[place, first:end] += sign * gpus
                rows.add(place)
                if sign < 0:
                    self._room.free(place)
                    self._room.take(place, gpus, first, end)
        gained = set(self._takes.row[old].tolist())
        for place in rows:
            self._follow(place, seat + 1, has_gained=place in gained)

    def takes(self) -> Takes:
        """Who takes what now."""
        return self._takes.some(self._room.is_due).and_others(self._new_takes.values())

    def _follow(self, row: int, seat: int, *, has_gained: bool) -> None:
        """From a seat on, find who is touched by what is free on a row now."""
        self._less[row] += 1
        more = self._more[row]
        if (more < 0).any():
            self._find_blocked(row, seat)
        if has_gained:
            self._gains[row] += 1
            if (more > 0).any():
                heappush(self._heap, (seat, SEARCH, row, self._gains[row]))

    def _find_blocked(self, row: int, seat: int) -> None:
        """The first whose window is no longer free, and all whose better window may be another now."""
        less = self._more[row] < 0
        for other in self._passed[np.searchsorted(self._passed, seat) :].tolist():
            at, first, end = self._lineup.passed[other].tolist()
            if at == row and less[first:end].any():
                heappush(self._heap, (other, VISIT, 0, 0))
        short = np.flatnonzero(self._end[row] < 0)
        if not short.size:
            return
        ids = self._room.of_row[row]
        ids = ids[np.searchsorted(self._takes.seat[ids], seat) :]
        ids = ids[self._room.is_due[ids]]
        if not ids.size:
            return
        covers = (self._takes.first[ids, None] <= short) & (short < self._takes.end[ids, None])
        uses = covers * self._takes.gpus[ids, None]
        left = self._end[row, short] + uses.sum(axis=0) - np.cumsum(uses, axis=0)
        first = int(((left < 0) & covers).any(axis=1).argmax())
        heappush(self._heap, (int(self._takes.seat[ids[first]]), BLOCKED, row, self._less[row]))

    def _search(self, row: int, seat: int) -> None:
        """Find those who want what has become free on a row, some seats ahead."""
        until = min(seat - seat % AHEAD + AHEAD, len(self._lineup))
        self._wanting[row] = self._who_wants(row, seat, until)
        self._push_wanting(row)
        if until < len(self._lineup):
            heappush(self._heap, (until, SEARCH, row, self._gains[row]))

    def _push_wanting(self, row: int) -> None:
        """Wait for the first who gains, as things stand; less can be free when its turn comes, but no more."""
        seats, few = self._wanting[row], AT_FIRST
        while seats.size:
            gains = self._who_gains(row, seats[:few])
            if gains.size:
                self._wanting[row] = seats[np.searchsorted(seats, gains[0]) :]
                heappush(self._heap, (int(gains[0]), WANTED, row, self._gains[row]))
                return
            seats, few = seats[few:], 4 * few

    def _who_wants(self, row: int, begin: int, until: int) -> IntArray:
        """Of some seats, whose bounds leave it open that they find a better window, or the promised one, on a row."""
        free, found = self._room.free(row), np.zeros(until - begin, dtype=np.bool_)
        gained = np.flatnonzero((self._more[row] > 0) & (free > 0))
        if not gained.size:
            return NOBODY
        least, free_there = self._least[row, gained], free[gained]
        for lane in self._lanes_at[row]:
            chunk = self._chunk(lane, begin - begin % AHEAD)
            part = slice(begin - chunk.begin, until - chunk.begin)
            bound = np.full(found.size, NOWHERE)
            for level, gpus in enumerate(self._levels):
                cells = gained[(least < gpus) & (free_there >= gpus)]
                if cells.size:
                    run = _around(np.flatnonzero(free < gpus), int(cells[0]), int(cells[-1]), free.size)
                    chunk.bound(level, part, int(cells[0]), int(cells[-1]) + 1, run, bound)
            found |= bound * (1 - HAIR) <= self._lineup.score[begin:until]
            found |= (self._lineup.promise[begin:until] == row) & (bound < NOWHERE)
        return np.flatnonzero(found & self._lineup.is_plain[begin:until]) + begin

    def _who_gains(self, row: int, seats: IntArray) -> IntArray:
        """Of some seats, whose best free window on a row is better than what they have, or who was promised one."""
        cells = np.flatnonzero(self._more[row] > 0)
        if not seats.size or not cells.size:
            return NOBODY
        lineup, gains = self._lineup, self._lineup.promise[seats] == row
        for lane in self._lanes_at[row]:
            chunk = self._chunk(lane, int(seats[0]) - int(seats[0]) % AHEAD)
            score, start = chunk.best(seats - chunk.begin, self._room, cells)
            own, own_start = lineup.score[seats], lineup.start[seats]
            earlier = (start < own_start) | ((start == own_start) & (lane < lineup.lane[seats]))
            gains |= (score < own) | ((score == own) & (score < NOWHERE) & earlier)
        found: IntArray = seats[gains]
        return found

    def _chunk(self, lane: int, begin: int) -> Chunk:
        found = self._chunks.get((lane, begin))
        if found is None:
            seats = slice(begin, min(begin + AHEAD, len(self._lineup)))
            found = self._chunks[lane, begin] = Chunk(self._lookers, self._lineup, lane, seats, self._levels)
        return found

    def _chosen(self, seat: int, before: Choice | None, wanted: list[int], *, is_new: bool) -> Choice | None:
        problem, row = self._problem_of(seat)
        if not self._lineup.is_plain[seat]:
            return before if not is_new and not self._more.any() else self._carefully(problem, row)
        stretch, at = self._stretch_of(seat)
        if is_new or before is None or before.is_late or problem.jobs[row].incumbent is not None:
            return stretch.chosen(at, row)
        if not stretch.is_free(at, before):
            return stretch.chosen(at, row)
        found = before.score, before.start, before.lane
        best = (
            min(stretch.found(at, lane) for lane in (lane for place in wanted for lane in self._lanes_at[place]))
            if wanted
            else found
        )
        return Choice(best[2], best[1], best[0]) if best < found else before

    def _carefully(self, problem: Problem, row: int) -> Choice | None:
        """The choice of a job that is not plain; what it takes is given back."""
        for place in range(len(self._lanes_at)):
            self._room.free(place)
        choice = carefully(problem, row, self._room)
        if choice is not None:
            take(problem, row, choice, self._room, sign=-1)
        return choice

    def _problem_of(self, seat: int) -> tuple[Problem, int]:
        return self._lookers[int(self._lineup.part[seat])].problem, int(self._lineup.row[seat])

    def _stretch_of(self, seat: int) -> tuple[Returned, int]:
        """A stretch in which the job of a seat is, and where."""
        part, row = int(self._lineup.part[seat]), int(self._lineup.row[seat])
        looker = self._lookers[part]
        begin = row - row % NEIGHBOURS
        signal = int(looker.signal[row])
        stretch = self._stretches.get((part, begin, signal))
        if stretch is None:
            rows = np.arange(begin, min(begin + NEIGHBOURS, len(looker.problem.jobs)))
            rows = rows[looker.signal[rows] == signal]
            look = looker.at(rows)
            stretch = Returned(looker.problem, look, self._room)
            self._stretches[part, begin, signal] = stretch
        return stretch, stretch.jobs.index(row)
